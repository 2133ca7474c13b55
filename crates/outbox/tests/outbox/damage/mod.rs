//! A valid outbox, damaged as bytes say: it opens with what it held, or is refused. Never a panic, never other contents.
//!
//! Shared with the fuzz target `outbox_recovery`.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use outbox::{Commit, Disk, DiskError, Entry, NewEntry, Outbox, Sink, SinkSpec, StorageBackend};

/// Bytes of one damage in the input: what, where (4), how much, with what.
const DAMAGE_LEN: usize = 7;
/// What a database in memory may grow to: damaged sizes must not take the machine's memory.
const MOST_BYTES: u64 = 64 << 20;

#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Disk for Memory {
    fn connect(&self) -> Result<Box<dyn StorageBackend>, DiskError> {
        Ok(Box::new(self.clone()))
    }

    fn place(&self) -> String {
        "memory".into()
    }
}

fn range(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let end = offset.checked_add(len as u64).filter(|end| *end <= MOST_BYTES);
    let end = end.ok_or(ErrorKind::UnexpectedEof)?;
    Ok(offset as usize..end as usize)
}

impl StorageBackend for Memory {
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

/// All that an outbox says of itself: its id, checkpoints, entries of both sinks.
type Contents = (String, Vec<Option<Bytes>>, Vec<Vec<Entry>>);

fn sinks() -> Vec<SinkSpec> {
    let spec = |name: &str, required| SinkSpec {
        name: name.into(),
        required,
        share_bytes: 1 << 20,
        takes_attachments: !required,
    };
    vec![spec("kds", true), spec("s3", false)]
}

fn handles(outbox: &Outbox) -> Vec<Sink> {
    ["kds", "s3"].iter().filter_map(|name| outbox.sink(name)).collect()
}

/// What an outbox says of itself; `None` where reading is refused.
fn contents(outbox: &Outbox) -> Option<Contents> {
    let checkpoints =
        ["door", "gate", "yard"].iter().map(|source| outbox.checkpoint(source).ok()).collect::<Option<_>>();
    let queue = |sink: Sink| outbox.pending(sink, None, 1_000, 1 << 30).ok();
    let queues = handles(outbox).into_iter().map(queue).collect::<Option<_>>();
    Some((outbox.id().to_owned(), checkpoints?, queues?))
}

fn commit(source: &str, number: u64, sinks: &[Sink]) -> Commit {
    let entry = |at: u64| NewEntry {
        payload: vec![at as u8; 40 * (at as usize + 1)].into(),
        attachments: (0..at % 3).map(|index| Bytes::from(vec![index as u8; 700])).collect(),
        sinks: sinks[..1 + at as usize % 2].to_vec(),
    };
    let entries = (0..number % 5).map(entry).collect();
    Commit {
        source: source.into(),
        checkpoint: Some(number.to_be_bytes().to_vec().into()),
        entries,
        urgent: true,
    }
}

/// Makes the valid one: several transactions, entries come and gone.
async fn fill(outbox: &Outbox) {
    let sinks = handles(outbox);
    for number in 1..12 {
        let source = if number % 2 == 0 { "door" } else { "gate" };
        assert_eq!(outbox.commit(commit(source, number, &sinks)).await, Ok(()));
        outbox.settled().await;
        for entry in outbox.pending(sinks[0], None, 2, 1 << 20).unwrap_or_default() {
            outbox.ack(sinks[0], &[entry.id]);
        }
    }
    outbox.settled().await;
}

/// The valid outbox's bytes, and what it holds.
fn valid() -> &'static (Vec<u8>, Contents) {
    static VALID: OnceLock<(Vec<u8>, Contents)> = OnceLock::new();
    VALID.get_or_init(|| {
        let memory = Memory::default();
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
    let [what, a, b, c, d, much, with] = *damage else { return };
    let (at, much) = (u32::from_le_bytes([a, b, c, d]) as usize % bytes.len().max(1), usize::from(much));
    let end = |len: usize| (at + len).min(bytes.len());
    match what % 6 {
        0 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= with | 1),
        1 => bytes.truncate(at),
        2 => {
            let end = end(512 * (much + 1));
            bytes[at..end].fill(with);
        }
        3 => {
            let (from, len) = (usize::from(with) * 4_096 % bytes.len().max(1), 4_096);
            let page = bytes[from..(from + len).min(bytes.len())].to_vec();
            bytes[at..].iter_mut().zip(page).for_each(|(byte, copied)| *byte = copied);
        }
        4 => bytes[at % 4_096..].iter_mut().take(1).for_each(|byte| *byte ^= with | 1),
        _ => bytes[at % 320..].iter_mut().take(1 + much % 8).for_each(|byte| *byte = with),
    }
}

/// Does the damages of the input, then opens the outbox and reads everything. Tells whether it opened.
pub(crate) fn check(input: &[u8]) -> bool {
    let (whole, truth) = valid();
    assert!(!truth.2.is_empty(), "the valid one was not made");
    let mut bytes = whole.clone();
    input.chunks_exact(DAMAGE_LEN).take(64).for_each(|damage| harm(&mut bytes, damage));
    let Ok((outbox, _)) = Outbox::open_on(Memory(Arc::new(Mutex::new(bytes.clone()))), sinks()) else {
        return false;
    };
    let found = contents(&outbox);
    let is_new = bytes.is_empty();
    assert!(is_new || found.as_ref() == Some(truth), "it holds {found:?} and not {truth:?}");
    outbox.close().is_ok()
}
