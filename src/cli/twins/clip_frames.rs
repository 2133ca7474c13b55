//! The frames of a clip, as `run` would see them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use crate::cli::bench::clip::{BenchClip, START_MS};
use crate::decode::{Decoder, Sampler};
use crate::demux::{DemuxEvent, Demuxer};
use crate::media::{CameraId, Decoded, FragmentEnd, Frame, Position, SamplerState};
use crate::status::CameraStatus;

/// A clip whose frames are decoded again at each call.
pub(super) struct ClipFrames {
    path: PathBuf,
    clip: BenchClip,
    fps: f64,
}

/// A frame and its place in its clip.
pub(super) struct ClipFrame {
    pub(super) frame: Arc<Frame>,
    /// Seconds since the start of the clip.
    pub(super) second: f64,
}

impl ClipFrames {
    /// Reads a clip, of which `fps` frames per second are used.
    ///
    /// # Errors
    /// The file cannot be read, or has no H.264 or H.265 track with a frame.
    pub(super) async fn read(path: &Path, fps: f64) -> anyhow::Result<Self> {
        let clip = BenchClip::read(path, None, fps).await?;
        Ok(Self { path: path.to_owned(), clip, fps })
    }

    /// Returns the name of the file.
    pub(super) fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Decodes the clip and calls `on_frame` with each sampled frame.
    ///
    /// # Errors
    /// A frame cannot be decoded, or those of `on_frame`.
    pub(super) fn each(
        &self,
        mut on_frame: impl FnMut(ClipFrame) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let board = CameraStatus::alone(&CameraId::new(&self.name()));
        let mut decoder = Decoder::new(board, Sampler::new(Some(self.fps), SamplerState::default()));
        let (mut demuxer, mut decoded) = (Demuxer::default(), Vec::new());
        for chunk in &self.clip.chunks {
            demuxer.push(chunk);
            while let Some(event) =
                demuxer.next(Instant::now()).context("the demuxer rejects what the local KVS wrote")?
            {
                decode(&mut decoder, event, &mut decoded)
                    .with_context(|| format!("cannot decode {}", self.path.display()))?;
                for item in std::mem::take(&mut decoded) {
                    let Decoded::Frame(frame) = item else { continue };
                    on_frame(ClipFrame { second: seconds_since_start(&frame), frame })?;
                }
            }
        }
        Ok(())
    }
}

fn decode(decoder: &mut Decoder, event: DemuxEvent, out: &mut Vec<Decoded>) -> anyhow::Result<()> {
    match event {
        DemuxEvent::Packet(packet) => decoder.push(packet, out)?,
        DemuxEvent::End { fragment, behind_ms } => {
            let position = Position::after(&fragment);
            decoder.end_fragment(FragmentEnd { fragment, position, behind_ms, caught_up: false }, out)?;
        }
        // The clip has no gaps and one track, so the other events need no action.
        _ => {}
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a clip has far less than 2^53 ms")]
fn seconds_since_start(frame: &Frame) -> f64 {
    (frame.media.0 - START_MS) as f64 / 1000.0
}
