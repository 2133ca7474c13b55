//! The interface of a sink, and the sinks that a configuration asks for.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::clients::Clients;
use super::route::Route;
use super::start_error::StartError;
use crate::base::Probe;
use crate::media::Event;
use crate::snapshot::{SnapshotPlace, SnapshotSettings};

/// A destination of events. The outbox keeps each event until every sink that takes it has accepted it.
pub(crate) trait Sink: fmt::Debug + Send + Sync {
    /// Returns the name in the outbox, in metrics and on the page, such as `kds/events`.
    ///
    /// Events wait on disk under this name, so a released name never changes.
    fn name(&self) -> String;

    /// Returns `true` for a sink that loses nothing: while its share of the outbox is full, decide waits. Of any other sink the
    /// oldest events are dropped then.
    fn is_required(&self) -> bool;

    /// Returns whether the outbox keeps pictures for the sink.
    fn wants_pictures(&self) -> bool {
        false
    }

    /// Returns whether the sink takes this event of a route that leads to it; `pictures`: places of the event's own pictures.
    fn takes(&self, _event: &Event, _pictures: Option<&SnapshotPlace>) -> bool {
        true
    }

    /// Returns the destination of a route's events in words for people, such as `kds events`.
    fn destination(&self, route: &Route) -> String;

    /// Starts to deliver, as a task of the current runtime.
    ///
    /// # Errors
    /// The sink cannot be used. A service that cannot be reached is no error: it is tried again.
    fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError>;

    /// Returns the questions of `check --live`: is the destination there, and is it writable? They leave nothing that a consumer
    /// sees. Empty where a service of AWS is to be asked and `clients` is `None`.
    fn probes(&self, clients: Option<&Clients>) -> Vec<Probe>;
}

/// A running sink's part of the outbox.
pub(crate) struct SinkRun {
    /// Events that wait for the sink.
    pub(crate) backlog: Backlog,
    /// Cancelled when the time to stop is over: the task ends at once.
    pub(crate) give_up: CancellationToken,
    /// Settings of AWS clients; `None` where the outbox was started without.
    pub(crate) clients: Option<Clients>,
    /// The folder of the outbox, for files of the sink that do not outlive the process.
    pub(crate) state_dir: PathBuf,
}

impl SinkRun {
    /// Returns the settings of AWS clients.
    ///
    /// # Errors
    /// The outbox was started without.
    pub(crate) fn clients(&self) -> Result<&Clients, StartError> {
        let sink = || self.backlog.gauge.name().to_owned();
        self.clients.as_ref().ok_or_else(|| StartError::NoClients { sink: sink() })
    }
}

/// Makes the sinks of a configuration.
pub(crate) trait SinkRegistry: fmt::Debug + Send + Sync {
    /// Returns the sinks that events of these routes go to, each once, and those that take the events of any route.
    fn sinks(&self, routes: &[&Route]) -> Vec<Arc<dyn Sink>>;

    /// Returns the sink of this name for events that wait since an earlier configuration; `None`: they cannot be delivered.
    fn leftover(&self, name: &str) -> Option<Arc<dyn Sink>>;

    /// Returns how snapshots are made and where they go; `None`: none are made.
    fn snapshots(&self) -> Option<SnapshotSettings>;
}

/// The sinks of a configuration and of the routes of its cameras.
#[derive(Clone, Debug)]
pub struct SinkSet {
    pub(crate) registry: Arc<dyn SinkRegistry>,
    pub(crate) routes: Vec<Arc<Route>>,
}

impl SinkSet {
    /// Returns the sinks of all routes.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Sink>> {
        let routes: Vec<&Route> = self.routes.iter().map(|route| &**route).collect();
        self.registry.sinks(&routes)
    }
}

/// A registry with one sink, for all routes.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct OnlySink(pub(crate) Arc<dyn Sink>);

#[cfg(test)]
impl SinkRegistry for OnlySink {
    fn sinks(&self, _routes: &[&Route]) -> Vec<Arc<dyn Sink>> {
        vec![Arc::clone(&self.0)]
    }

    fn leftover(&self, _name: &str) -> Option<Arc<dyn Sink>> {
        None
    }

    fn snapshots(&self) -> Option<SnapshotSettings> {
        None
    }
}
