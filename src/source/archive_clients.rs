//! The archive's clients, one per stream and operation: each has a data endpoint of its own.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::Client;

use crate::base::lock;

/// A stream, and an operation on it.
pub(super) type StreamOperation = (String, ApiName);

/// The clients that are in use.
#[derive(Debug, Default)]
pub(super) struct ArchiveClients(Mutex<HashMap<StreamOperation, ArchiveClient>>);

#[derive(Debug)]
struct ArchiveClient {
    since: Instant,
    client: Client,
}

impl ArchiveClients {
    /// Returns the client that was added less than `life` ago.
    pub(super) fn get(&self, operation: &StreamOperation, life: Duration) -> Option<Client> {
        let mut clients = lock(&self.0);
        // All of them, so that streams that are not read any more leave.
        clients.retain(|_, known| known.since.elapsed() < life);
        clients.get(operation).map(|known| known.client.clone())
    }

    pub(super) fn insert(&self, operation: StreamOperation, client: Client) {
        lock(&self.0).insert(operation, ArchiveClient { since: Instant::now(), client });
    }

    pub(super) fn remove(&self, operation: &StreamOperation) {
        lock(&self.0).remove(operation);
    }
}
