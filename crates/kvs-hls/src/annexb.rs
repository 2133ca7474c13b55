//! NAL units: between start codes, after lengths, by type.

use crate::{Codec, Error};

/// What a NAL unit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Vps,
    Sps,
    Pps,
    /// An access unit delimiter: carries nothing.
    Delimiter,
    /// A slice of a picture that needs no other.
    Random,
    Other,
}

impl Kind {
    pub(crate) fn of(codec: Codec, nal: &[u8]) -> Self {
        let first = nal.first().copied().unwrap_or(0);
        match codec {
            Codec::H264 => match first & 0x1F {
                5 => Self::Random,
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
                _ => Self::Other,
            },
        }
    }

    pub(crate) fn is_parameter_set(self) -> bool {
        matches!(self, Self::Vps | Self::Sps | Self::Pps)
    }
}

/// The NAL units between start codes, without the zeros after them; bytes before the first start code are left out.
pub(crate) fn split(bytes: &[u8]) -> Vec<&[u8]> {
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

/// The NAL units after lengths of `length_bytes` bytes each.
///
/// Errors: a length goes beyond the unit's end.
pub(crate) fn split_prefixed(unit: &[u8], length_bytes: usize) -> Result<Vec<&[u8]>, Error> {
    let mut nals = Vec::new();
    let mut at = 0;
    while at < unit.len() {
        let cut = || Error::Truncated { offset: at, part: "a NAL unit" };
        let length = unit.get(at..at + length_bytes).ok_or_else(cut)?;
        let length = length.iter().fold(0, |value: usize, &byte| value << 8 | usize::from(byte));
        let start = at + length_bytes;
        let end = start.checked_add(length).ok_or_else(cut)?;
        nals.push(unit.get(start..end).ok_or_else(cut)?);
        at = end;
    }
    Ok(nals)
}

/// Appends a NAL unit after its length in 4 bytes.
pub(crate) fn push_prefixed(out: &mut Vec<u8>, nal: &[u8]) {
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
            assert_eq!(split(bytes), nals, "{name}");
        }
    }

    #[test]
    fn lengths_of_any_size_part_nal_units() {
        assert_eq!(split_prefixed(&[2, 9, 8, 0, 1, 7], 1), Ok(vec![&[9, 8][..], &[], &[7]]));
        assert_eq!(split_prefixed(&[0, 2, 9, 8], 2), Ok(vec![&[9, 8][..]]));
        for cut in [&[0, 3, 9, 8][..], &[0]] {
            assert!(split_prefixed(cut, 2).is_err(), "{cut:?}");
        }
    }

    #[test]
    fn emulation_prevention_goes() {
        assert_eq!(unescape(&[1, 0, 0, 3, 0, 0, 3, 1, 0, 3]), [1, 0, 0, 0, 0, 1, 0, 3]);
    }
}
