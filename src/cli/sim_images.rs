//! The images of the local KVS's GetImages, by the program's own decoder.

use std::sync::Arc;
use std::time::Instant;

use kvs_hls::AccessUnit;
use kvs_sim::{ImageFormat, ImageMaker, ImageSize};

use crate::decode::{Decoder, Sampler, SamplerState, Surface};
use crate::frame::{
    ArrivalLag, CameraId, Decoded, Fragment, FragmentEnd, MediaMs, Packet, Position, VideoTrack,
};
use crate::publish::{SnapshotFormat, SnapshotSpec, picture};
use crate::telemetry::CameraBoard;

/// The widest image that the aspect ratio of a frame makes.
const WIDEST_PX: u32 = 16_384;

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
        decode(track, units, |place, surface| {
            let mut wanting =
                images.iter_mut().zip(wanted).filter(|(_, wanted)| **wanted == place).peekable();
            if wanting.peek().is_some() {
                let file = encode(surface, format);
                wanting.for_each(|(image, _)| image.clone_from(&file));
            }
        });
        images
    }
}

/// Gives each picture of a fragment with the place of its unit; pictures that rest on damage do not come.
fn decode(track: &kvs_hls::HlsTrack, units: &[AccessUnit], mut give: impl FnMut(usize, &Surface)) {
    let fragment = Arc::new(Fragment { number: "0".into(), producer_ms: None, server_ms: None });
    let track = Arc::new(VideoTrack {
        codec: track.codec,
        codec_private: track.codec_private.clone(),
        width_px: track.width_px,
        height_px: track.height_px,
    });
    let mut decoder = Decoder::new(
        CameraBoard::alone(&CameraId::new("GetImages")),
        Sampler::new(None, SamplerState::default()),
    );
    let mut decoded = Vec::new();
    for unit in units {
        let packet = packet(&fragment, &track, unit);
        // A unit that cannot be decoded has no picture; that is all that matters of the error.
        _ = decoder.push(packet, &mut decoded);
        give_all(&mut decoded, &mut give);
    }
    let position = Position::after(&fragment);
    let end = FragmentEnd { fragment, position, behind_ms: None, caught_up: false };
    _ = decoder.end_fragment(end, &mut decoded);
    give_all(&mut decoded, &mut give);
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

fn give_all(decoded: &mut Vec<Decoded>, give: &mut impl FnMut(usize, &Surface)) {
    for item in decoded.drain(..) {
        if let Decoded::Frame(frame) = item {
            give(frame.index as usize, &frame.surface);
        }
    }
}

/// None where the picture cannot be encoded.
fn encode(surface: &Surface, format: ImageFormat) -> Option<Vec<u8>> {
    let (size, spec) = match format {
        ImageFormat::Jpeg { quality, size } => {
            (size, SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: quality })
        }
        ImageFormat::Png { size } => (size, SnapshotSpec { format: SnapshotFormat::Png, jpeg_quality: 100 }),
    };
    let picture = picture::resized(surface, size_px(size, surface.size_px()));
    picture::encode(&picture, spec).ok()
}

fn size_px(size: ImageSize, (width_px, height_px): (u32, u32)) -> Option<(u32, u32)> {
    match size {
        ImageSize::AsDecoded => None,
        ImageSize::Stretched(width_px, height_px) => Some((width_px, height_px)),
        ImageSize::High(high_px) => {
            let wide_px = u64::from(width_px) * u64::from(high_px) / u64::from(height_px.max(1));
            let wide_px = wide_px.clamp(1, u64::from(WIDEST_PX));
            Some((u32::try_from(wide_px).unwrap_or(WIDEST_PX), high_px))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_asked_for() {
        for (size, frame, expected) in [
            (ImageSize::AsDecoded, (320, 240), None),
            (ImageSize::Stretched(7, 9), (320, 240), Some((7, 9))),
            (ImageSize::High(120), (320, 240), Some((160, 120))),
            (ImageSize::High(480), (320, 240), Some((640, 480))),
            (ImageSize::High(1), (10, 4000), Some((1, 1))),
            (ImageSize::High(2160), (8192, 16), Some((WIDEST_PX, 2160))),
        ] {
            assert_eq!(size_px(size, frame), expected, "{size:?} of {frame:?}");
        }
    }
}
