//! A file that exists under its name only when it is accepted.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file under a preliminary name, which is removed unless it is kept.
pub(super) struct PartFile {
    path: PathBuf,
    is_kept: bool,
}

impl PartFile {
    /// Writes a file beside `out`, with this extension.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(out: &Path, extension: &str, content: &[u8]) -> anyhow::Result<Self> {
        let part = Self { path: out.with_extension(extension), is_kept: false };
        std::fs::write(&part.path, content).with_context(|| unwritable(&part.path))?;
        Ok(part)
    }

    /// Returns the preliminary path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to `out`.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub(super) fn keep_as(mut self, out: &Path) -> anyhow::Result<()> {
        std::fs::rename(&self.path, out).with_context(|| unwritable(out))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // The error that counts is the one for which it is not kept.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
