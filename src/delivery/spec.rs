//! The settings of the outbox.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::clients::Clients;
use super::owner_commit::OwnerCommitRequest;
use super::sink::SinkSet;

/// The state that is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// The folder of the outbox.
    pub dir: PathBuf,
    /// Limit on the records and pictures that wait in it, bytes.
    pub max_bytes: u64,
    /// The DynamoDB table of positions.
    pub ddb_table: Option<String>,
}

/// The parts that an outbox is started with.
pub struct OutboxSpec {
    /// The sinks, for the routes of all cameras.
    pub sinks: SinkSet,
    /// The state that is kept over a restart, and its place.
    pub state: StateSpec,
    /// The file for records that can never be valid; created with the first of them.
    pub dead_letter: PathBuf,
    /// Settings of AWS clients; needed where a service of AWS is configured.
    pub clients: Option<Clients>,
    /// Takes the commits of shared cameras to their owners; `None` in single mode.
    pub sharing: Option<mpsc::Sender<OwnerCommitRequest>>,
}
