//! Classification of access units for a decoder that joins a stream in the middle.

use crate::decoder_config::nal_length_bytes;
use crate::nal::{LengthPrefixedNals, remove_emulation_prevention, split_annex_b};
use crate::{Codec, NalKind};

/// The role of an access unit for a decoder that joins a stream in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureRole {
    /// A picture at which decoding can start and that no later picture refers past: IDR, and BLA of H.265.
    Closed,
    /// A picture at which decoding can start, although leading pictures after it may refer to pictures before
    /// it.
    ///
    /// It begins an open GOP: CRA of H.265, a recovery point of H.264.
    Open,
    /// A leading picture of H.265 (RASL) that refers to pictures before its CRA and cannot be decoded without
    /// them.
    SkippedLeading,
    /// Any other picture, or an access unit without a slice.
    Dependent,
}

impl PictureRole {
    /// Returns the role of `unit`, an access unit of a track with this codec private data.
    ///
    /// The cost is a walk over the length fields up to the first slice. A unit whose lengths do not add up is
    /// taken for Annex B and searched for start codes as a whole.
    #[must_use]
    pub fn of(codec: Codec, codec_private: &[u8], unit: &[u8]) -> Self {
        match nal_length_bytes(codec, codec_private) {
            // Lengths are tried first: a length field of 00 00 01 xx is also a valid start code.
            Some(length_bytes) if LengthPrefixedNals::new(unit, length_bytes).all(|part| part.is_ok()) => {
                let parts = LengthPrefixedNals::new(unit, length_bytes);
                role_of_first_slice(codec, parts.clone().flatten().map(|part| parts.nal(part)))
            }
            _ => role_of_first_slice(codec, split_annex_b(unit).into_iter()),
        }
    }

    /// Returns true if decoding can start at the access unit.
    #[must_use]
    pub fn is_random_access(self) -> bool {
        matches!(self, Self::Closed | Self::Open)
    }
}

/// Returns true if no other picture of the track refers to the picture in `unit`, so that a decoder may leave it
/// out.
///
/// False for an access unit without a slice, and where the codec private data does not show it.
#[must_use]
pub fn is_disposable(codec: Codec, codec_private: &[u8], unit: &[u8]) -> bool {
    match nal_length_bytes(codec, codec_private) {
        Some(length_bytes) if LengthPrefixedNals::new(unit, length_bytes).all(|part| part.is_ok()) => {
            let parts = LengthPrefixedNals::new(unit, length_bytes);
            let nals = parts.clone().flatten().map(|part| parts.nal(part));
            is_first_slice_disposable(codec, codec_private, nals)
        }
        _ => is_first_slice_disposable(codec, codec_private, split_annex_b(unit).into_iter()),
    }
}

fn is_first_slice_disposable<'a>(
    codec: Codec,
    codec_private: &[u8],
    mut nals: impl Iterator<Item = &'a [u8]>,
) -> bool {
    match codec {
        // H.264 table 7-1: 1 to 5 are slices. 7.4.1: nal_ref_idc is 0 for all slices of a picture or for none.
        Codec::H264 => nals
            .find_map(|nal| nal.first().filter(|&&head| matches!(head & 0x1F, 1..=5)))
            .is_some_and(|head| head & 0x60 == 0),
        Codec::H265 => {
            let layers = temporal_layers(codec_private);
            // H.265 7.3.1.2: the header has 2 bytes, and nal_unit_types below 32 are slices.
            let slice = nals.find(|nal| nal.len() >= 2 && nal[0] >> 1 & 0x3F < 32);
            slice.is_some_and(|nal| is_sub_layer_non_reference(nal, layers))
        }
    }
}

/// Returns true for an H.265 slice of a picture that none refers to, in a track with this many temporal sub-layers.
fn is_sub_layer_non_reference(nal: &[u8], layers: u8) -> bool {
    let (nal_unit_type, temporal_id_plus1) = (nal[0] >> 1 & 0x3F, nal[1] & 7);
    // Table 7-1: of the types up to RSV_VCL_R15 the even ones are sub-layer non-reference pictures. Pictures of a
    // higher sub-layer may refer to them (3.160), so only those of the highest are disposable.
    nal_unit_type < 16 && nal_unit_type % 2 == 0 && layers > 0 && temporal_id_plus1 == layers
}

/// Returns numTemporalLayers of an hvcC (ISO/IEC 14496-15, 8.3.3.1.2); 0 where it is unknown.
fn temporal_layers(codec_private: &[u8]) -> u8 {
    codec_private.get(21).map_or(0, |byte| byte >> 3 & 7)
}

/// Returns the role by the type of the first slice, and for H.264 also by the SEI before it.
fn role_of_first_slice<'a>(codec: Codec, nals: impl Iterator<Item = &'a [u8]>) -> PictureRole {
    let mut has_recovery_point = false;
    for nal in nals {
        let Some(&head) = nal.first() else { continue };
        let role = match codec {
            Codec::H264 => role_of_h264_slice(head & 0x1F, has_recovery_point),
            Codec::H265 => role_of_h265_slice(head >> 1 & 0x3F),
        };
        if let Some(role) = role {
            return role;
        }
        // H.264 has no CRA: an encoder with open GOPs or intra refresh marks the picture with a recovery
        // point SEI.
        has_recovery_point |=
            codec == Codec::H264 && NalKind::of(codec, nal) == NalKind::Sei && is_recovery_point(nal);
    }
    PictureRole::Dependent
}

/// Returns the role of the picture of an H.264 slice; `None` for other NAL units.
fn role_of_h264_slice(nal_unit_type: u8, has_recovery_point: bool) -> Option<PictureRole> {
    // ITU-T H.264, table 7-1: 5 is a slice of an IDR picture, 1 to 4 are other slices.
    match nal_unit_type {
        5 => Some(PictureRole::Closed),
        1..=4 if has_recovery_point => Some(PictureRole::Open),
        1..=4 => Some(PictureRole::Dependent),
        _ => None,
    }
}

/// Returns the role of the picture of an H.265 slice; `None` for other NAL units.
fn role_of_h265_slice(nal_unit_type: u8) -> Option<PictureRole> {
    // ITU-T H.265, table 7-1: 8 and 9 are RASL, 16 to 18 BLA, 19 and 20 IDR, 21 CRA; below 32 are slices.
    match nal_unit_type {
        8 | 9 => Some(PictureRole::SkippedLeading),
        16..=20 => Some(PictureRole::Closed),
        21 => Some(PictureRole::Open),
        0..=31 => Some(PictureRole::Dependent),
        _ => None,
    }
}

/// Returns true if an H.264 SEI NAL unit holds a recovery point. Source: ITU-T H.264, 7.3.2.3.1 and D.1.8.
fn is_recovery_point(nal: &[u8]) -> bool {
    /// payloadType of recovery_point.
    const RECOVERY_POINT: usize = 6;
    let sei = remove_emulation_prevention(nal);
    let mut rest = sei.get(1..).unwrap_or_default();
    // The last byte holds the trailing bits (rbsp_trailing_bits).
    while rest.len() > 1 {
        let header = read_ff_coded(&mut rest).zip(read_ff_coded(&mut rest));
        let Some((payload_type, payload_size)) = header else { return false };
        // The payload (recovery_frame_cnt, exact_match_flag, broken_link_flag, changing_slice_group_idc) is
        // not read: decoding may start here whatever it holds.
        if payload_type == RECOVERY_POINT {
            return true;
        }
        rest = rest.get(payload_size..).unwrap_or_default();
    }
    false
}

/// Reads payloadType or payloadSize (7.3.2.3.1): each ff_byte adds 255 and is followed by another byte.
fn read_ff_coded(rest: &mut &[u8]) -> Option<usize> {
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
    fn an_access_unit_has_the_role_of_its_first_slice() {
        // A recovery point alone; after another SEI message of 300 bytes; a message of another type that
        // holds the number 6.
        let recovery: &[u8] = &[6, 6, 1, 0xC4, 0x80];
        let long = [&[6, 5, 255, 45][..], &[7; 300], &[6, 1, 0xC4, 0x80]].concat();
        let other: &[u8] = &[6, 5, 2, 6, 1, 0x80];
        let cases: [(&str, Codec, &[&[u8]], PictureRole); 19] = [
            ("nothing", Codec::H264, &[], Dependent),
            ("parameter sets alone", Codec::H264, &[&[0x67, 1], &[0x68, 1]], Dependent),
            ("IDR", Codec::H264, &[&[9, 16], &[0x67, 1], &[0x68, 1], &[0x65, 1]], Closed),
            ("recovery point", Codec::H264, &[recovery, &[0x41, 1]], Open),
            ("recovery point, data partition", Codec::H264, &[recovery, &[0x42, 1]], Open),
            ("recovery point after a long SEI message", Codec::H264, &[&long, &[0x41, 1]], Open),
            ("recovery point of an IDR", Codec::H264, &[recovery, &[0x65, 1]], Closed),
            ("another SEI message", Codec::H264, &[other, &[0x41, 1]], Dependent),
            ("SEI after the slice", Codec::H264, &[&[0x41, 1], recovery], Dependent),
            ("B-frame", Codec::H264, &[&[0x01, 1]], Dependent),
            ("IDR with RADL", Codec::H265, &[&[0x40, 1], &[0x26, 1]], Closed),
            ("IDR", Codec::H265, &[&[0x28, 1]], Closed),
            ("BLA", Codec::H265, &[&[0x20, 1]], Closed),
            ("CRA", Codec::H265, &[&[0x46, 1], &[0x2A, 1]], Open),
            ("RASL", Codec::H265, &[&[0x10, 1]], SkippedLeading),
            ("RASL that others refer to", Codec::H265, &[&[0x12, 1]], SkippedLeading),
            ("RADL", Codec::H265, &[&[0x0C, 1]], Dependent),
            ("trailing", Codec::H265, &[&[0x02, 1]], Dependent),
            ("SEI alone", Codec::H265, &[&[0x4E, 1]], Dependent),
        ];
        let hvcc = hvcc();
        for (name, codec, nals, role) in cases {
            let private: &[u8] = if codec == Codec::H264 { AVCC } else { &hvcc };
            assert_eq!(PictureRole::of(codec, private, &prefixed(nals)), role, "{name}");
            assert_eq!(PictureRole::of(codec, private, &annex_b(nals)), role, "{name}, Annex B");
            assert_eq!(PictureRole::of(codec, &[], &annex_b(nals)), role, "{name}, no codec private data");
        }
    }

    #[test]
    fn a_picture_is_disposable_if_none_refers_to_it() {
        let layers = |layers: u8| {
            let mut private = hvcc();
            private[21] = 0b11 | layers << 3;
            private.to_vec()
        };
        let (avcc, unknown, one, three) = (AVCC.to_vec(), layers(0), layers(1), layers(3));
        type Case<'a> = (&'a str, Codec, &'a [u8], &'a [&'a [u8]], bool);
        let cases: [Case; 15] = [
            ("nothing", Codec::H264, &avcc, &[], false),
            ("parameter sets alone", Codec::H264, &avcc, &[&[0x07, 1], &[0x08, 1]], false),
            ("B-frame", Codec::H264, &avcc, &[&[9, 16], &[0x01, 1]], true),
            ("after SEI with nal_ref_idc 0", Codec::H264, &avcc, &[&[6, 5], &[0x41, 1]], false),
            ("reference", Codec::H264, &avcc, &[&[0x21, 1]], false),
            ("IDR", Codec::H264, &avcc, &[&[0x65, 1]], false),
            ("TRAIL_N", Codec::H265, &one, &[&[0x46, 1], &[0x00, 1]], true),
            ("TRAIL_R", Codec::H265, &one, &[&[0x02, 1]], false),
            ("RASL_N", Codec::H265, &one, &[&[0x10, 1]], true),
            ("number of layers unknown", Codec::H265, &unknown, &[&[0x00, 1]], false),
            ("TRAIL_N of the lowest of three layers", Codec::H265, &three, &[&[0x00, 1]], false),
            ("TSA_N of the highest of three layers", Codec::H265, &three, &[&[0x04, 3]], true),
            ("CRA", Codec::H265, &one, &[&[0x2A, 1]], false),
            ("half a header", Codec::H265, &one, &[&[0x00]], false),
            ("SEI alone", Codec::H265, &one, &[&[0x4E, 1]], false),
        ];
        for (name, codec, private, nals, want) in cases {
            assert_eq!(is_disposable(codec, private, &prefixed(nals)), want, "{name}");
            assert_eq!(is_disposable(codec, private, &annex_b(nals)), want, "{name}, Annex B");
        }
    }

    #[test]
    fn a_length_field_that_equals_a_start_code_is_a_length() {
        let slice = [&[0x65][..], &[7; 0x12F]].concat();
        let unit = prefixed(&[&slice]);
        assert_eq!(unit[..3], [0, 0, 1], "a length of 0x130");
        assert_eq!(PictureRole::of(Codec::H264, AVCC, &unit), Closed);
    }

    #[test]
    fn decoding_starts_only_at_random_access() {
        let starts = [Closed, Open, SkippedLeading, Dependent].map(PictureRole::is_random_access);
        assert_eq!(starts, [true, true, false, false]);
    }
}
