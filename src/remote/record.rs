//! The version of a remote file that the cache has seen last.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The version that an address had at the last fetch, stored as JSON beside the cached content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AddressRecord {
    /// Without its secrets, for a person who reads the folder.
    pub(super) address: String,
    pub(super) etag: Option<String>,
    /// SHA-256 of the content, lower-case hex.
    pub(super) sha256: String,
}

impl AddressRecord {
    /// Returns the stored record, or `None` if there is no readable one.
    pub(super) fn read(path: &Path) -> Option<Self> {
        // A damaged record costs one more download and nothing else, so it is not an error.
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Replaces the record atomically. Only the holder of the address's lock may call it.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("json.part");
        std::fs::write(&beside, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&beside, path)
    }
}
