//! Progress on standard error.

use std::time::{Duration, Instant};

use crate::cli::print_stderr;

/// Interval between two progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Progress of a step over frames: a line every few seconds, and one at the end.
pub(super) struct ProgressLines {
    step: &'static str,
    began: Instant,
    last: Instant,
    frames: usize,
}

impl ProgressLines {
    pub(super) fn new(step: &'static str) -> Self {
        let now = Instant::now();
        Self { step, began: now, last: now, frames: 0 }
    }

    pub(super) fn frame(&mut self, clip: &str) {
        self.frames += 1;
        if self.last.elapsed() >= PROGRESS_INTERVAL {
            self.last = Instant::now();
            print_stderr(format_args!("{}: {} frames so far, now in {clip}", self.step, self.frames));
        }
    }

    pub(super) fn end(&self) {
        let (step, frames, took) = (self.step, self.frames, self.began.elapsed().as_secs_f64());
        print_stderr(format_args!("{step}: {frames} frames in {took:.1} s"));
    }
}
