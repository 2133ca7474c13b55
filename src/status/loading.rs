//! Models that are fetched or loaded, and a configuration that waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::health::span;
use super::{Readiness, StatusBoard, lock};

/// The time after which `/healthz` shows that a newer configuration waits for its models.
pub(crate) const RELOAD_SHOWN_AFTER: Duration = Duration::from_secs(60);

/// Limit on the time to fetch or load a model at the start, unless the configuration sets one.
const LOAD_LIMIT: Duration = Duration::from_secs(600);

/// The models that are not loaded yet.
pub(super) struct LoadingModels {
    /// By model: since when, and what is done.
    models: BTreeMap<String, (Instant, String)>,
    /// Beyond it a start has failed.
    limit: Duration,
    /// Since when a newer configuration waits for its models.
    reload: Option<Instant>,
    /// Those that run, and some that have ended since.
    threads: Vec<Arc<LoadThread>>,
}

impl Default for LoadingModels {
    fn default() -> Self {
        Self { models: BTreeMap::new(), limit: LOAD_LIMIT, reload: None, threads: Vec::new() }
    }
}

/// A thread that loads a model. ONNX Runtime cannot be interrupted, so a load that is given up leaves its thread behind.
pub(crate) struct LoadThread {
    /// The model's name.
    pub(crate) model: String,
    began: Instant,
    state: AtomicU8,
}

/// The states of a [`LoadThread`].
const WANTED: u8 = 0;
const GIVEN_UP: u8 = 1;
const ENDED: u8 = 2;

impl LoadThread {
    /// Gives the load up. Returns whether its thread runs on.
    pub(crate) fn give_up(&self) -> bool {
        self.state.compare_exchange(WANTED, GIVEN_UP, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Notes that the load has ended. Returns whether it had been given up.
    pub(crate) fn end(&self) -> bool {
        self.state.swap(ENDED, Ordering::Relaxed) == GIVEN_UP
    }

    /// Returns the time since the load began.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    fn has(&self, state: u8) -> bool {
        self.state.load(Ordering::Relaxed) == state
    }
}

/// Shows what is done with a model until it is dropped.
pub struct ShownLoading {
    board: StatusBoard,
    model: String,
}

impl Drop for ShownLoading {
    fn drop(&mut self) {
        lock(&self.board.inner.loading).models.remove(&self.model);
    }
}

/// Shows that a newer configuration waits for its models until it is dropped.
pub(crate) struct ShownReload(StatusBoard);

impl Drop for ShownReload {
    fn drop(&mut self) {
        lock(&self.0.inner.loading).reload = None;
    }
}

impl ShownLoading {
    /// Shows what is done now.
    pub(crate) fn now(&self, what: String) {
        let mut loading = lock(&self.board.inner.loading);
        loading.models.entry(self.model.clone()).or_insert_with(|| (Instant::now(), String::new())).1 = what;
    }
}

impl StatusBoard {
    /// Fetching or loading a model may take this long at the start; from then on the service has failed.
    pub(crate) fn set_load_limit(&self, limit: Duration) {
        lock(&self.inner.loading).limit = limit;
    }

    /// Shows what keeps a model from being loaded, for as long as the answer lives.
    #[must_use]
    pub fn show_loading(&self, model: &str, what: &str) -> ShownLoading {
        let shown = ShownLoading { board: self.clone(), model: model.to_owned() };
        shown.now(what.to_owned());
        shown
    }

    /// Shows that a newer configuration waits for its models, for as long as the answer lives.
    #[must_use]
    pub(crate) fn show_reload(&self) -> ShownReload {
        lock(&self.inner.loading).reload = Some(Instant::now());
        ShownReload(self.clone())
    }

    /// Adds a thread that loads a model.
    pub(crate) fn add_load_thread(&self, model: &str) -> Arc<LoadThread> {
        let state = AtomicU8::new(WANTED);
        let thread = Arc::new(LoadThread { model: model.to_owned(), began: Instant::now(), state });
        let mut loading = lock(&self.inner.loading);
        loading.threads.retain(|thread| !thread.has(ENDED));
        loading.threads.push(Arc::clone(&thread));
        thread
    }

    /// The threads that load a model now, also where nothing waits for it any more.
    pub(crate) fn load_threads(&self) -> Vec<Arc<LoadThread>> {
        lock(&self.inner.loading).threads.iter().filter(|thread| !thread.has(ENDED)).cloned().collect()
    }

    /// The number of loads that were given up and whose threads run on.
    pub(crate) fn loads_left_behind(&self) -> usize {
        self.load_threads().iter().filter(|thread| thread.has(GIVEN_UP)).count()
    }

    /// Returns the longest time for which a model is being fetched or loaded, those that were given up included; zero: none is.
    pub(crate) fn loading_for(&self) -> Duration {
        let threads = self.load_threads().into_iter().map(|thread| thread.age());
        let models = lock(&self.inner.loading).models.values().map(|(since, _)| since.elapsed()).max();
        threads.chain(models).max().unwrap_or_default()
    }

    /// Returns what is being fetched or loaded, a line per model.
    #[must_use]
    pub fn loadings(&self) -> Vec<String> {
        lock(&self.inner.loading).lines()
    }

    /// Returns the reasons why the start has failed: models that have not been loaded in time.
    pub(super) fn failed_loads(&self, now: Instant) -> Vec<String> {
        let is_starting = self.readiness() == Readiness::Starting;
        let loading = lock(&self.inner.loading);
        let late = loading.models.iter().filter_map(|(model, (since, what))| {
            let took = now.saturating_duration_since(*since);
            (is_starting && took > loading.limit).then(|| {
                format!(
                    "model {model} is not loaded after {} (limit {}, service.model_load_seconds): it {what}; restart, and where it \
                     does not load then either, use another model file",
                    span(took),
                    span(loading.limit)
                )
            })
        });
        late.collect()
    }

    /// Returns the reasons about loading while the service works.
    pub(super) fn loading_reasons(&self, now: Instant) -> Vec<String> {
        let loading = lock(&self.inner.loading);
        let waits = loading.reload.map(|since| now.saturating_duration_since(since));
        let waits = waits.filter(|waited| *waited > RELOAD_SHOWN_AFTER).map(|waited| {
            let what = Some(loading.lines().join(", ")).filter(|what| !what.is_empty());
            format!(
                "a newer configuration has not been taken over for {}, and the one before stays: {}; write one without what it waits \
                 for, which takes its place",
                span(waited),
                what.as_deref().unwrap_or("its models are being checked")
            )
        });
        let left = loading.threads.iter().filter(|thread| thread.has(GIVEN_UP)).map(|thread| {
            format!(
                "loading model {} was given up, and its thread `load-{}` runs on after {}: it takes a core until kvs-infer is restarted",
                thread.model,
                thread.model,
                span(now.saturating_duration_since(thread.began))
            )
        });
        waits.into_iter().chain(left).collect()
    }
}

impl LoadingModels {
    fn lines(&self) -> Vec<String> {
        self.models.iter().map(|(model, (_, what))| format!("model {model} {what}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_model_that_is_not_loaded_in_time_fails_the_start_and_no_reload() {
        let board = StatusBoard::new();
        board.set_load_limit(Duration::from_secs(100));
        let shown = board.show_loading("street", "is being loaded");
        shown.now("is being fetched: 3 of 9 MB".to_owned());
        assert_eq!(board.failed_loads(later(99)), [""; 0]);
        let [reason] = &board.failed_loads(later(101))[..] else { panic!("it failed") };
        let said = "model street is not loaded after 101 s (limit 100 s, service.model_load_seconds): it is being fetched: 3 of 9 MB; ";
        assert!(reason.starts_with(said), "{reason}");
        let health = board.health_at(later(101));
        assert_eq!((health.status, &health.reasons[0]), (Status::Failed, reason));
        board.ready();
        assert_eq!(
            board.health_at(later(101)).status,
            Status::Ok,
            "a reload that waits does not stop the service"
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
        assert_eq!(board.health_at(later(59)).status, Status::Ok);
        let health = board.health_at(later(62));
        assert_eq!(health.status, Status::Degraded);
        let said = "a newer configuration has not been taken over for 62 s, and the one before stays: model street is being loaded; ";
        assert!(health.reasons[0].starts_with(said), "{health:?}");
        drop((reload, model));
        assert_eq!(board.health_at(later(62)).status, Status::Ok);
    }

    #[test]
    fn a_load_that_was_given_up_is_shown_while_its_thread_runs() {
        let board = StatusBoard::new();
        let [street, plate] = ["street", "plate"].map(|model| board.add_load_thread(model));
        assert!(!plate.end() && !plate.give_up(), "it has ended");
        assert!(street.give_up());
        assert_eq!((board.load_threads().len(), board.loads_left_behind()), (1, 1));
        let health = board.health_at(later(30));
        let said = "loading model street was given up, and its thread `load-street` runs on after 30 s";
        assert!(health.status == Status::Degraded && health.reasons[0].starts_with(said), "{health:?}");
        assert!(street.end(), "it had been given up");
        assert_eq!((board.load_threads().len(), board.health_at(later(30)).status), (0, Status::Ok));
    }
}
