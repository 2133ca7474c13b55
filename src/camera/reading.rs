//! The reading half of a camera: connects, takes the bytes apart, hands packets on; and connects again, for ever.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h26x::PictureRole;
use tokio_util::sync::CancellationToken;

use super::feed::{Brought, Feed};
use crate::base::Backoff;
use crate::decode::PacketSender;
use crate::demux::{DemuxError, Step};
use crate::media::{Demuxed, Fragment, FragmentEnd, MediaMs, Mode, ModeCell, Packet};
use crate::source::{
    ConnectionBudget, Cursor, Failed, LagClock, Pace, SourceError, StallWatch, StartAt, StreamSource, Verdict,
};
use crate::status::CameraStatus;
use crate::status::{UnitRead, whole_ms};
use crate::telemetry::source::{
    BytesRead, ConnectionEnded, ConnectionOpened, FragmentRead, FragmentResult, FrameRead, GapFound,
    JumpedToNow, TimestampRejected,
};

/// The longest wait between two connections.
const MOST_WAIT: Duration = Duration::from_secs(60);
/// The longest time for which bytes may come without a whole access unit. A connection on which one takes longer brings no footage in
/// time, and each byte of it looks like life.
const MAX_INCOMPLETE: Duration = Duration::from_secs(30);
/// GetMedia's error record for a fragment that is not, or no longer, there. Source: API reference, GetMedia.
const FRAGMENT_NOT_FOUND: u32 = 4000;

/// Reads one camera's stream until it is told to stop.
pub(super) struct Reading {
    source: StreamSource,
    cursor: Cursor,
    pace: Pace,
    clock: LagClock,
    stall: StallWatch,
    backoff: Backoff,
    budget: ConnectionBudget,
    reconnect_delay: Duration,
    mode: Arc<ModeCell>,
    before: Before,
    /// The reason of the last end, until a fragment is complete.
    told: Option<&'static str>,
    /// Whether footage was found to have expired since a fragment was complete.
    expired: bool,
    /// The producer's time of the last fragment, where it was none.
    refused_ms: Option<i64>,
    out: PacketSender,
    board: CameraStatus,
    stop: CancellationToken,
}

/// How the connection before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// There was none, or it ended as connections do.
    Well,
    /// It brought nothing: the camera does not send.
    Idle,
    /// With an error.
    Badly,
}

/// What a reader is made of.
pub(super) struct ReadingParts {
    pub(super) source: StreamSource,
    pub(super) start: StartAt,
    pub(super) reconnect_delay: Duration,
    pub(super) max_behind: Duration,
    pub(super) mode: Arc<ModeCell>,
    pub(super) out: PacketSender,
    pub(super) board: CameraStatus,
    pub(super) stop: CancellationToken,
}

/// Why a connection is over, or never came about.
#[derive(Debug)]
enum Over {
    /// We were told to stop, or nobody takes the packets any more.
    Stopped,
    /// The response ended as if all were well: it does so every 40 to 50 minutes.
    Silently,
    /// No bytes for so long.
    Stalled(Duration),
    /// Bytes came, and no whole access unit for this long.
    Trickles(Duration),
    /// A request failed or the connection broke.
    Source(SourceError),
    /// The bytes make no sense.
    Rubbish(DemuxError),
    /// A fragment ended without its trailing tags, and another began.
    CutShort(Arc<str>),
    /// The service ended the stream with an error record.
    ErrorRecord { id: Option<u32>, code: Option<String> },
    /// Live, and so far behind that it is better to jump.
    TooFarBehind(Duration),
}

/// The end of a complete fragment, as it arrived.
struct Ending {
    fragment: Arc<Fragment>,
    /// The server's figure.
    behind_ms: Option<u64>,
    arrived: Instant,
}

/// One connection's account.
struct Connection {
    feed: Feed,
    /// Time of the first bytes since the last whole item, such as an access unit.
    incomplete: Option<Instant>,
    waited: Duration,
    first: Option<MediaMs>,
    last: MediaMs,
    /// Whether the fragment at hand holds nothing to decode.
    blank: bool,
}

impl Reading {
    pub(super) fn new(parts: ReadingParts) -> Self {
        Self {
            cursor: Cursor::new(parts.start.clone()),
            pace: Pace::new(parts.max_behind),
            clock: LagClock::new(Instant::now()),
            stall: StallWatch::default(),
            backoff: Backoff::new(parts.reconnect_delay, MOST_WAIT),
            budget: ConnectionBudget::default(),
            mode: parts.mode,
            reconnect_delay: parts.reconnect_delay,
            before: Before::Well,
            told: None,
            expired: false,
            refused_ms: None,
            source: parts.source,
            out: parts.out,
            board: parts.board,
            stop: parts.stop,
        }
    }

    /// Reads until told to stop. The sender of packets closes when this returns: that ends decode.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let over = tokio::select! {
                () = stop.cancelled() => return,
                over = self.connection() => over,
            };
            let Some(wait) = self.after(over).await else { return };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn connection(&mut self) -> Over {
        let start = self.cursor.start();
        if self.before != Before::Idle {
            self.board.connecting();
        }
        let opened = match self.source.open(&start).await {
            Ok(opened) => opened,
            Err(error) => return Over::Source(error),
        };
        ConnectionOpened { camera: &self.board, stream: self.source.stream(), start: &start.to_string() }
            .emit();
        self.stall.connected();
        self.pace.connected(start == StartAt::Now);
        self.clock.connected();
        let mut connection = Connection::new(Feed::new(opened));
        loop {
            if let Err(over) = self.advance(&mut connection).await {
                return over;
            }
        }
    }

    /// Waits for bytes and hands on what they hold.
    async fn advance(&mut self, connection: &mut Connection) -> Result<(), Over> {
        self.bytes(connection).await?;
        let arrived = Instant::now();
        let mut is_whole = false;
        while let Some(step) = connection.feed.step(arrived).map_err(Over::Rubbish)? {
            self.step(connection, step, arrived).await?;
            is_whole = true;
        }
        connection.came(is_whole, arrived)
    }

    async fn bytes(&mut self, connection: &mut Connection) -> Result<(), Over> {
        let asked = Instant::now();
        let limit = if connection.feed.can_stall() { self.stall.limit() } else { Duration::MAX };
        let Ok(brought) = tokio::time::timeout(limit, connection.feed.more()).await else {
            return Err(Over::Stalled(limit));
        };
        match brought.map_err(Over::Source)? {
            Brought::End => return Err(Over::Silently),
            Brought::Gap(what) => {
                GapFound { camera: &self.board, what: &what }.emit();
                // What comes next does not continue what was decoded.
                self.hand_on(Demuxed::Discontinuity).await?;
            }
            Brought::Bytes(bytes) => self.came(connection, bytes, asked.elapsed()),
            Brought::Segment(segment) => {
                self.came(connection, segment.bytes, asked.elapsed());
                if let Some(MediaMs(newest_ms)) = segment.newest {
                    self.clock.date(newest_ms, segment.behind_ms, Instant::now());
                }
            }
        }
        Ok(())
    }

    fn came(&mut self, connection: &mut Connection, bytes: usize, waited: Duration) {
        self.stall.bytes(waited);
        connection.waited += waited;
        BytesRead { camera: &self.board, bytes }.emit();
    }

    async fn step(&mut self, connection: &mut Connection, step: Step, arrived: Instant) -> Result<(), Over> {
        match step {
            Step::Begin(fragment) => {
                connection.begin(false);
                self.refuse_time(connection.feed.refused_ms());
                self.begin(fragment);
                Ok(())
            }
            Step::Packet(packet) => self.packet(connection, packet).await,
            Step::End { fragment, behind_ms } => {
                let ended = Ending { fragment, behind_ms, arrived };
                self.end(connection, ended).await
            }
            Step::Incomplete(fragment) => {
                self.tell(FragmentResult::Incomplete, None);
                Err(Over::CutShort(Arc::clone(&fragment.number)))
            }
            Step::NoVideo { fragment, codecs } => {
                connection.begin(true);
                self.no_video(fragment, &codecs);
                Ok(())
            }
            Step::StreamError(error) => Err(Over::ErrorRecord { id: error.id, code: error.code }),
        }
    }

    /// Reports a producer's time that is none when the first comes, and when it is over.
    fn refuse_time(&mut self, refused_ms: Option<i64>) {
        if self.refused_ms.is_some() != refused_ms.is_some() {
            TimestampRejected { camera: &self.board, refused_ms }.emit();
        }
        self.refused_ms = refused_ms;
    }

    /// Trouble is over with the next complete fragment, not before: bytes that begin well may be rubbish further on.
    fn begin(&mut self, fragment: Arc<Fragment>) {
        if self.before != Before::Badly {
            self.board.streaming();
        }
        if self.cursor.has(&fragment.number) {
            self.tell(FragmentResult::Duplicate, None);
        } else {
            self.clock.begin(&fragment);
            self.cursor.begin(fragment);
        }
    }

    fn no_video(&mut self, fragment: Arc<Fragment>, codecs: &str) {
        self.tell(FragmentResult::NoVideo, None);
        self.cursor.begin(fragment);
        self.before = Before::Badly;
        self.board.down(format!("no video that can be decoded: {codecs}; H.264 and H.265 can"), None);
    }

    async fn packet(&mut self, connection: &mut Connection, mut packet: Packet) -> Result<(), Over> {
        if self.cursor.has(&packet.fragment.number) {
            let primes = self.cursor.primes(&packet.fragment.number);
            return if primes { self.hand_on(Demuxed::Primer(packet)).await } else { Ok(()) };
        }
        if packet.index == 0 && packet.role() == PictureRole::Open {
            self.cursor.is_open_gop();
        }
        connection.first.get_or_insert(packet.media);
        connection.last = connection.last.max(packet.media);
        let (ingested_ms, arrived) = (packet.fragment.ingested_ms(packet.media), packet.arrived);
        packet.lag = self.clock.arrival(ingested_ms, arrived);
        let unit = UnitRead { ingested_ms, arrived, lag: packet.lag };
        FrameRead { camera: &self.board, unit }.emit();
        self.hand_on(Demuxed::Packet(packet)).await
    }

    async fn end(&mut self, connection: &mut Connection, ending: Ending) -> Result<(), Over> {
        let Ending { fragment, behind_ms, arrived } = ending;
        if self.cursor.has(&fragment.number) {
            return Ok(());
        }
        let position = self.cursor.complete(&fragment);
        self.backoff.reset();
        self.expired = false;
        if !connection.blank {
            self.before = Before::Well;
            self.told = None;
            self.board.streaming();
        }
        let lag_ms = whole_ms(self.clock.end(&fragment, behind_ms, arrived));
        let late_ms = behind_ms.unwrap_or(0).max(lag_ms);
        let behind_ms = Some(late_ms);
        self.tell(FragmentResult::Complete, behind_ms);
        let waited = std::mem::take(&mut connection.waited);
        let verdict = self.pace.fragment(behind_ms, waited, connection.length());
        let caught_up = verdict == Verdict::CaughtUp;
        self.hand_on(Demuxed::FragmentEnd(FragmentEnd { fragment, position, behind_ms, caught_up })).await?;
        if verdict == Verdict::TooFarBehind && self.mode.get() == Mode::Live {
            return Err(Over::TooFarBehind(Duration::from_millis(late_ms)));
        }
        Ok(())
    }

    async fn hand_on(&self, item: Demuxed) -> Result<(), Over> {
        self.out.send(item).await.map_err(|_| Over::Stopped)
    }

    fn tell(&self, result: FragmentResult, behind_ms: Option<u64>) {
        FragmentRead { camera: &self.board, result, behind_ms }.emit();
    }

    /// Puts the cursor where the next connection starts, tells what happened, and gives how long to wait; `None`: for ever.
    async fn after(&mut self, over: Over) -> Option<Duration> {
        if matches!(over, Over::Stopped) {
            return None;
        }
        self.move_cursor(&over);
        self.hand_on(Demuxed::Discontinuity).await.ok()?;
        self.before = self.ended(&over);
        let wait = self.wait(&over).max(self.budget.take(Instant::now()));
        ConnectionEnded {
            camera: &self.board,
            reason: over.reason(),
            detail: &over.to_string(),
            retry_in: wait,
            expected: self.before != Before::Badly,
            brought_footage: self.before == Before::Well,
            repeated: self.told == Some(over.reason()),
        }
        .emit();
        self.told = Some(over.reason());
        match self.before {
            Before::Well => {}
            Before::Idle => self.board.waiting(),
            Before::Badly => self.board.down(over.to_string(), Some(wait)),
        }
        Some(wait)
    }

    fn ended(&self, over: &Over) -> Before {
        match over {
            Over::Stalled(_) | Over::Silently if !self.stall.brought() => Before::Idle,
            Over::Source(SourceError::NoFootage { .. }) => Before::Idle,
            Over::Stopped | Over::Silently | Over::Stalled(_) => Before::Well,
            Over::Source(_)
            | Over::Rubbish(_)
            | Over::CutShort(_)
            | Over::Trickles(_)
            | Over::ErrorRecord { .. }
            | Over::TooFarBehind(_) => Before::Badly,
        }
    }

    /// How long until the next connection. A stall has waited already; what ends early, or has expired, is asked again at once,
    /// but only once until a fragment is complete again. The service that says so is there, so what its absence built up is
    /// over: each second of waiting would let more footage expire.
    fn wait(&mut self, over: &Over) -> Duration {
        let fresh = self.backoff.is_fresh();
        match over {
            Over::Stopped | Over::Stalled(_) | Over::TooFarBehind(_) => Duration::ZERO,
            Over::Silently | Over::CutShort(_) => {
                let wait = self.backoff.next_wait().min(self.reconnect_delay);
                if fresh { Duration::ZERO } else { wait }
            }
            Over::Source(error) => self.backoff.next_wait().min(error.most_wait()),
            Over::ErrorRecord { id: Some(FRAGMENT_NOT_FOUND), .. } if !self.expired => {
                self.expired = true;
                self.backoff.reset();
                Duration::ZERO
            }
            Over::Rubbish(_) | Over::Trickles(_) | Over::ErrorRecord { .. } => self.backoff.next_wait(),
        }
    }

    fn move_cursor(&mut self, over: &Over) {
        match over {
            Over::Rubbish(_) | Over::CutShort(_) => self.fail(),
            Over::Stalled(limit) => self.stall.stalled(*limit),
            Over::Silently
            | Over::Trickles(_)
            | Over::Source(SourceError::Broken { .. } | SourceError::Failed { .. }) => {
                self.source.forget_endpoint();
            }
            Over::ErrorRecord { id: Some(FRAGMENT_NOT_FOUND), .. } if self.cursor.drop_primer() => {}
            Over::ErrorRecord { id: Some(FRAGMENT_NOT_FOUND), .. } => {
                let what = format!("{} is not kept any more; on with the oldest", self.cursor.start());
                GapFound { camera: &self.board, what: &what }.emit();
                self.cursor.jump(StartAt::Earliest);
            }
            Over::TooFarBehind(behind) => {
                JumpedToNow { camera: &self.board, skipped: *behind }.emit();
                self.cursor.jump(StartAt::Now);
            }
            Over::Stopped | Over::Source(_) | Over::ErrorRecord { .. } => {}
        }
    }

    /// The fragment that fails three times is passed over. Rubbish outside of any fragment cannot be: a live camera
    /// goes on with the newest footage, one that catches up keeps trying, for it would lose what is stored.
    fn fail(&mut self) {
        let failed = self.cursor.fail();
        if failed != Failed::Again {
            self.tell(FragmentResult::Skipped, None);
        }
        if failed == Failed::Nameless && self.mode.get() == Mode::Live {
            self.cursor.jump(StartAt::Now);
        }
    }
}

impl Connection {
    fn new(feed: Feed) -> Self {
        Self {
            feed,
            incomplete: None,
            waited: Duration::ZERO,
            first: None,
            last: MediaMs(i64::MIN),
            blank: false,
        }
    }

    /// Bytes came at `arrived`, and something whole with them or not.
    fn came(&mut self, is_whole: bool, arrived: Instant) -> Result<(), Over> {
        if is_whole || !self.feed.can_stall() {
            self.incomplete = None;
            return Ok(());
        }
        let incomplete = arrived.saturating_duration_since(*self.incomplete.get_or_insert(arrived));
        if incomplete > MAX_INCOMPLETE { Err(Over::Trickles(incomplete)) } else { Ok(()) }
    }

    fn begin(&mut self, blank: bool) {
        self.blank = blank;
        self.first = None;
        self.last = MediaMs(i64::MIN);
    }

    /// The media time that the fragment's packets span.
    fn length(&self) -> Duration {
        let first = self.first.unwrap_or(self.last);
        Duration::from_millis(u64::try_from(self.last.0.saturating_sub(first.0)).unwrap_or(0))
    }
}

impl Over {
    fn reason(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Silently => "ended",
            Self::Stalled(_) => "stalled",
            Self::Trickles(_) => "too_slow",
            Self::Source(error) => error.reason(),
            Self::Rubbish(_) => "malformed",
            Self::CutShort(_) => "cut_short",
            Self::ErrorRecord { .. } => "error_record",
            Self::TooFarBehind(_) => "too_far_behind",
        }
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "stopped"),
            Self::Silently => write!(f, "the connection ended"),
            Self::Stalled(limit) => write!(f, "no bytes for {:.1} s", limit.as_secs_f64()),
            Self::Trickles(incomplete) => write!(
                f,
                "bytes come, and no whole access unit for {} s; check the network to KVS and the proxies on the way",
                incomplete.as_secs()
            ),
            Self::Source(error) => error.fmt(f),
            Self::Rubbish(error) => error.fmt(f),
            Self::CutShort(number) => write!(f, "fragment {number} ended without its trailing tags"),
            Self::ErrorRecord { id, code } => write!(
                f,
                "the service ended the stream with error {} ({})",
                id.map_or_else(|| "?".to_owned(), |id| id.to_string()),
                code.as_deref().unwrap_or("no name")
            ),
            Self::TooFarBehind(behind) => write!(f, "{} s behind the live edge", behind.as_secs()),
        }
    }
}
