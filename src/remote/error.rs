//! Errors of fetching a file.

use std::path::PathBuf;

use super::Address;

/// A file could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The server does not answer, or the connection breaks. A later attempt may succeed.
    #[error(
        "{address} was not fetched in {attempts} attempts: {why}; check the network, or put the file on this machine and write its path"
    )]
    Unreachable {
        /// Address of the file.
        address: Address,
        /// Number of attempts, at least 1.
        attempts: u32,
        /// Reason of the last failure.
        why: String,
    },
    /// The server answers that the file does not exist or that access is denied.
    #[error("{address} was not fetched: {why}")]
    Refused {
        /// Address of the file.
        address: Address,
        /// The server's reason, with a remedy.
        why: String,
    },
    /// The content has another digest than the configured one.
    #[error(
        "{address} has the SHA-256 {have}, and `sha256` asks for {want}; correct `sha256`, or put the right file there"
    )]
    Digest {
        /// Address of the file.
        address: Address,
        /// Configured SHA-256, hex.
        want: String,
        /// SHA-256 of the fetched content, lower-case hex.
        have: String,
    },
    /// The file is larger than the limit.
    #[error("{address} has more than {max_bytes} bytes, the limit for a fetched file; give a smaller file")]
    TooLarge {
        /// Address of the file.
        address: Address,
        /// The limit, bytes.
        max_bytes: u64,
    },
    /// Another process holds the lock of the address and downloads nothing.
    #[error(
        "{address} is locked by {holder}, which has fetched nothing of it for {limit_s} s; end that process (lock: {})",
        lock.display()
    )]
    Held {
        /// Address of the file.
        address: Address,
        /// Path of the lock file.
        lock: PathBuf,
        /// Process id and host of that process, from its lock file.
        holder: String,
        /// Limit on the time without progress, s.
        limit_s: u64,
    },
    /// The cache folder cannot be used.
    #[error(
        "{}: {why}; make room there or make it writable, or name another folder with --cache-dir (KVS_INFER_CACHE)",
        path.display()
    )]
    Folder {
        /// The file or folder that cannot be written.
        path: PathBuf,
        /// Message of the operating system.
        why: String,
    },
}
