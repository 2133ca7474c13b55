//! What of an access unit goes to the decoder.

use std::borrow::Cow;

use crate::decoder_config::length_bytes;
use crate::nal::{Kind, Prefixed};
use crate::{Codec, Error};

/// The unit as the decoder should get it: of H.265 without its supplemental messages, of which no picture needs any,
/// since a malformed one makes the strict H.265 decoder refuse the picture beside it.
///
/// The unit is left as it is where it holds no message, nothing else, or lengths that do not add up.
#[must_use]
pub fn for_decoder<'a>(codec: Codec, private: &[u8], unit: &'a [u8]) -> Cow<'a, [u8]> {
    match (codec, length_bytes(codec, private)) {
        (Codec::H265, Some(length_bytes)) => without_messages(unit, length_bytes),
        _ => Cow::Borrowed(unit),
    }
}

/// Goes over the NAL units twice: a list of them may take many times the memory of the access unit.
fn without_messages(unit: &[u8], length_bytes: usize) -> Cow<'_, [u8]> {
    let parts = Prefixed::new(unit, length_bytes);
    let is_picture = |part: &&[u8]| Kind::of(Codec::H265, parts.nal(part)) != Kind::Message;
    let bytes_of =
        |part: Result<&[u8], Error>| part.map(|part| if is_picture(&part) { part.len() } else { 0 });
    let picture_bytes: Result<usize, Error> = parts.clone().map(bytes_of).sum();
    match picture_bytes {
        Ok(bytes) if bytes > 0 && bytes < unit.len() => {
            let mut pictures = Vec::with_capacity(bytes);
            parts.clone().flatten().filter(is_picture).for_each(|part| pictures.extend_from_slice(part));
            Cow::Owned(pictures)
        }
        _ => Cow::Borrowed(unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as an hvcC before its arrays, for lengths of so many bytes.
    fn private(length_bytes: u8) -> [u8; 23] {
        let mut private = [0; 23];
        private[21] = 0xFC | (length_bytes - 1);
        private
    }

    #[test]
    fn messages_go_and_all_else_stays() {
        let cases: [(&str, &[u8], &[u8]); 7] = [
            ("none", &[0, 2, 0x26, 1], &[0, 2, 0x26, 1]),
            ("before", &[0, 3, 0x4e, 1, 9, 0, 2, 0x26, 1], &[0, 2, 0x26, 1]),
            ("after", &[0, 2, 0x26, 1, 0, 2, 0x50, 1], &[0, 2, 0x26, 1]),
            ("between", &[0, 2, 2, 1, 0, 2, 0x4f, 1, 0, 0, 0, 1, 2], &[0, 2, 2, 1, 0, 0, 0, 1, 2]),
            ("nothing else", &[0, 2, 0x4e, 1], &[0, 2, 0x4e, 1]),
            ("too long", &[0, 2, 0x4e, 1, 0, 3, 0x26, 1], &[0, 2, 0x4e, 1, 0, 3, 0x26, 1]),
            ("nothing", &[], &[]),
        ];
        for (name, unit, wanted) in cases {
            assert_eq!(&for_decoder(Codec::H265, &private(2), unit)[..], wanted, "{name}");
        }
    }

    #[test]
    fn lengths_are_as_long_as_the_private_data_says() {
        for length_bytes in 1..=4 {
            let with_length = |nal: &[u8]| [&vec![0; length_bytes - 1], &[nal.len() as u8][..], nal].concat();
            let (message, picture) = (with_length(&[0x4e, 1, 7]), with_length(&[0x26, 1, 7, 7]));
            let unit = [&message[..], &picture].concat();
            let private = private(length_bytes as u8);
            assert_eq!(for_decoder(Codec::H265, &private, &unit), picture, "{length_bytes}");
        }
    }

    #[test]
    fn h264_stays_and_so_does_what_has_no_private_data() {
        let unit = [0, 2, 0x4e, 1, 0, 2, 0x26, 1];
        for (codec, private) in [(Codec::H264, &private(2)[..]), (Codec::H265, &private(2)[..21])] {
            assert_eq!(for_decoder(codec, private, &unit), &unit[..], "{codec:?}");
        }
    }
}
