//! The delivery of clips: waits for the footage, makes the clip and stores it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::store::{ClipStore, ClipStoreError};
use crate::base::Backoff;
use crate::clips::{ClipFailure, ClipMaker, ClipOrder, Mp4Clip};
use crate::delivery::{Backlog, OutboxRecord, SinkRun};
use crate::source::{ArchiveError, SourceError};
use crate::telemetry::clips as telemetry;

/// Clips that are made at a time. A stream allows five connections to its archive, and HTTP makes clips, too.
const MAX_UNDER_WAY: usize = 2;
/// Records that are read from the outbox and wait for their footage or for another attempt.
const MAX_HELD: usize = 256;
/// Limit on the wait for footage after it was filmed: a camera that was switched off sends none.
const FOOTAGE_PATIENCE: Duration = Duration::from_secs(90);
/// Footage appears in the archive when its fragment is complete and persisted.
const FOOTAGE_INTERVAL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// The delays after a failure. Each attempt reads the footage again.
const RETRY_INTERVAL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// Delivers the clips of ended incidents.
///
/// Delivery: best effort. A failed clip is tried again until the sink's share of the outbox has no room for it; then the oldest are
/// dropped. A clip whose footage is gone is given up.
pub(super) struct ClipDelivery {
    attempts: Arc<ClipAttempts>,
    backlog: Backlog,
    give_up: CancellationToken,
    waiting: Vec<WaitingClip>,
    /// Attempts under way: tasks, so that none waits for a read of the outbox.
    under_way: JoinSet<EndedAttempt>,
    /// The streams that they read, each once.
    streams: Vec<String>,
    /// True if the outbox may hold records that were not read.
    may_hold_more: bool,
    /// True if the outbox was closed when it was last asked, so that nothing is added any more.
    is_closed: bool,
}

/// A record whose clip is not made yet.
#[derive(Debug)]
struct WaitingClip {
    record: OutboxRecord,
    order: ClipOrder,
    not_before: Instant,
    footage: Backoff,
    retry: Backoff,
}

/// The outcome of an attempt.
#[derive(Debug)]
enum ClipOutcome {
    /// The clip is stored.
    Stored { bytes: u64 },
    /// The footage is not stored yet.
    NotYet,
    /// The clip can never be made or stored.
    GivenUp { reason: &'static str, text: String },
    /// The attempt failed, and is made again.
    Failed { code: String, text: String },
}

#[derive(Debug)]
struct EndedAttempt {
    clip: WaitingClip,
    outcome: ClipOutcome,
}

impl ClipDelivery {
    pub(super) fn new(maker: ClipMaker, store: ClipStore, run: SinkRun) -> Self {
        Self {
            attempts: Arc::new(ClipAttempts { maker, store }),
            backlog: run.backlog,
            give_up: run.give_up,
            waiting: Vec::new(),
            under_way: JoinSet::new(),
            streams: Vec::new(),
            may_hold_more: true,
            is_closed: false,
        }
    }

    /// Delivers until the outbox is closed and nothing waits, or until `give_up`.
    pub(super) async fn run(mut self) {
        let give_up = self.give_up.clone();
        // This cuts calls off. A clip that was stored all the same is stored again after the next start.
        give_up.run_until_cancelled(self.deliver()).await;
    }

    async fn deliver(&mut self) {
        while self.fill().await {
            self.start_attempts();
            let next_ready = self.next_ready();
            let waits_for_new = self.has_room() && !self.is_closed;
            tokio::select! {
                Some(ended) = self.under_way.join_next() => self.settle(attempt_of(ended)),
                () = until(next_ready) => {}
                () = self.backlog.changed(), if waits_for_new => self.ask_again(),
            }
        }
    }

    /// Returns true if no record is in memory.
    fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.waiting.is_empty()
    }

    fn has_room(&self) -> bool {
        self.waiting.len() + self.under_way.len() < MAX_HELD
    }

    /// Reads records from the outbox, and waits for one where there is none at all; `false` at the end.
    async fn fill(&mut self) -> bool {
        let room = MAX_HELD.saturating_sub(self.waiting.len() + self.under_way.len());
        let records = if self.is_idle() {
            let Some(records) = self.backlog.next(room).await else { return false };
            self.may_hold_more = true;
            records
        } else if self.may_hold_more && room > 0 {
            let records = self.backlog.available(room).await;
            self.may_hold_more = !records.is_empty();
            records
        } else {
            Vec::new()
        };
        records.into_iter().for_each(|record| self.take_in(record));
        true
    }

    fn take_in(&mut self, record: OutboxRecord) {
        let Some(order) = record.header.clip.clone() else {
            // Only another version of the program could have routed such a record here.
            return self.backlog.given_up(&record);
        };
        let not_before = Instant::now() + until_filmed(&record, &order);
        let [footage, retry] =
            [FOOTAGE_INTERVAL, RETRY_INTERVAL].map(|(first, longest)| Backoff::new(first, longest));
        self.waiting.push(WaitingClip { record, order, not_before, footage, retry });
    }

    fn ask_again(&mut self) {
        self.may_hold_more = true;
        self.is_closed = self.backlog.closing.is_cancelled();
    }

    /// Returns the next time at which a clip becomes ready. One that is ready already waits for an attempt to end.
    fn next_ready(&self) -> Option<Instant> {
        let now = Instant::now();
        self.waiting.iter().map(|clip| clip.not_before).filter(|ready| *ready > now).min()
    }

    /// Starts as many attempts as the limit allows, one per stream.
    fn start_attempts(&mut self) {
        let Self { waiting, backlog, .. } = self;
        // A camera may have been taken over while its records waited.
        waiting.retain(|clip| !backlog.leaves_out(&clip.record));
        let now = Instant::now();
        while self.under_way.len() < MAX_UNDER_WAY {
            let is_ready =
                |clip: &WaitingClip| clip.not_before <= now && !self.streams.contains(&clip.order.stream);
            let Some(index) = self.waiting.iter().position(is_ready) else { break };
            let clip = self.waiting.remove(index);
            self.streams.push(clip.order.stream.clone());
            let attempts = Arc::clone(&self.attempts);
            self.under_way.spawn(async move {
                let outcome = attempts.attempt(&clip).await;
                EndedAttempt { clip, outcome }
            });
        }
    }

    fn settle(&mut self, EndedAttempt { mut clip, outcome }: EndedAttempt) {
        self.streams.retain(|stream| *stream != clip.order.stream);
        let camera = clip.record.camera.as_str();
        let incident = &clip.record.header.incident_id;
        match outcome {
            ClipOutcome::Stored { bytes } => {
                telemetry::ClipStored { camera, incident, bytes }.emit();
                self.backlog.delivered(&clip.record);
                self.report_if_works();
            }
            ClipOutcome::GivenUp { reason, text } => {
                telemetry::ClipGivenUp { camera, incident, reason, text: &text }.emit();
                self.backlog.given_up(&clip.record);
                self.report_if_works();
            }
            ClipOutcome::NotYet => {
                clip.not_before = Instant::now() + clip.footage.next_wait();
                self.waiting.push(clip);
            }
            ClipOutcome::Failed { code, text } => {
                self.backlog.gauge.failing(&code, &text, 1);
                clip.not_before = Instant::now() + clip.retry.next_wait();
                self.waiting.push(clip);
            }
        }
    }

    /// Reports that the sink works, unless a clip waits for another attempt.
    fn report_if_works(&self) {
        if self.waiting.iter().all(|clip| clip.retry.is_fresh()) {
            self.backlog.gauge.works();
        }
    }
}

/// Makes and stores clips.
struct ClipAttempts {
    maker: ClipMaker,
    store: ClipStore,
}

impl ClipAttempts {
    async fn attempt(&self, clip: &WaitingClip) -> ClipOutcome {
        let WaitingClip { record, order, .. } = clip;
        match self.maker.reaches(&order.stream, order.span.to_ms).await {
            Ok(true) => {}
            Ok(false) if is_awaited(record, order) => return ClipOutcome::NotYet,
            // The camera sends nothing any more: the clip has what there is.
            Ok(false) => {}
            Err(error) => return footage_failure(&error.into()),
        }
        match self.maker.make(&order.stream, order.span).await {
            Ok(made) => self.store(record, order, Arc::new(made)).await,
            Err(error) => footage_failure(&error),
        }
    }

    async fn store(&self, record: &OutboxRecord, order: &ClipOrder, made: Arc<Mp4Clip>) -> ClipOutcome {
        match self.store.put(record, order, &made).await {
            Ok(()) => ClipOutcome::Stored { bytes: made.bytes() },
            Err(ClipStoreError::Invalid(text)) => ClipOutcome::GivenUp { reason: "invalid", text },
            Err(ClipStoreError::Bucket { code, text }) => ClipOutcome::Failed { code, text },
            Err(error @ ClipStoreError::Disk { .. }) => {
                ClipOutcome::Failed { code: "io".to_owned(), text: error.to_string() }
            }
        }
    }
}

/// Returns the outcome of an attempt whose footage could not be read.
fn footage_failure(error: &ClipFailure) -> ClipOutcome {
    let is_gone =
        matches!(error, ClipFailure::Archive(ArchiveError::Request(SourceError::NoSuchStream { .. })));
    if error.is_transient() && !is_gone {
        return ClipOutcome::Failed { code: error.reason().to_owned(), text: error.to_string() };
    }
    ClipOutcome::GivenUp { reason: error.reason(), text: error.to_string() }
}

/// Returns the time until the end of the clip is filmed: it is as far after the record's time as after its arrival.
fn until_filmed(record: &OutboxRecord, order: &ClipOrder) -> Duration {
    let after_ms = order.span.to_ms.saturating_sub(record.header.ts_ms);
    Duration::from_millis(u64::try_from(after_ms).unwrap_or(0)).saturating_sub(record.age())
}

/// Returns whether the footage at the end of the clip may still come.
fn is_awaited(record: &OutboxRecord, order: &ClipOrder) -> bool {
    let after_ms = order.span.to_ms.saturating_sub(record.header.ts_ms);
    record.age() < Duration::from_millis(u64::try_from(after_ms).unwrap_or(0)) + FOOTAGE_PATIENCE
}

/// Returns the end of an attempt's task. Tasks are not cancelled, so one without it has panicked, and the sink ends with it.
fn attempt_of(ended: Result<EndedAttempt, JoinError>) -> EndedAttempt {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Waits until this time; `None`: for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
