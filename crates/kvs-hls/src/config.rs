//! avcC and hvcC: the codecs' own heads. Source: ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1.

use bytes::Bytes;

use crate::annexb::Kind;
use crate::sps::{HIGH_PROFILES, Sps};
use crate::{Codec, Error, VideoTrack};

/// What an avcC or hvcC holds beside profile and level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config<'a> {
    /// Bytes of the length before each NAL unit: 1, 2 or 4.
    pub(crate) length_bytes: usize,
    /// In the order in which a decoder wants them.
    pub(crate) parameter_sets: Vec<&'a [u8]>,
}

/// Lengths of 4 bytes before NAL units, as both configs say it.
const LENGTH_BYTES_MINUS_1: u8 = 3;
const ESCAPED_SPS: usize = 4;

impl<'a> Config<'a> {
    /// Errors: it is no avcC or hvcC, or it ends early.
    pub(crate) fn read(codec: Codec, private: &'a [u8]) -> Result<Self, Error> {
        let (part, read) = match codec {
            Codec::H264 => ("the avcC", read_avcc(private)),
            Codec::H265 => ("the hvcC", read_hvcc(private)),
        };
        let config = read.ok_or(Error::Codec { part, reason: "it is of another version or ends early" })?;
        if config.length_bytes == 3 {
            return Err(Error::Codec { part, reason: "lengths of 3 bytes are not possible" });
        }
        Ok(config)
    }
}

/// The parameter sets in an avcC or hvcC, in the order in which a decoder wants them.
///
/// Errors: it is no avcC or hvcC, or it ends early.
pub fn parameter_sets(codec: Codec, private: &[u8]) -> Result<Vec<&[u8]>, Error> {
    Ok(Config::read(codec, private)?.parameter_sets)
}

/// What RFC 6381 calls the codec of a track: `avc1.4d401f`, `hvc1.1.6.L93.90`.
///
/// Errors: the private data ends before the level.
pub fn codec_string(codec: Codec, private: &[u8]) -> Result<String, Error> {
    let text = match codec {
        Codec::H264 => private.get(1..4).map(|p| format!("avc1.{:02x}{:02x}{:02x}", p[0], p[1], p[2])),
        Codec::H265 => private.get(1..13).map(hevc_string),
    };
    text.ok_or(Error::Codec { part: "the codec private data", reason: "it ends before the level" })
}

/// Width and height in pixels, by the first sequence parameter set in an avcC or hvcC.
///
/// Errors: it is no avcC or hvcC, or has no sequence parameter set that can be read.
pub fn picture_size(codec: Codec, private: &[u8]) -> Result<(u32, u32), Error> {
    let sets = parameter_sets(codec, private)?;
    let sps = sets.into_iter().find(|nal| Kind::of(codec, nal) == Kind::Sps);
    let missing = Error::Missing { whole: "the codec private data", part: "sequence parameter set" };
    let sps = Sps::read(codec, sps.ok_or(missing)?)?;
    Ok((sps.width_px, sps.height_px))
}

fn hevc_string(general: &[u8]) -> String {
    let space = ["", "A", "B", "C"][usize::from(general[0] >> 6)];
    let tier = if general[0] & 0x20 == 0 { 'L' } else { 'H' };
    let compatible = u32::from_be_bytes([general[1], general[2], general[3], general[4]]).reverse_bits();
    let mut text = format!("hvc1.{space}{}.{compatible:X}.{tier}{}", general[0] & 0x1F, general[11]);
    let constraints = &general[5..11];
    let told = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..told] {
        text.push_str(&format!(".{byte:X}"));
    }
    text
}

fn read_avcc(private: &[u8]) -> Option<Config<'_>> {
    if private.first() != Some(&1) {
        return None;
    }
    let length_bytes = usize::from(private.get(4)? & 3) + 1;
    let mut rest = private.get(5..)?;
    let mut parameter_sets = Vec::new();
    for mask in [0x1F, 0xFF] {
        let (&count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            parameter_sets.push(take_sized(&mut rest)?);
        }
    }
    Some(Config { length_bytes, parameter_sets })
}

fn read_hvcc(private: &[u8]) -> Option<Config<'_>> {
    if private.first() != Some(&1) {
        return None;
    }
    let length_bytes = usize::from(private.get(21)? & 3) + 1;
    let arrays = *private.get(22)?;
    let mut rest = private.get(23..)?;
    let mut parameter_sets = Vec::new();
    for _ in 0..arrays {
        let count = u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?]);
        rest = &rest[3..];
        for _ in 0..count {
            parameter_sets.push(take_sized(&mut rest)?);
        }
    }
    Some(Config { length_bytes, parameter_sets })
}

/// The bytes after a length of 2 bytes.
fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    let taken = rest.get(2..2 + len)?;
    *rest = &rest[2 + len..];
    Some(taken)
}

/// A track from the parameter sets that came in band.
///
/// Errors: one is missing, too long, or cannot be read.
pub(crate) fn track_of(codec: Codec, sets: &[&[u8]]) -> Result<VideoTrack, Error> {
    let of = |kind: Kind| sets.iter().copied().filter(move |nal| Kind::of(codec, nal) == kind);
    let missing = |part| Error::Missing { whole: "a segment", part };
    let first = of(Kind::Sps).next().ok_or(missing("sequence parameter set"))?;
    of(Kind::Pps).next().ok_or(missing("picture parameter set"))?;
    let most = if codec == Codec::H264 { 31 } else { 255 };
    if sets.iter().any(|nal| nal.len() > usize::from(u16::MAX)) || sets.len() > most {
        return Err(Error::Codec { part: "the parameter sets", reason: "they are too many or too long" });
    }
    let sps = Sps::read(codec, first)?;
    let [all_vps, all_sps, all_pps] =
        [Kind::Vps, Kind::Sps, Kind::Pps].map(|kind| of(kind).collect::<Vec<_>>());
    let private = match codec {
        Codec::H264 => avcc(&sps, &all_sps, &all_pps),
        Codec::H265 => hvcc(&sps, &[all_vps, all_sps, all_pps]),
    };
    Ok(VideoTrack { codec, private: Bytes::from(private), width_px: sps.width_px, height_px: sps.height_px })
}

fn avcc(sps: &Sps, all_sps: &[&[u8]], all_pps: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(&sps.profile);
    out.push(0xFC | LENGTH_BYTES_MINUS_1);
    out.push(0xE0 | all_sps.len() as u8);
    push_sized(&mut out, all_sps);
    out.push(all_pps.len() as u8);
    push_sized(&mut out, all_pps);
    if sps.profile.first().is_some_and(|profile| HIGH_PROFILES[..ESCAPED_SPS].contains(profile)) {
        out.push(0xFC | sps.chroma_format);
        out.push(0xF8 | sps.luma_depth_minus8);
        out.push(0xF8 | sps.chroma_depth_minus8);
        out.push(0);
    }
    out
}

fn hvcc(sps: &Sps, arrays: &[Vec<&[u8]>; 3]) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(&sps.profile);
    out.extend_from_slice(&[0xF0, 0, 0xFC]);
    out.push(0xFC | sps.chroma_format);
    out.push(0xF8 | sps.luma_depth_minus8);
    out.push(0xF8 | sps.chroma_depth_minus8);
    out.extend_from_slice(&[0, 0]);
    out.push(sps.layers << 3 | u8::from(sps.nested) << 2 | LENGTH_BYTES_MINUS_1);
    let told: Vec<_> = arrays.iter().zip([32u8, 33, 34]).filter(|(sets, _)| !sets.is_empty()).collect();
    out.push(told.len() as u8);
    for (sets, kind) in told {
        out.push(0x80 | kind);
        out.extend_from_slice(&(sets.len() as u16).to_be_bytes());
        push_sized(&mut out, sets);
    }
    out
}

fn push_sized(out: &mut Vec<u8>, sets: &[&[u8]]) {
    for set in sets {
        out.extend_from_slice(&(set.len() as u16).to_be_bytes());
        out.extend_from_slice(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of `ffmpeg -f lavfi -i testsrc=size=320x180 -c:v libx264 -profile:v high`.
    const AVCC: &[u8] =
        &[1, 100, 0, 12, 0xFF, 0xE1, 0, 4, 0x67, 100, 0, 12, 1, 0, 2, 0x68, 0xEB, 0xFD, 0xF8, 0xF8, 0];

    #[test]
    fn an_avcc_gives_its_parameter_sets_and_lengths() {
        let config = Config::read(Codec::H264, AVCC).unwrap();
        assert_eq!(config.length_bytes, 4);
        assert_eq!(config.parameter_sets, [&[0x67, 100, 0, 12][..], &[0x68, 0xEB]]);
    }

    #[test]
    fn reserved_bits_that_a_producer_cleared_do_not_matter() {
        let mut private = AVCC.to_vec();
        (private[4], private[5]) = (3, 1);
        assert_eq!(Config::read(Codec::H264, &private).unwrap().parameter_sets.len(), 2);
    }

    #[test]
    fn other_bytes_are_refused() {
        for (name, private) in [("nothing", &[][..]), ("Annex B", &[0, 0, 0, 1, 0x67]), ("cut", &AVCC[..12])]
        {
            for codec in [Codec::H264, Codec::H265] {
                assert!(Config::read(codec, private).is_err(), "{name} as {codec:?}");
            }
        }
    }

    #[test]
    fn codecs_are_named_as_players_want_it() {
        assert_eq!(codec_string(Codec::H264, AVCC).unwrap(), "avc1.64000c");
        let hvcc = [1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93];
        assert_eq!(codec_string(Codec::H265, &hvcc).unwrap(), "hvc1.1.6.L93.90");
        assert!(codec_string(Codec::H265, AVCC.get(..9).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut private in prop::collection::vec(any::<u8>(), 0..120)) {
            for codec in [Codec::H264, Codec::H265] {
                _ = Config::read(codec, &private);
                if let Some(version) = private.first_mut() { *version = 1 }
                _ = Config::read(codec, &private);
            }
        }
    }
}
