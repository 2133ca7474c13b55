//! Reads a stream by HLS: a series of sessions, segment by segment.
//!
//! Stored footage comes through ON_DEMAND sessions, one time window after the other, as fast as it can be fetched.
//! At the end of the stored footage a LIVE session follows. LIVE_REPLAY is not used, because it lists stored footage
//! in real time only and never catches up.
//!
//! Windows are ranges of the producer's time, because media time is. Within them a fragment is identified by its
//! number, so that none is read twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvs_hls::player::{FetchFailure, Gap, HlsPlayer, PlayerAction, PlayerStart};
use kvs_hls::playlist::PlaylistSegment;
use kvs_hls::{HlsLimits, Link};

use super::fetch::{HlsFetchError, HlsFetcher};
use super::hls_session::{HlsSessionOpener, SessionRange};
use super::{Kvs, SourceError, StartAt};
use crate::base::epoch_ms;
use crate::demux::FetchedSegment;
use crate::status::whole_ms;

/// The longest window of an ON_DEMAND session.
/// Source: API reference, GetHLSStreamingSessionURL, HLSTimestampRange, 2026.
const WINDOW_MS: i64 = 24 * 3_600_000;
/// The assumed error of this host's clock, with a margin: AWS rejects signatures that are off by more than 5 minutes.
const CLOCK_ERROR_MS: i64 = 10 * 60_000;
/// The latest date that means "no timestamp": without one, a producer's footage is dated to the first day of 1970.
const NO_TIME_MS: i64 = 24 * 3_600_000;
/// The number of consecutive sessions without a playlist after which the connection fails.
///
/// Fewer are the normal end of a session; more are a fault, and the camera's backoff applies.
const MAX_BARREN_SESSIONS: u32 = 3;
/// The delay before another session is requested after a renewal was refused.
const RENEWAL_RETRY: Duration = Duration::from_secs(5);

/// A stream that is read by HLS.
#[derive(Debug)]
pub struct HlsSource {
    sessions: HlsSessionOpener,
    fetcher: HlsFetcher,
}

/// An item of an HLS connection, in stream order.
#[derive(Debug)]
pub enum HlsItem {
    /// A segment, which is one fragment.
    Segment(FetchedSegment),
    /// A description of fragments that have expired between the previous segment and the next one.
    Gap(String),
}

/// A connection to a stream by HLS: the sessions that follow each other, and the segments that they list.
#[derive(Debug)]
pub struct HlsConnection {
    sessions: HlsSessionOpener,
    fetcher: HlsFetcher,
    player: HlsPlayer,
    footage: Footage,
    /// Number and date of the last segment that was read.
    last: Option<(String, i64)>,
    /// The last initialisation segment and its link.
    init: Option<(Link, Bytes)>,
    /// The gap to report before the next segment.
    gap: Option<String>,
    /// The number of sessions since a playlist was read.
    barren: u32,
    /// The time at which the current media playlist was read.
    listed: Instant,
}

/// The footage that the current session lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Footage {
    /// Stored footage of this window, ms since the epoch; `found` once a segment of it was read.
    Stored { from_ms: i64, to_ms: i64, found: bool },
    /// The newest footage; `bridged` once the stored footage before it was searched.
    Live { bridged: bool },
}

impl Footage {
    fn range(self) -> SessionRange {
        match self {
            Self::Stored { from_ms, to_ms, .. } => SessionRange::Stored { from_ms, to_ms },
            Self::Live { .. } => SessionRange::Live,
        }
    }
}

impl HlsSource {
    /// Creates a source for `stream` whose sessions are renewed after `session_life`.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(kvs: &Kvs, stream: &str, session_life: Duration) -> Result<Self, SourceError> {
        let sessions = HlsSessionOpener::new(kvs.clone(), stream, session_life);
        let fetcher = HlsFetcher::new().map_err(|message| sessions.failed("GetHLSMediaPlaylist", message))?;
        Ok(Self { sessions, fetcher })
    }

    /// Returns the stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.sessions.stream()
    }

    /// Opens a connection that reads from `start`, with its first session.
    ///
    /// # Errors
    /// The stream cannot be described, or no session is granted.
    pub async fn open(&self, start: &StartAt) -> Result<HlsConnection, SourceError> {
        let (footage, last) = self.footage_from(start).await?;
        let mut connection = HlsConnection::new(self, footage, last);
        while connection.player.next(Instant::now()) == PlayerAction::Session {
            connection.request_session().await?;
        }
        Ok(connection)
    }

    /// Returns the footage to list first, and the segment after which reading starts.
    async fn footage_from(&self, start: &StartAt) -> Result<(Footage, Option<(String, i64)>), SourceError> {
        Ok(match start {
            StartAt::Now => (Footage::Live { bridged: true }, None),
            StartAt::Earliest => {
                let kept_ms = self.sessions.retention_ms().await? + CLOCK_ERROR_MS;
                (window_from(epoch_ms() - kept_ms), None)
            }
            StartAt::After(position) => {
                (window_from(position.media.0), Some((position.read_after().to_string(), position.media.0)))
            }
            StartAt::ServerTime(ms) => (window_from(*ms), None),
        })
    }
}

/// Returns the longest window that starts at `from_ms`.
fn window_from(from_ms: i64) -> Footage {
    // The window may end in the future of this host's clock: the times in it are the producer's.
    Footage::Stored { from_ms, to_ms: from_ms.saturating_add(WINDOW_MS), found: false }
}

fn new_player(footage: Footage, last: Option<&(String, i64)>, session_life: Duration) -> HlsPlayer {
    let start = match (footage, last) {
        (_, Some((number, _))) => PlayerStart::After(number.clone()),
        (Footage::Live { .. }, None) => PlayerStart::Newest,
        (Footage::Stored { .. }, None) => PlayerStart::Oldest,
    };
    HlsPlayer::new(start, session_life, HlsLimits::default())
}

impl HlsConnection {
    fn new(source: &HlsSource, footage: Footage, last: Option<(String, i64)>) -> Self {
        let sessions = source.sessions.clone();
        Self {
            player: new_player(footage, last.as_ref(), sessions.life()),
            sessions,
            fetcher: source.fetcher.clone(),
            footage,
            last,
            init: None,
            gap: None,
            barren: 0,
            listed: Instant::now(),
        }
    }

    /// Returns the next segment, or the gap before it. Waits while the camera sends nothing new.
    ///
    /// # Errors
    /// The session is over and no other one is granted, or a fetch failed: open a new connection.
    pub async fn next(&mut self) -> Result<HlsItem, SourceError> {
        loop {
            match self.player.next(Instant::now()) {
                PlayerAction::Session => self.request_session().await?,
                PlayerAction::Master(link) => self.read_master(&link).await?,
                PlayerAction::Media(link) => self.read_playlist(&link).await?,
                PlayerAction::Segment(segment) => {
                    // The gap is in front of this segment, which the player offers again after it.
                    if let Some(gap) = self.gap.take() {
                        return Ok(HlsItem::Gap(gap));
                    }
                    if let Some(fetched) = self.read_segment(&segment).await? {
                        return Ok(HlsItem::Segment(fetched));
                    }
                }
                PlayerAction::Wait(until) => tokio::time::sleep_until(until.into()).await,
                PlayerAction::End => self.end_playlist()?,
            }
        }
    }

    async fn request_session(&mut self) -> Result<(), SourceError> {
        self.count_session()?;
        let requested = Instant::now();
        match (self.sessions.request_url(self.footage.range()).await, self.footage) {
            (Ok(url), _) => self.player.session(requested, &url).map_err(|error| self.unreadable(&error)),
            // An empty window is a normal end of stored footage, not an error.
            (Err(SourceError::NoFootage { .. }), Footage::Stored { .. }) => {
                self.end_window();
                Ok(())
            }
            (Err(error), _) if !self.player.has_session() => Err(error),
            // The current session is still valid while its renewal is retried.
            (Err(_refused), _) => {
                self.player.session_refused(requested + RENEWAL_RETRY);
                Ok(())
            }
        }
    }

    /// Counts a session until a playlist is read; fails beyond [`MAX_BARREN_SESSIONS`].
    fn count_session(&mut self) -> Result<(), SourceError> {
        self.barren += 1;
        if self.barren > MAX_BARREN_SESSIONS {
            return Err(self.failed(format!(
                "{MAX_BARREN_SESSIONS} sessions in a row were refused before they listed anything"
            )));
        }
        Ok(())
    }

    async fn read_master(&mut self, link: &Link) -> Result<(), SourceError> {
        let Some(text) = self.fetch(link).await? else { return Ok(()) };
        self.player.master(&text).map_err(|error| self.unreadable(&error))
    }

    async fn read_playlist(&mut self, link: &Link) -> Result<(), SourceError> {
        let Some(text) = self.fetch(link).await? else { return Ok(()) };
        self.listed = Instant::now();
        let gap = self.player.media(self.listed, &text).map_err(|error| self.unreadable(&error))?;
        self.barren = 0;
        if let Some(gap) = gap {
            self.bridge_gap(&gap);
        }
        Ok(())
    }

    /// Searches the stored footage once for fragments that a LIVE playlist no longer lists; else records a gap.
    fn bridge_gap(&mut self, gap: &Gap) {
        match (self.footage, &self.last) {
            // RFC 8216, 6.2.2: a live playlist drops its oldest segments. ON_DEMAND may still list them.
            (Footage::Live { bridged: false }, Some((_, last_ms))) => self.switch_to(window_from(*last_ms)),
            (Footage::Live { .. }, _) => self.gap = Some(describe_gap(gap)),
            (Footage::Stored { .. }, _) => {}
        }
    }

    /// Fetches `segment`; returns `None` if the player has to do something else first.
    async fn read_segment(
        &mut self,
        segment: &PlaylistSegment,
    ) -> Result<Option<FetchedSegment>, SourceError> {
        let init = match &segment.init {
            Some(link) => match self.read_init(link).await? {
                Some(init) => Some(init),
                None => return Ok(None),
            },
            None => None,
        };
        let Some(media) = self.fetch(&segment.link).await? else { return Ok(None) };
        let (number, date_ms) = self.identify(segment)?;
        self.advance(number, date_ms);
        // Footage that arrived since the playlist was read is not queued yet, but this segment is behind it.
        let behind_ms = self.player.queued_ms().saturating_add(whole_ms(self.listed.elapsed()));
        let number = Arc::from(number);
        Ok(Some(FetchedSegment { number, date_ms, behind_ms, init, media }))
    }

    /// Returns the fragment number of `segment`, and its date, ms since the epoch.
    fn identify<'s>(&self, segment: &'s PlaylistSegment) -> Result<(&'s str, i64), SourceError> {
        let (Some(number), Some(date_ms)) = (&segment.fragment_number, segment.program_date_time_ms) else {
            return Err(self.failed("a segment without its number or time".to_owned()));
        };
        if date_ms < NO_TIME_MS {
            let message = "the producer sends no timestamps, which HLS needs: read it by GETMEDIA";
            return Err(self.failed(message.to_owned()));
        }
        Ok((number.as_str(), date_ms))
    }

    /// Moves the position after the segment that was fetched.
    fn advance(&mut self, number: &str, date_ms: i64) {
        self.player.read();
        self.last = Some((number.to_owned(), date_ms));
        match &mut self.footage {
            Footage::Stored { found, .. } => *found = true,
            // The place in the live footage is established, so a later gap may be bridged again.
            Footage::Live { bridged } => *bridged = false,
        }
    }

    /// Returns the initialisation segment behind `link` (EXT-X-MAP, RFC 8216, 4.3.2.5), from memory if it is the last.
    async fn read_init(&mut self, link: &Link) -> Result<Option<Bytes>, SourceError> {
        if let Some((_, init)) = self.init.as_ref().filter(|(of, _)| of == link) {
            return Ok(Some(init.clone()));
        }
        let Some(init) = self.fetch(link).await? else { return Ok(None) };
        self.init = Some((link.clone(), init.clone()));
        Ok(Some(init))
    }

    /// Fetches `link`; returns `None` if it failed in a way after which the player has to do something else.
    async fn fetch(&mut self, link: &Link) -> Result<Option<Bytes>, SourceError> {
        let failure = match self.fetcher.get(link).await {
            Ok(body) => return Ok(Some(body)),
            Err(HlsFetchError::Expired) => FetchFailure::Expired,
            Err(HlsFetchError::Gone) => FetchFailure::Gone,
            Err(HlsFetchError::Failed(message)) => return Err(self.failed(message)),
        };
        if let Some(lost) = self.player.failed(failure) {
            self.gap = Some(format!("fragment {lost} expired before it was read"));
        }
        Ok(None)
    }

    /// Follows the end of a playlist (EXT-X-ENDLIST, RFC 8216, 4.3.3.4), which a LIVE playlist has only at its session's
    /// end.
    fn end_playlist(&mut self) -> Result<(), SourceError> {
        if let Footage::Live { .. } = self.footage {
            return Err(self.failed("the LIVE session ended".to_owned()));
        }
        self.end_window();
        Ok(())
    }

    /// Follows the end of a window of stored footage, with another window or with the LIVE session.
    fn end_window(&mut self) {
        let Footage::Stored { to_ms, found, .. } = self.footage else { return };
        match &self.last {
            // Footage that was stored while this window was read is in another one, from the last segment on.
            Some((_, last_ms)) if found => self.switch_to(window_from(*last_ms)),
            // A pause of the camera may be longer than a window, so an empty one in the past does not end the search.
            _ if to_ms < epoch_ms() + CLOCK_ERROR_MS => self.switch_to(window_from(to_ms)),
            _ => self.switch_to(Footage::Live { bridged: true }),
        }
    }

    fn switch_to(&mut self, footage: Footage) {
        self.barren = 0;
        self.footage = footage;
        self.player = new_player(footage, self.last.as_ref(), self.sessions.life());
    }

    fn unreadable(&self, error: &kvs_hls::HlsError) -> SourceError {
        self.failed(error.to_string())
    }

    fn failed(&self, message: String) -> SourceError {
        self.sessions.failed("GetHLSMediaPlaylist", message)
    }
}

fn describe_gap(gap: &Gap) -> String {
    let Gap { after, before, fragments } = gap;
    match fragments {
        Some(fragments) => {
            format!("{fragments} fragments after {after} are no longer listed; reading resumes with {before}")
        }
        None => format!("fragments after {after} may be missing; reading resumes with {before}"),
    }
}
