//! Opens the outbox on disk and starts the sinks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, follow_waiting};
use super::dead_letter::DeadLetters;
use super::delivery_progress::DeliveryProgress;
use super::sink::{Sink, SinkRun};
use super::spec::OutboxSpec;
use super::start_error::StartError;
use super::status::SinkGauge;
use crate::telemetry::publish as telemetry;

/// The open outbox and its running sinks.
pub(super) struct RunningSinks {
    pub(super) store: ::outbox::Outbox,
    pub(super) damaged: Option<DamagedOutbox>,
    pub(super) sinks: Vec<RunningSink>,
    pub(super) progress: Arc<DeliveryProgress>,
    /// Notified of every change of a gauge.
    pub(super) changed: Arc<Notify>,
    pub(super) closing: CancellationToken,
    pub(super) give_up: CancellationToken,
}

/// Limit on the wait of a camera's position for a best-effort sink, from an event on. Without it a sink that never works would hold
/// the position for ever.
const BEST_EFFORT_PATIENCE: Duration = Duration::from_secs(60);

/// A sink with its task.
pub(super) struct RunningSink {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) handle: ::outbox::SinkHandle,
    pub(super) gauge: Arc<SinkGauge>,
    /// Shows whether the task has ended.
    pub(super) liveness: AbortHandle,
    pub(super) task: Option<JoinHandle<()>>,
}

/// Opens the outbox and starts every sink that the spec asks for, and those for which events wait since an earlier configuration,
/// each as a task of the current runtime.
pub(super) async fn start_sinks(spec: &OutboxSpec) -> Result<RunningSinks, StartError> {
    let OpenedOutbox { store, sinks, damaged } = open(spec).await?;
    let required = sinks.iter().filter(|sink| sink.is_required()).map(|sink| Arc::from(sink.name()));
    let progress = DeliveryProgress::new(required, BEST_EFFORT_PATIENCE);
    let is_shared = spec.sharing.is_some();
    let progress = Arc::new(if is_shared { progress.of_worker() } else { progress });
    if spec.state.ddb_table.is_some() && !is_shared {
        // Before a sink runs: an event that is delivered while it is added would hold its camera's position for ever.
        follow_waiting(&store, &queues_of(&store, &sinks), &progress)?;
    }
    let starter = SinkStarter {
        spec,
        store: &store,
        progress,
        dead_letters: Arc::new(DeadLetters::new(&spec.dead_letter)),
        changed: Arc::default(),
        closing: CancellationToken::new(),
        give_up: CancellationToken::new(),
    };
    let shares = shares_of(&sinks, spec);
    let mut running = Vec::with_capacity(sinks.len());
    for (sink, share_bytes) in sinks.into_iter().zip(shares) {
        running.push(starter.start(sink, share_bytes)?);
    }
    let SinkStarter { progress, changed, closing, give_up, .. } = starter;
    Ok(RunningSinks { store, damaged, sinks: running, progress, changed, closing, give_up })
}

/// Returns the sinks' names and handles.
fn queues_of(store: &::outbox::Outbox, sinks: &[Arc<dyn Sink>]) -> Vec<(Arc<str>, ::outbox::SinkHandle)> {
    let queue = |sink: &Arc<dyn Sink>| {
        let name = sink.name();
        store.sink(&name).map(|handle| (Arc::from(name), handle))
    };
    sinks.iter().filter_map(queue).collect()
}

/// An outbox that was opened.
struct OpenedOutbox {
    store: ::outbox::Outbox,
    sinks: Vec<Arc<dyn Sink>>,
    /// The file that was there before, if it was damaged.
    damaged: Option<DamagedOutbox>,
}

/// A damaged outbox that was set aside for a new one.
#[derive(Clone, Debug)]
pub struct DamagedOutbox {
    /// Its new path.
    path: PathBuf,
    /// The finding and its consequences.
    text: String,
}

impl DamagedOutbox {
    /// Returns the reason for `/healthz`, until someone has dealt with the file.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.path
            .try_exists()
            // A folder that cannot be read does not mean that someone has dealt with the file.
            .unwrap_or(true)
            .then(|| format!("{}; then delete it to end this message", self.text))
    }
}

/// Opens the outbox. A damaged file is set aside where a table of positions knows up to where each camera is delivered: events that
/// the file held undelivered are made again from there. Without a table they would be lost silently, so an operator has to decide.
fn open_or_set_aside(
    spec: &OutboxSpec,
    sinks: &[Arc<dyn Sink>],
) -> Result<(::outbox::Outbox, ::outbox::OpenReport, Option<DamagedOutbox>), StartError> {
    let why = match ::outbox::Outbox::open(config(spec, sinks)) {
        Ok((store, opened)) => return Ok((store, opened, None)),
        Err(why) => why,
    };
    let is_damaged = matches!(why, ::outbox::OpenError::Damaged { .. } | ::outbox::OpenError::Foreign { .. });
    let Some(table) = spec.state.ddb_table.as_ref().filter(|_| is_damaged) else { return Err(why.into()) };
    let path = ::outbox::OutboxFolder::set_aside(&spec.state.dir, SystemTime::now())?;
    let text = format!(
        "the outbox in state.dir could not be used and was set aside as {}: cameras resume at their delivered positions in table \
         {table}, and undelivered events of the file are made again from footage that KVS still keeps; check the disk, keep the \
         file for as long as it may be needed",
        path.display()
    );
    telemetry::OutboxSetAside { why: &why.to_string(), text: &text }.emit();
    let (store, opened) = ::outbox::Outbox::open(config(spec, sinks))?;
    Ok((store, opened, Some(DamagedOutbox { path, text })))
}

/// Opens the outbox with its sinks: those of the spec, then those that have events waiting since an earlier configuration.
async fn open(spec: &OutboxSpec) -> Result<OpenedOutbox, StartError> {
    let mut sinks = spec.sinks.all();
    let (mut store, mut opened, damaged) = open_or_set_aside(spec, &sinks)?;
    let mut leftover = Vec::new();
    if spec.clients.is_some() {
        leftover.extend(opened.orphaned.iter().filter_map(|left| spec.sinks.registry.leftover(&left.name)));
    }
    if !leftover.is_empty() {
        // The outbox takes its sinks when it is opened, so it is opened again with those added.
        sinks.extend(leftover);
        // Opened a moment ago and unused, so there is nothing whose writing could fail.
        let _ = store.close();
        (store, opened) = ::outbox::Outbox::open(config(spec, &sinks))?;
    }
    for left in opened.orphaned {
        telemetry::LeftoverDropped { sink: &left.name, count: left.entries }.emit();
        store.drop_sink(&left.name).await;
    }
    Ok(OpenedOutbox { store, sinks, damaged })
}

fn shares_of(sinks: &[Arc<dyn Sink>], spec: &OutboxSpec) -> Vec<u64> {
    let wants_pictures: Vec<bool> = sinks.iter().map(|sink| sink.wants_pictures()).collect();
    shares(&wants_pictures, spec.state.max_bytes)
}

/// Returns the share of each sink, bytes; together at most `max_bytes`. `wants_pictures`: one entry per sink.
///
/// A sink that keeps pictures gets eight parts, another one part: weighed by the bytes of an event there.
fn shares(wants_pictures: &[bool], max_bytes: u64) -> Vec<u64> {
    let parts: Vec<u64> = wants_pictures.iter().map(|&wants| if wants { 8 } else { 1 }).collect();
    let all: u64 = parts.iter().sum();
    parts.iter().map(|parts| max_bytes / all.max(1) * parts).collect()
}

fn config(spec: &OutboxSpec, sinks: &[Arc<dyn Sink>]) -> ::outbox::OutboxConfig {
    let sinks = sinks.iter().zip(shares_of(sinks, spec)).map(|(sink, quota_bytes)| ::outbox::SinkSpec {
        name: sink.name(),
        required: sink.is_required(),
        quota_bytes,
        takes_attachments: sink.wants_pictures(),
    });
    ::outbox::OutboxConfig { dir: spec.state.dir.clone(), sinks: sinks.collect() }
}

/// The parts that all sinks share.
struct SinkStarter<'a> {
    spec: &'a OutboxSpec,
    store: &'a ::outbox::Outbox,
    progress: Arc<DeliveryProgress>,
    dead_letters: Arc<DeadLetters>,
    changed: Arc<Notify>,
    closing: CancellationToken,
    give_up: CancellationToken,
}

impl SinkStarter<'_> {
    fn start(&self, sink: Arc<dyn Sink>, share_bytes: u64) -> Result<RunningSink, StartError> {
        let name = sink.name();
        let Some(handle) = self.store.sink(&name) else {
            return Err(StartError::NoSink { sink: name });
        };
        let changed = Arc::clone(&self.changed);
        let gauge = Arc::new(SinkGauge::new(&name, sink.is_required(), share_bytes, changed));
        let backlog = Backlog {
            outbox: self.store.clone(),
            sink: handle,
            gauge: Arc::clone(&gauge),
            progress: Arc::clone(&self.progress),
            dead_letters: Arc::clone(&self.dead_letters),
            closing: self.closing.clone(),
            after: None,
        };
        let (give_up, clients) = (self.give_up.clone(), self.spec.clients.clone());
        let state_dir = self.spec.state.dir.clone();
        let task = sink.spawn(SinkRun { backlog, give_up, clients, state_dir })?;
        Ok(RunningSink { sink, handle, gauge, liveness: task.abort_handle(), task: Some(task) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::base::Probe;
    use crate::delivery::{Clients, OnlySink, RecordHeader, Route, SinkSet, StateSpec};
    use crate::media::CameraId;
    use crate::sinks::PublishSpec;

    /// A sink that delivers nothing, and keeps whether the progress knew of its record when it started.
    #[derive(Clone, Debug, Default)]
    struct StartWitness(Arc<Mutex<Option<bool>>>);

    impl Sink for StartWitness {
        fn name(&self) -> String {
            "witness".to_owned()
        }

        fn is_required(&self) -> bool {
            true
        }

        fn destination(&self, _route: &Route) -> String {
            self.name()
        }

        fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
            *self.0.lock().unwrap() = Some(run.backlog.progress.waits(&CameraId::new("gate")));
            Ok(tokio::spawn(async {}))
        }

        fn probes(&self, _clients: Option<&Clients>) -> Vec<Probe> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn a_record_that_waits_is_in_the_progress_before_its_sink_can_deliver_it() {
        let (folder, witness) = (tempfile::tempdir().unwrap(), StartWitness::default());
        let sinks = SinkSet { registry: Arc::new(OnlySink(Arc::new(witness.clone()))), routes: Vec::new() };
        let spec = OutboxSpec { sinks, ..spec(folder.path(), Some("positions")) };
        let header = RecordHeader {
            event_id: "e".into(),
            ts_ms: 0,
            seq: 1,
            arrived_ms: 0,
            incident_id: String::new(),
            place: None,
            boxes: Vec::new(),
            clip: None,
            epoch: None,
        };
        let payload = [serde_json::to_vec(&header).unwrap(), b"\n{}".to_vec()].concat();
        let before = open(&spec).await.unwrap().store;
        let waiting = ::outbox::NewEntry {
            payload: payload.into(),
            attachments: Vec::new(),
            sinks: vec![before.sink("witness").unwrap()],
        };
        let commit = ::outbox::OutboxCommit {
            source: "gate".into(),
            checkpoint: None,
            entries: vec![waiting],
            urgent: true,
        };
        before.commit(commit).await.unwrap();
        before.close().unwrap();
        drop(before);
        let running = start_sinks(&spec).await.unwrap();
        assert_eq!(*witness.0.lock().unwrap(), Some(true));
        running.store.close().unwrap();
    }

    fn spec(folder: &std::path::Path, table: Option<&str>) -> OutboxSpec {
        let publish = PublishSpec { local_dir: Some(folder.join("events")), ..PublishSpec::default() };
        let state =
            StateSpec { dir: folder.join("state"), max_bytes: 1 << 20, ddb_table: table.map(str::to_owned) };
        OutboxSpec {
            sinks: publish.sinks(Vec::new()),
            state,
            dead_letter: folder.join("dead"),
            clients: None,
            sharing: None,
        }
    }

    fn set_aside(folder: &std::path::Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.join("state")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_string_lossy().contains("outbox.redb.damaged-")).collect()
    }

    #[tokio::test]
    async fn a_damaged_outbox_is_set_aside_only_where_a_table_has_the_positions() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state").join(::outbox::DATABASE_FILE);
        open(&spec(folder.path(), None)).await.unwrap().store.close().unwrap();
        let sound = std::fs::read(&file).unwrap();
        for (name, bytes) in [("zeroed", vec![0; sound.len()]), ("cut", sound[..sound.len() / 2].to_vec())] {
            std::fs::write(&file, &bytes).unwrap();
            assert!(
                open(&spec(folder.path(), None)).await.is_err(),
                "{name}: nothing else has the positions"
            );
            assert_eq!(std::fs::read(&file).unwrap(), bytes, "{name}: left as it is");
            let opened = open(&spec(folder.path(), Some("positions"))).await.unwrap();
            let damaged = opened.damaged.unwrap();
            assert_eq!(set_aside(folder.path()), std::slice::from_ref(&damaged.path), "{name}: one is kept");
            assert_eq!(std::fs::read(&damaged.path).unwrap(), bytes, "{name}");
            let reason = damaged.reason().unwrap();
            assert!(
                reason.contains("outbox.redb.damaged-") && reason.contains("table positions"),
                "{reason}"
            );
            std::fs::rename(&damaged.path, folder.path().join("examined")).unwrap();
            assert_eq!(damaged.reason(), None, "{name}: someone has dealt with it");
            std::fs::rename(folder.path().join("examined"), &damaged.path).unwrap();
            opened.store.close().unwrap();
            let again = open(&spec(folder.path(), Some("positions"))).await.unwrap();
            assert!(again.damaged.is_none(), "{name}: a new one is there");
            again.store.close().unwrap();
        }
    }
    #[test]
    fn pictures_get_more_and_the_sum_stays_within_the_limit() {
        for (sinks, expected) in [
            (&[][..], vec![]),
            (&[false], vec![1_000]),
            (&[false, true], vec![111, 888]),
            (&[true, false, false, true], vec![440, 55, 55, 440]),
        ] {
            assert_eq!(shares(sinks, 1_000), expected, "{sinks:?}");
        }
    }
}
