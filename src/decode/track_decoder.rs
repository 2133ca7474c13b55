//! Opens FFmpeg's decoder for a track and sends it access units.

use super::avcodec;
use super::error::DecodeError;
use crate::frame::{CameraId, Packet, VideoTrack};

/// The largest access unit that is decoded; a KVS fragment has 50 MB at most.
const UNIT_BYTES_MAX: usize = 64 << 20;

/// Opens a decoder for the track of `camera`, whose pictures are within `limit`.
///
/// # Errors
/// The codec private data is unusable, or names a larger picture.
pub(super) fn open(
    camera: &CameraId,
    track: &VideoTrack,
    limit: &PictureLimit,
) -> Result<ffmpeg_next::decoder::Video, DecodeError> {
    if let Ok(size_px) = h26x::picture_size(track.codec, &track.codec_private) {
        limit.check(camera, size_px)?;
    }
    let opened = match h26x::check_codec_private(track.codec, &track.codec_private) {
        Ok(()) => avcodec::open(track, limit.coded_pixels()).map_err(|error| error.to_string()),
        Err(flaw) => Err(flaw.to_string()),
    };
    opened.map_err(|reason| DecodeError::Track {
        camera: camera.clone(),
        codec: track.codec,
        width_px: track.width_px,
        height_px: track.height_px,
        bytes: track.codec_private.len(),
        reason,
        wanted: track.codec.private_name(),
    })
}

/// The limit on the size of a camera's pictures.
pub(super) struct PictureLimit {
    max_pixels: u32,
    /// Set while a parameter set in the stream asks for larger ones.
    outgrown: bool,
}

impl Default for PictureLimit {
    fn default() -> Self {
        Self::new(avcodec::MAX_PICTURE_PX)
    }
}

impl PictureLimit {
    pub(super) fn new(max_pixels: u32) -> Self {
        Self { max_pixels, outgrown: false }
    }

    /// Follows the parameter set in a key frame's access unit, which beats that of the codec private data; `true`: the pictures are
    /// within the limit again.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`], once, when they no longer are.
    pub(super) fn follow(&mut self, camera: &CameraId, packet: &Packet) -> Result<bool, DecodeError> {
        let VideoTrack { codec, codec_private, .. } = &*packet.track;
        let size_px = h26x::in_band_picture_size(*codec, codec_private, &packet.unit);
        let checked = size_px.map_or(Ok(()), |size_px| self.check(camera, size_px));
        let outgrown = std::mem::replace(&mut self.outgrown, checked.is_err());
        match checked {
            Ok(()) => Ok(outgrown),
            Err(_) if outgrown => Ok(false),
            Err(too_large) => Err(too_large),
        }
    }

    fn check(&self, camera: &CameraId, (width_px, height_px): (u32, u32)) -> Result<(), DecodeError> {
        let max_pixels = self.max_pixels;
        if u64::from(width_px) * u64::from(height_px) <= u64::from(max_pixels) {
            return Ok(());
        }
        Err(DecodeError::TooLarge { camera: camera.clone(), width_px, height_px, max_pixels })
    }

    /// The limit for coded pictures, which are cropped by less than a block of 64 px a side to what is shown.
    fn coded_pixels(&self) -> u32 {
        let padding = (self.max_pixels / 4).saturating_add(1 << 16);
        self.max_pixels.saturating_add(padding).min(avcodec::MAX_PICTURE_PX)
    }
}

/// Sends an access unit; its frame comes out with `number` as its pts.
///
/// # Errors
/// The access unit is damaged, empty or too large, with the reason.
pub(super) fn send_unit(
    decoder: &mut ffmpeg_next::decoder::Video,
    number: i64,
    key: bool,
    unit: &[u8],
) -> Result<(), String> {
    if unit.is_empty() || unit.len() > UNIT_BYTES_MAX {
        return Err(format!("it has {} bytes; 1 to {UNIT_BYTES_MAX} are decoded", unit.len()));
    }
    let mut packet = ffmpeg_next::Packet::copy(unit);
    packet.set_pts(Some(number));
    if key {
        packet.set_flags(ffmpeg_next::packet::Flags::KEY);
    }
    decoder.send_packet(&packet).map_err(|error| error.to_string())
}
