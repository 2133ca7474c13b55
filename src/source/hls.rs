//! HLS sessions of Kinesis Video Streams: one reading, segment by segment.
//!
//! Stored footage comes through ON_DEMAND sessions, window by window, as fast as it is fetched; at its end the LIVE session
//! goes on. (LIVE_REPLAY would list stored footage in real time only, and never catch up.) Windows and playlists go by the producer's
//! time, because media time does; within them fragments are told apart by their numbers, so that none comes twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvs_hls::player::{FetchFailure, Gap, HlsPlayer, PlayerAction, PlayerStart};
use kvs_hls::playlist::PlaylistSegment;
use kvs_hls::{HlsLimits, Link};

use super::fetch::{Fetcher, Unfetched};
use super::hls_session::{Playback, Sessions};
use super::{Kvs, SourceError, StartAt};
use crate::base::epoch_ms;
use crate::demux::FetchedSegment;
use crate::telemetry::board::whole_ms;

/// The longest window of an ON_DEMAND session. Source: API reference, GetHLSStreamingSessionURL, HLSTimestampRange, 2026.
const WINDOW_MS: i64 = 24 * 3_600_000;
/// Our clock may be wrong by so much: AWS takes no signature of one that is further off than 5 minutes.
const CLOCK_ERROR_MS: i64 = 10 * 60_000;
/// A producer that sends no timestamps dates its footage to 1970.
const NO_TIME_MS: i64 = 24 * 3_600_000;
/// Sessions that list nothing, after which it is a fault and not the end of a session: the wait between two tries is then the
/// camera's.
const MOST_BARREN: u32 = 3;
/// Before a renewal that was refused is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// One stream, read by HLS.
#[derive(Debug)]
pub struct HlsSource {
    sessions: Sessions,
    fetcher: Fetcher,
}

/// What a reading brings.
#[derive(Debug)]
pub enum HlsItem {
    /// A segment.
    Segment(FetchedSegment),
    /// Fragments between the one read last and the one that comes next are not kept any more.
    Gap(String),
}

/// A reading of a stream.
#[derive(Debug)]
pub struct HlsMedia {
    sessions: Sessions,
    fetcher: Fetcher,
    player: HlsPlayer,
    stage: Stage,
    /// Number and time of the last segment that was read.
    last: Option<(String, i64)>,
    init: Option<(Link, Bytes)>,
    /// What is to be told before the next segment.
    gap: Option<String>,
    /// Sessions since a playlist was read.
    barren: u32,
    /// When the playlist was read that lists what is queued.
    listed: Instant,
}

/// Which footage the session lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Stored, of this window, ms since the epoch.
    Stored { from_ms: i64, to_ms: i64, found: bool },
    /// The newest; `bridged`: what was stored before it was looked for.
    Live { bridged: bool },
}

impl HlsSource {
    /// The source of one stream, whose sessions last so long.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(kvs: &Kvs, stream: &str, lasts: Duration) -> Result<Self, SourceError> {
        let sessions = Sessions::new(kvs.clone(), stream, lasts);
        let fetcher = Fetcher::new().map_err(|message| sessions.failed("GetHLSMediaPlaylist", message))?;
        Ok(Self { sessions, fetcher })
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.sessions.stream()
    }

    /// A reading that starts at `start`, with a session.
    ///
    /// # Errors
    /// The stream cannot be described, or there is no session.
    pub async fn open(&self, start: &StartAt) -> Result<HlsMedia, SourceError> {
        let (stage, last) = match start {
            StartAt::Now => (Stage::Live { bridged: true }, None),
            StartAt::Earliest => {
                let kept_ms = self.sessions.retention_ms().await? + CLOCK_ERROR_MS;
                (window(epoch_ms() - kept_ms), None)
            }
            StartAt::After(position) => {
                (window(position.media.0), Some((position.read_after().to_string(), position.media.0)))
            }
            StartAt::ServerTime(ms) => (window(*ms), None),
        };
        let (sessions, fetcher) = (self.sessions.clone(), self.fetcher.clone());
        let player = player(stage, last.as_ref(), sessions.lasts());
        let mut media = HlsMedia {
            sessions,
            fetcher,
            player,
            stage,
            last,
            init: None,
            gap: None,
            barren: 0,
            listed: Instant::now(),
        };
        while media.player.next(Instant::now()) == PlayerAction::Session {
            media.session().await?;
        }
        Ok(media)
    }
}

/// The longest window from there on. It may end after now: times are the producer's.
fn window(from_ms: i64) -> Stage {
    Stage::Stored { from_ms, to_ms: from_ms.saturating_add(WINDOW_MS), found: false }
}

fn player(stage: Stage, last: Option<&(String, i64)>, lasts: Duration) -> HlsPlayer {
    let start = match (stage, last) {
        (_, Some((number, _))) => PlayerStart::After(number.clone()),
        (Stage::Live { .. }, None) => PlayerStart::Newest,
        (Stage::Stored { .. }, None) => PlayerStart::Oldest,
    };
    HlsPlayer::new(start, lasts, HlsLimits::default())
}

impl HlsMedia {
    /// The next segment, or what is told before it. Waits while the camera sends nothing new.
    ///
    /// # Errors
    /// The session is over and there is no new one, or something cannot be fetched: open a new reading.
    pub async fn next(&mut self) -> Result<HlsItem, SourceError> {
        loop {
            match self.player.next(Instant::now()) {
                PlayerAction::Session => self.session().await?,
                PlayerAction::Master(link) => self.master(&link).await?,
                PlayerAction::Media(link) => self.media(&link).await?,
                PlayerAction::Segment(segment) => {
                    if let Some(gap) = self.gap.take() {
                        return Ok(HlsItem::Gap(gap));
                    }
                    if let Some(fetched) = self.segment(&segment).await? {
                        return Ok(HlsItem::Segment(fetched));
                    }
                }
                PlayerAction::Wait(until) => tokio::time::sleep_until(until.into()).await,
                PlayerAction::End => self.end()?,
            }
        }
    }

    async fn session(&mut self) -> Result<(), SourceError> {
        self.barren += 1;
        if self.barren > MOST_BARREN {
            return Err(self.failed(format!(
                "{MOST_BARREN} sessions in a row were refused before they listed anything"
            )));
        }
        let asked = Instant::now();
        let playback = match self.stage {
            Stage::Stored { from_ms, to_ms, .. } => Playback::Stored { from_ms, to_ms },
            Stage::Live { .. } => Playback::Live,
        };
        match (self.sessions.url(playback).await, self.stage) {
            (Ok(url), _) => self.player.session(asked, &url).map_err(|error| self.unreadable(&error)),
            (Err(SourceError::NoFootage { .. }), Stage::Stored { .. }) => {
                self.after_window();
                Ok(())
            }
            (Err(error), _) if !self.player.has_session() => Err(error),
            (Err(_refused), _) => {
                self.player.session_refused(asked + RENEW_AGAIN);
                Ok(())
            }
        }
    }

    async fn master(&mut self, link: &Link) -> Result<(), SourceError> {
        let Some(text) = self.fetch(link).await? else { return Ok(()) };
        self.player.master(&text).map_err(|error| self.unreadable(&error))
    }

    async fn media(&mut self, link: &Link) -> Result<(), SourceError> {
        let Some(text) = self.fetch(link).await? else { return Ok(()) };
        self.listed = Instant::now();
        let gap = self.player.media(self.listed, &text).map_err(|error| self.unreadable(&error))?;
        self.barren = 0;
        if let Some(gap) = gap {
            self.missing(&gap);
        }
        Ok(())
    }

    /// What a LIVE playlist leaves out may be stored: it is looked for once. What is not found there is gone.
    fn missing(&mut self, gap: &Gap) {
        match (self.stage, &self.last) {
            (Stage::Live { bridged: false }, Some((_, last_ms))) => self.go(window(*last_ms)),
            (Stage::Live { .. }, _) => self.gap = Some(told(gap)),
            (Stage::Stored { .. }, _) => {}
        }
    }

    async fn segment(&mut self, segment: &PlaylistSegment) -> Result<Option<FetchedSegment>, SourceError> {
        let init = match &segment.init {
            Some(link) => match self.initialisation(link).await? {
                Some(init) => Some(init),
                None => return Ok(None),
            },
            None => None,
        };
        let Some(media) = self.fetch(&segment.link).await? else { return Ok(None) };
        let (Some(number), Some(date_ms)) = (&segment.fragment_number, segment.program_date_time_ms) else {
            return Err(self.failed("a segment without its number or time".to_owned()));
        };
        if date_ms < NO_TIME_MS {
            let message = "the producer sends no timestamps, which HLS needs: read it by GETMEDIA";
            return Err(self.failed(message.to_owned()));
        }
        self.player.read();
        self.last = Some((number.clone(), date_ms));
        match &mut self.stage {
            Stage::Stored { found, .. } => *found = true,
            Stage::Live { bridged } => *bridged = false,
        }
        // What came since the playlist was read is not queued yet.
        let behind_ms = self.player.queued_ms().saturating_add(whole_ms(self.listed.elapsed()));
        let number = Arc::from(number.as_str());
        Ok(Some(FetchedSegment { number, date_ms, behind_ms, init, media }))
    }

    async fn initialisation(&mut self, link: &Link) -> Result<Option<Bytes>, SourceError> {
        if let Some((_, init)) = self.init.as_ref().filter(|(of, _)| of == link) {
            return Ok(Some(init.clone()));
        }
        let Some(init) = self.fetch(link).await? else { return Ok(None) };
        self.init = Some((link.clone(), init.clone()));
        Ok(Some(init))
    }

    /// `None`: the player wants something else now.
    async fn fetch(&mut self, link: &Link) -> Result<Option<Bytes>, SourceError> {
        let failure = match self.fetcher.get(link).await {
            Ok(body) => return Ok(Some(body)),
            Err(Unfetched::Expired) => FetchFailure::Expired,
            Err(Unfetched::Gone) => FetchFailure::Gone,
            Err(Unfetched::Failed(message)) => return Err(self.failed(message)),
        };
        if let Some(lost) = self.player.failed(failure) {
            self.gap = Some(format!("fragment {lost} was not kept long enough"));
        }
        Ok(None)
    }

    /// A LIVE playlist has no end, unless the session is over.
    fn end(&mut self) -> Result<(), SourceError> {
        if let Stage::Live { .. } = self.stage {
            return Err(self.failed("the LIVE session ended".to_owned()));
        }
        self.after_window();
        Ok(())
    }

    /// The window was read to its end. What came meanwhile is looked for in another one; when there is nothing, the LIVE session
    /// goes on.
    fn after_window(&mut self) {
        let Stage::Stored { to_ms, found, .. } = self.stage else { return };
        match &self.last {
            Some((_, last_ms)) if found => self.go(window(*last_ms)),
            _ if to_ms < epoch_ms() + CLOCK_ERROR_MS => self.go(window(to_ms)),
            _ => self.go(Stage::Live { bridged: true }),
        }
    }

    fn go(&mut self, stage: Stage) {
        self.barren = 0;
        self.stage = stage;
        self.player = player(stage, self.last.as_ref(), self.sessions.lasts());
    }

    fn unreadable(&self, error: &kvs_hls::HlsError) -> SourceError {
        self.failed(error.to_string())
    }

    fn failed(&self, message: String) -> SourceError {
        self.sessions.failed("GetHLSMediaPlaylist", message)
    }
}

fn told(gap: &Gap) -> String {
    let Gap { after, before, fragments } = gap;
    match fragments {
        Some(fragments) => {
            format!("{fragments} fragments after {after} are listed no more; on with {before}")
        }
        None => format!("fragments after {after} may be missing; on with {before}"),
    }
}
