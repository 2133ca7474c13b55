//! Who takes entries out.

use crate::error::OpenError;

/// What is asked of the outbox for one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSpec {
    /// Its name, which its queue on disk goes by: `kds/alerts`, `local`.
    pub name: String,
    /// Whether it loses nothing: commits wait while its share is full. Otherwise its oldest entries go.
    pub required: bool,
    /// How many bytes of payloads and attachments may wait for it. One commit passes an empty queue whatever its size.
    pub share_bytes: u64,
    /// Whether it gets the attachments, and they count for its share.
    pub takes_attachments: bool,
}

/// One sink of one outbox: the place of its [`SinkSpec`] in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sink(pub(crate) usize);

/// Every name is there, and once.
pub(crate) fn check(sinks: &[SinkSpec]) -> Result<(), OpenError> {
    for (at, sink) in sinks.iter().enumerate() {
        if sink.name.is_empty() || sinks[..at].iter().any(|other| other.name == sink.name) {
            return Err(OpenError::SinkName { name: sink.name.clone() });
        }
    }
    Ok(())
}
