//! The client side of HLS sessions: a pure state machine, driven by responses and a clock from outside.
//!
//! Call [`HlsPlayer::next`] for the next action, perform it, and report the result by the method that the
//! [`PlayerAction`] names, or by [`HlsPlayer::failed`] (for a session: [`HlsPlayer::session_refused`]). The
//! caller decides how long to wait after a failure; the player decides everything else:
//!
//! - It returns each fragment once, in order, by its number, whichever session listed it.
//! - It renews a session before that expires, and uses the old one meanwhile.
//! - It reports fragments that the playlist no longer lists as a [`Gap`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::playlist::{MediaPlaylist, PlaylistSegment, read_master, read_media};
use crate::{HlsError, HlsLimits, Link};

/// The position at which a player begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayerStart {
    /// The newest fragment that the first playlist lists.
    Newest,
    /// The oldest fragment that the first playlist lists.
    Oldest,
    /// After the fragment with this number, whether it is listed or not.
    After(String),
}

/// The next action for the caller of a player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayerAction {
    /// Call GetHLSStreamingSessionURL, then [`HlsPlayer::session`] or [`HlsPlayer::session_refused`]. A
    /// previous session stays in use.
    Session,
    /// Fetch the master playlist, then call [`HlsPlayer::master`].
    Master(Link),
    /// Fetch the media playlist, then call [`HlsPlayer::media`].
    Media(Link),
    /// Fetch a segment, and its initialisation segment unless that is the same as before, then call
    /// [`HlsPlayer::read`].
    Segment(PlaylistSegment),
    /// Do nothing before this time.
    Wait(Instant),
    /// Stop: the playlist has ended and all of it was read.
    End,
}

/// The reason why an action failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchFailure {
    /// Status 403 or 401: the session has expired. A new session lists again what was not read.
    Expired,
    /// Status 404. Of a playlist: the camera paused and the session is over. Of a segment: its retention has
    /// ended.
    Gone,
    /// Any other failure; the same action is repeated.
    Other,
}

/// Fragments that HLS no longer offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Number of the last fragment before the gap.
    pub after: String,
    /// Number of the first fragment after the gap.
    pub before: String,
    /// Number of missing fragments; `None` if it cannot be known, and then it may be 0.
    pub fragments: Option<u64>,
}

/// A player of one stream, across sessions.
#[derive(Debug)]
pub struct HlsPlayer {
    /// Lifetime of a session.
    lifetime: Duration,
    limits: HlsLimits,
    start: PlayerStart,
    session: Option<PlayerSession>,
    /// Earliest time of the next request for a session, after a refusal.
    retry_at: Option<Instant>,
    /// Segments that are listed and not read, oldest first; never more than a playlist lists.
    queue: VecDeque<PlaylistSegment>,
    ended: bool,
}

#[derive(Debug)]
struct PlayerSession {
    link: Link,
    expires_at: Instant,
    /// URL of the media playlist; `None` until the master playlist is read.
    media: Option<Link>,
    /// Time of the next request for the media playlist.
    reload_at: Instant,
    /// Media sequence number after the newest segment that was listed.
    next_sequence: Option<u64>,
}

/// Maximum lifetime of a session. Source: AWS, GetHLSStreamingSessionURL, Expires, 2026.
const MAX_SESSION_LIFETIME: Duration = Duration::from_secs(43_200);
/// Maximum remaining lifetime at which a session is renewed; a shorter session is renewed in its last
/// quarter.
const MAX_RENEWAL_LEAD: Duration = Duration::from_secs(60);
/// Maximum target duration that is believed.
///
/// A playlist is reloaded after half of its target duration, which is at least a second, and KVS allows 5
/// requests per second (AWS, Kinesis Video Streams quotas, 2026). No fragment is longer than 20 s.
const MAX_TARGET_DURATION_S: u64 = 3600;

impl HlsPlayer {
    /// Returns a player without a session. `lifetime` is the value of Expires in the request, at most 12
    /// hours.
    pub fn new(start: PlayerStart, lifetime: Duration, limits: HlsLimits) -> Self {
        let lifetime = lifetime.min(MAX_SESSION_LIFETIME);
        Self { lifetime, limits, start, session: None, retry_at: None, queue: VecDeque::new(), ended: false }
    }

    /// Returns the action to perform now.
    pub fn next(&mut self, now: Instant) -> PlayerAction {
        if self.ended && self.queue.is_empty() {
            return PlayerAction::End;
        }
        self.session.take_if(|session| now >= session.expires_at);
        let renew_at = self.renew_at(now);
        if now >= renew_at {
            return PlayerAction::Session;
        }
        let Some(session) = &self.session else { return PlayerAction::Wait(renew_at) };
        let Some(media) = &session.media else { return PlayerAction::Master(session.link.clone()) };
        match self.queue.front() {
            Some(segment) => PlayerAction::Segment(segment.clone()),
            None if now >= session.reload_at => PlayerAction::Media(media.clone()),
            None => PlayerAction::Wait(session.reload_at.min(renew_at)),
        }
    }

    /// Returns the time at which a new session is needed.
    fn renew_at(&self, now: Instant) -> Instant {
        let renew_at = match &self.session {
            // An ended playlist needs no other session: its URLs stay valid until this one expires.
            Some(_) if self.ended => return now + self.lifetime,
            Some(session) => {
                session.expires_at.checked_sub(MAX_RENEWAL_LEAD.min(self.lifetime / 4)).unwrap_or(now)
            }
            None => now,
        };
        self.retry_at.map_or(renew_at, |retry_at| renew_at.max(retry_at))
    }

    /// Returns true if the player has a session.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Returns the total duration of the segments that are listed and not read.
    pub fn queued_ms(&self) -> u64 {
        self.queue.iter().map(|segment| segment.duration_ms).sum()
    }

    /// Reports the URL of a new session, which was requested at `requested_at`.
    ///
    /// # Errors
    ///
    /// The URL is invalid.
    pub fn session(&mut self, requested_at: Instant, url: &str) -> Result<(), HlsError> {
        let link = Link::new(url)?;
        let expires_at = requested_at + self.lifetime;
        self.session = Some(PlayerSession {
            link,
            expires_at,
            media: None,
            reload_at: requested_at,
            next_sequence: None,
        });
        Ok(())
    }

    /// Reports that a session was refused; it is requested again at `retry_at`, and the old one is used
    /// meanwhile.
    pub fn session_refused(&mut self, retry_at: Instant) {
        self.retry_at = Some(retry_at);
    }

    /// Reports the master playlist.
    ///
    /// # Errors
    ///
    /// The text is not a master playlist.
    pub fn master(&mut self, text: &[u8]) -> Result<(), HlsError> {
        let Some(session) = &mut self.session else { return Ok(()) };
        session.media = Some(read_master(text, &session.link, &self.limits)?);
        Ok(())
    }

    /// Reports the media playlist as it was at `now`, and returns the gap between it and what was read
    /// before.
    ///
    /// # Errors
    ///
    /// The text is not a media playlist, or lists segments without fragment numbers.
    pub fn media(&mut self, now: Instant, text: &[u8]) -> Result<Option<Gap>, HlsError> {
        let Some(session) = &mut self.session else { return Ok(None) };
        let Some(media) = &session.media else { return Ok(None) };
        let playlist = read_media(text, media, &self.limits)?;
        if playlist.segments.iter().any(|segment| segment.fragment_number.is_none()) {
            return Err(HlsError::Missing { whole: "media playlist", part: "FragmentNumber in its URLs" });
        }
        // RFC 8216, 6.3.4: half of the target duration is the minimum for a playlist that has not changed. A
        // changed one is reloaded as early, because waiting longer would delay the next fragment.
        let target_duration = Duration::from_secs(playlist.target_duration_s.min(MAX_TARGET_DURATION_S));
        session.reload_at = now + target_duration / 2;
        let expected = session.next_sequence;
        let listed = playlist.segments.len() as u64;
        session.next_sequence = Some(playlist.media_sequence.saturating_add(listed));
        self.ended = playlist.ended;
        Ok(self.queue_new(playlist, expected))
    }

    /// Reports that the first queued segment was read.
    pub fn read(&mut self) {
        let number = self.queue.pop_front().and_then(|segment| segment.fragment_number);
        if let Some(number) = number {
            self.start = PlayerStart::After(number);
        }
    }

    /// Reports that a playlist or segment could not be fetched, and returns the number of a fragment that is
    /// lost by it.
    pub fn failed(&mut self, failure: FetchFailure) -> Option<String> {
        // Without a media playlist the failed action was the master playlist, not the queued segment.
        let has_media = self.session.as_ref().is_some_and(|session| session.media.is_some());
        let segment = self.queue.front().filter(|_| has_media);
        match (failure, segment) {
            (FetchFailure::Other, _) => return None,
            (FetchFailure::Gone, Some(segment)) => {
                let lost = segment.fragment_number.clone();
                self.read();
                return lost;
            }
            // The queue outlives a renewal: an expired URL of the old session says nothing about the new one.
            (FetchFailure::Expired, Some(segment)) if !self.is_of_current_session(segment) => {}
            (FetchFailure::Gone | FetchFailure::Expired, _) => self.session = None,
        }
        self.queue.clear();
        self.ended = false;
        None
    }

    /// Returns true if the current session listed the segment, and false if an earlier one did.
    fn is_of_current_session(&self, segment: &PlaylistSegment) -> bool {
        let token = |link: &Link| link.parameter("SessionToken").map(str::to_owned);
        self.session.as_ref().is_some_and(|session| token(&session.link) == token(&segment.link))
    }

    /// Queues the segments that are newer than what was read or queued, and returns the gap before them.
    ///
    /// `expected` is the sequence number of the first new segment of the same session.
    fn queue_new(&mut self, playlist: MediaPlaylist, expected: Option<u64>) -> Option<Gap> {
        let last = match (self.queue.back(), &self.start) {
            (Some(queued), _) => queued.fragment_number.clone(),
            (None, PlayerStart::After(number)) => Some(number.clone()),
            (None, PlayerStart::Newest | PlayerStart::Oldest) => None,
        };
        let Some(last) = last else { return self.queue_first(playlist) };
        let lists_last =
            playlist.segments.iter().any(|segment| segment.fragment_number.as_ref() == Some(&last));
        // RFC 8216, 6.2.2: each segment that leaves a live playlist raises EXT-X-MEDIA-SEQUENCE by one. The
        // numbers of two sessions have nothing in common, so the first playlist of a session cannot count a
        // gap.
        let skipped = expected.map(|expected| playlist.media_sequence.saturating_sub(expected));
        let new = playlist.segments.into_iter().filter(|segment| order_of_segment(segment) > order(&last));
        let mut new = new.peekable();
        let before = new.peek().and_then(|segment| segment.fragment_number.clone());
        self.queue.extend(new);
        let before = before.filter(|_| !lists_last && skipped != Some(0))?;
        Some(Gap { after: last, before, fragments: skipped })
    }

    fn queue_first(&mut self, playlist: MediaPlaylist) -> Option<Gap> {
        let skipped = match self.start {
            PlayerStart::Newest => playlist.segments.len().saturating_sub(1),
            PlayerStart::Oldest | PlayerStart::After(_) => 0,
        };
        self.queue.extend(playlist.segments.into_iter().skip(skipped));
        None
    }
}

/// Returns a key that sorts fragment numbers by value.
///
/// Real fragment numbers all have the same number of digits, but they exceed 128 bits and so are compared as
/// text.
fn order(number: &str) -> (usize, &str) {
    let digits = number.trim_start_matches('0');
    (digits.len(), digits)
}

fn order_of_segment(segment: &PlaylistSegment) -> (usize, &str) {
    order(segment.fragment_number.as_deref().unwrap_or_default())
}
