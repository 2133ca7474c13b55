//! avcC and hvcC: the codecs' own heads. Source: ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1.

use crate::nal::{Kind, Prefixed, split_annex_b};
use crate::sps::{HIGH_PROFILES, Sps};
use crate::{Codec, Error, Flaw};

/// What an avcC or hvcC holds beside profile and level.
///
/// Reserved bits are not looked at, since real producers clear them; nor are lengths of 3 bytes refused, which the
/// standard does not know and decoders read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderConfig<'a> {
    /// Bytes of the length before each NAL unit: from 1 to 4.
    length_bytes: usize,
    /// In the order in which a decoder wants them.
    pub parameter_sets: Vec<&'a [u8]>,
}

/// Lengths of 4 bytes before NAL units, as both configs say it.
const LENGTH_BYTES_MINUS_1: u8 = 3;
const ESCAPED_SPS: usize = 4;

impl<'a> DecoderConfig<'a> {
    /// Errors: it is no avcC or hvcC, or it ends early.
    pub fn read(codec: Codec, private: &'a [u8]) -> Result<Self, Error> {
        read(codec, private).map_err(|flaw| Error::Private { codec, flaw })
    }

    /// The NAL units of an access unit, without their lengths.
    ///
    /// Errors: a length goes beyond the unit's end; nothing comes after it.
    pub fn nal_units<'b>(&self, unit: &'b [u8]) -> impl Iterator<Item = Result<&'b [u8], Error>> + use<'b> {
        let parts = Prefixed::new(unit, self.length_bytes);
        parts.clone().map(move |part| part.map(|part| parts.nal(part)))
    }
}

/// Whether codec private data is a whole avcC or hvcC: FFmpeg goes on without what it cannot read there, and fails later
/// with less to say.
///
/// Errors: what is wrong with it.
pub fn check(codec: Codec, private: &[u8]) -> Result<(), Flaw> {
    read(codec, private).map(|_| ())
}

/// What RFC 6381 calls the codec of a track: `avc1.4d401f`, `hvc1.1.6.L93.90`.
///
/// Errors: the private data ends before the level.
pub fn codec_string(codec: Codec, private: &[u8]) -> Result<String, Error> {
    let text = match codec {
        Codec::H264 => private.get(1..4).map(|p| format!("avc1.{:02x}{:02x}{:02x}", p[0], p[1], p[2])),
        Codec::H265 => private.get(1..13).map(hevc_string),
    };
    text.ok_or(Error::Private { codec, flaw: Flaw::Cut })
}

/// Width and height in pixels, by the first sequence parameter set in an avcC or hvcC.
///
/// Errors: it is no avcC or hvcC, or has no sequence parameter set that can be read.
pub fn picture_size(codec: Codec, private: &[u8]) -> Result<(u32, u32), Error> {
    let sets = DecoderConfig::read(codec, private)?.parameter_sets;
    let sps = sets.into_iter().find(|nal| Kind::of(codec, nal) == Kind::Sps);
    let sps = Sps::read(codec, sps.ok_or(Error::Missing { part: "sequence parameter set" })?)?;
    Ok((sps.width_px, sps.height_px))
}

/// Width and height in pixels, by the first sequence parameter set in an access unit of a track with this codec private data; `None`
/// where it has none that can be read.
///
/// Cost: a walk over the lengths; a unit whose lengths do not add up is taken for Annex B and searched for start codes as a whole.
#[must_use]
pub fn size_in_band(codec: Codec, private: &[u8], unit: &[u8]) -> Option<(u32, u32)> {
    let is_sps = |nal: &&[u8]| Kind::of(codec, nal) == Kind::Sps;
    let parts = Prefixed::new(unit, length_bytes(codec, private)?);
    let sps = if parts.clone().all(|part| part.is_ok()) {
        parts.clone().flatten().map(|part| parts.nal(part)).find(is_sps)
    } else {
        split_annex_b(unit).into_iter().find(is_sps)
    };
    let sps = Sps::read(codec, sps?).ok()?;
    Some((sps.width_px, sps.height_px))
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

fn read(codec: Codec, private: &[u8]) -> Result<DecoderConfig<'_>, Flaw> {
    match private.first() {
        None => return Err(Flaw::Empty),
        Some(0) => return Err(Flaw::AnnexB),
        Some(1) => {}
        Some(&version) => return Err(Flaw::Version(version)),
    }
    let parameter_sets = match codec {
        Codec::H264 => read_avcc(private),
        Codec::H265 => read_hvcc(private),
    };
    let (length_bytes, parameter_sets) = length_bytes(codec, private).zip(parameter_sets).ok_or(Flaw::Cut)?;
    Ok(DecoderConfig { length_bytes, parameter_sets })
}

/// Bytes of the length before each NAL unit: from 1 to 4.
pub(crate) fn length_bytes(codec: Codec, private: &[u8]) -> Option<usize> {
    let place = if codec == Codec::H264 { 4 } else { 21 };
    private.get(place).map(|&sizes| usize::from(sizes & 3) + 1)
}

fn read_avcc(private: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = private.get(5..)?;
    let mut parameter_sets = Vec::new();
    for mask in [0x1F, 0xFF] {
        let (&count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            parameter_sets.push(take_sized(&mut rest)?);
        }
    }
    Some(parameter_sets)
}

fn read_hvcc(private: &[u8]) -> Option<Vec<&[u8]>> {
    let (&arrays, mut rest) = private.get(22..)?.split_first()?;
    let mut parameter_sets = Vec::new();
    for _ in 0..arrays {
        let (head, sets) = rest.split_first_chunk::<3>()?;
        rest = sets;
        for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
            parameter_sets.push(take_sized(&mut rest)?);
        }
    }
    Some(parameter_sets)
}

/// The bytes after a length of 2 bytes.
fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (taken, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    Some(taken)
}

/// An avcC or hvcC of parameter sets that came in band, for lengths of 4 bytes.
///
/// Errors: one is missing, too long, or cannot be read.
pub fn private_of(codec: Codec, sets: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let of = |kind: Kind| sets.iter().copied().filter(|nal| Kind::of(codec, nal) == kind).collect::<Vec<_>>();
    let (all_vps, all_sps, all_pps) = (of(Kind::Vps), of(Kind::Sps), of(Kind::Pps));
    let missing = |part| Error::Missing { part };
    let first = all_sps.first().ok_or(missing("sequence parameter set"))?;
    all_pps.first().ok_or(missing("picture parameter set"))?;
    let most = if codec == Codec::H264 { 31 } else { 255 };
    let longest_bytes = sets.iter().map(|nal| nal.len()).max().unwrap_or(0);
    if longest_bytes > usize::from(u16::MAX) || sets.len() > most {
        return Err(Error::TooMuch { codec, count: sets.len(), most, longest_bytes });
    }
    let sps = Sps::read(codec, first)?;
    Ok(match codec {
        Codec::H264 => avcc(&sps, &all_sps, &all_pps),
        Codec::H265 => hvcc(&sps, &[all_vps, all_sps, all_pps]),
    })
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
    /// The extension for high profiles, which decoders do not need.
    const AVCC_EXTENSION: usize = 4;
    const HVCC_HEAD: [u8; 22] =
        [1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F];

    fn hvcc() -> Vec<u8> {
        let arrays = [2, 0x20, 0, 1, 0, 2, 0x40, 1, 0x21, 0, 2, 0, 1, 0x42, 0, 0];
        [&HVCC_HEAD[..], &arrays].concat()
    }

    #[test]
    fn an_avcc_gives_its_parameter_sets_and_lengths() {
        let config = DecoderConfig::read(Codec::H264, AVCC).unwrap();
        assert_eq!(config.length_bytes, 4);
        assert_eq!(config.parameter_sets, [&[0x67, 100, 0, 12][..], &[0x68, 0xEB]]);
    }

    #[test]
    fn an_hvcc_gives_its_parameter_sets_and_lengths() {
        let (mut private, sets) = (hvcc(), [&[0x40, 1][..], &[0x42], &[]]);
        for (sizes, length_bytes) in [(0x0C, 1), (0x0D, 2), (0x0E, 3), (0x0F, 4)] {
            private[21] = sizes;
            let config = DecoderConfig::read(Codec::H265, &private).unwrap();
            assert_eq!((config.length_bytes, &config.parameter_sets[..]), (length_bytes, &sets[..]));
        }
    }

    #[test]
    fn counts_have_all_their_bits() {
        let sets = |count: usize| [0, 0].repeat(count);
        let avcc = [&AVCC[..5], &[0xE0 | 31], &sets(31), &[255], &sets(255)].concat();
        let hvcc = [&HVCC_HEAD[..], &[1, 0x22, 1, 2], &sets(258)].concat();
        for (codec, private, count) in [(Codec::H264, avcc, 31 + 255), (Codec::H265, hvcc, 258)] {
            let config = DecoderConfig::read(codec, &private).unwrap();
            assert_eq!(config.parameter_sets.len(), count, "{codec:?}");
        }
    }

    #[test]
    fn reserved_bits_that_a_producer_cleared_do_not_matter() {
        let mut private = AVCC.to_vec();
        (private[4], private[5]) = (3, 1);
        assert_eq!(DecoderConfig::read(Codec::H264, &private).unwrap().parameter_sets.len(), 2);
    }

    #[test]
    fn a_unit_is_read_by_the_lengths_of_its_track() {
        let private = [1, 77, 64, 30, 0xFD, 0xE0, 0];
        let config = DecoderConfig::read(Codec::H264, &private).unwrap();
        let told: Vec<_> = config.nal_units(&[0, 1, 9, 0, 2, 0x65, 8, 0, 1]).collect();
        assert_eq!(told, [Ok(&[9][..]), Ok(&[0x65, 8]), Err(Error::Truncated { offset: 7 })]);
    }

    #[test]
    fn every_shorter_beginning_is_refused() {
        let avcc = AVCC[..AVCC.len() - AVCC_EXTENSION].to_vec();
        for (codec, whole) in [(Codec::H264, avcc), (Codec::H265, hvcc())] {
            assert_eq!(check(codec, &whole), Ok(()));
            for length in 1..whole.len() {
                assert_eq!(check(codec, &whole[..length]), Err(Flaw::Cut), "{codec:?} {length}");
            }
        }
    }

    #[test]
    fn what_is_no_such_data_is_named() {
        for (private, flaw, text) in [
            (&[][..], Flaw::Empty, "it is empty"),
            (&[0, 0, 0, 1, 0x67], Flaw::AnnexB, "it starts with 0, as an Annex B stream does"),
            (&[7; 40], Flaw::Version(7), "its version is 7 instead of 1"),
            (&[1; 5], Flaw::Cut, "it ends too early"),
        ] {
            for codec in [Codec::H264, Codec::H265] {
                assert_eq!(check(codec, private), Err(flaw));
                let error = DecoderConfig::read(codec, private).unwrap_err();
                assert_eq!(error, Error::Private { codec, flaw });
                let wanted = format!("the {} cannot be read: {text}; let the", codec.private_name());
                assert!(error.to_string().starts_with(&wanted), "{error}");
            }
        }
    }

    #[test]
    fn codecs_are_named_as_players_want_it() {
        assert_eq!(codec_string(Codec::H264, AVCC).unwrap(), "avc1.64000c");
        assert_eq!(codec_string(Codec::H265, &HVCC_HEAD[..13]).unwrap(), "hvc1.1.6.L93.90");
        assert!(codec_string(Codec::H265, AVCC.get(..9).unwrap()).is_err());
    }

    #[test]
    fn no_private_data_is_made_of_too_few_or_too_many_parameter_sets() {
        let (sps, pps, long) = (&[0x67, 66, 0, 30][..], &[0x68][..], vec![0x68; 1 << 16]);
        let too_much =
            |count, longest_bytes| Error::TooMuch { codec: Codec::H264, count, most: 31, longest_bytes };
        for (name, sets, error) in [
            ("no sequence", vec![pps], Error::Missing { part: "sequence parameter set" }),
            ("no picture", vec![sps], Error::Missing { part: "picture parameter set" }),
            ("many", [&[sps][..], &[pps; 31]].concat(), too_much(32, 4)),
            ("long", vec![sps, &long], too_much(2, 1 << 16)),
            ("cut", vec![sps, pps], Error::ParameterSet { bytes: 4 }),
        ] {
            assert_eq!(private_of(Codec::H264, &sets), Err(error), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut private in prop::collection::vec(any::<u8>(), 0..120)) {
            for codec in [Codec::H264, Codec::H265] {
                _ = DecoderConfig::read(codec, &private);
                if let Some(version) = private.first_mut() { *version = 1 }
                _ = DecoderConfig::read(codec, &private);
            }
        }
    }
}
