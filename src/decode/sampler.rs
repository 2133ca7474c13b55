//! Which frames are looked at: the first of each tick of media time.

use serde::{Deserialize, Serialize};

use crate::frame::MediaMs;

/// Picks frames by media time, so that the same footage gives the same picks.
#[derive(Clone, Debug)]
pub struct Sampler {
    fps_target: Option<f64>,
    state: SamplerState,
}

/// What the sampler remembers; part of a camera's checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerState {
    /// The tick of the last pick.
    last_tick: Option<i64>,
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
        let tick = tick_of(media, fps);
        let picks = self.state.last_tick != Some(tick);
        self.state.last_tick = Some(tick);
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

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "epoch ms fit f64 exactly")]
fn tick_of(media: MediaMs, fps: f64) -> i64 {
    (media.0 as f64 * fps / 1000.0).floor() as i64
}
