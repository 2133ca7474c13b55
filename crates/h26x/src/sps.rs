//! What a sequence parameter set says of the picture. Source: ITU-T H.264 (7.3.2.1) and H.265 (7.3.2.2).

use crate::bits::Bits;
use crate::nal::unescape;
use crate::{Codec, Error};

/// What avcC, hvcC and a track's size are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sps {
    /// H.264: profile, constraints, level. H.265: the general part of profile_tier_level, 12 bytes.
    pub(crate) profile: Vec<u8>,
    pub(crate) chroma_format: u8,
    pub(crate) luma_depth_minus8: u8,
    pub(crate) chroma_depth_minus8: u8,
    pub(crate) width_px: u32,
    pub(crate) height_px: u32,
    /// H.265: temporal layers, and whether they nest.
    pub(crate) layers: u8,
    pub(crate) nested: bool,
}

/// Profiles of H.264 whose parameter sets tell the chroma format.
pub(crate) const HIGH_PROFILES: [u8; 12] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134];
/// Luma samples that a picture may be wide or high: beyond any level.
const MOST_SAMPLES: u32 = 1 << 16;

impl Sps {
    /// Errors: the parameter set ends early, or tells of a picture beyond any level.
    pub(crate) fn read(codec: Codec, nal: &[u8]) -> Result<Self, Error> {
        let payload = unescape(nal);
        let read = match codec {
            Codec::H264 => read_h264(&payload),
            Codec::H265 => read_h265(&payload),
        };
        read.ok_or(Error::ParameterSet { bytes: nal.len() })
    }
}

fn read_h264(payload: &[u8]) -> Option<Sps> {
    let profile = payload.get(1..4)?.to_vec();
    let mut bits = Bits::new(payload.get(4..)?);
    bits.golomb()?;
    let (mut chroma, mut luma_depth, mut chroma_depth, mut planes) = (1, 0, 0, false);
    if HIGH_PROFILES.contains(profile.first()?) {
        chroma = bits.golomb()?;
        planes = chroma == 3 && bits.bit()?;
        (luma_depth, chroma_depth) = (bits.golomb()?, bits.golomb()?);
        bits.bit()?;
        skip_scaling_matrix(&mut bits, chroma)?;
    }
    skip_picture_order(&mut bits)?;
    bits.golomb()?;
    bits.bit()?;
    let width = bits.golomb()?.checked_add(1)?.checked_mul(16)?;
    let units = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.bit()?;
    let rows = if frames_only { 16 } else { 32 };
    let height = units.checked_mul(rows)?;
    if !frames_only {
        bits.bit()?;
    }
    bits.bit()?;
    let chroma_shown = if planes { 0 } else { chroma };
    let unit = [crop_width(chroma_shown), crop_height(chroma_shown) * if frames_only { 1 } else { 2 }];
    let (width_px, height_px) = crop(&mut bits, [width, height], unit)?;
    Some(Sps {
        profile,
        chroma_format: small(chroma)?,
        luma_depth_minus8: small(luma_depth)?,
        chroma_depth_minus8: small(chroma_depth)?,
        width_px,
        height_px,
        layers: 1,
        nested: true,
    })
}

fn skip_scaling_matrix(bits: &mut Bits<'_>, chroma: u32) -> Option<()> {
    if !bits.bit()? {
        return Some(());
    }
    for list in 0..if chroma == 3 { 12 } else { 8 } {
        if bits.bit()? {
            skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
        }
    }
    Some(())
}

fn skip_scaling_list(bits: &mut Bits<'_>, len: usize) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..len {
        if next != 0 {
            next = (last + bits.signed_golomb()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    bits.golomb()?;
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.bit()?;
            bits.signed_golomb()?;
            bits.signed_golomb()?;
            for _ in 0..bits.golomb().filter(|&count| count < 256)? {
                bits.signed_golomb()?;
            }
        }
        _ => {}
    }
    Some(())
}

fn read_h265(payload: &[u8]) -> Option<Sps> {
    let mut bits = Bits::new(payload.get(2..)?);
    bits.skip(4)?;
    let sub_layers = bits.take(3)?;
    let nested = bits.bit()?;
    let profile = payload.get(3..15)?.to_vec();
    bits.skip(96)?;
    skip_sub_layers(&mut bits, sub_layers)?;
    bits.golomb()?;
    let chroma = bits.golomb()?;
    let planes = chroma == 3 && bits.bit()?;
    let size = [bits.golomb()?, bits.golomb()?];
    let chroma_shown = if planes { 0 } else { chroma };
    let (width_px, height_px) = crop(&mut bits, size, [crop_width(chroma_shown), crop_height(chroma_shown)])?;
    let (luma_depth, chroma_depth) = (bits.golomb()?, bits.golomb()?);
    Some(Sps {
        profile,
        chroma_format: small(chroma)?,
        luma_depth_minus8: small(luma_depth)?,
        chroma_depth_minus8: small(chroma_depth)?,
        width_px,
        height_px,
        layers: u8::try_from(sub_layers + 1).ok()?,
        nested,
    })
}

fn skip_sub_layers(bits: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    let mut told = Vec::new();
    for _ in 0..sub_layers {
        told.push((bits.bit()?, bits.bit()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    for (profile, level) in told {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Some(())
}

/// Luma samples across of one unit of cropping.
fn crop_width(chroma_format: u32) -> u32 {
    if matches!(chroma_format, 1 | 2) { 2 } else { 1 }
}

fn crop_height(chroma_format: u32) -> u32 {
    if chroma_format == 1 { 2 } else { 1 }
}

/// The size that is shown, where `unit` is one unit of cropping.
fn crop(bits: &mut Bits<'_>, size: [u32; 2], unit: [u32; 2]) -> Option<(u32, u32)> {
    let [mut width, mut height] = size;
    if bits.bit()? {
        let edges = [bits.golomb()?, bits.golomb()?, bits.golomb()?, bits.golomb()?];
        width = width.checked_sub(edges[0].checked_add(edges[1])?.checked_mul(unit[0])?)?;
        height = height.checked_sub(edges[2].checked_add(edges[3])?.checked_mul(unit[1])?)?;
    }
    let possible = 1..=MOST_SAMPLES;
    (possible.contains(&width) && possible.contains(&height)).then_some((width, height))
}

/// A value of three bits, as chroma formats and depths are.
fn small(value: u32) -> Option<u8> {
    u8::try_from(value).ok().filter(|&value| value < 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of `ffmpeg -f lavfi -i testsrc=size=320x178 -pix_fmt yuv422p10le -c:v libx264`.
    const H264: &[u8] = &[
        0x67, 0x7A, 0x00, 0x0B, 0xB6, 0xCB, 0x20, 0x28, 0x33, 0xF1, 0xF8, 0x08, 0x80, 0x00, 0x00, 0x03, 0x00,
        0x80, 0x00, 0x00, 0x0A, 0x07, 0x8A, 0x15, 0x24,
    ];
    /// The same with libx265.
    const H265: &[u8] = &[
        0x42, 0x01, 0x01, 0x04, 0x08, 0x00, 0x00, 0x03, 0x00, 0x9D, 0x08, 0x00, 0x00, 0x03, 0x00, 0x00, 0x3C,
        0xB0, 0x0A, 0x08, 0x0B, 0x9F, 0x3B, 0x65, 0x92, 0xA4, 0x93, 0x2B, 0xC0, 0x5A, 0x02, 0x00, 0x00, 0x03,
        0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x14, 0x10,
    ];

    #[test]
    fn chroma_format_depth_and_size_are_read() {
        for (codec, nal, profile_bytes) in [(Codec::H264, H264, 3), (Codec::H265, H265, 12)] {
            let sps = Sps::read(codec, nal).unwrap();
            let told = (sps.chroma_format, sps.luma_depth_minus8, sps.chroma_depth_minus8);
            assert_eq!((told, sps.profile.len()), ((2, 2, 2), profile_bytes), "{codec:?}");
            assert_eq!(
                (sps.width_px, sps.height_px, sps.layers, sps.nested),
                (320, 178, 1, true),
                "{codec:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(nal in prop::collection::vec(any::<u8>(), 0..200)) {
            for codec in [Codec::H264, Codec::H265] {
                if let Ok(sps) = Sps::read(codec, &nal) {
                    prop_assert!(sps.width_px > 0 && sps.height_px > 0);
                }
            }
        }
    }
}
