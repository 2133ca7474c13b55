//! Models that are elsewhere, for the commands that look at models: fetched with a bar on a terminal, else with lines.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::detect::{ModelSpec, Purpose};
use crate::remote::{FetchError, Models, Step};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A model of the configuration with what it is for, and the same with a path on this machine.
pub(super) type Fetched = (Purpose, ModelSpec, Result<ModelSpec, FetchError>);

/// Fetches those that are elsewhere, side by side; says on standard error how far they have come.
pub(super) async fn fetch_all(models: &Models, specs: Vec<(Purpose, ModelSpec)>) -> Vec<Fetched> {
    let bars = indicatif::MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let fetching = specs.into_iter().map(|(purpose, spec)| {
        let shown = spec.address().map(|_| Shown::new(&spec.name, &bars));
        async move {
            let tell = |step: Step<'_>| shown.iter().for_each(|shown| shown.step(step));
            let local = models.local(&spec, &tell).await;
            shown.iter().for_each(|shown| shown.bar.finish_and_clear());
            (purpose, spec, local)
        }
    });
    join_all(fetching).await
}

/// How far a model has come, for a person.
struct Shown {
    name: String,
    bar: ProgressBar,
    terminal: bool,
    told: Mutex<Option<Instant>>,
}

impl Shown {
    fn new(name: &str, bars: &indicatif::MultiProgress) -> Self {
        let style =
            ProgressStyle::with_template("{prefix} [{bar:30}] {bytes} of {total_bytes}, {eta} left {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new_spinner().with_style(style).with_prefix(name.to_owned());
        let terminal = std::io::stderr().is_terminal();
        Self { name: name.to_owned(), bar: bars.add(bar), terminal, told: Mutex::new(None) }
    }

    fn step(&self, step: Step<'_>) {
        match step {
            Step::Fetching { done_bytes, total_bytes } if self.terminal => {
                total_bytes.into_iter().for_each(|total| self.bar.set_length(total));
                self.bar.set_position(done_bytes);
            }
            Step::Fetching { .. } if !self.is_time() => {}
            step => self.line(step),
        }
    }

    fn is_time(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = told.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        if due {
            *told = Some(Instant::now());
        }
        due
    }

    fn line(&self, step: Step<'_>) {
        let line = format!("model {} {step}", self.name);
        if self.terminal {
            self.bar.println(line);
        } else {
            let _unheard = writeln!(std::io::stderr(), "{line}");
        }
    }
}
