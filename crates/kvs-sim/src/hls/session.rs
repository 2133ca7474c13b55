//! HLS sessions: the segments that each lists now, and its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvs_hls::HlsTrack;

use crate::hls::settings::{HlsPlaybackMode, HlsSettings};
use crate::hls::window::{ListedSegment, SegmentWindow};
use crate::identifiers::fragment_number::FragmentNumber;
use crate::media_error::MediaError;
use crate::store::fragment::{FragmentTimes, begun_within};
use crate::store::stream::KvsStream;
use crate::store::video_fragment::VideoFragment;

/// An HLS session of one stream.
#[derive(Debug)]
pub(crate) struct HlsSession {
    pub(crate) stream: Arc<KvsStream>,
    pub(crate) settings: HlsSettings,
    created_ms: i64,
    expires_ms: i64,
    state: Mutex<HlsState>,
}

#[derive(Debug, Default)]
struct HlsState {
    window: SegmentWindow,
    /// The newest fragment that was examined, whether it was listed or had no video.
    examined: Option<FragmentNumber>,
    /// Length of all segments that were ever listed.
    listed_ms: i64,
    ended: bool,
    paused: bool,
}

/// The content of a media playlist at one time.
#[derive(Debug, Clone)]
pub(crate) struct PlaylistSnapshot {
    pub(crate) segments: Vec<ListedSegment>,
    pub(crate) media_sequence: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) longest_ms: i64,
    pub(crate) ended: bool,
}

/// A pause of the camera that ends a LIVE session.
///
/// Source: AWS, GetHLSStreamingSessionURL, ResourceNotFoundException, 2026.
const MAX_LIVE_GAP_MS: i64 = 30_000;

impl HlsSession {
    /// Begins a session, which lists at least one segment from its start.
    ///
    /// Fails if there is no segment to list, or one that cannot be played.
    fn new(stream: Arc<KvsStream>, settings: HlsSettings, lifetime_ms: i64) -> Result<Self, MediaError> {
        let created_ms = stream.clock().now_ms();
        let expires_ms = created_ms.saturating_add(lifetime_ms);
        let session = Self { stream, settings, created_ms, expires_ms, state: Mutex::default() };
        match session.snapshot() {
            Ok(snapshot) if !snapshot.segments.is_empty() => Ok(session),
            // The first listing decides: a session with nothing to play is refused by the operation, as on AWS.
            Ok(_) | Err(MediaError::Paused { .. }) => Err(session.no_fragments()),
            Err(other) => Err(other),
        }
    }

    /// Lists what is new and returns the content of the media playlist.
    ///
    /// Fails if the camera of a LIVE session paused, or if a fragment cannot be played.
    pub(crate) fn snapshot(&self) -> Result<PlaylistSnapshot, MediaError> {
        let mut state = self.lock();
        self.list_new(&mut state)?;
        if state.paused {
            return Err(MediaError::Paused { stream: self.stream.identity().name.clone() });
        }
        let HlsState { window, ended, .. } = &*state;
        Ok(PlaylistSnapshot {
            segments: window.segments.iter().cloned().collect(),
            media_sequence: window.media_sequence,
            discontinuity_sequence: window.discontinuity_sequence,
            longest_ms: window.longest_ms,
            ended: *ended,
        })
    }

    /// Returns the number and the video of a listed fragment, and its time on the session's time line.
    ///
    /// Fails if the fragment was not listed, or has expired.
    pub(crate) fn fragment(&self, number: &str) -> Result<(FragmentNumber, VideoFragment, i64), MediaError> {
        let missing = || MediaError::NoSuchFragment { number: number.chars().take(128).collect() };
        let number: FragmentNumber = number.parse().map_err(|_| missing())?;
        // A token gives access to what its session listed, not to the whole archive.
        if !self.lock().window.covers(number) {
            return Err(missing());
        }
        // Raw bytes and fragments in progress are not in this list, so they are never served as segments.
        let whole = self.stream.whole_fragments_after(None);
        let times = whole.into_iter().find(|times| times.number == number).ok_or_else(missing)?;
        let fragment = VideoFragment::read(&self.stream, number)?.ok_or_else(missing)?;
        Ok((number, fragment, times.on(self.settings.line)))
    }

    /// Returns the track of the initialization segment that was made of a fragment.
    ///
    /// Fails if that fragment was not listed.
    pub(crate) fn init_track(&self, number: &str) -> Result<HlsTrack, MediaError> {
        // The fragment can have expired while later segments still use its initialization segment: the list has the track.
        match self.listed_init_track(number) {
            Some(track) => Ok(track),
            None => self.fragment(number).map(|(_, fragment, _)| fragment.track),
        }
    }

    fn listed_init_track(&self, number: &str) -> Option<HlsTrack> {
        let wanted: FragmentNumber = number.parse().ok()?;
        let state = self.lock();
        let segment = state.window.segments.iter().find(|segment| segment.init == wanted)?;
        Some(segment.track.clone())
    }

    fn no_fragments(&self) -> MediaError {
        let wanted = match self.settings.mode {
            HlsPlaybackMode::Live => "LIVE needs one of the last 30 s",
            HlsPlaybackMode::LiveReplay { .. } | HlsPlaybackMode::OnDemand { .. } => {
                "none is in the TimestampRange"
            }
        };
        MediaError::NoFragments { stream: self.stream.identity().name.clone(), wanted }
    }

    fn list_new(&self, state: &mut HlsState) -> Result<(), MediaError> {
        match self.settings.mode {
            HlsPlaybackMode::Live => self.list_live(state),
            HlsPlaybackMode::LiveReplay { from_ms, to_ms } => self.list_replay(state, from_ms, to_ms),
            HlsPlaybackMode::OnDemand { from_ms, to_ms } => self.list_all(state, from_ms, to_ms),
        }
    }

    fn list_live(&self, state: &mut HlsState) -> Result<(), MediaError> {
        let new = self.stream.whole_fragments_after(state.examined);
        let begins = state.examined.is_none();
        // A new session begins with the newest fragments. Later all new ones are listed and then trimmed, so that those that
        // no player asked for in time count in the sequence numbers.
        let skipped = if begins { new.len().saturating_sub(self.settings.max_segments) } else { 0 };
        for times in &new[skipped..] {
            let pause_ms = state.window.server_end_ms().map_or(0, |end| times.server_ms - end);
            // A pause before the session began is no pause of the session: it lists only what came after.
            if pause_ms > MAX_LIVE_GAP_MS && begins {
                state.window = SegmentWindow::default();
            }
            state.paused |= pause_ms > MAX_LIVE_GAP_MS && !begins;
            self.list(state, times)?;
        }
        state.window.trim(self.settings.max_segments);
        let now_ms = self.stream.clock().now_ms();
        state.paused |= state.window.server_end_ms().is_none_or(|end| now_ms - end > MAX_LIVE_GAP_MS);
        Ok(())
    }

    /// Lists a fragment once those before it could have been played since the session began.
    fn list_replay(&self, state: &mut HlsState, from_ms: i64, to_ms: Option<i64>) -> Result<(), MediaError> {
        let now_ms = self.stream.clock().now_ms();
        let elapsed_ms = now_ms - self.created_ms;
        let wanted = self.wanted(state, from_ms, to_ms.unwrap_or(i64::MAX));
        for times in &wanted {
            if state.listed_ms > elapsed_ms {
                return Ok(());
            }
            self.list(state, times)?;
            state.window.trim(self.settings.max_segments);
        }
        // All of the range is listed; more can come only if the range reaches into the future.
        state.ended = to_ms.is_some_and(|to_ms| to_ms < now_ms);
        Ok(())
    }

    fn list_all(&self, state: &mut HlsState, from_ms: i64, to_ms: i64) -> Result<(), MediaError> {
        // RFC 8216, 4.3.3.5: a playlist of type VOD must not change, so it is listed once.
        if std::mem::replace(&mut state.ended, true) {
            return Ok(());
        }
        let mut wanted = self.wanted(state, from_ms, to_ms);
        wanted.truncate(self.settings.max_segments);
        wanted.iter().try_for_each(|times| self.list(state, times))
    }

    /// Returns the fragments that were not examined and begin in a range.
    fn wanted(&self, state: &HlsState, from_ms: i64, to_ms: i64) -> Vec<FragmentTimes> {
        let new = self.stream.whole_fragments_after(state.examined);
        begun_within(new, self.settings.line, (from_ms, to_ms))
    }

    /// Lists a fragment if it has video.
    fn list(&self, state: &mut HlsState, times: &FragmentTimes) -> Result<(), MediaError> {
        state.examined = Some(times.number);
        if let Some(fragment) = VideoFragment::read(&self.stream, times.number)? {
            state.listed_ms += fragment.length_ms;
            state.window.push(times, &fragment, &self.settings);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HlsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All sessions, by their tokens.
#[derive(Debug)]
pub(crate) struct HlsSessions {
    max_lifetime_ms: i64,
    open: Mutex<BTreeMap<String, Arc<HlsSession>>>,
}

/// Bounds the memory of clients that ask for sessions and forget them.
const MAX_SESSIONS: usize = 1000;

impl HlsSessions {
    pub(crate) fn new(max_lifetime: Duration) -> Self {
        let max_lifetime_ms = i64::try_from(max_lifetime.as_millis()).unwrap_or(i64::MAX);
        Self { max_lifetime_ms, open: Mutex::default() }
    }

    /// Begins a session and returns its token.
    ///
    /// Fails if the stream has nothing to play, or if there are too many sessions.
    pub(crate) fn begin(&self, stream: Arc<KvsStream>, settings: HlsSettings) -> Result<String, MediaError> {
        let now_ms = stream.clock().now_ms();
        let lifetime_ms = (settings.expires_s * 1000).min(self.max_lifetime_ms);
        let session = Arc::new(HlsSession::new(stream, settings, lifetime_ms)?);
        // 256 random bits: the token in a URL is the only authorization.
        let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let mut open = self.lock();
        // Sessions that have expired are removed here, so that no timer is needed.
        open.retain(|_, session| now_ms < session.expires_ms);
        if open.len() >= MAX_SESSIONS {
            return Err(MediaError::TooManySessions { limit: MAX_SESSIONS });
        }
        open.insert(token.clone(), session);
        Ok(token)
    }

    /// Returns the session of a token. Fails if there is none, or if it has expired.
    pub(crate) fn find(&self, token: &str) -> Result<Arc<HlsSession>, MediaError> {
        let session = self.lock().get(token).cloned().ok_or(MediaError::NotAuthorized)?;
        // Expired since the last removal.
        if session.stream.clock().now_ms() >= session.expires_ms {
            return Err(MediaError::NotAuthorized);
        }
        Ok(session)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<HlsSession>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
