//! Reasons for which the local KVS does not start.

use std::io;
use std::net::SocketAddr;

use crate::error::ApiError;
use crate::playback::error::ClipError;
use crate::store::disk::DiskError;

/// Why the local KVS did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --listen, port 0 takes any free one")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate: {0}")]
    Certificate(String),
    /// A folder of kept fragments cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A clip cannot be played.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// A stream cannot be made or used as asked.
    #[error(transparent)]
    Api(#[from] ApiError),
}
