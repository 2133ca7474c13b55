//! Sequence parameter sets. Source: ITU-T H.264, 7.3.2.1.1, and H.265, 7.3.2.2.

use crate::bit_reader::BitReader;
use crate::nal::remove_emulation_prevention;
use crate::{Codec, H26xError};

/// The fields of a sequence parameter set from which an avcC, an hvcC and a track's picture size are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sps {
    /// The bytes that avcC and hvcC copy: profile_idc, constraint flags and level_idc of H.264 (3 bytes), or
    /// the general part of profile_tier_level of H.265 (12 bytes).
    pub(crate) profile: Vec<u8>,
    /// chroma_format_idc: 0 is monochrome, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub(crate) chroma_format: u8,
    pub(crate) luma_depth_minus8: u8,
    pub(crate) chroma_depth_minus8: u8,
    /// Width after cropping.
    pub(crate) width_px: u32,
    /// Height after cropping.
    pub(crate) height_px: u32,
    /// sps_max_sub_layers_minus1 + 1 of H.265, 1 for H.264.
    pub(crate) temporal_layers: u8,
    /// sps_temporal_id_nesting_flag of H.265, true for H.264.
    pub(crate) temporal_id_nested: bool,
}

/// profile_idc of the H.264 profiles whose parameter sets carry chroma_format_idc (7.3.2.1.1).
const CHROMA_FORMAT_PROFILES: [u8; 12] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134];
/// Maximum width and height of a picture in luma samples, beyond every level of both standards.
const MAX_SIDE_SAMPLES: u32 = 1 << 16;
/// Maximum of num_ref_frames_in_pic_order_cnt_cycle (H.264 7.4.2.1.1).
const MAX_POC_CYCLE_FRAMES: u32 = 255;

impl Sps {
    /// Reads a sequence parameter set, given as a NAL unit with its header.
    ///
    /// # Errors
    ///
    /// The parameter set ends early, or its picture is empty or larger than any level allows.
    pub(crate) fn read(codec: Codec, nal: &[u8]) -> Result<Self, H26xError> {
        let payload = remove_emulation_prevention(nal);
        let sps = match codec {
            Codec::H264 => read_h264(&payload),
            Codec::H265 => read_h265(&payload),
        };
        sps.ok_or(H26xError::ParameterSet { bytes: nal.len() })
    }
}

/// Reads seq_parameter_set_data of H.264 (7.3.2.1.1) up to the cropping; the VUI after it is not needed.
fn read_h264(payload: &[u8]) -> Option<Sps> {
    // After the 1-byte NAL unit header: profile_idc, constraint_set0_flag to reserved_zero_2bits, level_idc.
    let profile = payload.get(1..4)?.to_vec();
    let mut bits = BitReader::new(payload.get(4..)?);
    let _seq_parameter_set_id = bits.ue()?;
    let format = read_h264_format(&mut bits, *profile.first()?)?;
    let _log2_max_frame_num_minus4 = bits.ue()?;
    skip_picture_order_count(&mut bits)?;
    let _max_num_ref_frames = bits.ue()?;
    let _gaps_in_frame_num_value_allowed_flag = bits.flag()?;
    let (width_px, height_px) = read_h264_size(&mut bits, format.chroma_array_type())?;
    Some(Sps {
        profile,
        chroma_format: to_3_bits(format.chroma_format)?,
        luma_depth_minus8: to_3_bits(format.luma_depth_minus8)?,
        chroma_depth_minus8: to_3_bits(format.chroma_depth_minus8)?,
        width_px,
        height_px,
        temporal_layers: 1,
        temporal_id_nested: true,
    })
}

/// The sample format of an H.264 parameter set, as it is coded.
struct H264Format {
    chroma_format: u32,
    separate_planes: bool,
    luma_depth_minus8: u32,
    chroma_depth_minus8: u32,
}

impl H264Format {
    /// Returns ChromaArrayType, which is 0 with separate planes (7.4.2.1.1).
    fn chroma_array_type(&self) -> u32 {
        if self.separate_planes { 0 } else { self.chroma_format }
    }
}

/// Reads chroma_format_idc up to the scaling lists, which only some profiles carry (H.264 7.3.2.1.1).
fn read_h264_format(bits: &mut BitReader<'_>, profile_idc: u8) -> Option<H264Format> {
    // 7.4.2.1.1: other profiles are 4:2:0 with 8 bits.
    let mut format =
        H264Format { chroma_format: 1, separate_planes: false, luma_depth_minus8: 0, chroma_depth_minus8: 0 };
    if CHROMA_FORMAT_PROFILES.contains(&profile_idc) {
        format.chroma_format = bits.ue()?;
        format.separate_planes = format.chroma_format == 3 && bits.flag()?;
        format.luma_depth_minus8 = bits.ue()?;
        format.chroma_depth_minus8 = bits.ue()?;
        let _qpprime_y_zero_transform_bypass_flag = bits.flag()?;
        skip_scaling_matrix(bits, format.chroma_format)?;
    }
    Some(format)
}

/// Reads pic_width_in_mbs_minus1 up to the cropping, and returns the cropped width and height.
fn read_h264_size(bits: &mut BitReader<'_>, chroma_array_type: u32) -> Option<(u32, u32)> {
    let pic_width_in_mbs_minus1 = bits.ue()?;
    let pic_height_in_map_units_minus1 = bits.ue()?;
    let frame_mbs_only = bits.flag()?;
    if !frame_mbs_only {
        let _mb_adaptive_frame_field_flag = bits.flag()?;
    }
    let _direct_8x8_inference_flag = bits.flag()?;
    // A macroblock is 16x16. With field coding a map unit covers two rows of macroblocks of the frame.
    let width = pic_width_in_mbs_minus1.checked_add(1)?.checked_mul(16)?;
    let map_unit_rows = if frame_mbs_only { 16 } else { 32 };
    let height = pic_height_in_map_units_minus1.checked_add(1)?.checked_mul(map_unit_rows)?;
    // 7.4.2.1.1: CropUnitY is doubled for field coding.
    let field_factor = if frame_mbs_only { 1 } else { 2 };
    let crop_unit = [sub_width_c(chroma_array_type), sub_height_c(chroma_array_type) * field_factor];
    read_cropped_size(bits, [width, height], crop_unit)
}

/// Skips seq_scaling_matrix_present_flag and the scaling lists after it (H.264 7.3.2.1.1).
fn skip_scaling_matrix(bits: &mut BitReader<'_>, chroma_format: u32) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    for list in 0..if chroma_format == 3 { 12 } else { 8 } {
        let seq_scaling_list_present = bits.flag()?;
        if seq_scaling_list_present {
            // The first six lists are for 4x4 blocks, the others for 8x8 blocks.
            skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
        }
    }
    Some(())
}

/// Skips scaling_list (H.264 7.3.2.1.1.1), whose length depends on its values.
fn skip_scaling_list(bits: &mut BitReader<'_>, len: usize) -> Option<()> {
    let (mut last_scale, mut next_scale) = (8i64, 8i64);
    for _ in 0..len {
        // A nextScale of 0 means that the rest of the list repeats lastScale and no delta_scale follows.
        if next_scale != 0 {
            let delta_scale = bits.se()?;
            next_scale = (last_scale + delta_scale).rem_euclid(256);
        }
        last_scale = if next_scale == 0 { last_scale } else { next_scale };
    }
    Some(())
}

/// Skips pic_order_cnt_type and the fields that depend on it (H.264 7.3.2.1.1).
fn skip_picture_order_count(bits: &mut BitReader<'_>) -> Option<()> {
    let pic_order_cnt_type = bits.ue()?;
    match pic_order_cnt_type {
        0 => {
            let _log2_max_pic_order_cnt_lsb_minus4 = bits.ue()?;
        }
        1 => {
            let _delta_pic_order_always_zero_flag = bits.flag()?;
            let _offset_for_non_ref_pic = bits.se()?;
            let _offset_for_top_to_bottom_field = bits.se()?;
            skip_poc_cycle(bits)?;
        }
        _ => {}
    }
    Some(())
}

/// Skips num_ref_frames_in_pic_order_cnt_cycle and the offsets after it (H.264 7.3.2.1.1).
fn skip_poc_cycle(bits: &mut BitReader<'_>) -> Option<()> {
    let cycle_frames = bits.ue().filter(|&count| count <= MAX_POC_CYCLE_FRAMES)?;
    for _ in 0..cycle_frames {
        let _offset_for_ref_frame = bits.se()?;
    }
    Some(())
}

/// Reads seq_parameter_set_rbsp of H.265 (7.3.2.2) up to the bit depths; the rest is not needed.
fn read_h265(payload: &[u8]) -> Option<Sps> {
    // The payload begins after the 2-byte NAL unit header.
    let mut bits = BitReader::new(payload.get(2..)?);
    let _sps_video_parameter_set_id = bits.u(4)?;
    let max_sub_layers_minus1 = bits.u(3)?;
    let temporal_id_nested = bits.flag()?;
    // profile_tier_level (7.3.3) begins at a byte boundary: the three fields above make one byte.
    let profile = payload.get(3..15)?.to_vec();
    bits.skip(96)?;
    skip_sub_layers(&mut bits, max_sub_layers_minus1)?;
    let _sps_seq_parameter_set_id = bits.ue()?;
    let chroma = bits.ue()?;
    let separate_planes = chroma == 3 && bits.flag()?;
    // pic_width_in_luma_samples and pic_height_in_luma_samples, then the conformance window.
    let size = [bits.ue()?, bits.ue()?];
    let chroma_array_type = if separate_planes { 0 } else { chroma };
    let crop_unit = [sub_width_c(chroma_array_type), sub_height_c(chroma_array_type)];
    let (width_px, height_px) = read_cropped_size(&mut bits, size, crop_unit)?;
    let (luma_depth, chroma_depth) = (bits.ue()?, bits.ue()?);
    Some(Sps {
        profile,
        chroma_format: to_3_bits(chroma)?,
        luma_depth_minus8: to_3_bits(luma_depth)?,
        chroma_depth_minus8: to_3_bits(chroma_depth)?,
        width_px,
        height_px,
        temporal_layers: u8::try_from(max_sub_layers_minus1 + 1).ok()?,
        temporal_id_nested,
    })
}

/// Skips the part of profile_tier_level after general_level_idc (H.265 7.3.3).
fn skip_sub_layers(bits: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Option<()> {
    let mut present = Vec::new();
    for _ in 0..max_sub_layers_minus1 {
        let sub_layer_profile_present = bits.flag()?;
        let sub_layer_level_present = bits.flag()?;
        present.push((sub_layer_profile_present, sub_layer_level_present));
    }
    // reserved_zero_2bits fill the flags up to 8 sub-layers, but only if there is one.
    if max_sub_layers_minus1 > 0 {
        bits.skip(2 * (8 - max_sub_layers_minus1))?;
    }
    for (profile, level) in present {
        // 88 bits from sub_layer_profile_space to the inbld or reserved bit, 8 bits of sub_layer_level_idc.
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Some(())
}

/// Returns SubWidthC: luma samples per chroma sample in a row (table 6-1 of both standards).
fn sub_width_c(chroma_array_type: u32) -> u32 {
    if matches!(chroma_array_type, 1 | 2) { 2 } else { 1 }
}

/// Returns SubHeightC: luma samples per chroma sample in a column (table 6-1 of both standards).
fn sub_height_c(chroma_array_type: u32) -> u32 {
    if chroma_array_type == 1 { 2 } else { 1 }
}

/// Reads frame_cropping_flag (H.264) or conformance_window_flag (H.265) with its four offsets, and returns
/// the cropped width and height.
///
/// `crop_unit` is the size in luma samples of one unit of an offset, horizontal and vertical.
fn read_cropped_size(bits: &mut BitReader<'_>, size: [u32; 2], crop_unit: [u32; 2]) -> Option<(u32, u32)> {
    let [mut width, mut height] = size;
    if bits.flag()? {
        // Both standards have the order left, right, top, bottom.
        let [left, right, top, bottom] = [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?];
        width = width.checked_sub(left.checked_add(right)?.checked_mul(crop_unit[0])?)?;
        height = height.checked_sub(top.checked_add(bottom)?.checked_mul(crop_unit[1])?)?;
    }
    let possible = 1..=MAX_SIDE_SAMPLES;
    (possible.contains(&width) && possible.contains(&height)).then_some((width, height))
}

/// Returns a value that avcC or hvcC stores in at most 3 bits, or `None` if it needs more.
fn to_3_bits(value: u32) -> Option<u8> {
    u8::try_from(value).ok().filter(|&value| value < 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The parameter set of `ffmpeg -f lavfi -i testsrc=size=320x178 -pix_fmt yuv422p10le -c:v libx264`.
    const H264: &[u8] = &[
        0x67, 0x7A, 0x00, 0x0B, 0xB6, 0xCB, 0x20, 0x28, 0x33, 0xF1, 0xF8, 0x08, 0x80, 0x00, 0x00, 0x03, 0x00,
        0x80, 0x00, 0x00, 0x0A, 0x07, 0x8A, 0x15, 0x24,
    ];
    /// The parameter set of the same command with libx265.
    const H265: &[u8] = &[
        0x42, 0x01, 0x01, 0x04, 0x08, 0x00, 0x00, 0x03, 0x00, 0x9D, 0x08, 0x00, 0x00, 0x03, 0x00, 0x00, 0x3C,
        0xB0, 0x0A, 0x08, 0x0B, 0x9F, 0x3B, 0x65, 0x92, 0xA4, 0x93, 0x2B, 0xC0, 0x5A, 0x02, 0x00, 0x00, 0x03,
        0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x14, 0x10,
    ];

    #[test]
    fn chroma_format_depth_and_size_are_read() {
        for (codec, nal, profile_bytes) in [(Codec::H264, H264, 3), (Codec::H265, H265, 12)] {
            let sps = Sps::read(codec, nal).unwrap();
            let formats = (sps.chroma_format, sps.luma_depth_minus8, sps.chroma_depth_minus8);
            assert_eq!((formats, sps.profile.len()), ((2, 2, 2), profile_bytes), "{codec:?}");
            assert_eq!(
                (sps.width_px, sps.height_px, sps.temporal_layers, sps.temporal_id_nested),
                (320, 178, 1, true),
                "{codec:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_rejected(nal in prop::collection::vec(any::<u8>(), 0..200)) {
            for codec in [Codec::H264, Codec::H265] {
                if let Ok(sps) = Sps::read(codec, &nal) {
                    prop_assert!(sps.width_px > 0 && sps.height_px > 0);
                }
            }
        }
    }
}
