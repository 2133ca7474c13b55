//! Which frames are looked at: one for each tick of media time.

use serde::{Deserialize, Serialize};

use crate::frame::MediaMs;

/// How much before its tick a frame may come and still serve it, ticks: so that a target equal to the camera's own rate
/// picks every frame of it, although times are rounded to ms and jitter.
const EARLY_TICKS: f64 = 0.25;

/// A step back in time beyond this is other footage (a re-upload), not jitter, ms.
const JITTER_MS: i64 = 1000;

/// Picks frames by media time, so that the same footage gives the same picks.
///
/// Time is cut into ticks of `1 / fps_target` s, counted from the epoch. Each tick is served by the first frame that comes
/// no more than a quarter of a tick before it; ticks that no frame was there for are not made up for, but for one.
#[derive(Clone, Debug)]
pub struct Sampler {
    fps_target: Option<f64>,
    state: SamplerState,
}

/// What the sampler remembers; part of a camera's checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerState {
    /// The next tick to serve, and the newest media time seen; `None` before the first frame.
    next: Option<(i64, MediaMs)>,
}

impl Sampler {
    /// A sampler for `fps_target` frames a second of media time; `None` picks every frame.
    #[must_use]
    pub fn new(fps_target: Option<f64>, state: SamplerState) -> Self {
        Self { fps_target, state }
    }

    /// Whether to look at the frame at `media`; frames come in order of presentation.
    pub fn picks(&mut self, media: MediaMs) -> bool {
        let Some(fps) = self.fps_target else { return true };
        let ticks = ticks_at(media, fps);
        let here = floor(ticks + EARLY_TICKS);
        let (due, newest) = self.state.next.filter(|next| goes_on(next.1, media)).unwrap_or((here, media));
        let picks = here >= due;
        let next = if picks { floor(ticks).max(due.saturating_add(1)) } else { due };
        self.state.next = Some((next, newest.max(media)));
        picks
    }

    /// The state to go on with.
    #[must_use]
    pub fn state(&self) -> SamplerState {
        self.state
    }

    /// Goes back to `state`.
    pub fn rewind(&mut self, state: SamplerState) {
        self.state = state;
    }
}

fn goes_on(newest: MediaMs, media: MediaMs) -> bool {
    media.0 >= newest.0.saturating_sub(JITTER_MS)
}

#[expect(clippy::cast_precision_loss, reason = "epoch ms fit f64 exactly")]
fn ticks_at(media: MediaMs, fps: f64) -> f64 {
    media.0 as f64 * fps / 1000.0
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, which is what far-off times should do")]
fn floor(ticks: f64) -> i64 {
    ticks.floor() as i64
}
