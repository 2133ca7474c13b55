//! What happens while files come from elsewhere.

use std::path::Path;
use std::time::Duration;

use super::{Kind, Metric};
use crate::remote::Address;

const BYTES: &str = "kvs_infer_model_fetched_bytes_total";
const ERRORS: &str = "kvs_infer_model_fetch_errors_total";

/// The metrics of files from elsewhere.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: BYTES,
        kind: Kind::Counter,
        labels: &[],
        help: "Bytes of models that were fetched from S3 or the web.",
    },
    Metric {
        name: ERRORS,
        kind: Kind::Counter,
        labels: &[],
        help: "Tries to fetch a model, or to learn whether it has changed, that failed.",
    },
];

/// A server is asked for a file.
pub(crate) struct Asked<'a> {
    pub(crate) address: &'a Address,
}

impl Asked<'_> {
    pub(crate) fn emit(self) {
        tracing::info!(stage = "remote", address = %self.address, "fetching");
    }
}

/// A file comes, and takes its time.
pub(crate) struct Fetching<'a> {
    pub(crate) address: &'a Address,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: Option<u64>,
}

impl Fetching<'_> {
    pub(crate) fn emit(self) {
        let Self { address, done_bytes, total_bytes } = self;
        tracing::info!(stage = "remote", %address, done_bytes, total_bytes, "still fetching");
    }
}

/// A file is here.
pub(crate) struct Fetched<'a> {
    pub(crate) address: &'a Address,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    pub(crate) sha256: &'a str,
}

impl Fetched<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(BYTES).increment(self.bytes);
        let Self { address, bytes, took, sha256 } = self;
        tracing::info!(stage = "remote", %address, bytes, took_s = took.as_secs_f64(), sha256, "fetched");
    }
}

/// Another process is fetching the same file into the same folder.
pub(crate) struct WaitsForOther<'a> {
    pub(crate) address: &'a Address,
    /// That process, as it says itself.
    pub(crate) holder: &'a str,
}

impl WaitsForOther<'_> {
    pub(crate) fn emit(self) {
        tracing::info!(
            stage = "remote",
            address = %self.address,
            holder = self.holder,
            "another process is fetching it: waiting for that"
        );
    }
}

/// Content that was not used for long is gone.
pub(crate) struct Removed<'a> {
    pub(crate) path: &'a Path,
    pub(crate) bytes: u64,
}

impl Removed<'_> {
    pub(crate) fn emit(self) {
        let Self { path, bytes } = self;
        tracing::info!(stage = "remote", path = %path.display(), bytes, "a cached model that is not used was removed");
    }
}

/// Others could put another model into the cache folder.
pub(crate) struct FolderOfOthers<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) why: &'static str,
}

impl FolderOfOthers<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(
            stage = "remote",
            folder = %self.folder.display(),
            why = self.why,
            "others can replace models in the cache folder: name one of this user with --cache-dir (KVS_INFER_CACHE), or give `sha256`"
        );
    }
}

/// A try failed.
pub(crate) struct TryFailed<'a> {
    pub(crate) address: &'a Address,
    pub(crate) tries: u32,
    pub(crate) why: &'a str,
}

impl TryFailed<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(ERRORS).increment(1);
        tracing::warn!(stage = "remote", address = %self.address, tries = self.tries, error = self.why, "not fetched");
    }
}

/// Nobody says whether a file has changed: what is here is used.
pub(crate) struct UsedAsItWas<'a> {
    pub(crate) address: &'a Address,
    pub(crate) sha256: &'a str,
    pub(crate) why: &'a str,
}

impl UsedAsItWas<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(ERRORS).increment(1);
        tracing::warn!(
            stage = "remote",
            address = %self.address,
            sha256 = self.sha256,
            error = self.why,
            "it is not known whether this file has changed: used as it was fetched before"
        );
    }
}
