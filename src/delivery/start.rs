//! Opens the outbox and starts the sinks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::dead_letter::DeadLetters;
use super::delivery_progress::DeliveryProgress;
use super::event_outbox::OutboxSpec;
use super::positions::each_waiting;
use super::share::shares;
use super::status::SinkGauge;
use super::{Clients, PublishSpec, Route, Sse};
use crate::base::storage_remedy;
use crate::sinks::dynamodb::DynamoDbTarget;
use crate::sinks::each::EachSink;
use crate::sinks::kinesis::KinesisSink;
use crate::sinks::local::{Folder, LocalSink};
use crate::sinks::s3::S3Target;
use crate::telemetry::publish as telemetry;

/// Why an outbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The outbox on disk cannot be opened.
    #[error("{0} (state.dir)")]
    State(#[from] ::outbox::OpenError),
    /// The local sink's folder cannot be written to.
    #[error(
        "cannot write to the folder {path} (publishers.local_dir): {source}; {remedy}",
        path = path.display(),
        remedy = storage_remedy(&source.to_string()).unwrap_or("make it writable or name another")
    )]
    LocalDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An AWS service is configured, and there are no clients: a bug.
    #[error("{sink} is configured, but the outbox was started without AWS clients")]
    NoClients {
        /// The sink.
        sink: String,
    },
    /// The outbox was opened without one of its sinks: a bug.
    #[error("the outbox was opened without its sink {sink}")]
    NoSink {
        /// The sink.
        sink: String,
    },
    /// What waits in the outbox cannot be read.
    #[error("{0} (state.dir)")]
    Read(#[from] ::outbox::ReadError),
}

/// Where events go, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SinkName {
    Local,
    Kinesis(String),
    DynamoDb(String),
    S3,
}

impl SinkName {
    /// The sinks that the events of a route go to; without a route those that take the events of any. This is the one list
    /// of them: the outbox, `check` and the probes go by it.
    pub(crate) fn of(publish: &PublishSpec, route: Option<&Route>) -> Vec<Self> {
        let local = publish.local_dir.as_ref().map(|_| Self::Local);
        let stream = route.and_then(|route| route.kds_stream.clone()).map(Self::Kinesis);
        let table = publish.ddb.as_ref().map(|ddb| Self::DynamoDb(ddb.table.clone()));
        let has_pictures = publish.s3.is_some() && publish.snapshots.is_some();
        let s3 = route.is_some_and(|route| has_pictures && route.snapshot.is_some()).then_some(Self::S3);
        [local, stream, table, s3].into_iter().flatten().collect()
    }

    pub(crate) fn is_required(&self) -> bool {
        matches!(self, Self::Local | Self::Kinesis(_))
    }

    pub(crate) fn takes_pictures(&self) -> bool {
        matches!(self, Self::Local | Self::S3)
    }

    fn parse(name: &str) -> Option<Self> {
        match name.split_once('/') {
            None if name == "local" => Some(Self::Local),
            None if name == "s3" => Some(Self::S3),
            Some(("kds", stream)) => Some(Self::Kinesis(stream.to_owned())),
            Some(("dynamodb", table)) => Some(Self::DynamoDb(table.to_owned())),
            _ => None,
        }
    }
}

impl std::fmt::Display for SinkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Kinesis(stream) => write!(f, "kds/{stream}"),
            Self::DynamoDb(table) => write!(f, "dynamodb/{table}"),
            Self::S3 => f.write_str("s3"),
        }
    }
}

/// What was started.
pub(crate) struct RunningSinks {
    pub(crate) store: ::outbox::Outbox,
    pub(crate) damaged: Option<DamagedOutbox>,
    pub(crate) sinks: Vec<RunningSink>,
    pub(crate) progress: Arc<DeliveryProgress>,
    /// Told of every change of a gauge.
    pub(crate) changed: Arc<Notify>,
    pub(crate) closing: CancellationToken,
    pub(crate) give_up: CancellationToken,
}

/// For how long a camera's position waits for a sink that is best effort, from an event on.
const BEST_EFFORT_PATIENCE: Duration = Duration::from_secs(60);

/// A sink at work.
pub(crate) struct RunningSink {
    pub(crate) name: SinkName,
    pub(crate) handle: ::outbox::Sink,
    pub(crate) gauge: Arc<SinkGauge>,
    /// Tells whether its task lives.
    pub(crate) pulse: AbortHandle,
    pub(crate) task: Option<JoinHandle<()>>,
}

/// Opens the outbox and starts every sink that the spec asks for, and those that an earlier configuration left events for,
/// each as a task of the current runtime.
pub(crate) async fn sinks(spec: &OutboxSpec) -> Result<RunningSinks, StartError> {
    let OpenedOutbox { store, names, damaged } = open(spec).await?;
    let shares = shares(&names, spec.state.max_bytes);
    let required = names.iter().filter(|name| name.is_required()).map(|name| Arc::from(name.to_string()));
    let starting = SinkStarter {
        spec,
        store: &store,
        progress: Arc::new(DeliveryProgress::new(required, BEST_EFFORT_PATIENCE)),
        dead_letters: Arc::new(DeadLetters::new(&spec.dead_letter)),
        changed: Arc::default(),
        closing: CancellationToken::new(),
        give_up: CancellationToken::new(),
    };
    let sinks = names
        .into_iter()
        .zip(shares)
        .map(|(name, share)| starting.sink(name, share))
        .collect::<Result<_, _>>()?;
    let SinkStarter { progress, changed, closing, give_up, .. } = starting;
    Ok(RunningSinks { store, damaged, sinks, progress, changed, closing, give_up })
}

/// Has the progress follow the events that waited when the outbox was opened.
pub(crate) fn follow_what_waits(
    store: &::outbox::Outbox,
    sinks: &[RunningSink],
    progress: &DeliveryProgress,
) -> Result<(), ::outbox::ReadError> {
    for sink in sinks {
        each_waiting(store, sink.handle, |record| {
            progress.taken(&record.camera, record.header.seq, [Arc::from(sink.gauge.name())]);
        })?;
    }
    Ok(())
}

/// An outbox that was opened.
struct OpenedOutbox {
    store: ::outbox::Outbox,
    names: Vec<SinkName>,
    /// The one that was there before, if it was damaged.
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
            .unwrap_or(true)
            .then(|| format!("{}; then delete it to end this message", self.text))
    }
}

/// Opens the outbox. A damaged one is set aside where a table of positions says up to where each camera is delivered: what the file held
/// undelivered is made again from there. Without a table it would be lost without a word, so someone has to decide.
fn open_or_set_aside(
    spec: &OutboxSpec,
    names: &[SinkName],
) -> Result<(::outbox::Outbox, ::outbox::Opened, Option<DamagedOutbox>), StartError> {
    let why = match ::outbox::Outbox::open(config(spec, names)) {
        Ok((store, opened)) => return Ok((store, opened, None)),
        Err(why) => why,
    };
    let is_damaged = matches!(why, ::outbox::OpenError::Damaged { .. } | ::outbox::OpenError::Foreign { .. });
    let Some(table) = spec.state.ddb_table.as_ref().filter(|_| is_damaged) else { return Err(why.into()) };
    let path = ::outbox::Folder::set_aside(&spec.state.dir, SystemTime::now())?;
    let text = format!(
        "the outbox in state.dir could not be used and was set aside as {}: cameras resume where table {table} says that they are \
         delivered, and what the file held undelivered is made again from footage that KVS still keeps; see to the disk, keep the file \
         for as long as it may be needed",
        path.display()
    );
    telemetry::OutboxSetAside { why: &why.to_string(), text: &text }.emit();
    let (store, opened) = ::outbox::Outbox::open(config(spec, names))?;
    Ok((store, opened, Some(DamagedOutbox { path, text })))
}

/// The outbox with its sinks: those of the spec, then those that have events waiting since an earlier configuration.
async fn open(spec: &OutboxSpec) -> Result<OpenedOutbox, StartError> {
    let mut names = wanted(spec);
    let (mut store, mut opened, damaged) = open_or_set_aside(spec, &names)?;
    let before: Vec<SinkName> =
        opened.leftover.iter().filter_map(|left| SinkName::parse(&left.name)).collect();
    let served = before.into_iter().filter(|name| *name != SinkName::Local && spec.clients.is_some());
    let served: Vec<SinkName> = served.collect();
    if !served.is_empty() {
        names.extend(served);
        // It was opened a moment ago, so there is nothing that could fail to be written.
        let _ = store.close();
        (store, opened) = ::outbox::Outbox::open(config(spec, &names))?;
    }
    for left in opened.leftover {
        telemetry::Forgotten { sink: &left.name, count: left.entries }.emit();
        store.drop_sink(&left.name).await;
    }
    Ok(OpenedOutbox { store, names, damaged })
}

/// The sinks that the spec asks for: those of each route, and those that take the events of any.
pub(crate) fn wanted(spec: &OutboxSpec) -> Vec<SinkName> {
    let routes = spec.routes.iter().map(|route| Some(&**route));
    let names = std::iter::once(None).chain(routes).flat_map(|route| SinkName::of(&spec.publish, route));
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Where the events of a camera go, in words for people, such as `kds events`.
#[must_use]
pub fn destinations(publish: &PublishSpec, route: &Route) -> Vec<String> {
    let words = |name: SinkName| match name {
        SinkName::Local => publish.local_dir.as_ref().map(|folder| format!("local {}", folder.display())),
        SinkName::Kinesis(stream) => Some(format!("kds {stream}")),
        SinkName::DynamoDb(table) => Some(format!("dynamodb {table}")),
        SinkName::S3 => publish.s3.as_ref().zip(route.snapshot.as_ref()).map(|(s3, snapshot)| {
            let parts = [s3.bucket.as_str(), s3.prefix.as_str(), snapshot.prefix.as_str()];
            format!("s3 {}", parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
        }),
    };
    SinkName::of(publish, Some(route)).into_iter().filter_map(words).collect()
}

fn config(spec: &OutboxSpec, names: &[SinkName]) -> ::outbox::OutboxConfig {
    let sinks =
        names.iter().zip(shares(names, spec.state.max_bytes)).map(|(name, share_bytes)| ::outbox::SinkSpec {
            name: name.to_string(),
            required: name.is_required(),
            share_bytes,
            takes_attachments: name.takes_pictures(),
        });
    ::outbox::OutboxConfig { dir: spec.state.dir.clone(), sinks: sinks.collect() }
}

/// What all sinks share while they are being started.
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
    fn sink(&self, name: SinkName, share_bytes: u64) -> Result<RunningSink, StartError> {
        let Some(handle) = self.store.sink(&name.to_string()) else {
            return Err(StartError::NoSink { sink: name.to_string() });
        };
        let gauge = Arc::new(SinkGauge::new(
            &name.to_string(),
            name.is_required(),
            share_bytes,
            Arc::clone(&self.changed),
        ));
        let backlog = self.backlog(handle, &gauge);
        let task = self.spawn(&name, backlog)?;
        Ok(RunningSink { name, handle, gauge, pulse: task.abort_handle(), task: Some(task) })
    }

    fn spawn(&self, name: &SinkName, backlog: Backlog) -> Result<JoinHandle<()>, StartError> {
        let give_up = self.give_up.clone();
        let publish = &self.spec.publish;
        Ok(match name {
            SinkName::Local => {
                let path = publish.local_dir.clone().unwrap_or_default();
                let folder = Folder::open(&path).map_err(|source| StartError::LocalDir { path, source })?;
                tokio::spawn(LocalSink { folder, backlog, give_up }.run())
            }
            SinkName::Kinesis(stream) => {
                let (client, stream) = (self.clients(name)?.kinesis.clone(), stream.clone());
                tokio::spawn(KinesisSink { client, stream, backlog, give_up }.run())
            }
            SinkName::DynamoDb(table) => {
                let (client, table) = (self.clients(name)?.dynamodb.clone(), table.clone());
                let ttl_days = publish.ddb.as_ref().and_then(|ddb| ddb.ttl_days);
                let target = DynamoDbTarget { client, table, ttl_days };
                tokio::spawn(EachSink { target, backlog, give_up }.run())
            }
            SinkName::S3 => {
                let sse = publish.s3.as_ref().map_or(Sse::Aes256, |s3| s3.sse.clone());
                let target = S3Target { client: self.clients(name)?.s3.clone(), sse };
                tokio::spawn(EachSink { target, backlog, give_up }.run())
            }
        })
    }

    fn backlog(&self, sink: ::outbox::Sink, gauge: &Arc<SinkGauge>) -> Backlog {
        Backlog {
            outbox: self.store.clone(),
            sink,
            gauge: Arc::clone(gauge),
            progress: Arc::clone(&self.progress),
            dead_letters: Arc::clone(&self.dead_letters),
            closing: self.closing.clone(),
            after: None,
        }
    }

    fn clients(&self, sink: &SinkName) -> Result<&Clients, StartError> {
        self.spec.clients.as_ref().ok_or_else(|| StartError::NoClients { sink: sink.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::StateSpec;

    fn spec(folder: &std::path::Path, table: Option<&str>) -> OutboxSpec {
        let local_dir = Some(folder.join("events"));
        let publish = PublishSpec { kds_stream: None, s3: None, ddb: None, local_dir, snapshots: None };
        let state =
            StateSpec { dir: folder.join("state"), max_bytes: 1 << 20, ddb_table: table.map(str::to_owned) };
        OutboxSpec { publish, state, routes: Vec::new(), dead_letter: folder.join("dead"), clients: None }
    }

    fn set_aside(folder: &std::path::Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.join("state")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_string_lossy().contains("outbox.redb.damaged-")).collect()
    }

    #[tokio::test]
    async fn a_damaged_outbox_is_set_aside_where_a_table_has_the_positions_and_only_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state").join(::outbox::FILE);
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
            std::fs::rename(&damaged.path, folder.path().join("looked at")).unwrap();
            assert_eq!(damaged.reason(), None, "{name}: someone has dealt with it");
            std::fs::rename(folder.path().join("looked at"), &damaged.path).unwrap();
            opened.store.close().unwrap();
            let again = open(&spec(folder.path(), Some("positions"))).await.unwrap();
            assert!(again.damaged.is_none(), "{name}: a new one is there");
            again.store.close().unwrap();
        }
    }
}
