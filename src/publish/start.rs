//! Starts the sinks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::dead_letter::DeadLetters;
use super::drop_oldest;
use super::kinesis::{self, KinesisSink};
use super::local::{self, LocalSink};
use super::outbox::{OfferError, OutboxSpec};
use super::record::Record;
use super::s3::{self, S3Sink, Upload};
use super::snapshot::{self, BestEffort, Shot, SnapshotSink};
use super::snapshot_folder::SnapshotFolder;
use super::status::Gauge;
use super::{Clients, Route, S3Spec, SnapshotSpec};
use crate::frame::CameraId;

/// Records that wait for a required sink, before `offer` waits.
const QUEUE: usize = 1_000;

/// Why an outbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The local sink's folder cannot be written to.
    #[error(
        "cannot write to the folder {path} (publishers.local_dir): {source}; make it writable or name another",
        path = path.display()
    )]
    LocalDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Kinesis or S3 is configured, and there are no clients: a bug.
    #[error("{sink} is configured, but the outbox was started without AWS clients")]
    NoClients {
        /// The sink.
        sink: String,
    },
}

/// What was started.
pub(super) struct Started {
    pub(super) inlets: Inlets,
    pub(super) sinks: Vec<JoinHandle<()>>,
    /// The name of each sink, and what tells whether its task lives.
    pub(super) pulses: Vec<(String, AbortHandle)>,
    pub(super) gauges: Vec<Arc<Gauge>>,
    /// Told of every change of a gauge.
    pub(super) changed: Arc<Notify>,
    pub(super) give_up: CancellationToken,
}

/// The ends of the sinks' queues that events go into.
pub(super) struct Inlets {
    local: Option<Inlet>,
    kinesis: BTreeMap<String, Inlet>,
    pub(super) snapshots: Option<BestEffort<Shot>>,
}

/// The queue of a required sink.
struct Inlet {
    records: mpsc::Sender<Arc<Record>>,
    gauge: Arc<Gauge>,
}

type Permit<'a> = (mpsc::Permit<'a, Arc<Record>>, &'a Gauge);

impl Inlets {
    /// A place in the queue of each required sink of the route.
    pub(super) async fn reserve(
        &self,
        camera: &CameraId,
        route: &Route,
    ) -> Result<Vec<Permit<'_>>, OfferError> {
        let kinesis =
            match &route.kds_stream {
                Some(stream) => Some(self.kinesis.get(stream).ok_or_else(|| OfferError::NoSink {
                    stream: stream.clone(),
                    camera: camera.to_string(),
                })?),
                None => None,
            };
        let mut permits = Vec::with_capacity(2);
        for inlet in self.local.iter().chain(kinesis) {
            let ended = |_| OfferError::SinkEnded { sink: inlet.gauge.name().to_owned() };
            let permit = inlet.records.reserve().await.map_err(ended)?;
            permits.push((permit, &*inlet.gauge));
        }
        Ok(permits)
    }
}

/// Starts every sink that the spec asks for, each as a task of the current runtime.
pub(super) fn sinks(spec: &OutboxSpec) -> Result<Started, StartError> {
    let mut starting = Starting::default();
    let local = spec.publish.local_dir.as_deref().map(|folder| starting.local(folder)).transpose()?;
    let kinesis = starting.kinesis(spec)?;
    let snapshots = match spec.publish.snapshots {
        Some(snapshots) => starting.snapshots(spec, snapshots)?,
        None => None,
    };
    let Starting { sinks, pulses, gauges, changed, give_up } = starting;
    Ok(Started { inlets: Inlets { local, kinesis, snapshots }, sinks, pulses, gauges, changed, give_up })
}

/// The sinks while they are being started.
#[derive(Default)]
struct Starting {
    sinks: Vec<JoinHandle<()>>,
    pulses: Vec<(String, AbortHandle)>,
    gauges: Vec<Arc<Gauge>>,
    changed: Arc<Notify>,
    give_up: CancellationToken,
}

impl Starting {
    fn local(&mut self, folder: &Path) -> Result<Inlet, StartError> {
        let journal = local::open(folder).map_err(|source| no_folder(folder, source))?;
        let (gauge, give_up) = (self.gauge("local", true, QUEUE + local::BATCH), self.give_up.clone());
        let (inlet, records) = inlet(&gauge);
        self.spawn("local", LocalSink { journal, records, gauge, give_up }.run());
        Ok(inlet)
    }

    /// One sink a data stream.
    fn kinesis(&mut self, spec: &OutboxSpec) -> Result<BTreeMap<String, Inlet>, StartError> {
        let dead_letters = Arc::new(DeadLetters::new(&spec.dead_letter));
        let streams: BTreeSet<&String> =
            spec.routes.iter().filter_map(|route| route.kds_stream.as_ref()).collect();
        let mut inlets = BTreeMap::new();
        for stream in streams {
            let name = format!("kds/{stream}");
            let client = clients(spec, &name)?.kinesis.clone();
            let gauge = self.gauge(&name, true, QUEUE + kinesis::MOST_WAITING);
            let give_up = self.give_up.clone();
            let (inlet, records) = inlet(&gauge);
            let (stream, dead_letters) = (stream.clone(), Arc::clone(&dead_letters));
            inlets.insert(stream.clone(), inlet);
            let sink = KinesisSink { client, stream, records, gauge, dead_letters, give_up };
            self.spawn(&name, sink.run());
        }
        Ok(inlets)
    }

    /// `None` where there is no place to put snapshots.
    fn snapshots(
        &mut self,
        outbox: &OutboxSpec,
        spec: SnapshotSpec,
    ) -> Result<Option<BestEffort<Shot>>, StartError> {
        let folder = match &outbox.publish.local_dir {
            Some(path) => {
                let folder = SnapshotFolder::open(path).map_err(|source| no_folder(path, source))?;
                Some(Arc::new(Mutex::new(folder)))
            }
            None => None,
        };
        let routed = outbox.routes.iter().any(|route| route.snapshot.is_some());
        let s3 = match outbox.publish.s3.as_ref().filter(|_| routed) {
            Some(s3) => Some(self.s3(clients(outbox, "s3")?, s3)),
            None => None,
        };
        if folder.is_none() && s3.is_none() {
            return Ok(None);
        }
        // One more than the queue holds is being made.
        let (gauge, give_up) = (self.gauge("snapshots", false, snapshot::QUEUE + 1), self.give_up.clone());
        let (inlet, shots) = drop_oldest::queue(snapshot::QUEUE);
        let sink = SnapshotSink { shots, spec, folder, s3, gauge: Arc::clone(&gauge), give_up };
        self.spawn("snapshots", sink.run());
        Ok(Some(BestEffort { inlet, gauge }))
    }

    fn s3(&mut self, clients: &Clients, spec: &S3Spec) -> BestEffort<Upload> {
        let (gauge, give_up) = (self.gauge("s3", false, 0), self.give_up.clone());
        let (inlet, uploads) = drop_oldest::queue(s3::QUEUE_BYTES);
        let (client, sse) = (clients.s3.clone(), spec.sse.clone());
        let sink = S3Sink { client, sse, uploads, gauge: Arc::clone(&gauge), give_up };
        self.spawn("s3", sink.run());
        BestEffort { inlet, gauge }
    }

    fn spawn(&mut self, name: &str, sink: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(sink);
        self.pulses.push((name.to_owned(), task.abort_handle()));
        self.sinks.push(task);
    }

    /// `limit`: see [`super::SinkStatus::queue_limit`].
    fn gauge(&mut self, name: &str, required: bool, limit: usize) -> Arc<Gauge> {
        let gauge = Arc::new(Gauge::new(name, required, limit as u64, Arc::clone(&self.changed)));
        self.gauges.push(Arc::clone(&gauge));
        gauge
    }
}

fn no_folder(path: &Path, source: std::io::Error) -> StartError {
    StartError::LocalDir { path: path.to_owned(), source }
}

fn clients<'a>(spec: &'a OutboxSpec, sink: &str) -> Result<&'a Clients, StartError> {
    spec.clients.as_ref().ok_or_else(|| StartError::NoClients { sink: sink.to_owned() })
}

fn inlet(gauge: &Arc<Gauge>) -> (Inlet, mpsc::Receiver<Arc<Record>>) {
    let (records, outlet) = mpsc::channel(QUEUE);
    (Inlet { records, gauge: Arc::clone(gauge) }, outlet)
}
