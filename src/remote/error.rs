//! Why a file is not here.

use std::path::PathBuf;

use super::Address;

/// Why a file was not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Its server does not answer, or breaks off: try again later.
    #[error(
        "{address} was not fetched in {tries} tries: {why}; check the network, or put the file on this machine and write its path"
    )]
    Unreachable {
        /// Where it is.
        address: Address,
        /// How often it was tried.
        tries: u32,
        /// What happened the last time.
        why: String,
    },
    /// Its server says that there is no such file, or not for us: correct the address or the rights.
    #[error("{address} was not fetched: {why}")]
    Refused {
        /// Where it is.
        address: Address,
        /// What was said, and what to do.
        why: String,
    },
    /// The content is not the one that was asked for: correct one of them.
    #[error(
        "{address} has the SHA-256 {have}, and `sha256` asks for {want}; correct `sha256`, or put the right file there"
    )]
    Digest {
        /// Where it is.
        address: Address,
        /// As configured.
        want: String,
        /// As fetched.
        have: String,
    },
    /// It is larger than is allowed: give another.
    #[error(
        "{address} has more than {most_bytes} bytes, which is the most that is fetched; give a smaller file"
    )]
    TooLarge {
        /// Where it is.
        address: Address,
        /// The limit.
        most_bytes: u64,
    },
    /// Another process has locked it, and fetches nothing: end that process.
    #[error(
        "{address} is locked by {holder}, which has fetched nothing of it for {limit_s} s; end that process (lock: {})",
        lock.display()
    )]
    Held {
        /// Its address.
        address: Address,
        /// The locked file.
        lock: PathBuf,
        /// The process, as it says itself.
        holder: String,
        /// The time for which it was waited for, s.
        limit_s: u64,
    },
    /// The cache folder cannot be used: make room, or name another.
    #[error(
        "{}: {why}; make room there or make it writable, or name another folder with --cache-dir (KVS_INFER_CACHE)",
        path.display()
    )]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
}
