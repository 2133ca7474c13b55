//! Whether avcC and hvcC are whole. FFmpeg goes on without what it cannot read there, and fails later with less to say.

use crate::frame::{Codec, VideoTrack};

/// What is wrong with the track's codec private data, in words.
///
/// Reserved bits are not looked at: real producers clear them.
pub(super) fn check(track: &VideoTrack) -> Result<(), &'static str> {
    let bytes = &track.codec_private[..];
    match bytes.first() {
        None => return Err("it is empty"),
        Some(0) => return Err("it starts with 0, as an Annex B stream does"),
        Some(1) => {}
        Some(_) => return Err("its version is not 1"),
    }
    let whole = match track.codec {
        Codec::H264 => walk_avcc(bytes),
        Codec::H265 => walk_hvcc(bytes),
    };
    whole.ok_or("it ends too early")
}

fn walk_avcc(bytes: &[u8]) -> Option<()> {
    let (sps_count, rest) = bytes.get(5..)?.split_first()?;
    let (pps_count, rest) = skip_units(rest, u16::from(sps_count & 0x1f))?.split_first()?;
    skip_units(rest, u16::from(*pps_count)).map(|_| ())
}

fn walk_hvcc(bytes: &[u8]) -> Option<()> {
    let (arrays, mut rest) = bytes.get(22..)?.split_first()?;
    for _ in 0..*arrays {
        let (head, units) = rest.split_first_chunk::<3>()?;
        rest = skip_units(units, u16::from_be_bytes([head[1], head[2]]))?;
    }
    Some(())
}

fn skip_units(mut bytes: &[u8], count: u16) -> Option<&[u8]> {
    for _ in 0..count {
        let (size, rest) = bytes.split_first_chunk::<2>()?;
        bytes = rest.get(usize::from(u16::from_be_bytes(*size))..)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const AVCC: &[u8] = &[1, 0x4d, 0x40, 0x1e, 3, 1, 0, 2, 0x27, 0x4d, 1, 0, 1, 0x28];
    const HVCC_HEAD: [u8; 22] =
        [1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 90, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0xf];

    fn track(codec: Codec, bytes: &[u8]) -> VideoTrack {
        VideoTrack { codec, codec_private: Bytes::copy_from_slice(bytes), width_px: 640, height_px: 360 }
    }

    fn hvcc() -> Vec<u8> {
        let mut bytes = HVCC_HEAD.to_vec();
        bytes.extend([2, 0x20, 0, 1, 0, 2, 0x40, 1, 0x21, 0, 1, 0, 1, 0x42]);
        bytes
    }

    #[test]
    fn whole_data_passes_with_reserved_bits_set_or_clear() {
        assert_eq!(check(&track(Codec::H264, AVCC)), Ok(()));
        let mut set = AVCC.to_vec();
        (set[4], set[5]) = (0xff, 0xe1);
        assert_eq!(check(&track(Codec::H264, &set)), Ok(()));
        assert_eq!(check(&track(Codec::H265, &hvcc())), Ok(()));
    }

    #[test]
    fn every_shorter_beginning_is_refused() {
        for (codec, bytes) in [(Codec::H264, AVCC.to_vec()), (Codec::H265, hvcc())] {
            for length in 1..bytes.len() {
                assert_eq!(
                    check(&track(codec, &bytes[..length])),
                    Err("it ends too early"),
                    "{codec:?} {length}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_such_data_is_named() {
        assert_eq!(check(&track(Codec::H264, &[])), Err("it is empty"));
        assert_eq!(
            check(&track(Codec::H264, &[0, 0, 0, 1, 0x67])),
            Err("it starts with 0, as an Annex B stream does")
        );
        assert_eq!(check(&track(Codec::H265, &[7; 40])), Err("its version is not 1"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for codec in [Codec::H264, Codec::H265] {
                let verdict = check(&track(codec, &bytes));
                prop_assert!(verdict.is_err() || bytes[0] == 1);
            }
        }
    }
}
