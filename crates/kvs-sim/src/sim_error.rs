//! Errors of starting the local KVS and of playing a clip in it.

use std::io;
use std::net::SocketAddr;

use crate::error::ApiError;
use crate::playback::error::ClipError;
use crate::store::disk::DataDirError;

/// An error that keeps the local KVS from starting, or a clip from playing.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The address is in use or does not belong to this machine.
    #[error(
        "cannot listen on {address}: {source}; choose another address with --listen; port 0 takes any free one"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate: {0}")]
    Certificate(String),
    /// A folder of `--data-dir` cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A clip cannot be played.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// A stream cannot be created or used as asked.
    #[error(transparent)]
    Api(#[from] ApiError),
}
