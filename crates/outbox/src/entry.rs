//! Commits, and the entries that they hold.

use std::fmt;

use bytes::Bytes;

use crate::sink::SinkHandle;

/// The number of an entry.
///
/// Invariant: rises in the order of the commits, over all sources, and is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

impl fmt::Display for EntryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// An atomic unit of work of a source: its checkpoint, and the entries produced since the previous one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxCommit {
    /// The name of the source.
    pub source: String,
    /// The position from which the source resumes after a restart; `None` keeps the previous one.
    pub checkpoint: Option<Bytes>,
    /// The entries for the sinks, in order.
    pub entries: Vec<NewEntry>,
    /// `true` to write the commit at once; others wait up to 100 ms to share a transaction.
    pub urgent: bool,
}

/// An entry to commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEntry {
    /// The bytes that every sink gets.
    pub payload: Bytes,
    /// The bytes that only sinks that take attachments get.
    pub attachments: Vec<Bytes>,
    /// The sinks that get the entry. Duplicates count once. An entry without a sink is not stored.
    pub sinks: Vec<SinkHandle>,
}

impl NewEntry {
    /// Returns the bytes that the entry takes of one sink's quota.
    pub(crate) fn quota_bytes(&self, takes_attachments: bool) -> u64 {
        let attached = if takes_attachments { total_len(&self.attachments) } else { 0 };
        self.payload.len() as u64 + attached
    }

    /// Returns the bytes that the entry takes in memory.
    pub(crate) fn len(&self) -> u64 {
        self.quota_bytes(true)
    }
}

fn total_len(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

impl OutboxCommit {
    /// Returns the bytes that the commit takes in memory.
    pub(crate) fn len(&self) -> u64 {
        let checkpoint = self.checkpoint.as_ref().map_or(0, |bytes| bytes.len() as u64);
        checkpoint + self.entries.iter().map(NewEntry::len).sum::<u64>()
    }
}

/// A durable entry, as a sink reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The entry's number, by which the sink acknowledges it.
    pub id: EntryId,
    /// The name of the source that committed it.
    pub source: String,
    /// The bytes that every sink gets.
    pub payload: Bytes,
    /// The attachments, in the order of the commit; empty for a sink that takes none.
    pub attachments: Vec<Bytes>,
}
