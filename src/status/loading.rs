//! Models that are being fetched or loaded, and a newer configuration that waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::health::span;
use super::{Readiness, StatusBoard};
use crate::base::lock;

/// The time that a newer configuration waits for its models before `/healthz` reports it.
pub(crate) const RELOAD_SHOWN_AFTER: Duration = Duration::from_secs(60);

/// The default of `service.model_load_seconds`: the limit on fetching or loading a model at the start.
const LOAD_LIMIT: Duration = Duration::from_secs(600);

/// The models that are being loaded.
pub(super) struct LoadingModels {
    /// By model: the time since when, and the current step.
    models: BTreeMap<String, (Instant, String)>,
    /// The time after which a start has failed.
    limit: Duration,
    /// The time since which a newer configuration waits for its models.
    reload: Option<Instant>,
    /// The threads that load models; ended ones are removed when the next one is added.
    threads: Vec<Arc<LoadThread>>,
}

impl Default for LoadingModels {
    fn default() -> Self {
        Self { models: BTreeMap::new(), limit: LOAD_LIMIT, reload: None, threads: Vec::new() }
    }
}

/// A thread that loads a model. ONNX Runtime cannot be interrupted, so the thread of an abandoned load runs on.
pub(crate) struct LoadThread {
    /// The start of the thread's name, before the model's.
    task: String,
    /// The model's name.
    pub(crate) model: String,
    began: Instant,
    state: AtomicU8,
}

/// The states of a [`LoadThread`].
const WANTED: u8 = 0;
const ABANDONED: u8 = 1;
const ENDED: u8 = 2;

impl LoadThread {
    /// Returns a load that begins now, on the thread `TASK-MODEL`.
    pub(crate) fn new(task: &str, model: &str) -> Self {
        Self {
            task: task.to_owned(),
            model: model.to_owned(),
            began: Instant::now(),
            state: AtomicU8::new(WANTED),
        }
    }

    /// Abandons the load. Returns whether its thread still runs.
    pub(crate) fn abandon(&self) -> bool {
        // Atomic, since the thread may end at the same time: exactly one of the two sides sees the other's state.
        self.state.compare_exchange(WANTED, ABANDONED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn abandoned_reason(&self, now: Instant) -> String {
        format!(
            "loading model {} was abandoned, and its thread `{}-{}` still runs after {}: restart kvs-infer to free its CPU core",
            self.model,
            self.task,
            self.model,
            span(now.saturating_duration_since(self.began))
        )
    }

    /// Records that the load has ended. Returns whether it had been abandoned.
    pub(crate) fn end(&self) -> bool {
        self.state.swap(ENDED, Ordering::Relaxed) == ABANDONED
    }

    /// Returns the time since the load began.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    fn has(&self, state: u8) -> bool {
        self.state.load(Ordering::Relaxed) == state
    }
}

/// A guard that shows the current step of a model's load until it is dropped.
pub struct LoadDisplay {
    board: StatusBoard,
    model: String,
}

impl Drop for LoadDisplay {
    fn drop(&mut self) {
        lock(&self.board.inner.loading).models.remove(&self.model);
    }
}

/// A guard that shows a newer configuration as waiting for its models until it is dropped.
pub(crate) struct ReloadDisplay(StatusBoard);

impl Drop for ReloadDisplay {
    fn drop(&mut self) {
        lock(&self.0.inner.loading).reload = None;
    }
}

impl LoadDisplay {
    /// Shows the current step: the rest of a sentence that begins with the model.
    pub(crate) fn step(&self, what: String) {
        let mut loading = lock(&self.board.inner.loading);
        // Steps of one load share its start: the limit is on the whole load.
        loading.models.entry(self.model.clone()).or_insert_with(|| (Instant::now(), String::new())).1 = what;
    }
}

impl StatusBoard {
    /// Sets the time after which a model that is not loaded fails the start.
    pub(crate) fn set_load_limit(&self, limit: Duration) {
        lock(&self.inner.loading).limit = limit;
    }

    /// Shows the current step of a model's load for as long as the returned guard lives.
    #[must_use]
    pub fn show_loading(&self, model: &str, what: &str) -> LoadDisplay {
        let shown = LoadDisplay { board: self.clone(), model: model.to_owned() };
        shown.step(what.to_owned());
        shown
    }

    /// Shows a newer configuration as waiting for its models for as long as the returned guard lives.
    #[must_use]
    pub(crate) fn show_reload(&self) -> ReloadDisplay {
        lock(&self.inner.loading).reload = Some(Instant::now());
        ReloadDisplay(self.clone())
    }

    /// Adds the thread `TASK-MODEL`, which loads a model.
    pub(crate) fn add_load_thread(&self, task: &str, model: &str) -> Arc<LoadThread> {
        let thread = Arc::new(LoadThread::new(task, model));
        lock(&self.inner.loading).add(Arc::clone(&thread));
        thread
    }

    /// Abandons a load whose thread was not added: nothing waited for it before. Returns whether the thread still runs.
    pub(crate) fn abandon(&self, thread: &Arc<LoadThread>) -> bool {
        let abandoned = thread.abandon();
        if abandoned {
            lock(&self.inner.loading).add(Arc::clone(thread));
        }
        abandoned
    }

    /// Returns the threads that load a model now, those of abandoned loads included.
    pub(crate) fn load_threads(&self) -> Vec<Arc<LoadThread>> {
        lock(&self.inner.loading).threads.iter().filter(|thread| !thread.has(ENDED)).cloned().collect()
    }

    /// Returns the number of abandoned loads whose threads still run.
    pub(crate) fn abandoned_loads(&self) -> usize {
        self.load_threads().iter().filter(|thread| thread.has(ABANDONED)).count()
    }

    /// Returns the time of the slowest fetch or load under way, abandoned ones included; zero: there is none.
    pub(crate) fn loading_for(&self) -> Duration {
        let threads = self.load_threads().into_iter().map(|thread| thread.age());
        let models = lock(&self.inner.loading).models.values().map(|(since, _)| since.elapsed()).max();
        threads.chain(models).max().unwrap_or_default()
    }

    /// Returns the fetches and loads under way, one line per model.
    #[must_use]
    pub fn loadings(&self) -> Vec<String> {
        lock(&self.inner.loading).lines()
    }

    /// Returns the models that have not been loaded in time at the start, as reasons for `/healthz`.
    pub(super) fn failed_loads(&self, now: Instant) -> Vec<String> {
        // Later loads are reloads, which must not fail a service that works.
        let is_starting = self.readiness() == Readiness::Starting;
        let loading = lock(&self.inner.loading);
        let late = loading.models.iter().filter_map(|(model, (since, what))| {
            let took = now.saturating_duration_since(*since);
            (is_starting && took > loading.limit).then(|| {
                format!(
                    "model {model} is not loaded after {} (limit {}, service.model_load_seconds): it {what}; restart, and use another \
                     model file if it does not load then either",
                    span(took),
                    span(loading.limit)
                )
            })
        });
        late.collect()
    }

    /// Returns the reasons about loading that need no restart.
    pub(super) fn loading_reasons(&self, now: Instant) -> Vec<String> {
        let loading = lock(&self.inner.loading);
        let abandoned = loading.threads.iter().filter(|thread| thread.has(ABANDONED));
        let left = abandoned.map(|thread| thread.abandoned_reason(now));
        loading.reload_reason(now).into_iter().chain(left).collect()
    }
}

impl LoadingModels {
    fn add(&mut self, thread: Arc<LoadThread>) {
        // The list would grow with each reload otherwise.
        self.threads.retain(|thread| !thread.has(ENDED));
        self.threads.push(thread);
    }

    /// Returns the reason about a newer configuration that has waited for long.
    fn reload_reason(&self, now: Instant) -> Option<String> {
        let waited = now.saturating_duration_since(self.reload?);
        if waited <= RELOAD_SHOWN_AFTER {
            return None;
        }
        let what = Some(self.lines().join(", ")).filter(|what| !what.is_empty());
        Some(format!(
            "a newer configuration has not been applied for {}, and the previous one stays in effect: {}; to replace it, write one \
             without the models that it waits for",
            span(waited),
            what.as_deref().unwrap_or("its models are being checked")
        ))
    }

    fn lines(&self) -> Vec<String> {
        self.models.iter().map(|(model, (_, what))| format!("model {model} {what}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::HealthStatus;

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_model_that_is_not_loaded_in_time_fails_the_start_and_no_reload() {
        let board = StatusBoard::new();
        board.set_load_limit(Duration::from_secs(100));
        let shown = board.show_loading("street", "is being loaded");
        shown.step("is being fetched: 3 of 9 MB".to_owned());
        assert_eq!(board.failed_loads(later(99)), [""; 0]);
        let [reason] = &board.failed_loads(later(101))[..] else { panic!("it failed") };
        let said = "model street is not loaded after 101 s (limit 100 s, service.model_load_seconds): it is being fetched: 3 of 9 MB; ";
        assert!(reason.starts_with(said), "{reason}");
        let health = board.health_at(later(101));
        assert_eq!((health.status, &health.reasons[0]), (HealthStatus::Failed, reason));
        board.ready();
        assert_eq!(
            board.health_at(later(101)).status,
            HealthStatus::Ok,
            "a reload that waits does not fail the service"
        );
        drop(shown);
        assert_eq!(board.loadings(), [""; 0]);
    }

    #[test]
    fn a_reload_that_waits_is_shown_after_a_minute_with_what_it_waits_for() {
        let board = StatusBoard::new();
        board.ready();
        let reload = board.show_reload();
        let model = board.show_loading("street", "is being loaded");
        assert_eq!(board.health_at(later(59)).status, HealthStatus::Ok);
        let health = board.health_at(later(62));
        assert_eq!(health.status, HealthStatus::Degraded);
        let said = "a newer configuration has not been applied for 62 s, and the previous one stays in effect: model street is being loaded; ";
        assert!(health.reasons[0].starts_with(said), "{health:?}");
        drop((reload, model));
        assert_eq!(board.health_at(later(62)).status, HealthStatus::Ok);
    }

    #[test]
    fn an_abandoned_load_is_reported_while_its_thread_runs() {
        let board = StatusBoard::new();
        let [street, plate] = ["street", "plate"].map(|model| board.add_load_thread("load", model));
        assert!(!plate.end() && !plate.abandon(), "it has ended");
        assert!(street.abandon());
        assert_eq!((board.load_threads().len(), board.abandoned_loads()), (1, 1));
        let health = board.health_at(later(30));
        let said = "loading model street was abandoned, and its thread `load-street` still runs after 30 s";
        assert!(health.status == HealthStatus::Degraded && health.reasons[0].starts_with(said), "{health:?}");
        assert!(street.end(), "it had been abandoned");
        assert_eq!((board.load_threads().len(), board.health_at(later(30)).status), (0, HealthStatus::Ok));
    }
}
