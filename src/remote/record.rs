//! What is remembered of an address between two starts.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What an address held when it was last asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Without its secrets, for a person who looks into the folder.
    pub(super) address: String,
    /// The server's name for that version.
    pub(super) etag: Option<String>,
    /// The SHA-256 of the content, lower-case hex.
    pub(super) sha256: String,
}

impl Record {
    /// What was remembered; one that cannot be read is none.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Replaces what was remembered, all or nothing. Only the holder of the address's lock writes.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("json.part");
        std::fs::write(&beside, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&beside, path)
    }
}
