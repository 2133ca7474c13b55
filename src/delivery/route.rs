//! The destinations of one camera's events and snapshots.

use serde::Serialize;

use crate::clips::ClipRoute;
use crate::snapshot::SnapshotRoute;

/// A camera's `routing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The data stream of this camera's records, if any.
    pub kds_stream: Option<String>,
    /// Its snapshots in S3, if any. The local sink keeps snapshots whenever they are made.
    pub snapshot: Option<SnapshotRoute>,
    /// Its clips that are stored, if any.
    // Left out of the digest of a camera without clips: it is the same in a worker of an earlier version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<ClipRoute>,
}
