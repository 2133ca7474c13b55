//! Fetches remote models for the commands `models` and `check --live`, with a progress bar on a terminal, else with lines.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::print_stderr;
use crate::detect::{ModelSpec, Purpose};
use crate::remote::{FetchError, FetchProgress, ModelFetcher};

/// Interval between two progress lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A configured model with its purpose, and the same model with a path on this machine.
pub(super) type FetchedModel = (Purpose, ModelSpec, Result<ModelSpec, FetchError>);

/// Fetches all remote models at once, with their progress on standard error.
pub(super) async fn fetch_all(fetcher: &ModelFetcher, specs: Vec<(Purpose, ModelSpec)>) -> Vec<FetchedModel> {
    let bars = indicatif::MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let fetching = specs.into_iter().map(|(purpose, spec)| {
        let display = spec.addresses().next().map(|_| ProgressDisplay::new(&spec.name, &bars));
        async move {
            let on_progress =
                |progress: FetchProgress<'_>| display.iter().for_each(|display| display.show(progress));
            let local = fetcher.local(&spec, &on_progress).await;
            display.iter().for_each(|display| display.bar.finish_and_clear());
            (purpose, spec, local)
        }
    });
    join_all(fetching).await
}

/// Progress of one model on standard error.
struct ProgressDisplay {
    name: String,
    bar: ProgressBar,
    terminal: bool,
    last_line: Mutex<Option<Instant>>,
}

impl ProgressDisplay {
    fn new(name: &str, bars: &indicatif::MultiProgress) -> Self {
        let style =
            ProgressStyle::with_template("{prefix} [{bar:30}] {bytes} of {total_bytes}, {eta} left {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new_spinner().with_style(style).with_prefix(name.to_owned());
        let terminal = std::io::stderr().is_terminal();
        Self { name: name.to_owned(), bar: bars.add(bar), terminal, last_line: Mutex::new(None) }
    }

    fn show(&self, progress: FetchProgress<'_>) {
        match progress {
            FetchProgress::Fetching { done_bytes, total_bytes } if self.terminal => {
                // A chunked answer has no length, and the bar stays a spinner.
                total_bytes.into_iter().for_each(|total| self.bar.set_length(total));
                self.bar.set_position(done_bytes);
            }
            FetchProgress::Fetching { .. } if !self.is_line_due() => {}
            progress => self.print(progress),
        }
    }

    fn is_line_due(&self) -> bool {
        let mut last = self.last_line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= LINE_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    fn print(&self, progress: FetchProgress<'_>) {
        let line = format!("model {} {progress}", self.name);
        if self.terminal {
            // A line printed past the bars would be overwritten by their next update.
            self.bar.println(line);
        } else {
            print_stderr(line);
        }
    }
}
