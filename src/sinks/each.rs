//! Delivery of single events, several at once: for services that take one event per call.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::concurrency::{CallStart, ConcurrencyLimit};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::Backoff;
use crate::delivery::{Backlog, OutboxRecord, SinkRun, retry_backoff};

/// Limit on the bytes of records and pictures that are under way at once. A first record is sent whatever its size.
const MAX_BYTES_UNDER_WAY: usize = 32 * 1024 * 1024;

/// A service that takes one event per call.
pub(crate) trait EventTarget: Send + Sync + 'static {
    /// Limit on the events that are under way at once.
    const MAX_UNDER_WAY: usize;

    /// Makes one attempt at one event; `is_retry`: an earlier one has failed.
    fn put(&self, record: &OutboxRecord, is_retry: bool) -> impl Future<Output = PutOutcome> + Send;
}

/// The outcome of an attempt.
#[derive(Debug)]
pub(crate) enum PutOutcome {
    /// The event is stored, by this attempt or by an earlier one.
    Stored,
    /// The event can never be stored, for this reason.
    Invalid(String),
    /// The attempt failed, and is made again.
    Failed {
        /// The error code, a label of metrics.
        code: String,
        /// The failure and its remedy, for a person.
        text: String,
    },
}

impl PutOutcome {
    /// Returns the outcome of a failed call on a resource.
    pub(crate) fn failed(resource: &AwsResource, failure: AwsFailure) -> Self {
        Self::Failed { text: resource.explain(&failure), code: failure.code }
    }
}

/// Delivers each event by a call of its own.
///
/// Delivery: at least once. Best effort: a failed event is tried again until the sink's share of the outbox has no room for it;
/// then the oldest are dropped. An event that can never be stored becomes a dead letter. The number of events under way follows
/// [`ConcurrencyLimit`]. An event that failed waits by a backoff of its own, so it does not hold up others that succeed.
pub(crate) struct EachSink<T> {
    target: Arc<T>,
    backlog: Backlog,
    give_up: CancellationToken,
}

impl<T: EventTarget> EachSink<T> {
    pub(crate) fn new(target: T, run: SinkRun) -> Self {
        Self { target: Arc::new(target), backlog: run.backlog, give_up: run.give_up }
    }

    /// Delivers until the outbox is closed and nothing waits, or until `give_up`.
    pub(crate) async fn run(self) {
        let Self { target, backlog, give_up } = self;
        let mut delivery = EachDelivery::new(target, backlog);
        // This cuts calls off. An event that was stored all the same is put again after the next start.
        give_up.run_until_cancelled(delivery.run()).await;
    }
}

/// The events that were read from the outbox and are not delivered yet.
struct EachDelivery<T> {
    target: Arc<T>,
    backlog: Backlog,
    limit: ConcurrencyLimit,
    /// Calls under way: tasks, so that none waits for a read of the outbox.
    under_way: JoinSet<Attempt>,
    bytes_under_way: usize,
    /// Records without an attempt.
    waiting: VecDeque<OutboxRecord>,
    /// Records whose last attempt failed.
    deferred: Vec<DeferredRecord>,
    /// Number of calls under way for records that have failed before.
    retries_under_way: usize,
    /// True if the outbox may hold records that were not read.
    may_hold_more: bool,
    /// True if the outbox was closed when it was last asked, so that nothing is added any more.
    is_closed: bool,
}

/// A record that is tried again.
struct DeferredRecord {
    record: OutboxRecord,
    backoff: Backoff,
    not_before: Instant,
}

/// An attempt that has ended.
struct Attempt {
    record: OutboxRecord,
    /// The backoff of a record that had failed before.
    backoff: Option<Backoff>,
    start: CallStart,
    outcome: PutOutcome,
}

impl<T: EventTarget> EachDelivery<T> {
    fn new(target: Arc<T>, backlog: Backlog) -> Self {
        Self {
            target,
            backlog,
            limit: ConcurrencyLimit::new(T::MAX_UNDER_WAY),
            under_way: JoinSet::new(),
            bytes_under_way: 0,
            waiting: VecDeque::new(),
            deferred: Vec::new(),
            retries_under_way: 0,
            may_hold_more: true,
            is_closed: false,
        }
    }

    async fn run(&mut self) {
        while self.fill().await {
            self.start_attempts();
            if self.is_idle() {
                continue;
            }
            let next_ready = self.next_ready().filter(|_| self.limit.admits(self.under_way.len()));
            let waits_for_new = self.waiting.is_empty() && !self.is_closed;
            tokio::select! {
                Some(ended) = self.under_way.join_next() => self.settle(attempt_of(ended)).await,
                () = until(next_ready) => {}
                () = self.backlog.changed(), if waits_for_new => self.ask_again(),
            }
        }
    }

    /// Returns true if no record is in memory.
    fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.waiting.is_empty() && self.deferred.is_empty()
    }

    /// Reads records from the outbox where all that were read are under way or deferred, and waits for one where there is none at
    /// all; `false` at the end.
    async fn fill(&mut self) -> bool {
        let room = T::MAX_UNDER_WAY.saturating_sub(self.deferred.len());
        if self.is_idle() {
            let Some(records) = self.backlog.next(room).await else { return false };
            self.waiting.extend(records);
            self.may_hold_more = true;
        } else if self.waiting.is_empty() && self.may_hold_more && room > 0 {
            self.waiting.extend(self.backlog.available(room).await);
            self.may_hold_more = !self.waiting.is_empty();
        }
        true
    }

    /// Returns the next time at which a deferred record becomes ready. One that is ready already waits for an attempt to end.
    fn next_ready(&self) -> Option<Instant> {
        let now = Instant::now();
        self.deferred.iter().map(|deferred| deferred.not_before).filter(|ready| *ready > now).min()
    }

    fn ask_again(&mut self) {
        self.may_hold_more = true;
        self.is_closed = self.backlog.closing.is_cancelled();
    }

    /// Starts as many attempts as the limits allow.
    fn start_attempts(&mut self) {
        self.forget_left_out();
        while self.limit.admits(self.under_way.len()) {
            let Some((record, backoff)) = self.next_to_start() else { break };
            self.bytes_under_way += size(&record);
            self.retries_under_way += usize::from(backoff.is_some());
            let (target, start) = (Arc::clone(&self.target), self.limit.start());
            self.under_way.spawn(async move {
                let outcome = target.put(&record, backoff.is_some()).await;
                Attempt { record, backoff, start, outcome }
            });
        }
        self.limit.set_reached(!self.limit.admits(self.under_way.len()) && !self.waiting.is_empty());
    }

    /// Removes the records that another process delivers: a camera may have been taken over while its events waited.
    fn forget_left_out(&mut self) {
        let before = self.deferred.len();
        self.waiting.retain(|record| !self.backlog.leaves_out(record));
        self.deferred.retain(|deferred| !self.backlog.leaves_out(&deferred.record));
        if self.deferred.len() < before {
            self.report_if_works();
        }
    }

    /// Reports that the sink works, unless a record waits for another attempt or its answer.
    fn report_if_works(&self) {
        if self.deferred.is_empty() && self.retries_under_way == 0 {
            self.backlog.gauge.works();
        }
    }

    /// Returns the next record to attempt, with the backoff of one that has failed; `None`: each has to wait.
    fn next_to_start(&mut self) -> Option<(OutboxRecord, Option<Backoff>)> {
        let now = Instant::now();
        let ready = self.deferred.iter().position(|deferred| deferred.not_before <= now);
        let bytes = size(match ready {
            Some(index) => &self.deferred[index].record,
            None => self.waiting.front()?,
        });
        if !self.under_way.is_empty() && self.bytes_under_way + bytes > MAX_BYTES_UNDER_WAY {
            return None;
        }
        match ready.map(|index| self.deferred.remove(index)) {
            Some(DeferredRecord { record, backoff, .. }) => Some((record, Some(backoff))),
            None => self.waiting.pop_front().map(|record| (record, None)),
        }
    }

    async fn settle(&mut self, ended: Attempt) {
        let Attempt { record, backoff, start, outcome } = ended;
        self.bytes_under_way -= size(&record);
        self.retries_under_way -= usize::from(backoff.is_some());
        match outcome {
            PutOutcome::Stored => self.backlog.delivered(&record),
            PutOutcome::Invalid(reason) => self.backlog.never_valid(&record, reason).await,
            PutOutcome::Failed { code, text } => {
                self.backlog.gauge.failing(&code, &text, 1);
                return self.defer(record, backoff, start);
            }
        }
        self.limit.accepted(start);
        self.report_if_works();
    }

    fn defer(&mut self, record: OutboxRecord, backoff: Option<Backoff>, start: CallStart) {
        // A record that fails again may do so for a reason of its own, which says nothing about the number of calls.
        if backoff.is_none() {
            self.limit.refused(start);
        }
        let mut backoff = backoff.unwrap_or_else(retry_backoff);
        let not_before = Instant::now() + backoff.next_wait();
        self.deferred.push(DeferredRecord { record, backoff, not_before });
    }
}

/// Returns the attempt of a task. Tasks are not cancelled, so one without it has panicked, and the sink ends with it.
fn attempt_of(ended: Result<Attempt, JoinError>) -> Attempt {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Waits until this time; `None`: for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Returns the bytes that a record takes in memory.
fn size(record: &OutboxRecord) -> usize {
    record.json.len() + record.pictures.iter().map(bytes::Bytes::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use tokio::task::JoinHandle;

    use super::*;
    use crate::base::Probe;
    use crate::checkpoint::Checkpoint;
    use crate::decide::DecidedEvent;
    use crate::delivery::{
        CameraCommit, Clients, EventOutbox, FrameEvents, OnlySink, OutboxSpec, Route, Sink, SinkSet,
        SinkStatus, StartError, StateSpec,
    };
    use crate::media::CameraId;
    use crate::status::testing::event;

    const EVENTS: usize = 200;

    /// A service that refuses a call beside `capacity` others, and each call for the event `refused`.
    #[derive(Debug)]
    struct Service {
        capacity: usize,
        refused: Option<&'static str>,
        under_way: AtomicUsize,
        max_under_way: AtomicUsize,
        /// Number of attempts of each event.
        attempts: Mutex<BTreeMap<String, usize>>,
    }

    impl Service {
        fn of(capacity: usize, refused: Option<&'static str>) -> Arc<Self> {
            let [under_way, max_under_way] = [0; 2].map(AtomicUsize::new);
            Arc::new(Self { capacity, refused, under_way, max_under_way, attempts: Mutex::default() })
        }

        fn attempts(&self) -> usize {
            self.attempts.lock().unwrap().values().sum()
        }
    }

    impl EventTarget for Arc<Service> {
        const MAX_UNDER_WAY: usize = 32;

        async fn put(&self, record: &OutboxRecord, _is_retry: bool) -> PutOutcome {
            let id = record.header.event_id.clone();
            let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            self.max_under_way.fetch_max(under_way, Ordering::Relaxed);
            // Long enough for the sink to start all the calls that it wants to.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            *self.attempts.lock().unwrap().entry(id.clone()).or_default() += 1;
            if under_way > self.capacity || self.refused == Some(&id) {
                return PutOutcome::Failed { code: "SlowDown".into(), text: "too many calls".into() };
            }
            PutOutcome::Stored
        }
    }

    #[derive(Debug)]
    struct ServiceSink(Arc<Service>);

    impl Sink for ServiceSink {
        fn name(&self) -> String {
            "service".to_owned()
        }

        fn is_required(&self) -> bool {
            false
        }

        fn destination(&self, _route: &Route) -> String {
            self.name()
        }

        fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
            Ok(tokio::spawn(EachSink::new(Arc::clone(&self.0), run).run()))
        }

        fn probes(&self, _clients: Option<&Clients>) -> Vec<Probe> {
            Vec::new()
        }
    }

    /// Starts an outbox with this service as its only sink, and commits the events `e0` to `e199`, all at once.
    async fn outbox(folder: &Path, service: &Arc<Service>) -> EventOutbox {
        let route = Arc::new(Route { kds_stream: None, snapshot: None, clip: None });
        let registry = Arc::new(OnlySink(Arc::new(ServiceSink(Arc::clone(service)))));
        let spec = OutboxSpec {
            sinks: SinkSet { registry, routes: vec![Arc::clone(&route)] },
            state: StateSpec { dir: folder.join("state"), max_bytes: 64 << 20, ddb_table: None },
            dead_letter: folder.join("dead-letter.jsonl"),
            clients: None,
            sharing: None,
        };
        let outbox = EventOutbox::start(spec).await.unwrap();
        let decided =
            |n: usize| DecidedEvent { event: event(&format!("e{n}")), pictured_by: None, sighted: None };
        let events = FrameEvents {
            events: (0..EVENTS).map(decided).collect(),
            route,
            frame: None,
            boxes: Vec::new(),
            arrived: Instant::now(),
            epoch: None,
        };
        let events = outbox.pack(events).await.unwrap().events;
        let camera = CameraId::new("gate");
        outbox
            .commit(
                CameraCommit { camera, epoch: None, checkpoint: Checkpoint::new("stream"), events },
                || (),
            )
            .await
            .unwrap();
        outbox
    }

    async fn until_sink(outbox: &EventOutbox, is_reached: impl Fn(&SinkStatus) -> bool) {
        let sink = |all: &[SinkStatus]| all.iter().find(|sink| sink.name == "service").cloned().unwrap();
        let reached = outbox.until(|all| is_reached(&sink(all)));
        tokio::time::timeout(Duration::from_secs(30), reached).await.expect("the sink has stalled");
    }

    #[tokio::test]
    async fn a_service_that_accepts_is_given_more_at_once_up_to_the_maximum() {
        let (service, folder) = (Service::of(usize::MAX, None), tempfile::tempdir().unwrap());
        let outbox = outbox(folder.path(), &service).await;
        until_sink(&outbox, |sink| sink.delivered == EVENTS as u64).await;
        assert_eq!(service.max_under_way.load(Ordering::Relaxed), 32);
        assert_eq!(service.attempts(), EVENTS, "each once");
    }

    #[tokio::test]
    async fn an_overloaded_service_gets_fewer_calls_at_once_and_every_event() {
        let (service, folder) = (Service::of(4, None), tempfile::tempdir().unwrap());
        let outbox = outbox(folder.path(), &service).await;
        until_sink(&outbox, |sink| sink.delivered == EVENTS as u64).await;
        let refused = service.attempts() - EVENTS;
        assert!((1..EVENTS / 4).contains(&refused), "{refused} calls were refused");
        assert_eq!(service.max_under_way.load(Ordering::Relaxed), 8, "the first round");
    }

    #[tokio::test]
    async fn an_event_that_fails_holds_up_no_other() {
        let (service, folder) = (Service::of(usize::MAX, Some("e3")), tempfile::tempdir().unwrap());
        let outbox = outbox(folder.path(), &service).await;
        until_sink(&outbox, |sink| sink.delivered == EVENTS as u64 - 1 && sink.refused >= 3).await;
        let of_it = service.attempts.lock().unwrap()["e3"];
        assert_eq!(service.attempts() - of_it, EVENTS - 1, "each of the others once");
    }
}
