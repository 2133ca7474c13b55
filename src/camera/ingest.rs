//! The ingest task of a camera: connects, demuxes, sends packets to decode, and reconnects for as long as it runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use h26x::PictureRole;
use tokio_util::sync::CancellationToken;

use super::connection_end::{ConnectionEnd, EndKind};
use super::demuxed_connection::{DemuxedConnection, InputChunk, InputSegment};
use crate::base::Backoff;
use crate::decode::PacketSender;
use crate::demux::DemuxEvent;
use crate::media::{Demuxed, Fragment, FragmentEnd, MediaMs, Mode, ModeCell, Packet};
use crate::source::{
    ConnectionBudget, FailureOutcome, LagClock, PaceMonitor, ReadCursor, SourceError, StallWatch, StartAt,
    StreamPace, StreamSource,
};
use crate::status::CameraStatus;
use crate::status::{UnitRead, whole_ms};
use crate::telemetry::source::{
    BytesRead, ConnectionEnded, ConnectionOpened, FragmentRead, FragmentResult, FrameRead, GapFound,
    JumpedToNow, TimestampRejected,
};

/// The maximum delay between two connections.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(60);
/// The maximum time for which bytes may arrive without a whole access unit.
///
/// Each such byte looks like life to [`StallWatch`], but a connection that is this slow brings no footage in time.
const MAX_INCOMPLETE: Duration = Duration::from_secs(30);
/// GetMedia's error record for a fragment that does not exist or has expired. Source: API reference, GetMedia.
const FRAGMENT_NOT_FOUND: u32 = 4000;

/// Reads one camera's stream until its token is cancelled.
pub(super) struct IngestTask {
    source: StreamSource,
    cursor: ReadCursor,
    pace: PaceMonitor,
    clock: LagClock,
    stall: StallWatch,
    backoff: Backoff,
    budget: ConnectionBudget,
    reconnect_delay: Duration,
    mode: Arc<ModeCell>,
    previous: EndKind,
    /// The reason of the last logged end, until a fragment is complete.
    last_reason: Option<&'static str>,
    /// True if footage was found to have expired since the last complete fragment.
    expired: bool,
    /// The producer timestamp of the last fragment, where it was rejected.
    refused_ms: Option<i64>,
    out: PacketSender,
    status: CameraStatus,
    stop: CancellationToken,
}

/// The parts that an ingest task is built from.
pub(super) struct IngestParts {
    pub(super) source: StreamSource,
    pub(super) start: StartAt,
    pub(super) reconnect_delay: Duration,
    pub(super) max_behind: Duration,
    pub(super) mode: Arc<ModeCell>,
    pub(super) out: PacketSender,
    pub(super) status: CameraStatus,
    pub(super) stop: CancellationToken,
}

/// A complete fragment at the arrival of its trailing tags.
struct CompleteFragment {
    fragment: Arc<Fragment>,
    /// The lag behind the live edge by the service, ms.
    behind_ms: Option<u64>,
    arrived: Instant,
}

/// The state of one connection.
struct ConnectionState {
    connection: DemuxedConnection,
    /// The time of the first bytes since the last whole event.
    incomplete: Option<Instant>,
    /// The time spent waiting for the bytes of the current fragment.
    waited: Duration,
    /// The media time of the current fragment's first packet.
    first: Option<MediaMs>,
    /// The newest media time of the current fragment.
    last: MediaMs,
    /// True if the current fragment has no video that can be decoded.
    has_no_video: bool,
}

impl IngestTask {
    pub(super) fn new(parts: IngestParts) -> Self {
        Self {
            cursor: ReadCursor::new(parts.start.clone()),
            pace: PaceMonitor::new(parts.max_behind),
            clock: LagClock::new(Instant::now()),
            stall: StallWatch::default(),
            backoff: Backoff::new(parts.reconnect_delay, MAX_RECONNECT_DELAY),
            budget: ConnectionBudget::default(),
            mode: parts.mode,
            reconnect_delay: parts.reconnect_delay,
            previous: EndKind::Normal,
            last_reason: None,
            expired: false,
            refused_ms: None,
            source: parts.source,
            out: parts.out,
            status: parts.status,
            stop: parts.stop,
        }
    }

    /// Reads until the token is cancelled. The return drops the sender of packets, which ends decode.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let end = tokio::select! {
                () = stop.cancelled() => return,
                end = self.read_connection() => end,
            };
            let Some(delay) = self.follow_end(end).await else { return };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// Opens a connection and reads it; returns the reason of its end.
    async fn read_connection(&mut self) -> ConnectionEnd {
        let start = self.cursor.start();
        // An idle camera is reconnected at intervals; it keeps its status "waiting" meanwhile.
        if self.previous != EndKind::Idle {
            self.status.connecting();
        }
        let opened = match self.source.open(&start).await {
            Ok(opened) => opened,
            Err(error) => return ConnectionEnd::Source(error),
        };
        self.note_connected(&start);
        let mut state = ConnectionState::new(DemuxedConnection::new(opened));
        loop {
            if let Err(end) = self.read_next(&mut state).await {
                return end;
            }
        }
    }

    fn note_connected(&mut self, start: &StartAt) {
        ConnectionOpened { camera: &self.status, stream: self.source.stream(), start: &start.to_string() }
            .emit();
        self.stall.connected();
        self.pace.connected(*start == StartAt::Now);
        self.clock.connected();
    }

    /// Waits for input and processes the events in it.
    async fn read_next(&mut self, state: &mut ConnectionState) -> Result<(), ConnectionEnd> {
        self.receive_input(state).await?;
        let arrived = Instant::now();
        let mut has_event = false;
        while let Some(event) = state.connection.next_event(arrived).map_err(ConnectionEnd::Malformed)? {
            self.process_event(state, event, arrived).await?;
            has_event = true;
        }
        state.check_trickle(has_event, arrived)
    }

    async fn receive_input(&mut self, state: &mut ConnectionState) -> Result<(), ConnectionEnd> {
        let requested = Instant::now();
        let limit = if state.connection.can_stall() { self.stall.limit() } else { Duration::MAX };
        let Ok(received) = tokio::time::timeout(limit, state.connection.receive()).await else {
            return Err(ConnectionEnd::Stalled(limit));
        };
        match received.map_err(ConnectionEnd::Source)? {
            InputChunk::End => return Err(ConnectionEnd::ResponseEnded),
            InputChunk::Gap(what) => {
                GapFound { camera: &self.status, what: &what }.emit();
                // Footage after the gap must not be decoded with references from before it.
                self.send(Demuxed::Discontinuity).await?;
            }
            InputChunk::Bytes(bytes) => self.count_bytes(state, bytes, requested.elapsed()),
            InputChunk::Segment(segment) => self.count_segment(state, &segment, requested.elapsed()),
        }
        Ok(())
    }

    fn count_bytes(&mut self, state: &mut ConnectionState, bytes: usize, waited: Duration) {
        self.stall.bytes(waited);
        state.waited += waited;
        BytesRead { camera: &self.status, bytes }.emit();
    }

    fn count_segment(&mut self, state: &mut ConnectionState, segment: &InputSegment, waited: Duration) {
        self.count_bytes(state, segment.bytes, waited);
        if let Some(MediaMs(newest_ms)) = segment.newest {
            self.clock.date(newest_ms, segment.behind_ms, Instant::now());
        }
    }

    async fn process_event(
        &mut self,
        state: &mut ConnectionState,
        event: DemuxEvent,
        arrived: Instant,
    ) -> Result<(), ConnectionEnd> {
        match event {
            DemuxEvent::Begin(fragment) => self.begin_fragment(state, fragment),
            DemuxEvent::NoVideo { fragment, codecs } => self.begin_without_video(state, fragment, &codecs),
            DemuxEvent::Packet(packet) => self.process_packet(state, packet).await?,
            DemuxEvent::End { fragment, behind_ms } => {
                let complete = CompleteFragment { fragment, behind_ms, arrived };
                self.complete_fragment(state, complete).await?;
            }
            DemuxEvent::Incomplete(fragment) => {
                self.report_fragment(FragmentResult::Incomplete, None);
                return Err(ConnectionEnd::CutShort(Arc::clone(&fragment.number)));
            }
            DemuxEvent::StreamError(error) => {
                return Err(ConnectionEnd::ErrorRecord { id: error.id, code: error.code });
            }
        }
        Ok(())
    }

    /// Reports a change between usable and rejected producer timestamps.
    fn report_refused_time(&mut self, refused_ms: Option<i64>) {
        if self.refused_ms.is_some() != refused_ms.is_some() {
            TimestampRejected { camera: &self.status, refused_ms }.emit();
        }
        self.refused_ms = refused_ms;
    }

    fn begin_fragment(&mut self, state: &mut ConnectionState, fragment: Arc<Fragment>) {
        state.begin_fragment(false);
        self.report_refused_time(state.connection.refused_ms());
        // After a failure the camera stays down until a fragment is complete: bytes that begin well may be malformed
        // further on.
        if self.previous != EndKind::Failed {
            self.status.streaming();
        }
        if self.cursor.has(&fragment.number) {
            self.report_fragment(FragmentResult::Duplicate, None);
        } else {
            self.clock.begin(&fragment);
            self.cursor.begin(fragment);
        }
    }

    fn begin_without_video(&mut self, state: &mut ConnectionState, fragment: Arc<Fragment>, codecs: &str) {
        state.begin_fragment(true);
        self.report_fragment(FragmentResult::NoVideo, None);
        self.cursor.begin(fragment);
        self.previous = EndKind::Failed;
        self.status.down(
            format!("no video that can be decoded: {codecs}; let the producer send H.264 or H.265"),
            None,
        );
    }

    async fn process_packet(
        &mut self,
        state: &mut ConnectionState,
        mut packet: Packet,
    ) -> Result<(), ConnectionEnd> {
        // A fragment that was read before is sent again only as the primer of the next one.
        if self.cursor.has(&packet.fragment.number) {
            let primes = self.cursor.primes(&packet.fragment.number);
            return if primes { self.send(Demuxed::Primer(packet)).await } else { Ok(()) };
        }
        // A KVS fragment begins with its keyframe, so the first access unit shows whether the GOP is open.
        if packet.index == 0 && packet.role() == PictureRole::Open {
            self.cursor.set_open_gops();
        }
        state.first.get_or_insert(packet.media);
        // Packets are in decoding order: with B-frames the last one is not the newest.
        state.last = state.last.max(packet.media);
        let (ingested_ms, arrived) = (packet.fragment.ingested_ms(packet.media), packet.arrived);
        packet.lag = self.clock.arrival(ingested_ms, arrived);
        let unit = UnitRead { ingested_ms, arrived, lag: packet.lag };
        FrameRead { camera: &self.status, unit }.emit();
        self.send(Demuxed::Packet(packet)).await
    }

    async fn complete_fragment(
        &mut self,
        state: &mut ConnectionState,
        complete: CompleteFragment,
    ) -> Result<(), ConnectionEnd> {
        let CompleteFragment { fragment, behind_ms, arrived } = complete;
        if self.cursor.has(&fragment.number) {
            return Ok(());
        }
        let position = self.cursor.complete(&fragment);
        self.note_complete(state.has_no_video);
        // The server's figure excludes the time in socket buffers; the clock's excludes a lag since the start.
        let lag_ms = whole_ms(self.clock.end(&fragment, behind_ms, arrived));
        let late_ms = behind_ms.unwrap_or(0).max(lag_ms);
        let behind_ms = Some(late_ms);
        self.report_fragment(FragmentResult::Complete, behind_ms);
        let waited = std::mem::take(&mut state.waited);
        self.status.add_footage(state.fragment_length());
        let pace = self.pace.fragment(behind_ms, waited, state.fragment_length());
        let caught_up = pace == StreamPace::CaughtUp;
        self.send(Demuxed::FragmentEnd(FragmentEnd { fragment, position, behind_ms, caught_up })).await?;
        // In catch-up every fragment is read, however old it is.
        if pace == StreamPace::TooFarBehind && self.mode.get() == Mode::Live {
            return Err(ConnectionEnd::TooFarBehind(Duration::from_millis(late_ms)));
        }
        Ok(())
    }

    /// Forgets the failures before a complete fragment.
    fn note_complete(&mut self, has_no_video: bool) {
        self.backoff.reset();
        self.expired = false;
        if !has_no_video {
            self.previous = EndKind::Normal;
            self.last_reason = None;
            self.status.streaming();
        }
    }

    /// Sends `item` to decode; waits while the packet queue is full.
    async fn send(&self, item: Demuxed) -> Result<(), ConnectionEnd> {
        self.out.send(item).await.map_err(|_| ConnectionEnd::Stopped)
    }

    fn report_fragment(&self, result: FragmentResult, behind_ms: Option<u64>) {
        FragmentRead { camera: &self.status, result, behind_ms }.emit();
    }

    /// Moves the cursor to the start of the next connection, reports the end, and returns the delay; `None` to stop.
    async fn follow_end(&mut self, end: ConnectionEnd) -> Option<Duration> {
        if matches!(end, ConnectionEnd::Stopped) {
            return None;
        }
        self.move_cursor(&end);
        // The fragment that was not completed is read again from its beginning, so decode discards its part.
        self.send(Demuxed::Discontinuity).await.ok()?;
        self.previous = EndKind::classify(&end, self.stall.has_bytes());
        let delay = self.reconnect_delay(&end).max(self.budget.take(Instant::now()));
        self.report_end(&end, delay);
        match self.previous {
            EndKind::Normal => {}
            EndKind::Idle => self.status.waiting(),
            EndKind::Failed => self.status.down(end.to_string(), Some(delay)),
        }
        Some(delay)
    }

    fn report_end(&mut self, end: &ConnectionEnd, retry_in: Duration) {
        ConnectionEnded {
            camera: &self.status,
            reason: end.reason(),
            detail: &end.to_string(),
            retry_in,
            expected: self.previous != EndKind::Failed,
            brought_footage: self.previous == EndKind::Normal,
            repeated: self.last_reason == Some(end.reason()),
        }
        .emit();
        self.last_reason = Some(end.reason());
    }

    /// Returns the delay before the next connection, without the limit of the connection budget.
    fn reconnect_delay(&mut self, end: &ConnectionEnd) -> Duration {
        let is_first = self.backoff.is_fresh();
        match end {
            // A stall was already a wait.
            ConnectionEnd::Stopped | ConnectionEnd::Stalled(_) | ConnectionEnd::TooFarBehind(_) => {
                Duration::ZERO
            }
            // An early end is retried at once, but only once until a fragment is complete again.
            ConnectionEnd::ResponseEnded | ConnectionEnd::CutShort(_) => {
                let delay = self.backoff.next_wait().min(self.reconnect_delay);
                if is_first { Duration::ZERO } else { delay }
            }
            ConnectionEnd::Source(error) => self.backoff.next_wait().min(error.max_wait()),
            // The service answers, so the backoff from its absence no longer applies: each second of delay would let
            // more footage expire. This too holds only once until a fragment is complete again.
            ConnectionEnd::ErrorRecord { id: Some(FRAGMENT_NOT_FOUND), .. } if !self.expired => {
                self.expired = true;
                self.backoff.reset();
                Duration::ZERO
            }
            ConnectionEnd::Malformed(_) | ConnectionEnd::Trickles(_) | ConnectionEnd::ErrorRecord { .. } => {
                self.backoff.next_wait()
            }
        }
    }

    fn move_cursor(&mut self, end: &ConnectionEnd) {
        match end {
            ConnectionEnd::Malformed(_) | ConnectionEnd::CutShort(_) => self.count_failure(),
            ConnectionEnd::Stalled(limit) => self.stall.stalled(*limit),
            // Each of these may mean that another endpoint serves the stream now.
            ConnectionEnd::ResponseEnded
            | ConnectionEnd::Trickles(_)
            | ConnectionEnd::Source(SourceError::Broken { .. } | SourceError::Failed { .. }) => {
                self.source.forget_endpoint();
            }
            // The primer expires first, since it is the older fragment: retry without it before giving up the place.
            ConnectionEnd::ErrorRecord { id: Some(FRAGMENT_NOT_FOUND), .. } if self.cursor.drop_primer() => {}
            // GetMedia does not start after a fragment that has expired, so the place itself is lost.
            ConnectionEnd::ErrorRecord { id: Some(FRAGMENT_NOT_FOUND), .. } => self.jump_to_earliest(),
            ConnectionEnd::TooFarBehind(behind) => self.jump_to_now(*behind),
            ConnectionEnd::Stopped | ConnectionEnd::Source(_) | ConnectionEnd::ErrorRecord { .. } => {}
        }
    }

    /// Moves the cursor to the oldest footage, because its place is no longer stored.
    fn jump_to_earliest(&mut self) {
        let what = format!(
            "the place {} is no longer stored; reading resumes with the oldest footage",
            self.cursor.start()
        );
        GapFound { camera: &self.status, what: &what }.emit();
        self.cursor.jump(StartAt::Earliest);
    }

    fn jump_to_now(&mut self, skipped: Duration) {
        JumpedToNow { camera: &self.status, skipped }.emit();
        self.cursor.jump(StartAt::Now);
    }

    /// Counts a failure of the current fragment, which is skipped after the third.
    fn count_failure(&mut self) {
        let outcome = self.cursor.fail();
        if outcome != FailureOutcome::ReadAgain {
            self.report_fragment(FragmentResult::Skipped, None);
        }
        // Outside any fragment there is nothing to skip. A live camera resumes with the newest footage; one in
        // catch-up retries, because a jump would lose stored footage.
        if outcome == FailureOutcome::NoFragment && self.mode.get() == Mode::Live {
            self.cursor.jump(StartAt::Now);
        }
    }
}

impl ConnectionState {
    fn new(connection: DemuxedConnection) -> Self {
        Self {
            connection,
            incomplete: None,
            waited: Duration::ZERO,
            first: None,
            last: MediaMs(i64::MIN),
            has_no_video: false,
        }
    }

    /// Ends the connection if bytes have arrived for [`MAX_INCOMPLETE`] without a whole event.
    fn check_trickle(&mut self, has_event: bool, arrived: Instant) -> Result<(), ConnectionEnd> {
        if has_event || !self.connection.can_stall() {
            self.incomplete = None;
            return Ok(());
        }
        let incomplete = arrived.saturating_duration_since(*self.incomplete.get_or_insert(arrived));
        if incomplete > MAX_INCOMPLETE { Err(ConnectionEnd::Trickles(incomplete)) } else { Ok(()) }
    }

    fn begin_fragment(&mut self, has_no_video: bool) {
        self.has_no_video = has_no_video;
        self.first = None;
        self.last = MediaMs(i64::MIN);
    }

    /// Returns the media time between the first and the newest packet of the current fragment.
    fn fragment_length(&self) -> Duration {
        let first = self.first.unwrap_or(self.last);
        Duration::from_millis(u64::try_from(self.last.0.saturating_sub(first.0)).unwrap_or(0))
    }
}
