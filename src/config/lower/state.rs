//! The section `state`: the state that survives a restart.

use crate::config::settings::StateSettings;

use super::{SettingsBuilder, root_key};

/// Minimum size of the outbox, bytes. The smallest share of four sinks (an eighteenth) then holds the records of a crowd, and the share
/// of a sink that takes pictures holds those of an event in 4K.
const MIN_BYTES: u64 = 16 * 1024 * 1024;

impl SettingsBuilder<'_> {
    /// Returns the settings of the state.
    pub(super) fn state(&mut self) -> StateSettings {
        let state = &self.raw.state;
        let max_bytes = parse_size(&state.max_bytes).filter(|bytes| *bytes >= MIN_BYTES);
        if max_bytes.is_none() {
            let message = format!(
                "{:?} is out of range: the minimum is 16MiB, by which a sink's share holds the pictures of one event",
                state.max_bytes
            );
            self.problem(&root_key("state").key("max_bytes"), message, "write a size such as 2GiB");
        }
        StateSettings {
            dir: state.dir.as_ref().map(Into::into),
            max_bytes: max_bytes.unwrap_or(MIN_BYTES),
            ddb_table: state.ddb_table.clone(),
        }
    }
}

/// Parses a size such as `512`, `64KiB` or `2 GiB`.
fn parse_size(size: &str) -> Option<u64> {
    // The schema admits only digits, a space and a unit; the product may still exceed 64 bits.
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
    use super::parse_size;

    #[test]
    fn sizes_are_parsed() {
        for (text, expected) in [
            ("512", Some(512)),
            ("64KiB", Some(65_536)),
            ("3 MiB", Some(3 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1TiB", Some(1 << 40)),
            ("99999999999999TiB", None),
            ("2GB", None),
            ("GiB", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }
}
