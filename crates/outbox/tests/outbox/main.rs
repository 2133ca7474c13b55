//! The outbox in real folders, by its public face.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod damage;
mod damaged;
mod folder;
mod kill;

use bytes::Bytes;
use outbox::{Commit, NewEntry, Opened, Outbox, OutboxConfig, Sink, SinkSpec};

fn spec(name: &str, required: bool, share_bytes: u64, takes_attachments: bool) -> SinkSpec {
    SinkSpec { name: name.into(), required, share_bytes, takes_attachments }
}

fn open(dir: &std::path::Path, sinks: &[SinkSpec]) -> (Outbox, Opened) {
    Outbox::open(OutboxConfig { dir: dir.to_owned(), sinks: sinks.to_vec() }).unwrap()
}

fn entry(payload: &str, sinks: &[Sink]) -> NewEntry {
    NewEntry {
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        attachments: Vec::new(),
        sinks: sinks.to_vec(),
    }
}

fn commit(source: &str, checkpoint: &str, entries: Vec<NewEntry>) -> Commit {
    let checkpoint = Some(Bytes::copy_from_slice(checkpoint.as_bytes()));
    Commit { source: source.into(), checkpoint, entries, urgent: true }
}

/// Payloads of all that waits for a sink.
fn payloads(outbox: &Outbox, sink: Sink) -> Vec<String> {
    let entries = outbox.pending(sink, None, usize::MAX, u64::MAX).unwrap();
    entries.iter().map(|entry| String::from_utf8(entry.payload.to_vec()).unwrap()).collect()
}
