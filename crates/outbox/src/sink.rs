//! The sinks of an outbox.

use crate::error::OpenError;

/// The settings of one sink's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSpec {
    /// The sink's name, which keys its queue on disk: `kds/alerts`, `local`.
    pub name: String,
    /// `true` for a sink that loses nothing: commits wait while its quota is used up. Otherwise its oldest entries are dropped.
    pub required: bool,
    /// Maximum bytes of payloads and attachments that wait for the sink. An empty queue accepts one commit of any size.
    pub quota_bytes: u64,
    /// `true` for a sink that takes attachments, which then count against its quota.
    pub takes_attachments: bool,
}

/// A handle to one sink of one outbox: the index of its [`SinkSpec`] in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkHandle(pub(crate) usize);

/// Checks that every sink has a name and that no two share one.
pub(crate) fn check_names(sinks: &[SinkSpec]) -> Result<(), OpenError> {
    for (index, sink) in sinks.iter().enumerate() {
        if sink.name.is_empty() || sinks[..index].iter().any(|other| other.name == sink.name) {
            return Err(OpenError::SinkName { name: sink.name.clone() });
        }
    }
    Ok(())
}
