//! What goes in and comes out.

use std::fmt;

use bytes::Bytes;

use crate::sink::Sink;

/// The place of an entry among all entries of an outbox.
///
/// Invariant: rises in the order of the commits, over all sources, and is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

impl fmt::Display for EntryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What a source has come to: its position, and what it made on the way there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The name of the source.
    pub source: String,
    /// Where to go on after a restart; `None` leaves the last one.
    pub checkpoint: Option<Bytes>,
    /// What the sinks are to get, in order.
    pub entries: Vec<NewEntry>,
    /// Whether somebody waits for it: an urgent commit is written at once, others wait up to 100 ms for company.
    pub urgent: bool,
}

/// An entry on its way in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEntry {
    /// What every sink gets.
    pub payload: Bytes,
    /// What the sinks that take attachments get besides.
    pub attachments: Vec<Bytes>,
    /// Who gets it; one named twice gets it once. An entry for nobody is not stored.
    pub sinks: Vec<Sink>,
}

impl NewEntry {
    /// What it counts for one sink.
    pub(crate) fn bytes_for(&self, takes_attachments: bool) -> u64 {
        let attached = if takes_attachments { total_len(&self.attachments) } else { 0 };
        self.payload.len() as u64 + attached
    }

    /// What it takes in memory.
    pub(crate) fn len(&self) -> u64 {
        self.bytes_for(true)
    }
}

fn total_len(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

impl Commit {
    /// What it takes in memory.
    pub(crate) fn len(&self) -> u64 {
        let checkpoint = self.checkpoint.as_ref().map_or(0, |bytes| bytes.len() as u64);
        checkpoint + self.entries.iter().map(NewEntry::len).sum::<u64>()
    }
}

/// An entry as a sink gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place among all entries; what to acknowledge.
    pub id: EntryId,
    /// Who made it.
    pub source: String,
    /// What every sink gets.
    pub payload: Bytes,
    /// In the order given; empty for a sink that takes none.
    pub attachments: Vec<Bytes>,
}
