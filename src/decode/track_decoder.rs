//! Opens FFmpeg's decoder for a track and sends it access units.

use super::avcodec;
use super::error::DecodeError;
use crate::frame::{CameraId, VideoTrack};

/// The largest access unit that is decoded; a KVS fragment has 50 MB at most.
const UNIT_BYTES_MAX: usize = 64 << 20;

/// Opens a decoder for the track of `camera`.
///
/// # Errors
/// The codec private data is unusable.
pub(super) fn open(
    camera: &CameraId,
    track: &VideoTrack,
) -> Result<ffmpeg_next::decoder::Video, DecodeError> {
    let opened = match h26x::check(track.codec, &track.codec_private) {
        Ok(()) => avcodec::open(track).map_err(|error| error.to_string()),
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
