//! The progress of a replay on standard error: a bar on a terminal, else a line from time to time.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::lock;
use crate::cli::print_stderr;
use crate::replay::{OnNote, ProgressFigures};

/// Interval between two lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Steps of the bar.
const STEPS: u64 = 1_000;

/// The display of a replay's progress.
pub(super) struct ProgressLine {
    bar: ProgressBar,
    is_terminal: bool,
    /// The time of the first footage: loading models takes no part of the rate.
    begun: Mutex<Option<Instant>>,
    last_line: Mutex<Instant>,
}

impl ProgressLine {
    /// Creates the display; a bar appears only on a terminal.
    pub(super) fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("replay [{bar:30}] {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(STEPS), target).with_style(style);
        Self { bar, is_terminal, begun: Mutex::default(), last_line: Mutex::new(Instant::now()) }
    }

    /// Returns the function that prints a note beside the bar.
    pub(super) fn on_note(&self) -> OnNote {
        let (bar, is_terminal) = (self.bar.clone(), self.is_terminal);
        Arc::new(move |note| print_note(&bar, is_terminal, note))
    }

    /// Prints a note beside the bar.
    pub(super) fn note(&self, note: &str) {
        print_note(&self.bar, self.is_terminal, note);
    }

    /// Displays the figures; without a terminal only when a line is due.
    pub(super) fn show(&self, figures: ProgressFigures) {
        let text = self.text(figures, Instant::now());
        if self.is_terminal {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=1000")]
            self.bar.set_position((figures.share * STEPS as f64) as u64);
            self.bar.set_message(text);
        } else if self.is_line_due() {
            print_stderr(format_args!("replay: {text}"));
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn is_line_due(&self) -> bool {
        let mut last = lock(&self.last_line);
        let is_due = last.elapsed() >= LINE_INTERVAL;
        if is_due {
            *last = Instant::now();
        }
        is_due
    }

    fn text(&self, figures: ProgressFigures, now: Instant) -> String {
        if figures.footage_ms == 0 {
            return "loading models and listing footage".to_owned();
        }
        let begun = *lock(&self.begun).get_or_insert(now);
        progress_text(figures, now.saturating_duration_since(begun))
    }
}

/// Returns the share, the speed and the time that is left.
#[expect(clippy::cast_precision_loss, reason = "ms of footage are far below 2^53")]
fn progress_text(figures: ProgressFigures, elapsed: Duration) -> String {
    let ProgressFigures { share, footage_ms, ended, cameras } = figures;
    let elapsed_s = elapsed.as_secs_f64();
    let percent = share * 100.0;
    let mut text = format!("{percent:.0} %, {ended} of {cameras} cameras done");
    // The first moments say nothing about the speed.
    if elapsed_s >= 1.0 {
        text.push_str(&format!(", {:.1} times real time", footage_ms as f64 / 1000.0 / elapsed_s));
        if share > 0.0 && share < 1.0 {
            text.push_str(&format!(", {} left", duration_text(elapsed_s * (1.0 - share) / share)));
        }
    }
    text
}

/// Returns a duration in its two largest units.
pub(super) fn duration_text(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn print_note(bar: &ProgressBar, is_terminal: bool, note: &str) {
    if is_terminal {
        // A line printed past the bar would be overwritten by its next update.
        bar.println(note);
    } else {
        print_stderr(note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_speed_and_time_left() {
        let figures = ProgressFigures { share: 0.25, footage_ms: 90_000, ended: 1, cameras: 3 };
        assert_eq!(
            progress_text(figures, Duration::from_secs(30)),
            "25 %, 1 of 3 cameras done, 3.0 times real time, 1 min 30 s left"
        );
        assert_eq!(progress_text(figures, Duration::from_millis(10)), "25 %, 1 of 3 cameras done");
        let done = ProgressFigures { share: 1.0, ended: 3, ..figures };
        assert_eq!(
            progress_text(done, Duration::from_secs(9)),
            "100 %, 3 of 3 cameras done, 10.0 times real time"
        );
    }

    #[test]
    fn durations_by_table() {
        for (seconds, text) in
            [(0.2, "0 s"), (59.6, "1 min 0 s"), (61.0, "1 min 1 s"), (7_265.0, "2 h 1 min")]
        {
            assert_eq!(duration_text(seconds), text);
        }
    }
}
