//! What of an access unit goes to the decoder.

use std::borrow::Cow;

use crate::frame::{Codec, VideoTrack};

/// Types of H.265's prefix and suffix SEI units (H.265, table 7-1).
const MESSAGES: [u8; 2] = [39, 40];

/// The unit as `track`'s decoder should get it: of H.265 without its supplemental messages, of which no picture needs
/// any, since a malformed one makes the strict H.265 decoder refuse the picture beside it.
pub(super) fn for_decoder<'a>(track: &VideoTrack, unit: &'a [u8]) -> Cow<'a, [u8]> {
    match (track.codec, track.codec_private.get(21)) {
        (Codec::H265, Some(sizes)) => without_messages(unit, usize::from(sizes & 3) + 1),
        _ => Cow::Borrowed(unit),
    }
}

/// `unit` as it is where it holds no message, nothing else, or lengths that do not add up.
fn without_messages(unit: &[u8], length_bytes: usize) -> Cow<'_, [u8]> {
    let Some(parts) = parts(unit, length_bytes) else { return Cow::Borrowed(unit) };
    let pictures: Vec<_> = parts.iter().filter(|part| !is_message(part, length_bytes)).copied().collect();
    if pictures.is_empty() || pictures.len() == parts.len() {
        return Cow::Borrowed(unit);
    }
    Cow::Owned(pictures.concat())
}

/// The NAL units, each with its length before it.
fn parts(mut unit: &[u8], length_bytes: usize) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !unit.is_empty() {
        let length =
            unit.get(..length_bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (part, rest) = unit.split_at_checked(length_bytes + length)?;
        parts.push(part);
        unit = rest;
    }
    Some(parts)
}

fn is_message(part: &[u8], length_bytes: usize) -> bool {
    part.get(length_bytes).is_some_and(|head| MESSAGES.contains(&(head >> 1 & 0x3f)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_go_and_all_else_stays() {
        let cases: [(&str, &[u8], &[u8]); 6] = [
            ("none", &[0, 2, 0x26, 1], &[0, 2, 0x26, 1]),
            ("before", &[0, 3, 0x4e, 1, 9, 0, 2, 0x26, 1], &[0, 2, 0x26, 1]),
            ("after", &[0, 2, 0x26, 1, 0, 2, 0x50, 1], &[0, 2, 0x26, 1]),
            ("nothing else", &[0, 2, 0x4e, 1], &[0, 2, 0x4e, 1]),
            ("too long", &[0, 2, 0x4e, 1, 0, 3, 0x26, 1], &[0, 2, 0x4e, 1, 0, 3, 0x26, 1]),
            ("nothing", &[], &[]),
        ];
        for (name, unit, wanted) in cases {
            assert_eq!(&without_messages(unit, 2)[..], wanted, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(unit in prop::collection::vec(any::<u8>(), 0..64), length_bytes in 1..=4_usize) {
            prop_assert!(without_messages(&unit, length_bytes).len() <= unit.len());
        }
    }
}
