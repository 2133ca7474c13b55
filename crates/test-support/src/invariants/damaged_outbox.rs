//! A valid outbox, damaged as the input says: it opens with its old contents, or is refused. Never a panic, never other contents.
//!
//! Checked by the fuzz target `outbox_recovery` and by the tests of the outbox.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use outbox::{Disk, NewEntry, Outbox, OutboxCommit, OutboxEntry, SinkHandle, SinkSpec, StorageBackend};

/// Bytes of one damage in the input: kind, offset (4), length, value.
const DAMAGE_LEN: usize = 7;
/// Size limit of a database in memory, so that a damaged size does not exhaust the machine.
const MAX_BYTES: u64 = 64 << 20;

#[derive(Clone, Debug, Default)]
struct MemoryDisk(Arc<Mutex<Vec<u8>>>);

impl MemoryDisk {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn connect(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn location(&self) -> String {
        "memory".into()
    }
}

fn range(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let end = offset.checked_add(len as u64).filter(|end| *end <= MAX_BYTES);
    let end = end.ok_or(ErrorKind::UnexpectedEof)?;
    Ok(offset as usize..end as usize)
}

impl StorageBackend for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let found = bytes.get(range(offset, out.len())?).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = range(len, 0).map_err(|_| ErrorKind::StorageFull)?.end;
        self.bytes().resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, written: &[u8]) -> io::Result<()> {
        let range = range(offset, written.len()).map_err(|_| ErrorKind::StorageFull)?;
        let mut bytes = self.bytes();
        let len = bytes.len().max(range.end);
        bytes.resize(len, 0);
        bytes[range].copy_from_slice(written);
        Ok(())
    }
}

/// The contents of an outbox: its id, checkpoints, entries of both sinks.
type OutboxContents = (String, Vec<Option<Bytes>>, Vec<Vec<OutboxEntry>>);

fn sinks() -> Vec<SinkSpec> {
    let spec = |name: &str, required| SinkSpec {
        name: name.into(),
        required,
        quota_bytes: 1 << 20,
        takes_attachments: !required,
    };
    vec![spec("kds", true), spec("s3", false)]
}

fn handles(outbox: &Outbox) -> Vec<SinkHandle> {
    ["kds", "s3"].iter().filter_map(|name| outbox.sink(name)).collect()
}

/// Returns the contents of an outbox; `None` if a read is refused.
fn contents(outbox: &Outbox) -> Option<OutboxContents> {
    let checkpoints =
        ["door", "gate", "yard"].iter().map(|source| outbox.checkpoint(source).ok()).collect::<Option<_>>();
    let queue = |sink: SinkHandle| outbox.pending(sink, None, 1_000, 1 << 30).ok();
    let queues = handles(outbox).into_iter().map(queue).collect::<Option<_>>();
    Some((outbox.id().to_owned(), checkpoints?, queues?))
}

fn commit(source: &str, number: u64, sinks: &[SinkHandle]) -> OutboxCommit {
    let entry = |at: u64| NewEntry {
        payload: vec![at as u8; 40 * (at as usize + 1)].into(),
        attachments: (0..at % 3).map(|index| Bytes::from(vec![index as u8; 700])).collect(),
        sinks: sinks[..1 + at as usize % 2].to_vec(),
    };
    let entries = (0..number % 5).map(entry).collect();
    OutboxCommit {
        source: source.into(),
        checkpoint: Some(number.to_be_bytes().to_vec().into()),
        entries,
        urgent: true,
    }
}

/// Fills the valid outbox: several transactions, with entries delivered and pending.
async fn fill(outbox: &Outbox) {
    let sinks = handles(outbox);
    for number in 1..12 {
        let source = if number % 2 == 0 { "door" } else { "gate" };
        assert_eq!(outbox.commit(commit(source, number, &sinks)).await, Ok(()));
        outbox.flush().await;
        for entry in outbox.pending(sinks[0], None, 2, 1 << 20).unwrap_or_default() {
            outbox.ack(sinks[0], &[entry.id]);
        }
    }
    outbox.flush().await;
}

/// Returns the bytes of the valid outbox, and its contents.
fn valid() -> &'static (Vec<u8>, OutboxContents) {
    static VALID: OnceLock<(Vec<u8>, OutboxContents)> = OnceLock::new();
    VALID.get_or_init(|| {
        let memory = MemoryDisk::default();
        let made = Outbox::open_on(memory.clone(), sinks()).map(|(outbox, _)| {
            let mut filling = Box::pin(fill(&outbox));
            let waker = std::task::Waker::noop();
            while filling.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending() {
                std::thread::yield_now();
            }
            drop(filling);
            contents(&outbox)
        });
        let bytes = memory.bytes().clone();
        (bytes, made.ok().flatten().unwrap_or_default())
    })
}

fn harm(bytes: &mut Vec<u8>, damage: &[u8]) {
    let [kind, a, b, c, d, length, value] = *damage else { return };
    let (at, length) = (u32::from_le_bytes([a, b, c, d]) as usize % bytes.len().max(1), usize::from(length));
    let end = |len: usize| (at + len).min(bytes.len());
    match kind % 6 {
        0 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= value | 1),
        1 => bytes.truncate(at),
        2 => {
            let end = end(512 * (length + 1));
            bytes[at..end].fill(value);
        }
        3 => {
            let (from, len) = (usize::from(value) * 4_096 % bytes.len().max(1), 4_096);
            let page = bytes[from..(from + len).min(bytes.len())].to_vec();
            bytes[at..].iter_mut().zip(page).for_each(|(byte, copied)| *byte = copied);
        }
        4 => bytes[at % 4_096..].iter_mut().take(1).for_each(|byte| *byte ^= value | 1),
        _ => bytes[at % 320..].iter_mut().take(1 + length % 8).for_each(|byte| *byte = value),
    }
}

/// Damages the valid outbox as the input says, opens it and reads everything. Returns `true` if it opened.
pub fn check(input: &[u8]) -> bool {
    let (whole, truth) = valid();
    assert!(!truth.2.is_empty(), "the valid outbox was not created");
    let mut bytes = whole.clone();
    input.chunks_exact(DAMAGE_LEN).take(64).for_each(|damage| harm(&mut bytes, damage));
    let Ok((outbox, _)) = Outbox::open_on(MemoryDisk(Arc::new(Mutex::new(bytes.clone()))), sinks()) else {
        return false;
    };
    let found = contents(&outbox);
    let is_new = bytes.is_empty();
    assert!(is_new || found.as_ref() == Some(truth), "its contents are {found:?} instead of {truth:?}");
    outbox.close().is_ok()
}
