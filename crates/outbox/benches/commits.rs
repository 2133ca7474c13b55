//! Commits and syncs per second with 1, 10 and 100 sources, in a folder on the disk under `target` (or the one that `OUTBOX_BENCH_DIR` names).
//!
//! `cargo bench -p outbox`. Each source commits 400 bytes of checkpoint and, one time in ten, an urgent entry of 1,000 bytes, which a
//! sink acknowledges at once: first once per second, as cameras do, then as fast as possible.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and panics on an error")]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outbox::{
    Disk, FillDatabase, NewEntry, OpenError, Outbox, OutboxCommit, OutboxFolder, SinkHandle, SinkSpec,
    StorageBackend,
};

const RUN: Duration = Duration::from_secs(4);

/// A folder that counts syncs and written bytes.
struct CountedFolder {
    folder: OutboxFolder,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    syncs: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct CountedBackend(Box<dyn StorageBackend>, Arc<Counts>);

impl Disk for CountedFolder {
    fn connect(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(CountedBackend(self.folder.connect()?, Arc::clone(&self.counts))))
    }

    fn location(&self) -> String {
        self.folder.location()
    }

    fn create(&self, fill: FillDatabase<'_>) -> Result<(), OpenError> {
        self.folder.create(fill)
    }
}

impl StorageBackend for CountedBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.syncs.fetch_add(1, Ordering::Relaxed);
        self.0.sync_data()
    }

    fn write(&self, offset: u64, written: &[u8]) -> io::Result<()> {
        self.1.bytes.fetch_add(written.len() as u64, Ordering::Relaxed);
        self.0.write(offset, written)
    }
}

async fn commit(outbox: &Outbox, sink: SinkHandle, source: usize, number: u64) {
    let urgent = (number + source as u64).is_multiple_of(10);
    let entry = || NewEntry { payload: vec![1; 1_000].into(), attachments: Vec::new(), sinks: vec![sink] };
    let entries = urgent.then(entry).into_iter().collect();
    let checkpoint = Some(Bytes::from(vec![2; 400]));
    outbox
        .commit(OutboxCommit { source: format!("camera-{source}"), checkpoint, entries, urgent })
        .await
        .unwrap();
}

/// Runs one source for the time of the benchmark, and returns the number of its commits.
async fn source(
    outbox: Outbox,
    sink: SinkHandle,
    source: usize,
    sources: usize,
    pause: Option<Duration>,
) -> u64 {
    let begun = Instant::now();
    let mut number = 0;
    tokio::time::sleep(pause.unwrap_or_default() * source as u32 / sources as u32).await;
    while begun.elapsed() < RUN {
        commit(&outbox, sink, source, number).await;
        number += 1;
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => outbox.flush().await,
        }
    }
    number
}

async fn deliver(outbox: Outbox, sink: SinkHandle) {
    loop {
        outbox.wait_for_entries(sink).await;
        let entries = outbox.pending(sink, None, 500, 5 << 20).unwrap();
        outbox.ack(sink, &entries.iter().map(|entry| entry.id).collect::<Vec<_>>());
    }
}

async fn run(outbox: Outbox, sources: usize, pause: Option<Duration>) -> u64 {
    let sink = outbox.sink("kds").unwrap();
    let delivery = tokio::spawn(deliver(outbox.clone(), sink));
    let sources: Vec<_> =
        (0..sources).map(|at| tokio::spawn(source(outbox.clone(), sink, at, sources, pause))).collect();
    let mut commits = 0;
    for source in sources {
        commits += source.await.unwrap();
    }
    delivery.abort();
    commits
}

fn report(dir: &std::path::Path, sources: usize, pause: Option<Duration>) {
    let counts = Arc::new(Counts::default());
    let disk = CountedFolder { folder: OutboxFolder::lock(dir).unwrap(), counts: Arc::clone(&counts) };
    let sinks =
        vec![SinkSpec { name: "kds".into(), required: true, quota_bytes: 1 << 30, takes_attachments: false }];
    let (outbox, _) = Outbox::open_on(disk, sinks).unwrap();
    let syncs_before = counts.syncs.load(Ordering::Relaxed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let begun = Instant::now();
    let commits = runtime.block_on(run(outbox.clone(), sources, pause));
    let seconds = begun.elapsed().as_secs_f64();
    let syncs = counts.syncs.load(Ordering::Relaxed) - syncs_before;
    let kib = counts.bytes.load(Ordering::Relaxed) as f64 / 1024.0 / commits as f64;
    let pace = if pause.is_some() { "once per second" } else { "unpaced" };
    let (commits, syncs) = (commits as f64 / seconds, syncs as f64 / seconds);
    println!(
        "{sources:>4} sources, {pace:<17} {commits:>8.1} commits/s {syncs:>8.1} syncs/s {kib:>7.1} KiB written per commit"
    );
    outbox.close().unwrap();
}

fn main() {
    let dir = std::env::var_os("OUTBOX_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    for pause in [Some(Duration::from_secs(1)), None] {
        for sources in [1, 10, 100] {
            let dir = dir.join(format!("outbox-bench-{}", std::process::id()));
            report(&dir, sources, pause);
            std::fs::remove_dir_all(dir).unwrap();
        }
    }
}
