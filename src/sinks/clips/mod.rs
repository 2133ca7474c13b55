//! The sink of clips: the video of an incident, stored at its end.
//!
//! Best effort, with a share of the outbox of its own: an event is delivered whether or not its clip is. A clip waits until the
//! footage after the incident is stored, which takes seconds, and is given up where the footage is gone.

mod delivery;
mod store;

use std::path::PathBuf;

use tokio::task::JoinHandle;

use super::s3::{S3Spec, probe_bucket};
use crate::base::{Probe, storage_remedy};
use crate::clips::{CLIPS_FOLDER, ClipMaker};
use crate::delivery::{Clients, Route, Sink, SinkRun, StartError};
use crate::media::{Event, Phase};
use crate::snapshot::{SnapshotFolder, SnapshotPlace};
use crate::source::Kvs;

use delivery::ClipDelivery;
use store::{ClipBucketStore, ClipStore};

/// The stores of clips as a sink.
#[derive(Clone, Debug)]
pub(crate) struct ClipSink {
    /// The bucket of snapshots, if clips are stored there.
    pub(crate) s3: Option<S3Spec>,
    /// The local sink's folder, if clips are stored there.
    pub(crate) local_dir: Option<PathBuf>,
    /// `true`: no other sink writes to the bucket, so this one checks it.
    pub(crate) probes_bucket: bool,
}

impl Sink for ClipSink {
    fn name(&self) -> String {
        "clips".to_owned()
    }

    fn is_required(&self) -> bool {
        false
    }

    fn takes(&self, event: &Event, _pictures: Option<&SnapshotPlace>) -> bool {
        let extras = &event.payload.extras;
        extras.phase == Phase::End && extras.clip.is_some()
    }

    fn destination(&self, route: &Route) -> String {
        let bucket = route.clip.as_ref().and_then(|clip| clip.bucket.as_ref());
        let bucket = bucket.map(|place| format!("s3 {}/{}", place.bucket, place.prefix));
        let folder = self.local_dir.as_ref().map(|dir| dir.join(CLIPS_FOLDER).display().to_string());
        let places: Vec<String> = bucket.into_iter().chain(folder).collect();
        format!("clips {}", places.join(", "))
    }

    fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
        let folder = self.local_dir.as_ref().map(|root| SnapshotFolder::open_clips(root)).transpose();
        let folder = folder.map_err(|error| {
            let remedy = storage_remedy(&error.to_string()).unwrap_or("make it writable or name another");
            let why = format!("cannot use clips/ in publishers.local_dir: {error}; {remedy}");
            StartError::Sink { sink: self.name(), why }
        })?;
        let clients = run.clients()?;
        let files = run.state_dir.join(CLIPS_FOLDER);
        let maker = ClipMaker::new(Kvs::new(clients.sdk()), files.clone());
        let bucket = self.s3.as_ref().map(|spec| ClipBucketStore::new(clients, spec.sse.clone(), files));
        let store = ClipStore::new(bucket, folder);
        Ok(tokio::spawn(ClipDelivery::new(maker, store, run).run()))
    }

    fn probes(&self, clients: Option<&Clients>) -> Vec<Probe> {
        let configured = clients.zip(self.s3.as_ref()).filter(|_| self.probes_bucket);
        configured.map_or_else(Vec::new, |(clients, spec)| probe_bucket(&clients.s3(), spec))
    }
}
