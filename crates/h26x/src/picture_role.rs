//! The role of an access unit for a decoder that joins a stream in the middle.

use crate::decoder_config::length_bytes;
use crate::nal::{Prefixed, split_annex_b, unescape};
use crate::{Codec, Kind};

/// The role of an access unit for a decoder that joins a stream in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureRole {
    /// A picture with which decoding can start and that nothing after it reaches behind: IDR, and BLA of H.265.
    Closed,
    /// A picture with which decoding can start, while the leading pictures after it may refer to pictures before it: CRA of
    /// H.265, a recovery point of H.264. It begins an open GOP.
    Open,
    /// A leading picture of H.265 that refers to pictures before its CRA (RASL): without those it cannot be decoded.
    SkippedLeading,
    /// Any other picture, or none.
    Dependent,
}

impl PictureRole {
    /// The role of `unit`, an access unit of a track with this codec private data.
    ///
    /// Cost: a walk over the lengths up to the first slice; a unit whose lengths do not add up is taken for Annex B and
    /// searched for start codes as a whole.
    #[must_use]
    pub fn of(codec: Codec, private: &[u8], unit: &[u8]) -> Self {
        match length_bytes(codec, private) {
            Some(length_bytes) if Prefixed::new(unit, length_bytes).all(|part| part.is_ok()) => {
                let parts = Prefixed::new(unit, length_bytes);
                first_slice(codec, parts.clone().flatten().map(|part| parts.nal(part)))
            }
            _ => first_slice(codec, split_annex_b(unit).into_iter()),
        }
    }

    /// Returns true where decoding can start with it.
    #[must_use]
    pub fn is_random_access(self) -> bool {
        matches!(self, Self::Closed | Self::Open)
    }
}

/// The role by the type of the first slice; of H.264 also by the messages before it.
fn first_slice<'a>(codec: Codec, nals: impl Iterator<Item = &'a [u8]>) -> PictureRole {
    let mut recovers = false;
    for nal in nals {
        let Some(&head) = nal.first() else { continue };
        let role = match codec {
            // ITU-T H.264, table 7-1: 5 is a slice of an IDR picture, 1 to 4 are other slices.
            Codec::H264 => match head & 0x1F {
                5 => Some(PictureRole::Closed),
                1..=4 if recovers => Some(PictureRole::Open),
                1..=4 => Some(PictureRole::Dependent),
                _ => None,
            },
            // ITU-T H.265, table 7-1: 8 and 9 are RASL, 16 to 18 BLA, 19 and 20 IDR, 21 CRA; below 32 are slices.
            Codec::H265 => match head >> 1 & 0x3F {
                8 | 9 => Some(PictureRole::SkippedLeading),
                16..=20 => Some(PictureRole::Closed),
                21 => Some(PictureRole::Open),
                0..=31 => Some(PictureRole::Dependent),
                _ => None,
            },
        };
        if let Some(role) = role {
            return role;
        }
        recovers |= codec == Codec::H264 && Kind::of(codec, nal) == Kind::Message && has_recovery_point(nal);
    }
    PictureRole::Dependent
}

/// Returns true for a supplemental message of H.264 that is a recovery point. Source: ITU-T H.264, 7.3.2.3.1 and D.1.8.
fn has_recovery_point(nal: &[u8]) -> bool {
    const RECOVERY_POINT: usize = 6;
    let message = unescape(nal);
    let mut rest = message.get(1..).unwrap_or_default();
    // The last byte holds the trailing bits (rbsp_trailing_bits).
    while rest.len() > 1 {
        let Some((kind, size)) = ff_coded(&mut rest).zip(ff_coded(&mut rest)) else { return false };
        if kind == RECOVERY_POINT {
            return true;
        }
        rest = rest.get(size..).unwrap_or_default();
    }
    false
}

/// A number as messages code it: a byte FF adds 255 and another byte follows.
fn ff_coded(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    loop {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number += usize::from(byte);
        if byte != 0xFF {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PictureRole::{Closed, Dependent, Open, SkippedLeading};

    const AVCC: &[u8] = &[1, 0x42, 0xC0, 0x1E, 0xFF, 0xE0, 0];

    fn hvcc() -> [u8; 23] {
        let mut private = [0; 23];
        (private[0], private[21]) = (1, 0xFF);
        private
    }

    fn prefixed(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
    }

    fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&[0, 0, 0, 1][..], nal].concat()).collect()
    }

    #[test]
    fn a_unit_has_the_role_of_its_first_slice() {
        // A recovery point alone; behind another message of 300 bytes; a message of another type that holds its number.
        let recovery: &[u8] = &[6, 6, 1, 0xC4, 0x80];
        let long = [&[6, 5, 255, 45][..], &[7; 300], &[6, 1, 0xC4, 0x80]].concat();
        let other: &[u8] = &[6, 5, 2, 6, 1, 0x80];
        let cases: [(&str, Codec, &[&[u8]], PictureRole); 19] = [
            ("nothing", Codec::H264, &[], Dependent),
            ("parameter sets alone", Codec::H264, &[&[0x67, 1], &[0x68, 1]], Dependent),
            ("IDR", Codec::H264, &[&[9, 16], &[0x67, 1], &[0x68, 1], &[0x65, 1]], Closed),
            ("recovery point", Codec::H264, &[recovery, &[0x41, 1]], Open),
            ("recovery point, data partition", Codec::H264, &[recovery, &[0x42, 1]], Open),
            ("recovery point behind a long message", Codec::H264, &[&long, &[0x41, 1]], Open),
            ("recovery point of an IDR", Codec::H264, &[recovery, &[0x65, 1]], Closed),
            ("another message", Codec::H264, &[other, &[0x41, 1]], Dependent),
            ("a message after the slice", Codec::H264, &[&[0x41, 1], recovery], Dependent),
            ("B-frame", Codec::H264, &[&[0x01, 1]], Dependent),
            ("IDR with RADL", Codec::H265, &[&[0x40, 1], &[0x26, 1]], Closed),
            ("IDR", Codec::H265, &[&[0x28, 1]], Closed),
            ("BLA", Codec::H265, &[&[0x20, 1]], Closed),
            ("CRA", Codec::H265, &[&[0x46, 1], &[0x2A, 1]], Open),
            ("RASL", Codec::H265, &[&[0x10, 1]], SkippedLeading),
            ("RASL that others refer to", Codec::H265, &[&[0x12, 1]], SkippedLeading),
            ("RADL", Codec::H265, &[&[0x0C, 1]], Dependent),
            ("trailing", Codec::H265, &[&[0x02, 1]], Dependent),
            ("messages alone", Codec::H265, &[&[0x4E, 1]], Dependent),
        ];
        let hvcc = hvcc();
        for (name, codec, nals, role) in cases {
            let private: &[u8] = if codec == Codec::H264 { AVCC } else { &hvcc };
            assert_eq!(PictureRole::of(codec, private, &prefixed(nals)), role, "{name}");
            assert_eq!(PictureRole::of(codec, private, &annex_b(nals)), role, "{name}, Annex B");
            assert_eq!(PictureRole::of(codec, &[], &annex_b(nals)), role, "{name}, no private data");
        }
    }

    #[test]
    fn a_length_that_looks_like_a_start_code_is_a_length() {
        let slice = [&[0x65][..], &[7; 0x12F]].concat();
        let unit = prefixed(&[&slice]);
        assert_eq!(unit[..3], [0, 0, 1], "a length of 0x130");
        assert_eq!(PictureRole::of(Codec::H264, AVCC, &unit), Closed);
    }

    #[test]
    fn only_random_access_starts_decoding() {
        let starts = [Closed, Open, SkippedLeading, Dependent].map(PictureRole::is_random_access);
        assert_eq!(starts, [true, true, false, false]);
    }
}
