//! Opens FFmpeg's decoder for a track, and sends it access units.

use ffmpeg_next::frame::Video;

use super::avcodec;
use super::error::DecodeError;
use super::hw_device::HardwareDevice;
use crate::media::{CameraId, Packet, VideoTrack};

/// The largest access unit that is decoded. Source: Kinesis Video Streams quotas (a fragment has 50 MB at most).
const MAX_UNIT_BYTES: usize = 64 << 20;

/// Opens a decoder for the track of `camera`, whose pictures must be within `limit`, on `device` if there is one.
///
/// # Errors
/// The codec private data is unusable, or its parameter set states larger pictures.
pub(super) fn open_decoder(
    camera: &CameraId,
    track: &VideoTrack,
    limit: &PictureLimit,
    device: Option<&HardwareDevice>,
) -> Result<ffmpeg_next::decoder::Video, DecodeError> {
    // Before FFmpeg reads the parameter sets, which would allocate buffers of that size.
    if let Ok(size_px) = h26x::picture_size(track.codec, &track.codec_private) {
        limit.check(camera, size_px)?;
    }
    let opened = match h26x::check_codec_private(track.codec, &track.codec_private) {
        Ok(()) => avcodec::open(track, limit.coded_pixels(), device).map_err(|error| error.to_string()),
        Err(flaw) => Err(flaw.to_string()),
    };
    opened.map_err(|reason| track_error(camera, track, reason))
}

/// Opens a decoder that holds no frames again, without the picture buffers that it keeps.
///
/// # Errors
/// FFmpeg cannot open it.
pub(super) fn reopen_decoder(
    camera: &CameraId,
    before: ffmpeg_next::decoder::Video,
    track: &VideoTrack,
    limit: &PictureLimit,
    device: Option<&HardwareDevice>,
) -> Result<ffmpeg_next::decoder::Video, DecodeError> {
    let opened = avcodec::reopen(before, track, limit.coded_pixels(), device);
    opened.map_err(|error| track_error(camera, track, error.to_string()))
}

fn track_error(camera: &CameraId, track: &VideoTrack, reason: String) -> DecodeError {
    DecodeError::Track {
        camera: camera.clone(),
        codec: track.codec,
        width_px: track.width_px,
        height_px: track.height_px,
        bytes: track.codec_private.len(),
        reason,
        wanted: track.codec.private_name(),
    }
}

/// Returns the size of the track's pictures by its parameter sets, else by its container, px.
pub(super) fn stated_size_px(track: &VideoTrack) -> (u32, u32) {
    let by_container = (track.width_px, track.height_px);
    h26x::picture_size(track.codec, &track.codec_private).unwrap_or(by_container)
}

/// The limit on the size of a camera's pictures, and what the parameter sets in its stream state.
pub(super) struct PictureLimit {
    max_pixels: u32,
    /// True if the last parameter set in the stream states larger pictures.
    exceeded: bool,
    /// True if a keyframe had a parameter set.
    any_in_band: bool,
    /// True if the last keyframe had one.
    last_in_band: bool,
}

impl Default for PictureLimit {
    fn default() -> Self {
        Self::new(avcodec::MAX_PICTURE_PX)
    }
}

impl PictureLimit {
    pub(super) fn new(max_pixels: u32) -> Self {
        Self { max_pixels, exceeded: false, any_in_band: false, last_in_band: false }
    }

    /// Checks the parameter set in a keyframe's access unit; returns true if the pictures are within the limit again.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`], once, when they first exceed it.
    pub(super) fn follow(&mut self, camera: &CameraId, packet: &Packet) -> Result<bool, DecodeError> {
        let VideoTrack { codec, codec_private, .. } = &*packet.track;
        // A parameter set in the access unit replaces the one of the same id in the codec private data.
        let size_px = h26x::in_band_picture_size(*codec, codec_private, &packet.unit);
        self.last_in_band = size_px.is_some();
        self.any_in_band |= self.last_in_band;
        let checked = size_px.map_or(Ok(()), |size_px| self.check(camera, size_px));
        let was_exceeded = std::mem::replace(&mut self.exceeded, checked.is_err());
        match checked {
            Ok(()) => Ok(was_exceeded),
            Err(_) if was_exceeded => Ok(false),
            Err(too_large) => Err(too_large),
        }
    }

    /// Returns true if a new decoder can decode the last keyframe: it needs no parameter set of an earlier access unit.
    pub(super) fn is_self_contained(&self) -> bool {
        self.last_in_band || !self.any_in_band
    }

    fn check(&self, camera: &CameraId, (width_px, height_px): (u32, u32)) -> Result<(), DecodeError> {
        let max_pixels = self.max_pixels;
        if u64::from(width_px) * u64::from(height_px) <= u64::from(max_pixels) {
            return Ok(());
        }
        Err(DecodeError::TooLarge { camera: camera.clone(), width_px, height_px, max_pixels })
    }

    /// Returns the limit on coded pictures, px.
    fn coded_pixels(&self) -> u32 {
        // A coded picture is padded to whole blocks, of at most 64 px per side (CtbSizeY, H.265 7.4.3.2.1), and cropped
        // for display (conformance window).
        let padding = (self.max_pixels / 4).saturating_add(1 << 16);
        self.max_pixels.saturating_add(padding).min(avcodec::MAX_PICTURE_PX)
    }
}

/// Sends an access unit to FFmpeg, which returns its frame with `number` as the pts.
///
/// # Errors
/// The reason, if the access unit is damaged, empty or too large.
pub(super) fn send_unit(
    decoder: &mut ffmpeg_next::decoder::Video,
    number: i64,
    key: bool,
    unit: &[u8],
) -> Result<(), String> {
    // To FFmpeg an empty packet is the end of the stream.
    if unit.is_empty() || unit.len() > MAX_UNIT_BYTES {
        return Err(format!("it has {} bytes; 1 to {MAX_UNIT_BYTES} are decoded", unit.len()));
    }
    let mut packet = ffmpeg_next::Packet::copy(unit);
    packet.set_pts(Some(number));
    if key {
        packet.set_flags(ffmpeg_next::packet::Flags::KEY);
    }
    decoder.send_packet(&packet).map_err(|error| error.to_string())
}

/// Decodes one access unit with a decoder that holds nothing; returns its picture, or the reason why there is no undamaged one.
///
/// The second value is true if the decoder must be flushed afterwards: it was drained, as `drains` says or the picture needed.
pub(super) fn decode_alone(
    decoder: &mut ffmpeg_next::decoder::Video,
    unit: &[u8],
    drains: bool,
) -> (Result<Video, String>, bool) {
    if let Err(reason) = send_unit(decoder, 0, true, unit) {
        return (Err(reason), drains);
    }
    let mut picture = Video::empty();
    let mut received = if drains { Err(NEEDS_PACKETS) } else { decoder.receive_frame(&mut picture) };
    // A decoder of a stream with B-frames returns the frame only when no more packets come.
    let is_drained = received == Err(NEEDS_PACKETS);
    if is_drained {
        received = decoder.send_eof().and_then(|()| decoder.receive_frame(&mut picture));
    }
    (received.map_err(|error| error.to_string()).and_then(|()| undamaged(picture)), is_drained)
}

fn undamaged(picture: Video) -> Result<Video, String> {
    if picture.is_corrupt() || picture.has_decode_errors() {
        return Err("parts of its picture are missing".to_owned());
    }
    // H.264 may code a frame as two fields (PAFF), in access units of their own: half of the picture is not here.
    if picture.is_interlaced() {
        return Err("its picture is interlaced".to_owned());
    }
    Ok(picture)
}

/// FFmpeg's error EAGAIN.
pub(super) const NEEDS_PACKETS: ffmpeg_next::Error =
    ffmpeg_next::Error::Other { errno: ffmpeg_next::error::EAGAIN };
