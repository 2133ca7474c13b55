//! The runs of the probes for `/api/check`: one at a time, and not more often than every 30 s.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use serde::Serialize;
use tokio::time::timeout;

use crate::base::{ProbeResult, Verdict, epoch_ms, lock};

/// A function that runs the probes of the service, or returns the reason why that failed. The probes run elsewhere: this thread only
/// awaits them.
pub type RunProbes = Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<ProbeResult>, String>> + Send + Sync>;

/// Minimum time from the start of one run to that of the next.
pub(super) const RUN_INTERVAL: Duration = Duration::from_secs(30);
/// Limit on a run, below that of an answer and below [`RUN_INTERVAL`], so that runs do not overlap. The probes have a shorter one; this
/// one is for a service that does not run them.
const RUN_LIMIT: Duration = Duration::from_secs(18);

/// The runs of the probes, and the report of the last one.
pub(super) struct ProbeRuns {
    run: Option<RunProbes>,
    limit: Duration,
    state: Mutex<RunState>,
}

#[derive(Default)]
struct RunState {
    /// The last run, and the time of its start.
    started: Option<(Instant, RunningProbes)>,
    /// The JSON of the last report.
    report: Option<Bytes>,
}

/// A run that any number of clients can await.
pub(super) type RunningProbes = Shared<BoxFuture<'static, RunOutcome>>;

/// The JSON of a report, or the reason why there is none.
pub(super) type RunOutcome = Result<Bytes, Arc<str>>;

/// The reason why no run is started.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RunRefusal {
    /// The last run was started too recently.
    TooSoon {
        /// The time until another run is allowed.
        wait: Duration,
    },
    /// This process runs no probes.
    Unavailable,
}

/// The report of a run, as `/api/check` answers.
#[derive(Serialize)]
struct CheckReport {
    /// The time at which the run ended, ms since the epoch.
    at_ms: i64,
    lines: Vec<CheckLine>,
}

#[derive(Serialize)]
struct CheckLine {
    probe: String,
    outcome: Verdict,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl ProbeRuns {
    pub(super) fn new(run: Option<RunProbes>) -> Self {
        Self { run, limit: RUN_LIMIT, state: Mutex::default() }
    }

    /// Returns the JSON of the last report, or `null`.
    pub(super) fn report(&self) -> Bytes {
        let mut state = lock(&self.state);
        state.keep_report();
        state.report.clone().unwrap_or_else(|| Bytes::from_static(b"null"))
    }

    /// Starts a run.
    pub(super) fn start(&self, now: Instant) -> Result<RunningProbes, RunRefusal> {
        let run = self.run.as_ref().ok_or(RunRefusal::Unavailable)?;
        let mut state = lock(&self.state);
        if let Some((at, _)) = &state.started {
            let wait = RUN_INTERVAL.saturating_sub(now.saturating_duration_since(*at));
            if !wait.is_zero() {
                return Err(RunRefusal::TooSoon { wait });
            }
        }
        // Before it is replaced: no client may have asked since it ended.
        state.keep_report();
        let running = outcome_of(run(), self.limit).boxed().shared();
        state.started = Some((now, running.clone()));
        Ok(running)
    }
}

impl RunState {
    /// Keeps the report of the last run if it has ended, also where the client that started it has left.
    fn keep_report(&mut self) {
        let ended = self.started.as_ref().and_then(|(_, running)| running.clone().now_or_never());
        if let Some(Ok(report)) = ended {
            self.report = Some(report);
        }
    }
}

async fn outcome_of(
    running: BoxFuture<'static, Result<Vec<ProbeResult>, String>>,
    limit: Duration,
) -> RunOutcome {
    let results = match timeout(limit, running).await {
        Ok(results) => results?,
        Err(_) => {
            let text = "the probes did not end in time: the service is overloaded or stuck; see /healthz";
            return Err(Arc::from(text));
        }
    };
    let report = CheckReport { at_ms: epoch_ms(), lines: results.into_iter().map(CheckLine::of).collect() };
    let json = serde_json::to_vec(&report).map_err(|why| why.to_string())?;
    Ok(Bytes::from(json))
}

impl CheckLine {
    fn of(result: ProbeResult) -> Self {
        let ProbeResult { name, finding, .. } = result;
        Self { probe: name, outcome: finding.verdict, text: finding.text, remedy: finding.remedy }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::base::{Asks, Finding};

    fn result(name: &str, finding: Finding) -> ProbeResult {
        ProbeResult { name: name.to_owned(), asks: Asks::Aws, took: Duration::ZERO, finding }
    }

    /// Returns runs whose report has one line with the number of the run.
    fn counted() -> (ProbeRuns, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let run: RunProbes = Arc::new(move || {
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            let finding = Finding::fail(format!("run {number}")).with_remedy("fix it");
            std::future::ready(Ok(vec![result("kds/events", finding)])).boxed()
        });
        (ProbeRuns::new(Some(run)), count)
    }

    fn text_of(body: &Bytes) -> String {
        String::from_utf8_lossy(body).into_owned()
    }

    #[tokio::test]
    async fn a_run_is_started_every_thirty_seconds_at_most() {
        let (runs, count) = counted();
        let begun = Instant::now();
        assert_eq!(text_of(&runs.report()), "null");
        for (name, at_ms, expected) in [
            ("the first", 0, Ok(1)),
            ("at once", 0, Err(30_000)),
            ("soon", 29_999, Err(1)),
            ("in time", 30_000, Ok(2)),
            ("again", 31_000, Err(29_000)),
        ] {
            let started = runs.start(begun + Duration::from_millis(at_ms));
            let started = match started {
                Ok(running) => Ok(text_of(&running.await.unwrap())),
                Err(refusal) => Err(refusal),
            };
            match expected {
                Ok(number) => {
                    let line = format!(
                        r#""lines":[{{"probe":"kds/events","outcome":"fail","text":"run {number}","remedy":"fix it"}}]"#
                    );
                    assert!(started.as_ref().unwrap().contains(&line), "{name}: {started:?}");
                }
                Err(ms) => {
                    assert_eq!(
                        started,
                        Err(RunRefusal::TooSoon { wait: Duration::from_millis(ms) }),
                        "{name}"
                    );
                }
            }
        }
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert!(text_of(&runs.report()).contains("run 2"));
    }

    #[tokio::test]
    async fn a_report_is_kept_where_its_client_has_left_and_over_a_run_that_failed() {
        let (runs, _) = counted();
        let begun = Instant::now();
        drop(runs.start(begun).unwrap());
        assert!(text_of(&runs.report()).contains("run 1"), "the next client asks for it");
        let failing: RunProbes = Arc::new(|| std::future::ready(Err("the service stops".to_owned())).boxed());
        let runs = ProbeRuns { run: Some(failing), ..runs };
        let failed = runs.start(begun + RUN_INTERVAL).unwrap().await;
        assert_eq!(&*failed.unwrap_err(), "the service stops");
        assert!(text_of(&runs.report()).contains("run 1"));
    }

    #[tokio::test]
    async fn a_service_that_runs_no_probes_holds_up_no_client() {
        let silent: RunProbes = Arc::new(|| std::future::pending().boxed());
        let runs = ProbeRuns { limit: Duration::from_millis(20), ..ProbeRuns::new(Some(silent)) };
        let why = runs.start(Instant::now()).unwrap().await.unwrap_err();
        assert!(why.contains("did not end in time"), "{why}");
        let none = ProbeRuns::new(None).start(Instant::now());
        assert!(matches!(none, Err(RunRefusal::Unavailable)));
    }
}
