//! `state`: what is kept over a restart.

use crate::config::meant::StateSettings;

use super::{Lowering, root_key};

/// The minimum that the outbox works with, bytes: the smallest share of four sinks (an eighteenth) takes the records of a crowd, and the
/// share of a sink that takes pictures those of an event in 4K.
const LEAST_BYTES: u64 = 16 * 1024 * 1024;

impl Lowering<'_> {
    /// Where it is kept, and how much of it.
    pub(super) fn state(&mut self) -> StateSettings {
        let written = &self.written.state;
        let max_bytes = bytes(&written.max_bytes).filter(|bytes| *bytes >= LEAST_BYTES);
        if max_bytes.is_none() {
            let message = format!(
                "{:?} is less than 16MiB, of which a sink's share would not hold the pictures of one event, or more than a disk can be",
                written.max_bytes
            );
            self.problem(&root_key("state").key("max_bytes"), message, "write a size such as 2GiB");
        }
        StateSettings {
            dir: written.dir.as_ref().map(Into::into),
            max_bytes: max_bytes.unwrap_or(LEAST_BYTES),
            ddb_table: written.ddb_table.clone(),
        }
    }
}

/// Of `512`, `64KiB` or `2 GiB`.
fn bytes(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match size.get(digits.len()..)?.trim_start() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes() {
        for (written, meant) in [
            ("512", Some(512)),
            ("64KiB", Some(65_536)),
            ("3 MiB", Some(3 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1TiB", Some(1 << 40)),
            ("99999999999999TiB", None),
            ("2GB", None),
            ("GiB", None),
        ] {
            assert_eq!(bytes(written), meant, "{written}");
        }
    }
}
