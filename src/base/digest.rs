//! SHA-256 digests as text.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of a file's content in lowercase hex. Blocks while it reads.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    // 64 KiB on the heap: models have hundreds of MB, and threads small stacks.
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(hasher)),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// Returns the digest of all data given to `hasher` in lowercase hex.
#[must_use]
pub fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
