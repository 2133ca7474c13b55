//! The name of this host.

/// File with the name of this host.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// Returns the name of this host, for people; `unknown` if it cannot be read.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}
