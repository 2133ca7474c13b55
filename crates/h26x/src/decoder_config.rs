//! avcC and hvcC, the decoder configuration records. Source: ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1.

use crate::nal::{LengthPrefixedNals, NalKind, split_annex_b};
use crate::sps::Sps;
use crate::{Codec, CodecPrivateFlaw, H26xError};

/// The content of an avcC or hvcC besides profile and level.
///
/// Reserved bits are ignored, since real producers clear them. Length fields of 3 bytes are accepted: the
/// standard does not know them, but decoders read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderConfig<'a> {
    /// Size of the length field before each NAL unit of the track, 1 to 4.
    length_bytes: usize,
    /// Parameter sets (NAL units) in the order in which a decoder needs them.
    pub parameter_sets: Vec<&'a [u8]>,
}

const CONFIGURATION_VERSION: u8 = 1;
/// lengthSizeMinusOne of the records that are built here: lengths of 4 bytes.
const LENGTH_SIZE_MINUS_ONE: u8 = 3;
/// Offset of the byte with lengthSizeMinusOne in an avcC.
const AVCC_LENGTH_SIZE_AT: usize = 4;
/// Offset of the byte with lengthSizeMinusOne in an hvcC.
const HVCC_LENGTH_SIZE_AT: usize = 21;
/// profile_idc of the profiles for which an avcC ends with chroma format and bit depths (5.3.3.1.2).
///
/// These are fewer than the profiles whose parameter sets carry chroma_format_idc.
const AVCC_EXTENSION_PROFILES: [u8; 4] = [100, 110, 122, 244];
/// numOfSequenceParameterSets has 5 bits.
const MAX_AVCC_SETS: usize = 31;
/// Maximum for an hvcC, whose numNalus would allow 65535: more than any decoder keeps.
const MAX_HVCC_SETS: usize = 255;

impl<'a> DecoderConfig<'a> {
    /// Reads codec private data.
    ///
    /// # Errors
    ///
    /// The data is not an avcC or hvcC, or ends early.
    pub fn read(codec: Codec, codec_private: &'a [u8]) -> Result<Self, H26xError> {
        read(codec, codec_private).map_err(|flaw| H26xError::CodecPrivate { codec, flaw })
    }

    /// Returns the NAL units of an access unit without their length fields.
    ///
    /// # Errors
    ///
    /// A NAL unit ends beyond the access unit; the iteration ends after this error.
    pub fn nal_units<'b>(
        &self,
        unit: &'b [u8],
    ) -> impl Iterator<Item = Result<&'b [u8], H26xError>> + use<'b> {
        let parts = LengthPrefixedNals::new(unit, self.length_bytes);
        parts.clone().map(move |part| part.map(|part| parts.nal(part)))
    }
}

/// Checks that codec private data is a complete avcC or hvcC.
///
/// FFmpeg ignores private data that it cannot read and fails later with a less helpful error.
///
/// # Errors
///
/// The first defect of the data.
pub fn check_codec_private(codec: Codec, codec_private: &[u8]) -> Result<(), CodecPrivateFlaw> {
    read(codec, codec_private).map(|_| ())
}

/// Returns the `codecs` parameter of RFC 6381 for a track: `avc1.4d401f`, `hvc1.1.6.L93.90`.
///
/// # Errors
///
/// The codec private data ends before the level.
pub fn codec_string(codec: Codec, codec_private: &[u8]) -> Result<String, H26xError> {
    let text = match codec {
        // RFC 6381, 3.3: profile_idc, constraint flags and level_idc, each as two hexadecimal digits.
        Codec::H264 => codec_private.get(1..4).map(|p| format!("avc1.{:02x}{:02x}{:02x}", p[0], p[1], p[2])),
        Codec::H265 => codec_private.get(1..13).map(hevc_string),
    };
    text.ok_or(H26xError::CodecPrivate { codec, flaw: CodecPrivateFlaw::Cut })
}

/// Returns width and height in pixels by the first sequence parameter set of an avcC or hvcC.
///
/// # Errors
///
/// The data is not an avcC or hvcC, or has no readable sequence parameter set.
pub fn picture_size(codec: Codec, codec_private: &[u8]) -> Result<(u32, u32), H26xError> {
    let sets = DecoderConfig::read(codec, codec_private)?.parameter_sets;
    let sps = sets.into_iter().find(|nal| NalKind::of(codec, nal) == NalKind::Sps);
    let sps = Sps::read(codec, sps.ok_or(H26xError::Missing { part: "sequence parameter set" })?)?;
    Ok((sps.width_px, sps.height_px))
}

/// Returns width and height in pixels by the first sequence parameter set inside an access unit, or `None` if
/// the unit has no readable one.
///
/// The cost is a walk over the length fields. A unit whose lengths do not add up is taken for Annex B and
/// searched for start codes as a whole.
#[must_use]
pub fn in_band_picture_size(codec: Codec, codec_private: &[u8], unit: &[u8]) -> Option<(u32, u32)> {
    let is_sps = |nal: &&[u8]| NalKind::of(codec, nal) == NalKind::Sps;
    let parts = LengthPrefixedNals::new(unit, nal_length_bytes(codec, codec_private)?);
    let sps = if parts.clone().all(|part| part.is_ok()) {
        parts.clone().flatten().map(|part| parts.nal(part)).find(is_sps)
    } else {
        split_annex_b(unit).into_iter().find(is_sps)
    };
    let sps = Sps::read(codec, sps?).ok()?;
    Some((sps.width_px, sps.height_px))
}

/// Formats the 12 bytes of general profile, tier and level (ISO/IEC 14496-15, Annex E.3).
fn hevc_string(general: &[u8]) -> String {
    let profile_space = ["", "A", "B", "C"][usize::from(general[0] >> 6)];
    let general_profile_idc = general[0] & 0x1F;
    let tier = if general[0] & 0x20 == 0 { 'L' } else { 'H' };
    let general_level_idc = general[11];
    // E.3 wants general_profile_compatibility_flags in reverse bit order.
    let compatibility = u32::from_be_bytes([general[1], general[2], general[3], general[4]]).reverse_bits();
    let mut text =
        format!("hvc1.{profile_space}{general_profile_idc}.{compatibility:X}.{tier}{general_level_idc}");
    // The six constraint bytes follow, without those at the end that are zero.
    let constraints = &general[5..11];
    let count = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..count] {
        text.push_str(&format!(".{byte:X}"));
    }
    text
}

fn read(codec: Codec, codec_private: &[u8]) -> Result<DecoderConfig<'_>, CodecPrivateFlaw> {
    match codec_private.first() {
        None => return Err(CodecPrivateFlaw::Empty),
        Some(0) => return Err(CodecPrivateFlaw::AnnexB),
        Some(&CONFIGURATION_VERSION) => {}
        Some(&version) => return Err(CodecPrivateFlaw::Version(version)),
    }
    let parameter_sets = match codec {
        Codec::H264 => read_avcc(codec_private),
        Codec::H265 => read_hvcc(codec_private),
    };
    let (length_bytes, parameter_sets) =
        nal_length_bytes(codec, codec_private).zip(parameter_sets).ok_or(CodecPrivateFlaw::Cut)?;
    Ok(DecoderConfig { length_bytes, parameter_sets })
}

/// Returns the size of the length field before each NAL unit of a track, 1 to 4.
///
/// Only lengthSizeMinusOne is read, so that a track with a damaged rest of its record is still split
/// correctly.
pub(crate) fn nal_length_bytes(codec: Codec, codec_private: &[u8]) -> Option<usize> {
    let at = if codec == Codec::H264 { AVCC_LENGTH_SIZE_AT } else { HVCC_LENGTH_SIZE_AT };
    codec_private.get(at).map(|&byte| usize::from(byte & 3) + 1)
}

/// Reads the parameter sets of an AVCDecoderConfigurationRecord (5.3.3.1.2).
fn read_avcc(codec_private: &[u8]) -> Option<Vec<&[u8]>> {
    // Skipped: configurationVersion, AVCProfileIndication, profile_compatibility, AVCLevelIndication, and the
    // byte with lengthSizeMinusOne.
    let mut rest = codec_private.get(AVCC_LENGTH_SIZE_AT + 1..)?;
    let mut parameter_sets = Vec::new();
    // numOfSequenceParameterSets has 5 bits below 3 reserved ones, numOfPictureParameterSets has 8.
    for count_mask in [0x1F, 0xFF] {
        let (&count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & count_mask {
            parameter_sets.push(take_sized(&mut rest)?);
        }
    }
    // The extension of the high profiles (chroma_format, bit depths, sequenceParameterSetExtNALUnit) is not
    // read: many producers leave it out, and decoders take these values from the parameter sets.
    Some(parameter_sets)
}

/// Reads the parameter sets of an HEVCDecoderConfigurationRecord (8.3.3.1.2).
fn read_hvcc(codec_private: &[u8]) -> Option<Vec<&[u8]>> {
    // Skipped before the byte with lengthSizeMinusOne: configurationVersion, the 12 bytes of general profile,
    // tier and level, min_spatial_segmentation_idc, parallelismType, chroma_format_idc,
    // bit_depth_luma_minus8, bit_depth_chroma_minus8, avgFrameRate. The byte itself also holds
    // constantFrameRate, numTemporalLayers and temporalIdNested.
    let (&num_of_arrays, mut rest) = codec_private.get(HVCC_LENGTH_SIZE_AT + 1..)?.split_first()?;
    let mut parameter_sets = Vec::new();
    for _ in 0..num_of_arrays {
        // array_completeness and NAL_unit_type are ignored: each NAL unit has its type in its own header.
        let ([_, num_high, num_low], sets) = rest.split_first_chunk::<3>()?;
        rest = sets;
        for _ in 0..u16::from_be_bytes([*num_high, *num_low]) {
            parameter_sets.push(take_sized(&mut rest)?);
        }
    }
    Some(parameter_sets)
}

/// Takes a NAL unit that follows its 2-byte length.
fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (nal, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    Some(nal)
}

/// Builds the avcC or hvcC of a track from in-band parameter sets, for NAL units with 4-byte lengths.
///
/// # Errors
///
/// A needed parameter set is missing or unreadable, or the sets exceed what a record can hold.
pub fn build_codec_private(codec: Codec, sets: &[&[u8]]) -> Result<Vec<u8>, H26xError> {
    let all = |kind: NalKind| {
        sets.iter().copied().filter(|nal| NalKind::of(codec, nal) == kind).collect::<Vec<_>>()
    };
    let (all_vps, all_sps, all_pps) = (all(NalKind::Vps), all(NalKind::Sps), all(NalKind::Pps));
    let missing = |part| H26xError::Missing { part };
    let first_sps = all_sps.first().ok_or(missing("sequence parameter set"))?;
    all_pps.first().ok_or(missing("picture parameter set"))?;
    check_capacity(codec, sets)?;
    let sps = Sps::read(codec, first_sps)?;
    Ok(match codec {
        Codec::H264 => build_avcc(&sps, &all_sps, &all_pps),
        Codec::H265 => build_hvcc(&sps, &[all_vps, all_sps, all_pps]),
    })
}

/// Returns an error if a record cannot hold the parameter sets.
fn check_capacity(codec: Codec, sets: &[&[u8]]) -> Result<(), H26xError> {
    let max = if codec == Codec::H264 { MAX_AVCC_SETS } else { MAX_HVCC_SETS };
    let longest_bytes = sets.iter().map(|nal| nal.len()).max().unwrap_or(0);
    if longest_bytes > usize::from(u16::MAX) || sets.len() > max {
        return Err(H26xError::TooMuch { codec, count: sets.len(), max, longest_bytes });
    }
    Ok(())
}

fn build_avcc(sps: &Sps, all_sps: &[&[u8]], all_pps: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![CONFIGURATION_VERSION];
    out.extend_from_slice(&sps.profile);
    // The bits set by 0xFC, 0xE0 and 0xF8 are reserved and must be 1.
    out.push(0xFC | LENGTH_SIZE_MINUS_ONE);
    out.push(0xE0 | all_sps.len() as u8);
    push_sized(&mut out, all_sps);
    out.push(all_pps.len() as u8);
    push_sized(&mut out, all_pps);
    if sps.profile.first().is_some_and(|profile| AVCC_EXTENSION_PROFILES.contains(profile)) {
        out.push(0xFC | sps.chroma_format);
        out.push(0xF8 | sps.luma_depth_minus8);
        out.push(0xF8 | sps.chroma_depth_minus8);
        let num_of_sequence_parameter_set_ext = 0;
        out.push(num_of_sequence_parameter_set_ext);
    }
    out
}

fn build_hvcc(sps: &Sps, arrays: &[Vec<&[u8]>; 3]) -> Vec<u8> {
    let mut out = vec![CONFIGURATION_VERSION];
    out.extend_from_slice(&sps.profile);
    // After 4 reserved bits, min_spatial_segmentation_idc 0: no statement. After 6 reserved bits,
    // parallelismType 0: unknown. Both are in the VUI and the picture parameter sets, which are not read.
    out.extend_from_slice(&[0xF0, 0, 0xFC]);
    out.push(0xFC | sps.chroma_format);
    out.push(0xF8 | sps.luma_depth_minus8);
    out.push(0xF8 | sps.chroma_depth_minus8);
    let avg_frame_rate_unspecified = [0, 0];
    out.extend_from_slice(&avg_frame_rate_unspecified);
    // constantFrameRate (2 bits) 0: not known.
    out.push(sps.temporal_layers << 3 | u8::from(sps.temporal_id_nested) << 2 | LENGTH_SIZE_MINUS_ONE);
    push_arrays(&mut out, arrays);
    out
}

/// Appends numOfArrays and the arrays of VPS, SPS and PPS that are not empty.
fn push_arrays(out: &mut Vec<u8>, arrays: &[Vec<&[u8]>; 3]) {
    let nal_unit_types = [32u8, 33, 34];
    let filled: Vec<_> = arrays.iter().zip(nal_unit_types).filter(|(sets, _)| !sets.is_empty()).collect();
    out.push(filled.len() as u8);
    for (sets, nal_unit_type) in filled {
        // array_completeness 1, as the sample entry hvc1 demands: no set of this type is only in the stream.
        out.push(0x80 | nal_unit_type);
        out.extend_from_slice(&(sets.len() as u16).to_be_bytes());
        push_sized(out, sets);
    }
}

/// Appends NAL units, each after its 2-byte length.
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

    /// The avcC of `ffmpeg -f lavfi -i testsrc=size=320x180 -c:v libx264 -profile:v high`.
    const AVCC: &[u8] =
        &[1, 100, 0, 12, 0xFF, 0xE1, 0, 4, 0x67, 100, 0, 12, 1, 0, 2, 0x68, 0xEB, 0xFD, 0xF8, 0xF8, 0];
    /// Length of the extension for high profiles, which decoders do not need.
    const AVCC_EXTENSION: usize = 4;
    const HVCC_HEAD: [u8; 22] =
        [1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F];

    fn hvcc() -> Vec<u8> {
        let arrays = [2, 0x20, 0, 1, 0, 2, 0x40, 1, 0x21, 0, 2, 0, 1, 0x42, 0, 0];
        [&HVCC_HEAD[..], &arrays].concat()
    }

    #[test]
    fn an_avcc_gives_its_parameter_sets_and_length_size() {
        let config = DecoderConfig::read(Codec::H264, AVCC).unwrap();
        assert_eq!(config.length_bytes, 4);
        assert_eq!(config.parameter_sets, [&[0x67, 100, 0, 12][..], &[0x68, 0xEB]]);
    }

    #[test]
    fn an_hvcc_gives_its_parameter_sets_and_length_size() {
        let (mut private, sets) = (hvcc(), [&[0x40, 1][..], &[0x42], &[]]);
        for (sizes, length_bytes) in [(0x0C, 1), (0x0D, 2), (0x0E, 3), (0x0F, 4)] {
            private[21] = sizes;
            let config = DecoderConfig::read(Codec::H265, &private).unwrap();
            assert_eq!((config.length_bytes, &config.parameter_sets[..]), (length_bytes, &sets[..]));
        }
    }

    #[test]
    fn counts_use_all_their_bits() {
        let sets = |count: usize| [0, 0].repeat(count);
        let avcc = [&AVCC[..5], &[0xE0 | 31], &sets(31), &[255], &sets(255)].concat();
        let hvcc = [&HVCC_HEAD[..], &[1, 0x22, 1, 2], &sets(258)].concat();
        for (codec, private, count) in [(Codec::H264, avcc, 31 + 255), (Codec::H265, hvcc, 258)] {
            let config = DecoderConfig::read(codec, &private).unwrap();
            assert_eq!(config.parameter_sets.len(), count, "{codec:?}");
        }
    }

    #[test]
    fn reserved_bits_are_ignored() {
        let mut private = AVCC.to_vec();
        (private[4], private[5]) = (3, 1);
        assert_eq!(DecoderConfig::read(Codec::H264, &private).unwrap().parameter_sets.len(), 2);
    }

    #[test]
    fn a_unit_is_split_by_the_length_size_of_its_track() {
        let private = [1, 77, 64, 30, 0xFD, 0xE0, 0];
        let config = DecoderConfig::read(Codec::H264, &private).unwrap();
        let nals: Vec<_> = config.nal_units(&[0, 1, 9, 0, 2, 0x65, 8, 0, 1]).collect();
        assert_eq!(nals, [Ok(&[9][..]), Ok(&[0x65, 8]), Err(H26xError::Truncated { offset: 7 })]);
    }

    #[test]
    fn every_prefix_is_rejected() {
        let avcc = AVCC[..AVCC.len() - AVCC_EXTENSION].to_vec();
        for (codec, whole) in [(Codec::H264, avcc), (Codec::H265, hvcc())] {
            assert_eq!(check_codec_private(codec, &whole), Ok(()));
            for length in 1..whole.len() {
                assert_eq!(
                    check_codec_private(codec, &whole[..length]),
                    Err(CodecPrivateFlaw::Cut),
                    "{codec:?} {length}"
                );
            }
        }
    }

    #[test]
    fn each_flaw_is_reported_with_its_reason() {
        for (private, flaw, text) in [
            (&[][..], CodecPrivateFlaw::Empty, "it is empty"),
            (&[0, 0, 0, 1, 0x67], CodecPrivateFlaw::AnnexB, "it starts with 0, as an Annex B stream does"),
            (&[7; 40], CodecPrivateFlaw::Version(7), "its version is 7 instead of 1"),
            (&[1; 5], CodecPrivateFlaw::Cut, "it ends too early"),
        ] {
            for codec in [Codec::H264, Codec::H265] {
                assert_eq!(check_codec_private(codec, private), Err(flaw));
                let error = DecoderConfig::read(codec, private).unwrap_err();
                assert_eq!(error, H26xError::CodecPrivate { codec, flaw });
                let expected = format!("the {} cannot be read: {text}; make the", codec.private_name());
                assert!(error.to_string().starts_with(&expected), "{error}");
            }
        }
    }

    #[test]
    fn codec_strings_follow_rfc_6381() {
        assert_eq!(codec_string(Codec::H264, AVCC).unwrap(), "avc1.64000c");
        assert_eq!(codec_string(Codec::H265, &HVCC_HEAD[..13]).unwrap(), "hvc1.1.6.L93.90");
        assert!(codec_string(Codec::H265, AVCC.get(..9).unwrap()).is_err());
    }

    #[test]
    fn too_few_or_too_many_parameter_sets_are_rejected() {
        let (sps, pps, long) = (&[0x67, 66, 0, 30][..], &[0x68][..], vec![0x68; 1 << 16]);
        let too_much =
            |count, longest_bytes| H26xError::TooMuch { codec: Codec::H264, count, max: 31, longest_bytes };
        for (name, sets, error) in [
            ("no SPS", vec![pps], H26xError::Missing { part: "sequence parameter set" }),
            ("no PPS", vec![sps], H26xError::Missing { part: "picture parameter set" }),
            ("too many", [&[sps][..], &[pps; 31]].concat(), too_much(32, 4)),
            ("too long", vec![sps, &long], too_much(2, 1 << 16)),
            ("SPS cut", vec![sps, pps], H26xError::ParameterSet { bytes: 4 }),
        ] {
            assert_eq!(build_codec_private(Codec::H264, &sets), Err(error), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_rejected(mut private in prop::collection::vec(any::<u8>(), 0..120)) {
            for codec in [Codec::H264, Codec::H265] {
                _ = DecoderConfig::read(codec, &private);
                if let Some(version) = private.first_mut() { *version = 1 }
                _ = DecoderConfig::read(codec, &private);
            }
        }
    }
}
