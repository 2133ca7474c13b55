//! Reads the stored footage of a camera's span and sends it to the camera's decode thread.
//!
//! The order is that of the fragment numbers, which is the order in which GetMedia delivers the same fragments to `run`. A fragment that
//! cannot be read in three attempts is left out and named in the report.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h26x::PictureRole;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::coverage::{FootageCoverage, FootageGap, UnreadableFragment};
use super::progress::FeedProgress;
use super::span::ReplaySpan;
use crate::base::Backoff;
use crate::decode::PacketSender;
use crate::demux::{DemuxEvent, Demuxer};
use crate::media::{Demuxed, Fragment, FragmentEnd, Packet, fragment_order};
use crate::source::{
    Archive, ArchiveError, ArchivedFragment, MAX_FRAGMENT_MS, MAX_FRAGMENTS_PER_CALL, ReadCursor, StartAt,
};

/// Number of attempts to read a fragment.
const MAX_ATTEMPTS: u32 = 3;
/// The shortest and the longest wait between two attempts.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// The time for the rest of a fragment after the replay is stopped.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// The error record for a fragment that has expired. Source: API reference, GetMediaForFragmentList, 2026.
const FRAGMENT_NOT_FOUND: u32 = 4000;

/// Reads one camera's span.
pub(super) struct FootageFeed {
    pub(super) archive: Archive,
    pub(super) span: ReplaySpan,
    pub(super) out: PacketSender,
    pub(super) progress: Arc<FeedProgress>,
    /// Cancelled to end after the current fragment.
    pub(super) stop: CancellationToken,
}

/// The state of reading.
struct FeedRun {
    feed: FootageFeed,
    cursor: ReadCursor,
    coverage: FootageCoverage,
    /// The number of failed attempts by fragment number; only fragments that failed are in it.
    failures: HashMap<Arc<str>, u32>,
    backoff: Backoff,
}

/// The reason why reading ended before the end of the span.
enum FeedEnd {
    /// The replay is to stop, or decode takes no more packets.
    Stopped,
    /// The archive cannot be read.
    Failed(ArchiveError),
}

/// The reason why a connection ended.
enum MediaEnd {
    /// All its fragments were read.
    Complete,
    /// A fragment has expired; its number, where the service names it.
    Expired(Option<String>),
    /// It broke, or its bytes cannot be demuxed.
    Broken(String),
}

/// A connection, with the fragment that is being read.
struct MediaRead<'a> {
    batch: &'a [ArchivedFragment],
    demuxer: Demuxer,
    /// Number of bytes so far.
    pushed_bytes: u64,
    open: Option<Arc<Fragment>>,
}

impl FootageFeed {
    /// Reads to the end of the span, and sends the coverage to `done`. The return drops the sender of packets, which ends decode.
    pub(super) async fn run(self, done: oneshot::Sender<FootageCoverage>) {
        let mut run = FeedRun {
            cursor: ReadCursor::new(StartAt::Earliest),
            coverage: FootageCoverage::default(),
            failures: HashMap::new(),
            backoff: Backoff::new(RETRY_WAIT.0, RETRY_WAIT.1),
            feed: self,
        };
        match run.read_span().await {
            Ok(()) => run.end_span().await,
            Err(FeedEnd::Stopped) => run.coverage.stopped = true,
            Err(FeedEnd::Failed(error)) => run.coverage.fault = Some(error.to_string()),
        }
        run.feed.progress.end();
        // The receiver is gone only where the replay itself failed.
        let _unreceived = done.send(run.coverage);
    }
}

impl FeedRun {
    async fn read_span(&mut self) -> Result<(), FeedEnd> {
        let span = self.feed.span;
        for window in span.windows(MAX_FRAGMENT_MS) {
            let (archive, until_ms) = (self.feed.archive.clone(), *window.end());
            let listed = self.unless_stopped(archive.list(window)).await?.map_err(FeedEnd::Failed)?;
            let mut fragments: Vec<ArchivedFragment> = listed
                .into_iter()
                .filter(|fragment| span.overlaps(fragment.start_ms(), fragment.end_ms()))
                .collect();
            fragments.sort_by(|a, b| fragment_order(&a.number, &b.number));
            self.leave_out_late(&fragments);
            for batch in fragments.chunks(MAX_FRAGMENTS_PER_CALL) {
                self.read_batch(batch).await?;
            }
            self.feed.progress.passed(until_ms);
        }
        Ok(())
    }

    /// Leaves out fragments that were stored before fragments of earlier windows: decide takes frames in the order of arrival.
    fn leave_out_late(&mut self, fragments: &[ArchivedFragment]) {
        let late: Vec<_> = fragments.iter().filter(|fragment| self.cursor.has(&fragment.number)).collect();
        late.into_iter()
            .for_each(|fragment| self.leave_out(fragment, "it was stored before earlier footage"));
    }

    /// Adds the gap up to the end of the span, or the reason why there is no footage at all.
    async fn end_span(&mut self) {
        let span = self.feed.span;
        if let Some(gap) = self.coverage.gap_until(span, span.to_ms) {
            self.add_gap(gap).await;
        }
    }

    /// Reads the fragments, several times where connections break.
    async fn read_batch(&mut self, batch: &[ArchivedFragment]) -> Result<(), FeedEnd> {
        loop {
            let rest: Vec<ArchivedFragment> =
                batch.iter().filter(|fragment| !self.is_done(fragment)).cloned().collect();
            let Some(first) = rest.first() else { return Ok(()) };
            let first = first.clone();
            match self.read_media(&rest).await? {
                MediaEnd::Complete if rest.iter().all(|fragment| self.is_done(fragment)) => {}
                MediaEnd::Complete => self.retry(&rest, "the answer ended before it").await?,
                MediaEnd::Expired(number) => {
                    let named = rest.iter().find(|fragment| number.as_deref() == Some(&*fragment.number));
                    let expired = named.unwrap_or(&first).clone();
                    self.leave_out(&expired, "it has expired");
                }
                MediaEnd::Broken(reason) => self.retry(&rest, &reason).await?,
            }
        }
    }

    /// Waits before the next attempt; leaves out the first fragment that was not read if it has failed too often.
    async fn retry(&mut self, rest: &[ArchivedFragment], reason: &str) -> Result<(), FeedEnd> {
        self.send(Demuxed::Discontinuity).await?;
        let Some(failed) = rest.iter().find(|fragment| !self.is_done(fragment)).cloned() else {
            return Ok(());
        };
        let failures = self.failures.entry(Arc::clone(&failed.number)).or_default();
        *failures += 1;
        if *failures >= MAX_ATTEMPTS {
            self.leave_out(&failed, reason);
        }
        let wait = self.backoff.next_wait();
        self.unless_stopped(tokio::time::sleep(wait)).await
    }

    /// Opens a connection for the fragments and reads it to its end.
    async fn read_media(&mut self, batch: &[ArchivedFragment]) -> Result<MediaEnd, FeedEnd> {
        let numbers: Vec<Arc<str>> = batch.iter().map(|fragment| Arc::clone(&fragment.number)).collect();
        let archive = self.feed.archive.clone();
        let opened = self.unless_stopped(archive.media(&numbers)).await?;
        let mut media = opened.map_err(FeedEnd::Failed)?;
        let mut read = MediaRead { batch, demuxer: Demuxer::default(), pushed_bytes: 0, open: None };
        loop {
            // A fragment that has begun is completed, so that the result is that of whole fragments.
            let grace = if read.open.is_some() { STOP_GRACE } else { Duration::ZERO };
            let bytes = match self.unless_stopped_for(grace, media.next()).await? {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Ok(MediaEnd::Broken(error.to_string())),
                None => break,
            };
            read.demuxer.push(&bytes);
            read.pushed_bytes += bytes.len() as u64;
            if let Some(end) = self.demux(&mut read).await? {
                return Ok(end);
            }
        }
        if read.demuxer.consumed_bytes() < read.pushed_bytes {
            return Ok(MediaEnd::Broken("the answer ended inside a block".to_owned()));
        }
        // Archived fragments need not have the trailing tags of GetMedia: one that ends with the answer is whole.
        self.complete(&mut read).await?;
        Ok(MediaEnd::Complete)
    }

    /// Sends on what the bytes so far contain; returns the end of the connection if they have one.
    async fn demux(&mut self, read: &mut MediaRead<'_>) -> Result<Option<MediaEnd>, FeedEnd> {
        let arrived = Instant::now();
        loop {
            let event = match read.demuxer.next(arrived) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(MediaEnd::Broken(error.to_string()))),
            };
            match event {
                DemuxEvent::Begin(fragment) => self.begin(read, fragment).await?,
                DemuxEvent::NoVideo { fragment, codecs } => {
                    let reason = format!("no video that can be decoded: {codecs}");
                    self.begin(read, Arc::clone(&fragment)).await?;
                    self.note_unreadable(read.batch, &fragment, &reason);
                }
                DemuxEvent::Packet(packet) => self.send_packet(packet).await?,
                DemuxEvent::End { .. } | DemuxEvent::Incomplete(_) => self.complete(read).await?,
                DemuxEvent::StreamError(error) if error.id == Some(FRAGMENT_NOT_FOUND) => {
                    self.complete(read).await?;
                    return Ok(Some(MediaEnd::Expired(error.fragment)));
                }
                DemuxEvent::StreamError(error) => {
                    let code = error.code.unwrap_or_else(|| "no name".to_owned());
                    return Ok(Some(MediaEnd::Broken(format!(
                        "the service ended the answer with error {code}"
                    ))));
                }
            }
        }
    }

    async fn begin(&mut self, read: &mut MediaRead<'_>, fragment: Arc<Fragment>) -> Result<(), FeedEnd> {
        self.complete(read).await?;
        if self.feed.stop.is_cancelled() {
            return Err(FeedEnd::Stopped);
        }
        if !self.cursor.has(&fragment.number) {
            self.cursor.begin(Arc::clone(&fragment));
            read.open = Some(fragment);
        }
        Ok(())
    }

    async fn send_packet(&mut self, packet: Packet) -> Result<(), FeedEnd> {
        if self.cursor.has(&packet.fragment.number) {
            return Ok(());
        }
        // As in `run`: the first access unit of a fragment shows whether its GOP is open.
        if packet.index == 0 && packet.role() == PictureRole::Open {
            self.cursor.set_open_gops();
        }
        self.send(Demuxed::Packet(packet)).await
    }

    /// Ends the fragment that is being read, if there is one.
    async fn complete(&mut self, read: &mut MediaRead<'_>) -> Result<(), FeedEnd> {
        let Some(fragment) = read.open.take() else { return Ok(()) };
        let position = self.cursor.complete(&fragment);
        self.backoff.reset();
        let stored = read.batch.iter().find(|stored| stored.number == fragment.number);
        let start_ms = stored.map_or(fragment.media_start().0.0, ArchivedFragment::start_ms);
        let end_ms = stored.map_or(start_ms, ArchivedFragment::end_ms);
        let end = FragmentEnd { fragment, position, behind_ms: None, caught_up: false };
        self.send(Demuxed::FragmentEnd(end)).await?;
        if let Some(gap) = self.coverage.add(self.feed.span, start_ms, end_ms) {
            self.add_gap(gap).await;
        }
        self.feed.progress.read(start_ms, end_ms);
        Ok(())
    }

    /// Adds a gap, with the reason that the archive has for one at the start or the end of the span.
    async fn add_gap(&mut self, mut gap: FootageGap) {
        let is_at_edge = gap.from_ms == self.feed.span.from_ms || self.coverage.fragments == 0;
        if is_at_edge && !self.feed.stop.is_cancelled() {
            let reason = self.feed.archive.explain_absence(gap.from_ms..=gap.to_ms - 1).await;
            gap.reason = Some(reason.to_string());
        }
        self.feed.progress.gap(&gap);
        self.coverage.add_gap(gap);
    }

    fn leave_out(&mut self, fragment: &ArchivedFragment, reason: &str) {
        self.failures.insert(Arc::clone(&fragment.number), MAX_ATTEMPTS);
        let (number, start_ms, reason) =
            (fragment.number.to_string(), fragment.start_ms(), reason.to_owned());
        let unreadable = UnreadableFragment { number, start_ms, reason };
        self.feed.progress.unreadable(&unreadable);
        self.coverage.add_unreadable(unreadable);
    }

    fn note_unreadable(&mut self, batch: &[ArchivedFragment], fragment: &Fragment, reason: &str) {
        if let Some(stored) = batch.iter().find(|stored| stored.number == fragment.number) {
            self.leave_out(stored, reason);
        }
    }

    /// Returns whether the fragment was read or given up.
    fn is_done(&self, fragment: &ArchivedFragment) -> bool {
        self.cursor.has(&fragment.number)
            || self.failures.get(&fragment.number).is_some_and(|failures| *failures >= MAX_ATTEMPTS)
    }

    /// Sends an item to decode; waits while the queue is full.
    async fn send(&self, item: Demuxed) -> Result<(), FeedEnd> {
        self.feed.out.send(item).await.map_err(|_| FeedEnd::Stopped)
    }

    /// Waits for `work`, unless the replay was stopped this long before.
    async fn unless_stopped_for<T>(
        &self,
        grace: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, FeedEnd> {
        let stopped = async {
            self.feed.stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = stopped => Err(FeedEnd::Stopped),
        }
    }

    /// Waits for `work`, unless the replay is stopped first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, FeedEnd> {
        self.feed.stop.run_until_cancelled(work).await.ok_or(FeedEnd::Stopped)
    }
}
