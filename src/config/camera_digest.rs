//! The comparison of one camera's settings between configurations, and between workers.

use sha2::{Digest, Sha256};

use super::settings::CameraSpec;
use crate::base::hex;

impl CameraSpec {
    /// Returns `true` if a camera with these settings need not be restarted to have those of `newer`.
    #[must_use]
    pub fn runs_like(&self, newer: &Self) -> bool {
        // The priority is for placement alone.
        *self == Self { priority: self.priority, ..newer.clone() }
    }

    /// Returns the SHA-256 of the settings as they take effect, lower-case hex.
    ///
    /// It is equal on all hosts for one file, one environment and one version of the program, and differs when a reload would restart
    /// the camera. A model counts by its configured path or address, not by its place in the cache.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let written = serde_json::to_writer(&mut hasher, self);
        // The hasher accepts every write, and no field has a type that JSON lacks.
        debug_assert!(written.is_ok(), "{written:?}");
        hex(hasher)
    }
}
