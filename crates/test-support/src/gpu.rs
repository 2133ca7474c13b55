//! A driver of NVIDIA's in host memory: its kernels are those of the crate `gpu`, compiled for the host.

#![expect(clippy::expect_used, reason = "what a test cannot set up, it fails on")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// A `libcuda.so.1` of our own in a folder of its own (`crates/gpu/tests/driver/driver.c`).
#[derive(Debug)]
pub struct FakeDriver {
    folder: TempDir,
}

impl FakeDriver {
    /// Writes a library without faults; the first one of a process compiles it.
    ///
    /// # Panics
    ///
    /// There is no C compiler, or it reports an error or a warning.
    #[must_use]
    pub fn new() -> Self {
        static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
        let fake = Self { folder: TempDir::new().expect("a temporary folder") };
        let library = COMPILED.get_or_init(|| compiled(&fake.library()));
        std::fs::write(fake.library(), library).expect("a library");
        fake
    }

    /// Returns the path of the library.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.folder.path().join("libcuda.so.1")
    }

    /// Sets the faults from the next call on, one per line; the first lines of `driver.c` list them.
    ///
    /// # Panics
    ///
    /// The folder cannot be written to.
    pub fn set_faults(&self, faults: &str) {
        // In one step, because the library may be reading.
        let next = self.folder.path().join("next");
        std::fs::write(&next, faults).expect("a file of faults");
        std::fs::rename(next, self.folder.path().join("faults")).expect("a file of faults");
    }
}

fn compiled(library: &Path) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/tests/driver/driver.c");
    // -ffp-contract: a fused multiply-add would round otherwise than the kernels do.
    let flags = ["-std=gnu11", "-shared", "-fPIC", "-O2", "-ffp-contract=off", "-pthread"];
    let warnings = ["-Wall", "-Wextra", "-Werror"];
    let mut compiler = Command::new("cc");
    compiler.args(flags).args(warnings).arg("-o").arg(library).arg(source);
    assert!(compiler.status().expect("a C compiler").success(), "the driver for tests compiles");
    std::fs::read(library).expect("the compiled library")
}

impl Default for FakeDriver {
    fn default() -> Self {
        Self::new()
    }
}
