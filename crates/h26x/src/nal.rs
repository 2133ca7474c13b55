//! NAL units: splitting by start codes or length prefixes, and classification by nal_unit_type.

use crate::{Codec, H26xError};

/// The kind of a NAL unit by its nal_unit_type. Source: ITU-T H.264 and H.265, table 7-1 of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NalKind {
    /// A video parameter set (H.265 only).
    Vps,
    /// A sequence parameter set.
    Sps,
    /// A picture parameter set.
    Pps,
    /// An access unit delimiter, which carries no picture data.
    Delimiter,
    /// Supplemental enhancement information, on which no picture depends.
    Sei,
    /// A slice of a picture that refers to no other picture: IDR of H.264, any IRAP of H.265.
    RandomAccess,
    /// Any other NAL unit, an empty one included.
    Other,
}

impl NalKind {
    /// Returns the kind of a NAL unit by its first byte; an empty NAL unit is [`NalKind::Other`].
    #[must_use]
    pub fn of(codec: Codec, nal: &[u8]) -> Self {
        let first = nal.first().copied().unwrap_or(0);
        match codec {
            // H.264 7.3.1: forbidden_zero_bit (1) and nal_ref_idc (2) are ignored, nal_unit_type has 5 bits.
            Codec::H264 => Self::of_h264(first & 0x1F),
            // H.265 7.3.1.2: forbidden_zero_bit (1), then nal_unit_type (6). The rest of the 2-byte header,
            // nuh_layer_id (6) and nuh_temporal_id_plus1 (3), is ignored.
            Codec::H265 => Self::of_h265(first >> 1 & 0x3F),
        }
    }

    fn of_h264(nal_unit_type: u8) -> Self {
        match nal_unit_type {
            5 => Self::RandomAccess,
            6 => Self::Sei,
            7 => Self::Sps,
            8 => Self::Pps,
            9 => Self::Delimiter,
            _ => Self::Other,
        }
    }

    fn of_h265(nal_unit_type: u8) -> Self {
        match nal_unit_type {
            // BLA_W_LP to RSV_IRAP_VCL23: the IRAP range, with its two reserved types.
            16..=23 => Self::RandomAccess,
            32 => Self::Vps,
            33 => Self::Sps,
            34 => Self::Pps,
            35 => Self::Delimiter,
            // PREFIX_SEI_NUT and SUFFIX_SEI_NUT.
            39 | 40 => Self::Sei,
            _ => Self::Other,
        }
    }

    /// Returns true for a NAL unit that belongs into an avcC or hvcC.
    #[must_use]
    pub fn is_parameter_set(self) -> bool {
        matches!(self, Self::Vps | Self::Sps | Self::Pps)
    }
}

/// Returns the NAL units of an Annex B byte stream, without empty ones and without bytes before the first
/// start code.
#[must_use]
pub fn split_annex_b(bytes: &[u8]) -> Vec<&[u8]> {
    let mut nals = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at + 3 <= bytes.len() {
        // B.1.1 of both standards: start_code_prefix_one_3bytes. The zero_byte of a 4-byte start code is
        // found as a trailing zero of the NAL unit before it.
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
    // B.1.1 of both standards: trailing_zero_8bits. They are not part of the NAL unit, whose last byte is
    // never 0.
    let len = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if len > 0 {
        nals.push(&nal[..len]);
    }
}

/// Iterator over an access unit of length-prefixed NAL units, the sample format of ISO/IEC 14496-15.
///
/// An item is a part: a NAL unit with its length field. The first error ends the iteration.
#[derive(Debug, Clone)]
pub(crate) struct LengthPrefixedNals<'a> {
    unit: &'a [u8],
    at: usize,
    /// Size of a length field, 1 to 4.
    length_bytes: usize,
}

impl<'a> LengthPrefixedNals<'a> {
    /// Returns an iterator over `unit`, whose length fields have `length_bytes` bytes.
    pub(crate) fn new(unit: &'a [u8], length_bytes: usize) -> Self {
        Self { unit, at: 0, length_bytes }
    }

    /// Returns the NAL unit of a part, without the length field.
    pub(crate) fn nal<'b>(&self, part: &'b [u8]) -> &'b [u8] {
        part.get(self.length_bytes..).unwrap_or_default()
    }

    fn next_part(&self) -> Option<&'a [u8]> {
        let rest = self.unit.get(self.at..)?;
        let length = rest.get(..self.length_bytes)?;
        let nal_len = length.iter().fold(0, |value: usize, &byte| value << 8 | usize::from(byte));
        rest.get(..self.length_bytes.checked_add(nal_len)?)
    }
}

impl<'a> Iterator for LengthPrefixedNals<'a> {
    type Item = Result<&'a [u8], H26xError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.unit.len() {
            return None;
        }
        let part = self.next_part().ok_or(H26xError::Truncated { offset: self.at });
        // After a bad length no boundary is known, so an error moves to the end of the unit.
        self.at = part.as_ref().map_or(self.unit.len(), |part| self.at + part.len());
        Some(part)
    }
}

/// Appends a NAL unit after its 4-byte length, the size that
/// [`build_codec_private`](crate::build_codec_private) declares.
pub fn push_length_prefixed(out: &mut Vec<u8>, nal: &[u8]) {
    let length = u32::try_from(nal.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(nal);
}

/// Returns a NAL unit without its emulation_prevention_three_bytes (7.3.1.1 of H.265, 7.3.1 of H.264).
pub(crate) fn remove_emulation_prevention(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        // An encoder puts 0x03 after two zeros, so that no start code occurs inside a NAL unit.
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
    fn start_codes_of_both_lengths_separate_nal_units() {
        type Case = (&'static str, &'static [u8], &'static [&'static [u8]]);
        let cases: [Case; 6] = [
            ("nothing", &[], &[]),
            ("no start code", &[1, 2, 3], &[]),
            ("one", &[0, 0, 1, 9], &[&[9]]),
            ("bytes before the first start code", &[7, 0, 0, 1, 9], &[&[9]]),
            ("both lengths", &[0, 0, 0, 1, 9, 8, 0, 0, 1, 7, 0, 0, 0, 1, 6], &[&[9, 8], &[7], &[6]]),
            (
                "trailing zeros, and an empty NAL unit",
                &[0, 0, 1, 9, 0, 0, 0, 0, 1, 0, 0, 1, 5, 0],
                &[&[9], &[5]],
            ),
        ];
        for (name, bytes, nals) in cases {
            assert_eq!(split_annex_b(bytes), nals, "{name}");
        }
    }

    #[test]
    fn length_fields_of_each_size_separate_nal_units() {
        type Case = (&'static [u8], usize, &'static [&'static [u8]]);
        let cases: [Case; 4] = [
            (&[2, 9, 8, 0, 1, 7], 1, &[&[9, 8], &[], &[7]]),
            (&[0, 2, 9, 8], 2, &[&[9, 8]]),
            (&[0, 0, 1, 9, 0, 0, 0], 3, &[&[9], &[]]),
            (&[0, 0, 0, 1, 9], 4, &[&[9]]),
        ];
        for (unit, length_bytes, nals) in cases {
            let parts = LengthPrefixedNals::new(unit, length_bytes);
            let found: Vec<_> = parts.clone().map(|part| parts.nal(part.unwrap())).collect();
            assert_eq!(found, nals, "{unit:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_reported_once_with_its_offset() {
        for (name, unit, offset) in [
            ("too few bytes", &[0, 3, 9, 8][..], 0),
            ("half a length", &[0], 0),
            ("the second", &[0, 1, 9, 0, 2, 8], 3),
        ] {
            let parts: Vec<_> = LengthPrefixedNals::new(unit, 2).skip_while(Result::is_ok).collect();
            assert_eq!(parts, [Err(H26xError::Truncated { offset })], "{name}");
        }
    }

    #[test]
    fn each_codec_has_its_own_nal_unit_types() {
        let cases = [
            (Codec::H264, 0x67, NalKind::Sps),
            (Codec::H264, 0x68, NalKind::Pps),
            (Codec::H264, 0x09, NalKind::Delimiter),
            (Codec::H264, 0x06, NalKind::Sei),
            (Codec::H264, 0x65, NalKind::RandomAccess),
            (Codec::H264, 0x41, NalKind::Other),
            (Codec::H265, 0x40, NalKind::Vps),
            (Codec::H265, 0x42, NalKind::Sps),
            (Codec::H265, 0x44, NalKind::Pps),
            (Codec::H265, 0x46, NalKind::Delimiter),
            (Codec::H265, 0x4e, NalKind::Sei),
            (Codec::H265, 0x50, NalKind::Sei),
            (Codec::H265, 0x52, NalKind::Other),
            (Codec::H265, 0x26, NalKind::RandomAccess),
            (Codec::H265, 0x02, NalKind::Other),
        ];
        for (codec, head, kind) in cases {
            assert_eq!(NalKind::of(codec, &[head, 1]), kind, "{codec:?} {head:#x}");
            assert_eq!(NalKind::of(codec, &[]), NalKind::Other);
        }
    }

    #[test]
    fn emulation_prevention_bytes_are_removed() {
        assert_eq!(remove_emulation_prevention(&[1, 0, 0, 3, 0, 0, 3, 1, 0, 3]), [1, 0, 0, 0, 0, 1, 0, 3]);
    }
}
