//! Takes events in once, and hands them to every sink they are routed to.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::ledger::{Checkpoint, FragmentCommit, Ledger};
use super::picture::Label;
use super::place::Place;
use super::record::Record;
use super::snapshot::Shot;
use super::start::{self, Inlets, StartError, Started};
use super::status::{Gauge, SinkStatus};
use super::{Clients, PublishSpec, Route};
use crate::frame::{CameraId, Event, Frame};
use crate::telemetry::board::Watch;
use crate::telemetry::publish as telemetry;

/// What an outbox is made of.
pub struct OutboxSpec {
    /// The sinks.
    pub publish: PublishSpec,
    /// The routes of all cameras: each data stream among them gets a sink of its own.
    pub routes: Vec<Arc<Route>>,
    /// The file for records that can never be valid; made with the first of them.
    pub dead_letter: PathBuf,
    /// What is known of the cameras.
    pub ledger: Box<dyn Ledger>,
    /// For Kinesis and S3; needed where `publish` or a route names one of them.
    pub clients: Option<Clients>,
}

/// An event to be delivered.
#[derive(Debug)]
pub struct PendingEvent {
    /// The event; `extras.snapshot` is filled in here.
    pub event: Event,
    /// The camera's route.
    pub route: Arc<Route>,
    /// The picture for the snapshot; `None`: no snapshot. Held until it is encoded.
    pub frame: Option<Arc<Frame>>,
    /// The other boxes of the picture.
    pub others: Vec<Label>,
    /// When the last byte of the confirming frame was read.
    pub arrived: Instant,
}

/// What became of an offer.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// It is on its way; this is the record as it is delivered.
    New(Box<Event>),
    /// It was taken in before: its footage was read again.
    Known,
}

/// Why an event was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The service is stopping: read the fragment again after the next start.
    #[error("events are no longer taken in: the service is stopping")]
    Stopped,
    /// The task of a required sink is gone, which only a restart cures: a bug. [`Outbox::watches`] tell of it.
    #[error("sink {sink} takes no more events: its task has ended; restart the service and report this bug")]
    SinkEnded {
        /// The sink.
        sink: String,
    },
    /// The route names a stream that the outbox was not started with: a bug.
    #[error(
        "no sink for the data stream {stream:?} of camera {camera}: it was not among the routes at the start"
    )]
    NoSink {
        /// The stream.
        stream: String,
        /// The camera.
        camera: String,
    },
    /// The event is no JSON: a bug.
    #[error("event {event_id} cannot be written as JSON: {source}")]
    Json {
        /// The event.
        event_id: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// What a stop waits for the best-effort sinks after the required ones are done.
const BEST_EFFORT_GRACE: Duration = Duration::from_secs(4);

/// What a sink had not delivered when the time to stop ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The sink.
    pub sink: String,
    /// Whether events are lost with it.
    pub required: bool,
    /// Records or snapshots.
    pub count: u64,
}

/// The outbox: knows what was taken in, and feeds the sinks.
///
/// Delivery: at least once to every sink that the event is routed to; a required sink (local, Kinesis) loses nothing while
/// the process lives, a best-effort one (snapshots, S3) drops the oldest when it falls behind.
///
/// Shutdown: [`Outbox::flush`] ends and joins every task.
pub struct Outbox {
    publish: PublishSpec,
    ledger: Box<dyn Ledger>,
    /// `None` once stopping. Every sink ends when the last clone is gone and its queue is empty.
    inlets: RwLock<Option<Arc<Inlets>>>,
    sinks: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
    pulses: Vec<(String, AbortHandle)>,
    gauges: Vec<Arc<Gauge>>,
    changed: Arc<Notify>,
    give_up: CancellationToken,
}

impl Outbox {
    /// Starts the sinks, each as a task of the current runtime.
    ///
    /// # Errors
    /// The local sink's folder is not writable, or there are no clients for what is configured. Sinks that cannot be reached are no error: they are tried again.
    pub fn start(spec: OutboxSpec) -> Result<Self, StartError> {
        let Started { inlets, sinks, pulses, gauges, changed, give_up } = start::sinks(&spec)?;
        let (inlets, sinks) = (RwLock::new(Some(Arc::new(inlets))), tokio::sync::Mutex::new(sinks));
        let (publish, ledger) = (spec.publish, spec.ledger);
        Ok(Self { publish, ledger, inlets, sinks, pulses, gauges, changed, give_up })
    }

    /// Takes an event in and hands it to its sinks; drops it when it is known already. Offer before the commit of the
    /// event's fragment: see [`Ledger`].
    ///
    /// Waits while a required sink's queue is full. When the wait is cancelled, the event was not taken in.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub async fn offer(&self, pending: PendingEvent) -> Result<Accepted, OfferError> {
        let inlets = self.open_inlets()?;
        let PendingEvent { mut event, route, frame, others, arrived } = pending;
        let camera = CameraId::new(&event.camera_id);
        if self.ledger.knows(&camera, &event.event_id) {
            return Ok(Accepted::Known);
        }
        let place = frame.as_ref().and_then(|_| Place::of(&self.publish, &route, &event));
        event.payload.extras.snapshot = place.as_ref().and_then(Place::url);
        let record = Arc::new(record(&camera, &event, arrived)?);
        let permits = inlets.reserve(&camera, &route).await.map_err(|error| self.stopped_or(error))?;
        if !self.ledger.admit(&camera, &event.event_id) {
            return Ok(Accepted::Known);
        }
        for (permit, gauge) in permits {
            gauge.enqueued();
            permit.send(Arc::clone(&record));
        }
        if let (Some(place), Some(frame), Some(snapshots)) = (place, frame, &inlets.snapshots) {
            snapshots.push(Shot::of(&event, frame, others, place, arrived), 1);
        }
        telemetry::EventAccepted { event: &event }.emit();
        Ok(Accepted::New(Box::new(event)))
    }

    /// Commits a complete fragment, all of whose events were offered.
    pub fn commit(&self, commit: FragmentCommit) {
        self.ledger.commit(commit);
    }

    /// Where to go on with a camera; `None`: where its configuration says.
    #[must_use]
    pub fn resume(&self, camera: &CameraId) -> Option<Checkpoint> {
        self.ledger.resume(camera)
    }

    /// How each sink fares.
    #[must_use]
    pub fn statuses(&self) -> Vec<SinkStatus> {
        self.gauges.iter().map(|gauge| gauge.status()).collect()
    }

    /// What tells that the task of a sink is gone.
    #[must_use]
    pub fn watches(&self) -> Vec<Watch> {
        let watch = |(sink, task): &(String, AbortHandle)| {
            let task = task.clone();
            Watch {
                name: format!("publish-{sink}"),
                alive: Box::new(move || !task.is_finished()),
                busy_since: Box::new(|| None),
                limit: Duration::MAX,
            }
        };
        self.pulses.iter().map(watch).collect()
    }

    /// Waits until the sinks fare as `wanted`; tells how they do then.
    pub async fn until(&self, mut wanted: impl FnMut(&[SinkStatus]) -> bool) -> Vec<SinkStatus> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let statuses = self.statuses();
            if wanted(&statuses) {
                return statuses;
            }
            changed.await;
        }
    }

    /// Takes no more events in, waits until the sinks are empty or `within` has passed, and ends them; tells what remains.
    /// Once the required sinks are empty, the others get [`BEST_EFFORT_GRACE`] at most.
    pub async fn flush(&self, within: Duration) -> Vec<Remains> {
        *self.inlets.write().unwrap_or_else(PoisonError::into_inner) = None;
        let mut sinks = self.sinks.lock().await;
        let mut all = futures_util::future::join_all(sinks.drain(..));
        tokio::select! {
            _ = &mut all => {}
            () = self.patience(within) => {
                self.give_up.cancel();
                all.await;
            }
        }
        self.gauges.iter().filter_map(|gauge| remains(gauge)).collect()
    }

    async fn patience(&self, within: Duration) {
        let end = tokio::time::Instant::now() + within;
        let delivered =
            self.until(|sinks| sinks.iter().filter(|sink| sink.required).all(|sink| sink.queued == 0));
        if tokio::time::timeout_at(end, delivered).await.is_ok() {
            let grace = tokio::time::Instant::now() + BEST_EFFORT_GRACE;
            tokio::time::sleep_until(grace.min(end)).await;
        }
    }

    fn open_inlets(&self) -> Result<Arc<Inlets>, OfferError> {
        let inlets = self.inlets.read().unwrap_or_else(PoisonError::into_inner);
        inlets.clone().ok_or(OfferError::Stopped)
    }

    /// A sink that a stop has ended is no fault.
    fn stopped_or(&self, error: OfferError) -> OfferError {
        self.open_inlets().err().unwrap_or(error)
    }
}

fn record(camera: &CameraId, event: &Event, arrived: Instant) -> Result<Record, OfferError> {
    let event_id = event.event_id.clone();
    match serde_json::to_vec(event) {
        Ok(json) => Ok(Record { camera: camera.clone(), event_id, json: json.into(), arrived }),
        Err(source) => Err(OfferError::Json { event_id, source }),
    }
}

fn remains(gauge: &Gauge) -> Option<Remains> {
    let count = gauge.queued();
    (count > 0).then(|| {
        let (sink, required) = (gauge.name(), gauge.is_required());
        telemetry::Undelivered { sink, required, count }.emit();
        Remains { sink: sink.to_owned(), required, count }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::MemoryLedger;

    fn with_local_sink(folder: &std::path::Path) -> Outbox {
        Outbox::start(OutboxSpec {
            publish: PublishSpec {
                kds_stream: None,
                s3: None,
                local_dir: Some(folder.to_owned()),
                snapshots: None,
            },
            routes: Vec::new(),
            dead_letter: folder.join("dead-letter.jsonl"),
            ledger: Box::new(MemoryLedger::default()),
            clients: None,
        })
        .unwrap()
    }

    fn pending() -> PendingEvent {
        let event = crate::telemetry::board::testing::event("e1");
        let route = Arc::new(Route { kds_stream: None, snapshot: None });
        PendingEvent { event, route, frame: None, others: Vec::new(), arrived: Instant::now() }
    }

    fn alive(outbox: &Outbox) -> Vec<(String, bool)> {
        outbox.watches().into_iter().map(|watch| (watch.name, (watch.alive)())).collect()
    }

    /// No sink is known to panic, so its task is killed.
    #[tokio::test]
    async fn a_sink_whose_task_is_gone_is_seen_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = with_local_sink(folder.path());
        assert_eq!(alive(&outbox), [("publish-local".to_owned(), true)]);
        let killed = outbox.sinks.lock().await.remove(0);
        killed.abort();
        assert!(killed.await.unwrap_err().is_cancelled());
        assert_eq!(alive(&outbox), [("publish-local".to_owned(), false)]);
        let refused = outbox.offer(pending()).await.unwrap_err();
        assert!(matches!(&refused, OfferError::SinkEnded { sink } if sink == "local"), "{refused}");
        outbox.flush(Duration::ZERO).await;
        assert!(matches!(outbox.offer(pending()).await, Err(OfferError::Stopped)));
    }
}
