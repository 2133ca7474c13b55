//! The destinations of one camera's events and snapshots.

use serde::Serialize;

use crate::snapshot::SnapshotRoute;

/// A camera's `routing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The data stream of this camera's records, if any.
    pub kds_stream: Option<String>,
    /// Its snapshots in S3, if any. The local sink keeps snapshots whenever they are made.
    pub snapshot: Option<SnapshotRoute>,
}
