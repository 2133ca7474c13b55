//! The outbox in real folders, by its public API.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod damaged;
mod folder;
mod kill;

use bytes::Bytes;
use outbox::{NewEntry, OpenReport, Outbox, OutboxCommit, OutboxConfig, SinkHandle, SinkSpec};

fn spec(name: &str, required: bool, quota_bytes: u64, takes_attachments: bool) -> SinkSpec {
    SinkSpec { name: name.into(), required, quota_bytes, takes_attachments }
}

fn open(dir: &std::path::Path, sinks: &[SinkSpec]) -> (Outbox, OpenReport) {
    Outbox::open(OutboxConfig { dir: dir.to_owned(), sinks: sinks.to_vec() }).unwrap()
}

fn entry(payload: &str, sinks: &[SinkHandle]) -> NewEntry {
    NewEntry {
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        attachments: Vec::new(),
        sinks: sinks.to_vec(),
    }
}

fn commit(source: &str, checkpoint: &str, entries: Vec<NewEntry>) -> OutboxCommit {
    let checkpoint = Some(Bytes::copy_from_slice(checkpoint.as_bytes()));
    OutboxCommit { source: source.into(), checkpoint, entries, urgent: true }
}

/// Returns the payloads of every entry that waits for a sink.
fn payloads(outbox: &Outbox, sink: SinkHandle) -> Vec<String> {
    let entries = outbox.pending(sink, None, usize::MAX, u64::MAX).unwrap();
    entries.iter().map(|entry| String::from_utf8(entry.payload.to_vec()).unwrap()).collect()
}
