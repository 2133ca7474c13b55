//! Events of fetching files from S3 and the web.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use super::{Metric, MetricKind};

const STAGE: &str = "remote";
const BYTES: &str = "kvs_infer_model_fetched_bytes_total";
const ERRORS: &str = "kvs_infer_model_fetch_errors_total";

/// The metrics of fetched files.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: BYTES,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Bytes of models that were fetched from S3 or the web.",
    },
    Metric {
        name: ERRORS,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Failed attempts to fetch a model, or to check whether it has changed.",
    },
];

/// A request for a file was sent.
pub(crate) struct FetchStarted<'a> {
    /// Displayed without user, password and query.
    pub(crate) address: &'a dyn Display,
}

impl FetchStarted<'_> {
    pub(crate) fn emit(self) {
        tracing::info!(stage = STAGE, address = %self.address, "fetch started");
    }
}

/// A long fetch has made progress.
pub(crate) struct FetchContinued<'a> {
    pub(crate) address: &'a dyn Display,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: Option<u64>,
}

impl FetchContinued<'_> {
    pub(crate) fn emit(self) {
        let Self { address, done_bytes, total_bytes } = self;
        tracing::info!(stage = STAGE, %address, done_bytes, total_bytes, "fetch continues");
    }
}

/// A file was fetched as a whole and is in the cache.
pub(crate) struct FetchCompleted<'a> {
    pub(crate) address: &'a dyn Display,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    pub(crate) sha256: &'a str,
}

impl FetchCompleted<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(BYTES).increment(self.bytes);
        // The digest identifies the content later: the address may serve another file by then.
        let Self { address, bytes, duration, sha256 } = self;
        tracing::info!(stage = STAGE, %address, bytes, duration_s = duration.as_secs_f64(), sha256, "fetch completed");
    }
}

/// Another process holds the cache's lock of this file, since it fetches the same one.
pub(crate) struct FetchWaits<'a> {
    pub(crate) address: &'a dyn Display,
    /// The description that the other process wrote into the lock file.
    pub(crate) holder: &'a str,
}

impl FetchWaits<'_> {
    pub(crate) fn emit(self) {
        tracing::info!(
            stage = STAGE,
            address = %self.address,
            holder = self.holder,
            "fetch waits: another process is fetching this file"
        );
    }
}

/// An unused model was removed from the cache.
pub(crate) struct CachedModelRemoved<'a> {
    pub(crate) path: &'a Path,
    pub(crate) bytes: u64,
}

impl CachedModelRemoved<'_> {
    pub(crate) fn emit(self) {
        let Self { path, bytes } = self;
        tracing::info!(stage = STAGE, path = %path.display(), bytes, "unused model removed from the cache");
    }
}

/// Other users can replace models in the cache folder.
pub(crate) struct CacheFolderUnsafe<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) reason: &'static str,
}

impl CacheFolderUnsafe<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(
            stage = STAGE,
            // Only a warning: with `sha256` a replaced model is found out.
            folder = %self.folder.display(),
            reason = self.reason,
            "other users can replace models in the cache folder: name one of this user with --cache-dir (KVS_INFER_CACHE), or give `sha256`"
        );
    }
}

/// An attempt to fetch a file failed.
pub(crate) struct FetchFailed<'a> {
    pub(crate) address: &'a dyn Display,
    /// The number of this attempt, from 1.
    pub(crate) attempts: u32,
    pub(crate) error: &'a str,
}

impl FetchFailed<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(ERRORS).increment(1);
        tracing::warn!(stage = STAGE, address = %self.address, attempts = self.attempts, error = self.error, "fetch failed");
    }
}

/// The server did not answer whether a file has changed, and the cached copy is used.
pub(crate) struct CachedCopyUsed<'a> {
    pub(crate) address: &'a dyn Display,
    pub(crate) sha256: &'a str,
    pub(crate) error: &'a str,
}

impl CachedCopyUsed<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(ERRORS).increment(1);
        tracing::warn!(
            stage = STAGE,
            address = %self.address,
            sha256 = self.sha256,
            // Not fatal: a cached model is better than a camera that does not start.
            error = self.error,
            "cached copy used: the server did not say whether the file has changed"
        );
    }
}
