//! NAL units: between start codes, after lengths, by type.

use crate::{Codec, Error};

/// What a NAL unit is for. Source: ITU-T H.264 and H.265, both in table 7-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A video parameter set: of H.265 only.
    Vps,
    /// A sequence parameter set.
    Sps,
    /// A picture parameter set.
    Pps,
    /// An access unit delimiter: carries nothing.
    Delimiter,
    /// Supplemental enhancement information, of which no picture needs any.
    Message,
    /// A slice of a picture that needs no other.
    Random,
    /// All else.
    Other,
}

impl Kind {
    /// By the first byte; an empty unit is [`Kind::Other`].
    #[must_use]
    pub fn of(codec: Codec, nal: &[u8]) -> Self {
        let first = nal.first().copied().unwrap_or(0);
        match codec {
            Codec::H264 => match first & 0x1F {
                5 => Self::Random,
                6 => Self::Message,
                7 => Self::Sps,
                8 => Self::Pps,
                9 => Self::Delimiter,
                _ => Self::Other,
            },
            Codec::H265 => match first >> 1 & 0x3F {
                16..=23 => Self::Random,
                32 => Self::Vps,
                33 => Self::Sps,
                34 => Self::Pps,
                35 => Self::Delimiter,
                39 | 40 => Self::Message,
                _ => Self::Other,
            },
        }
    }

    /// Whether it belongs into an avcC or hvcC.
    #[must_use]
    pub fn is_parameter_set(self) -> bool {
        matches!(self, Self::Vps | Self::Sps | Self::Pps)
    }
}

/// The NAL units between start codes, without the zeros after them; bytes before the first start code are left out.
#[must_use]
pub fn split_annex_b(bytes: &[u8]) -> Vec<&[u8]> {
    let mut nals = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at + 3 <= bytes.len() {
        if bytes[at..at + 3] == [0, 0, 1] {
            if let Some(start) = start {
                push_trimmed(&mut nals, &bytes[start..at]);
            }
            at += 3;
            start = Some(at);
        } else {
            at += 1;
        }
    }
    if let Some(start) = start {
        push_trimmed(&mut nals, &bytes[start..]);
    }
    nals
}

fn push_trimmed<'a>(nals: &mut Vec<&'a [u8]>, nal: &'a [u8]) {
    let len = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if len > 0 {
        nals.push(&nal[..len]);
    }
}

/// The NAL units of an access unit, each with its length before it; the first error ends them.
#[derive(Debug, Clone)]
pub(crate) struct Prefixed<'a> {
    unit: &'a [u8],
    at: usize,
    /// From 1 to 4.
    length_bytes: usize,
}

impl<'a> Prefixed<'a> {
    pub(crate) fn new(unit: &'a [u8], length_bytes: usize) -> Self {
        Self { unit, at: 0, length_bytes }
    }

    /// The NAL unit of a part.
    pub(crate) fn nal<'b>(&self, part: &'b [u8]) -> &'b [u8] {
        part.get(self.length_bytes..).unwrap_or_default()
    }

    fn part(&self) -> Option<&'a [u8]> {
        let rest = self.unit.get(self.at..)?;
        let length = rest.get(..self.length_bytes)?;
        let length = length.iter().fold(0, |value: usize, &byte| value << 8 | usize::from(byte));
        rest.get(..self.length_bytes.checked_add(length)?)
    }
}

impl<'a> Iterator for Prefixed<'a> {
    type Item = Result<&'a [u8], Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.unit.len() {
            return None;
        }
        let taken = self.part().ok_or(Error::Truncated { offset: self.at });
        self.at = taken.as_ref().map_or(self.unit.len(), |part| self.at + part.len());
        Some(taken)
    }
}

/// Appends a NAL unit after its length in 4 bytes, as the private data of [`private_of`](crate::private_of) says it.
pub fn push_prefixed(out: &mut Vec<u8>, nal: &[u8]) {
    let length = u32::try_from(nal.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(nal);
}

/// A NAL unit without its emulation prevention bytes.
pub(crate) fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_of_both_lengths_part_nal_units() {
        type Case = (&'static str, &'static [u8], &'static [&'static [u8]]);
        let cases: [Case; 6] = [
            ("nothing", &[], &[]),
            ("no start code", &[1, 2, 3], &[]),
            ("one", &[0, 0, 1, 9], &[&[9]]),
            ("rubbish before", &[7, 0, 0, 1, 9], &[&[9]]),
            ("both lengths", &[0, 0, 0, 1, 9, 8, 0, 0, 1, 7, 0, 0, 0, 1, 6], &[&[9, 8], &[7], &[6]]),
            (
                "zeros after, and one that is empty",
                &[0, 0, 1, 9, 0, 0, 0, 0, 1, 0, 0, 1, 5, 0],
                &[&[9], &[5]],
            ),
        ];
        for (name, bytes, nals) in cases {
            assert_eq!(split_annex_b(bytes), nals, "{name}");
        }
    }

    #[test]
    fn lengths_of_any_size_part_nal_units() {
        type Case = (&'static [u8], usize, &'static [&'static [u8]]);
        let cases: [Case; 4] = [
            (&[2, 9, 8, 0, 1, 7], 1, &[&[9, 8], &[], &[7]]),
            (&[0, 2, 9, 8], 2, &[&[9, 8]]),
            (&[0, 0, 1, 9, 0, 0, 0], 3, &[&[9], &[]]),
            (&[0, 0, 0, 1, 9], 4, &[&[9]]),
        ];
        for (unit, length_bytes, nals) in cases {
            let parts = Prefixed::new(unit, length_bytes);
            let told: Vec<_> = parts.clone().map(|part| parts.nal(part.unwrap())).collect();
            assert_eq!(told, nals, "{unit:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_told_once_with_its_place() {
        for (name, unit, offset) in [
            ("too few bytes", &[0, 3, 9, 8][..], 0),
            ("half a length", &[0], 0),
            ("the second", &[0, 1, 9, 0, 2, 8], 3),
        ] {
            let parts: Vec<_> = Prefixed::new(unit, 2).skip_while(Result::is_ok).collect();
            assert_eq!(parts, [Err(Error::Truncated { offset })], "{name}");
        }
    }

    #[test]
    fn kinds_go_by_the_types_of_each_codec() {
        let cases = [
            (Codec::H264, 0x67, Kind::Sps),
            (Codec::H264, 0x68, Kind::Pps),
            (Codec::H264, 0x09, Kind::Delimiter),
            (Codec::H264, 0x06, Kind::Message),
            (Codec::H264, 0x65, Kind::Random),
            (Codec::H264, 0x41, Kind::Other),
            (Codec::H265, 0x40, Kind::Vps),
            (Codec::H265, 0x42, Kind::Sps),
            (Codec::H265, 0x44, Kind::Pps),
            (Codec::H265, 0x46, Kind::Delimiter),
            (Codec::H265, 0x4e, Kind::Message),
            (Codec::H265, 0x50, Kind::Message),
            (Codec::H265, 0x52, Kind::Other),
            (Codec::H265, 0x26, Kind::Random),
            (Codec::H265, 0x02, Kind::Other),
        ];
        for (codec, head, kind) in cases {
            assert_eq!(Kind::of(codec, &[head, 1]), kind, "{codec:?} {head:#x}");
            assert_eq!(Kind::of(codec, &[]), Kind::Other);
        }
    }

    #[test]
    fn emulation_prevention_goes() {
        assert_eq!(unescape(&[1, 0, 0, 3, 0, 0, 3, 1, 0, 3]), [1, 0, 0, 0, 0, 1, 0, 3]);
    }
}
