//! Images for GetImages of the local KVS, decoded by the program's own decoder.

use std::sync::Arc;
use std::time::Instant;

use kvs_hls::AccessUnit;
use kvs_sim::{ImageFormat, ImageMaker, ImageSize};

use crate::decode::{Decoder, Sampler};
use crate::media::{
    ArrivalLag, CameraId, Decoded, Fragment, FragmentEnd, MediaMs, Packet, Position, SamplerState, Surface,
    VideoTrack,
};
use crate::render::{self, SnapshotFormat, SnapshotSpec};
use crate::status::CameraStatus;

/// Maximum width of an image whose width follows from the frame's aspect ratio, px.
const MAX_WIDTH_PX: u32 = 16_384;

/// Decodes fragments of the local KVS for GetImages.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimImages;

impl ImageMaker for SimImages {
    fn images(
        &self,
        track: &kvs_hls::HlsTrack,
        units: &[AccessUnit],
        wanted: &[usize],
        format: ImageFormat,
    ) -> Vec<Option<Vec<u8>>> {
        let mut images = vec![None; wanted.len()];
        decode(track, units, |index, surface| {
            // Several requested times may map to one frame, which is encoded once.
            let mut requested =
                images.iter_mut().zip(wanted).filter(|(_, wanted)| **wanted == index).peekable();
            if requested.peek().is_some() {
                let file = encode(surface, format);
                requested.for_each(|(image, _)| image.clone_from(&file));
            }
        });
        images
    }
}

/// Decodes a fragment and calls `on_picture` with each picture and the index of its access unit.
///
/// Pictures that refer to damaged ones are left out.
fn decode(track: &kvs_hls::HlsTrack, units: &[AccessUnit], mut on_picture: impl FnMut(usize, &Surface)) {
    let fragment = Arc::new(Fragment { number: "0".into(), producer_ms: None, server_ms: None });
    let track = Arc::new(video_track(track));
    // Without an FPS target the sampler picks every frame.
    let sampler = Sampler::new(None, SamplerState::default());
    let mut decoder = Decoder::new(CameraStatus::alone(&CameraId::new("GetImages")), sampler);
    let mut decoded = Vec::new();
    for unit in units {
        let packet = packet(&fragment, &track, unit);
        // A unit that cannot be decoded has no picture, and GetImages reports no more than that.
        _ = decoder.push(packet, &mut decoded);
        pass_pictures(&mut decoded, &mut on_picture);
    }
    let position = Position::after(&fragment);
    let end = FragmentEnd { fragment, position, behind_ms: None, caught_up: false };
    // The end of the fragment drains frames that the decoder holds back for B-frames.
    _ = decoder.end_fragment(end, &mut decoded);
    pass_pictures(&mut decoded, &mut on_picture);
}

fn video_track(track: &kvs_hls::HlsTrack) -> VideoTrack {
    VideoTrack {
        codec: track.codec,
        codec_private: track.codec_private.clone(),
        width_px: track.width_px,
        height_px: track.height_px,
    }
}

fn packet(fragment: &Arc<Fragment>, track: &Arc<VideoTrack>, unit: &AccessUnit) -> Packet {
    Packet {
        fragment: Arc::clone(fragment),
        track: Arc::clone(track),
        index: unit.index,
        media: MediaMs(unit.relative_ms),
        key: unit.key,
        unit: unit.data.clone(),
        arrived: Instant::now(),
        lag: ArrivalLag::default(),
    }
}

fn pass_pictures(decoded: &mut Vec<Decoded>, on_picture: &mut impl FnMut(usize, &Surface)) {
    for item in decoded.drain(..) {
        if let Decoded::Frame(frame) = item {
            on_picture(frame.index as usize, &frame.surface);
        }
    }
}

/// Returns the encoded picture, or `None` if it cannot be encoded.
fn encode(surface: &Surface, format: ImageFormat) -> Option<Vec<u8>> {
    let (size, spec) = match format {
        ImageFormat::Jpeg { quality, size } => {
            (size, SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: quality })
        }
        ImageFormat::Png { size } => (size, SnapshotSpec { format: SnapshotFormat::Png, jpeg_quality: 100 }),
    };
    let picture = render::resized(surface, size_px(size, surface.size_px())).ok()?;
    render::encode(&picture, spec).ok()
}

fn size_px(size: ImageSize, (width_px, height_px): (u32, u32)) -> Option<(u32, u32)> {
    match size {
        ImageSize::AsDecoded => None,
        ImageSize::Stretched(width_px, height_px) => Some((width_px, height_px)),
        ImageSize::High(high_px) => {
            let wide_px = u64::from(width_px) * u64::from(high_px) / u64::from(height_px.max(1));
            let wide_px = wide_px.clamp(1, u64::from(MAX_WIDTH_PX));
            Some((u32::try_from(wide_px).unwrap_or(MAX_WIDTH_PX), high_px))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_sizes_by_table() {
        for (size, frame, expected) in [
            (ImageSize::AsDecoded, (320, 240), None),
            (ImageSize::Stretched(7, 9), (320, 240), Some((7, 9))),
            (ImageSize::High(120), (320, 240), Some((160, 120))),
            (ImageSize::High(480), (320, 240), Some((640, 480))),
            (ImageSize::High(1), (10, 4000), Some((1, 1))),
            (ImageSize::High(2160), (8192, 16), Some((MAX_WIDTH_PX, 2160))),
        ] {
            assert_eq!(size_px(size, frame), expected, "{size:?} of {frame:?}");
        }
    }
}
