//! Filtering of access units before they reach the decoder.

use std::borrow::Cow;

use crate::decoder_config::nal_length_bytes;
use crate::nal::{LengthPrefixedNals, NalKind};
use crate::{Codec, H26xError};

/// Returns the access unit without its SEI NAL units if it is H.265, and unchanged otherwise.
///
/// No picture depends on SEI, but one malformed SEI makes FFmpeg's H.265 decoder refuse the picture beside
/// it. The unit is also returned unchanged if it has no SEI, nothing but SEI, or lengths that do not add up.
#[must_use]
pub fn filter_for_decoder<'a>(codec: Codec, codec_private: &[u8], unit: &'a [u8]) -> Cow<'a, [u8]> {
    match (codec, nal_length_bytes(codec, codec_private)) {
        (Codec::H265, Some(length_bytes)) => without_sei(unit, length_bytes),
        _ => Cow::Borrowed(unit),
    }
}

fn without_sei(unit: &[u8], length_bytes: usize) -> Cow<'_, [u8]> {
    let parts = LengthPrefixedNals::new(unit, length_bytes);
    let is_kept = |part: &&[u8]| NalKind::of(Codec::H265, parts.nal(part)) != NalKind::Sei;
    // Two passes instead of a list of NAL units: an access unit of empty NAL units would make that list many
    // times larger than the access unit itself.
    let kept_len =
        |part: Result<&[u8], H26xError>| part.map(|part| if is_kept(&part) { part.len() } else { 0 });
    let kept_bytes: Result<usize, H26xError> = parts.clone().map(kept_len).sum();
    match kept_bytes {
        Ok(bytes) if bytes > 0 && bytes < unit.len() => {
            let mut kept = Vec::with_capacity(bytes);
            parts.clone().flatten().filter(is_kept).for_each(|part| kept.extend_from_slice(part));
            Cow::Owned(kept)
        }
        // SEI alone stays: nothing would be left, and FFmpeg takes an empty packet for the end of the stream.
        _ => Cow::Borrowed(unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fixed part of an hvcC, which says that lengths have `length_bytes` bytes.
    fn hvcc_head(length_bytes: u8) -> [u8; 23] {
        let mut head = [0; 23];
        head[21] = 0xFC | (length_bytes - 1);
        head
    }

    #[test]
    fn sei_is_removed_and_all_else_is_kept() {
        let cases: [(&str, &[u8], &[u8]); 7] = [
            ("no SEI", &[0, 2, 0x26, 1], &[0, 2, 0x26, 1]),
            ("SEI before", &[0, 3, 0x4e, 1, 9, 0, 2, 0x26, 1], &[0, 2, 0x26, 1]),
            ("SEI after", &[0, 2, 0x26, 1, 0, 2, 0x50, 1], &[0, 2, 0x26, 1]),
            ("SEI between", &[0, 2, 2, 1, 0, 2, 0x4f, 1, 0, 0, 0, 1, 2], &[0, 2, 2, 1, 0, 0, 0, 1, 2]),
            ("SEI alone", &[0, 2, 0x4e, 1], &[0, 2, 0x4e, 1]),
            ("a length too long", &[0, 2, 0x4e, 1, 0, 3, 0x26, 1], &[0, 2, 0x4e, 1, 0, 3, 0x26, 1]),
            ("nothing", &[], &[]),
        ];
        for (name, unit, expected) in cases {
            assert_eq!(&filter_for_decoder(Codec::H265, &hvcc_head(2), unit)[..], expected, "{name}");
        }
    }

    #[test]
    fn lengths_have_the_size_that_the_hvcc_gives() {
        for length_bytes in 1..=4 {
            let with_length = |nal: &[u8]| [&vec![0; length_bytes - 1], &[nal.len() as u8][..], nal].concat();
            let (sei, picture) = (with_length(&[0x4e, 1, 7]), with_length(&[0x26, 1, 7, 7]));
            let unit = [&sei[..], &picture].concat();
            let hvcc = hvcc_head(length_bytes as u8);
            assert_eq!(filter_for_decoder(Codec::H265, &hvcc, &unit), picture, "{length_bytes}");
        }
    }

    #[test]
    fn h264_and_units_without_codec_private_data_are_unchanged() {
        let unit = [0, 2, 0x4e, 1, 0, 2, 0x26, 1];
        for (codec, private) in [(Codec::H264, &hvcc_head(2)[..]), (Codec::H265, &hvcc_head(2)[..21])] {
            assert_eq!(filter_for_decoder(codec, private, &unit), &unit[..], "{codec:?}");
        }
    }
}
