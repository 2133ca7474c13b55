//! What a reader of a session does next: a pure state machine, driven by answers and a clock from outside.
//!
//! Ask [`Player::next`] what to do, do it, and tell the player by the method that the [`Want`] names, or by
//! [`Player::failed`] (a session: [`Player::session_refused`]). How long to wait after a failure is the caller's business; everything else is said here:
//!
//! - A fragment comes out once, in order, by its number, whatever sessions it was listed in.
//! - A session is renewed before it expires, while the old one goes on.
//! - What a playlist does not list any more is a [`Gap`], never silently left out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::playlist::{MediaPlaylist, Segment, read_master, read_media};
use crate::{Error, Limits, Link};

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With the newest fragment that the first playlist lists.
    Newest,
    /// With the oldest that it lists.
    Oldest,
    /// After the fragment of this number, which may be listed or not.
    After(String),
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Call GetHLSStreamingSessionURL, then [`Player::session`] or [`Player::session_refused`]. The session before, if
    /// any, is still in use.
    Session,
    /// Fetch the master playlist, then [`Player::master`].
    Master(Link),
    /// Fetch the media playlist, then [`Player::media`].
    Media(Link),
    /// Fetch a segment, by the initialisation segment that it names (keep that for as long as the same is named), then
    /// [`Player::read`].
    Segment(Segment),
    /// Do nothing before this time.
    Wait(Instant),
    /// The playlist ended, and all of it was read.
    End,
}

/// What went wrong with what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// 403, or 401: the session has expired. A new one is wanted; what was not read is listed there again.
    Expired,
    /// 404: of a playlist, the camera paused and the session is over; of a segment, its fragment is kept no longer.
    Gone,
    /// Anything else; the same is wanted again.
    Other,
}

/// Fragments that cannot be read by HLS any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The last fragment before it.
    pub after: String,
    /// The first fragment after it.
    pub before: String,
    /// How many they are; `None` where that cannot be known, and there may be none.
    pub fragments: Option<u64>,
}

/// Reads one stream, session after session.
#[derive(Debug)]
pub struct Player {
    lasts: Duration,
    limits: Limits,
    start: Start,
    session: Option<Session>,
    /// Where it waits before it asks for a session again.
    retry_at: Option<Instant>,
    /// Listed and not read yet, oldest first; at most as many as a playlist lists.
    queue: VecDeque<Segment>,
    ended: bool,
}

#[derive(Debug)]
struct Session {
    link: Link,
    expires_at: Instant,
    /// None until the master playlist was read.
    media: Option<Link>,
    due: Instant,
    /// Media sequence number after the newest segment that was listed.
    next_sequence: Option<u64>,
}

/// Source: AWS, GetHLSStreamingSessionURL, Expires, 2026.
const LONGEST_SESSION: Duration = Duration::from_secs(43_200);
/// A session is renewed when a quarter of its life is left, or so much.
const LONGEST_LEAD: Duration = Duration::from_secs(60);
/// Playlists are asked for again after half of their target duration, which is a second at least: KVS allows 5 calls a
/// second (AWS, Kinesis Video Streams quotas, 2026). No fragment is longer than 20 s.
const LONGEST_TARGET_S: u64 = 3600;

impl Player {
    /// A player that has no session yet. `lasts`: what is asked for as Expires, 12 hours at most.
    pub fn new(start: Start, lasts: Duration, limits: Limits) -> Self {
        let lasts = lasts.min(LONGEST_SESSION);
        Self { lasts, limits, start, session: None, retry_at: None, queue: VecDeque::new(), ended: false }
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant) -> Want {
        if self.ended && self.queue.is_empty() {
            return Want::End;
        }
        self.session.take_if(|session| now >= session.expires_at);
        let renews_at = self.renews_at(now);
        if now >= renews_at {
            return Want::Session;
        }
        let Some(session) = &self.session else { return Want::Wait(renews_at) };
        let Some(media) = &session.media else { return Want::Master(session.link.clone()) };
        match self.queue.front() {
            Some(segment) => Want::Segment(segment.clone()),
            None if now >= session.due => Want::Media(media.clone()),
            None => Want::Wait(session.due.min(renews_at)),
        }
    }

    /// When a session is wanted.
    fn renews_at(&self, now: Instant) -> Instant {
        let renews_at = match &self.session {
            Some(_) if self.ended => return now + self.lasts,
            Some(session) => session.expires_at.checked_sub(LONGEST_LEAD.min(self.lasts / 4)).unwrap_or(now),
            None => now,
        };
        self.retry_at.map_or(renews_at, |retry_at| renews_at.max(retry_at))
    }

    /// Whether there is a session to go on with.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// How long the segments last that are listed and not read yet, ms.
    pub fn queued_ms(&self) -> u64 {
        self.queue.iter().map(|segment| segment.duration_ms).sum()
    }

    /// The URL of a new session, asked for at `asked`.
    ///
    /// Errors: it is no URL.
    pub fn session(&mut self, asked: Instant, url: &str) -> Result<(), Error> {
        let link = Link::new(url)?;
        let expires_at = asked + self.lasts;
        self.session = Some(Session { link, expires_at, media: None, due: asked, next_sequence: None });
        Ok(())
    }

    /// There was no new session; it is asked for again at `retry_at`, and the old one is used meanwhile.
    pub fn session_refused(&mut self, retry_at: Instant) {
        self.retry_at = Some(retry_at);
    }

    /// The master playlist that was wanted.
    ///
    /// Errors: it is none.
    pub fn master(&mut self, text: &[u8]) -> Result<(), Error> {
        let Some(session) = &mut self.session else { return Ok(()) };
        session.media = Some(read_master(text, &session.link, &self.limits)?);
        Ok(())
    }

    /// The media playlist that was wanted, as it was at `now`; gives what is missing between it and what was read.
    ///
    /// Errors: it is none, or lists segments that are not told by fragment numbers.
    pub fn media(&mut self, now: Instant, text: &[u8]) -> Result<Option<Gap>, Error> {
        let Some(session) = &mut self.session else { return Ok(None) };
        let Some(media) = &session.media else { return Ok(None) };
        let listed = read_media(text, media, &self.limits)?;
        if listed.segments.iter().any(|segment| segment.fragment_number.is_none()) {
            return Err(Error::Missing { whole: "media playlist", part: "FragmentNumber in its URLs" });
        }
        session.due = now + Duration::from_secs(listed.target_duration_s.min(LONGEST_TARGET_S)) / 2;
        let expected = session.next_sequence;
        session.next_sequence = Some(listed.media_sequence.saturating_add(listed.segments.len() as u64));
        self.ended = listed.ended;
        Ok(self.queue_new(listed, expected))
    }

    /// The segment that was wanted was read.
    pub fn read(&mut self) {
        let number = self.queue.pop_front().and_then(|segment| segment.fragment_number);
        if let Some(number) = number {
            self.start = Start::After(number);
        }
    }

    /// The playlist or segment that was wanted could not be had; gives the number of the fragment that is lost by it.
    pub fn failed(&mut self, failure: Failure) -> Option<String> {
        let segment = self.queue.front().filter(|_| self.session.as_ref().is_some_and(|s| s.media.is_some()));
        match (failure, segment) {
            (Failure::Other, _) => return None,
            (Failure::Gone, Some(segment)) => {
                let lost = segment.fragment_number.clone();
                self.read();
                return lost;
            }
            (Failure::Expired, Some(segment)) if !self.is_of_this_session(segment) => {}
            (Failure::Gone | Failure::Expired, _) => self.session = None,
        }
        self.queue.clear();
        self.ended = false;
        None
    }

    /// Whether a segment was listed by the session of now, not by the one before.
    fn is_of_this_session(&self, segment: &Segment) -> bool {
        let token = |link: &Link| link.parameter("SessionToken").map(str::to_owned);
        self.session.as_ref().is_some_and(|session| token(&session.link) == token(&segment.link))
    }

    /// Queues what is newer than what was read and queued; `expected` is the sequence number of the first new segment
    /// of the same session.
    fn queue_new(&mut self, listed: MediaPlaylist, expected: Option<u64>) -> Option<Gap> {
        let last = match (self.queue.back(), &self.start) {
            (Some(queued), _) => queued.fragment_number.clone(),
            (None, Start::After(number)) => Some(number.clone()),
            (None, Start::Newest | Start::Oldest) => None,
        };
        let Some(last) = last else { return self.queue_first(listed) };
        let known = listed.segments.iter().any(|segment| segment.fragment_number.as_ref() == Some(&last));
        let skipped = expected.map(|expected| listed.media_sequence.saturating_sub(expected));
        let fresh = listed.segments.into_iter().filter(|segment| number(segment) > order(&last));
        let mut fresh = fresh.peekable();
        let before = fresh.peek().and_then(|segment| segment.fragment_number.clone());
        self.queue.extend(fresh);
        let before = before.filter(|_| !known && skipped != Some(0))?;
        Some(Gap { after: last, before, fragments: skipped })
    }

    fn queue_first(&mut self, listed: MediaPlaylist) -> Option<Gap> {
        let passed = match self.start {
            Start::Newest => listed.segments.len().saturating_sub(1),
            Start::Oldest | Start::After(_) => 0,
        };
        self.queue.extend(listed.segments.into_iter().skip(passed));
        None
    }
}

/// Fragment numbers in the order of their values: all real ones have the same number of digits.
fn order(number: &str) -> (usize, &str) {
    let digits = number.trim_start_matches('0');
    (digits.len(), digits)
}

fn number(segment: &Segment) -> (usize, &str) {
    order(segment.fragment_number.as_deref().unwrap_or_default())
}
