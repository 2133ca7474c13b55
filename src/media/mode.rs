//! Live or catch-up: the policy of a camera when the machine is behind.

use std::sync::atomic::{AtomicBool, Ordering};

/// Policy of a camera when the machine is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The lag is bounded: if the machine is behind, newer frames replace older ones.
    #[default]
    Live,
    /// No sampled frame is dropped; decoding waits for the stages after it.
    CatchUp,
}

/// The mode of one camera, shared by the tasks that set it and the threads that follow it.
#[derive(Debug)]
pub struct ModeCell(AtomicBool);

impl ModeCell {
    /// Creates a cell that holds `mode`.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self(AtomicBool::new(mode == Mode::Live))
    }

    /// Returns the current mode.
    #[must_use]
    pub fn get(&self) -> Mode {
        if self.0.load(Ordering::Acquire) { Mode::Live } else { Mode::CatchUp }
    }

    /// Changes the mode. A push that waits in the frame queue follows when the next frame is taken.
    pub fn set(&self, mode: Mode) {
        // Release and Acquire: a thread that sees the mode also sees the state that led to it.
        self.0.store(mode == Mode::Live, Ordering::Release);
    }
}
