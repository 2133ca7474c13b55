//! HLS sessions: what each lists now, and when it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvs_hls::HlsTrack;

use crate::fragment::{Dated, begun_within};
use crate::fragment_number::FragmentNumber;
use crate::hls_list::{Entry, List};
use crate::hls_request::{HlsSettings, PlaybackMode};
use crate::media_refusal::MediaRefusal;
use crate::stream::Stream;
use crate::video_fragment::VideoFragment;

/// One session.
#[derive(Debug)]
pub(crate) struct HlsSession {
    pub(crate) stream: Arc<Stream>,
    pub(crate) settings: HlsSettings,
    created_ms: i64,
    expires_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    list: List,
    /// The newest fragment that was looked at, listed or not.
    seen: Option<FragmentNumber>,
    /// How long all segments are that were ever listed.
    listed_ms: i64,
    ended: bool,
    paused: bool,
}

/// What a media playlist shows.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) entries: Vec<Entry>,
    pub(crate) media_sequence: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) longest_ms: i64,
    pub(crate) ended: bool,
}

/// A LIVE session is over when nothing has come for so long.
///
/// Source: AWS, GetHLSStreamingSessionURL, ResourceNotFoundException, 2026.
const LIVE_GAP_MS: i64 = 30_000;

impl HlsSession {
    /// Begins a session, which lists something from the beginning.
    ///
    /// Errors: there is nothing to list, or it cannot be played.
    fn new(stream: Arc<Stream>, settings: HlsSettings, lasts_ms: i64) -> Result<Self, MediaRefusal> {
        let created_ms = stream.clock().now_ms();
        let expires_ms = created_ms.saturating_add(lasts_ms);
        let session = Self { stream, settings, created_ms, expires_ms, state: Mutex::default() };
        match session.shown() {
            Ok(shown) if !shown.entries.is_empty() => Ok(session),
            Ok(_) | Err(MediaRefusal::Paused { .. }) => Err(session.nothing()),
            Err(other) => Err(other),
        }
    }

    /// What its media playlist shows now.
    ///
    /// Errors: the camera of a LIVE session paused; a fragment cannot be played.
    pub(crate) fn shown(&self) -> Result<Shown, MediaRefusal> {
        let mut state = self.lock();
        self.list_new(&mut state)?;
        if state.paused {
            return Err(MediaRefusal::Paused { stream: self.stream.identity().name.clone() });
        }
        let State { list, ended, .. } = &*state;
        Ok(Shown {
            entries: list.entries.iter().cloned().collect(),
            media_sequence: list.media_sequence,
            discontinuity_sequence: list.discontinuity_sequence,
            longest_ms: list.longest_ms,
            ended: *ended,
        })
    }

    /// The video of a fragment that was listed, and its time on the session's time line.
    ///
    /// Errors: it was not listed, or is no longer kept.
    pub(crate) fn fragment(
        &self,
        number: &str,
    ) -> Result<(FragmentNumber, VideoFragment, i64), MediaRefusal> {
        let missing = || MediaRefusal::NoSuchFragment { number: number.chars().take(128).collect() };
        let number: FragmentNumber = number.parse().map_err(|_| missing())?;
        if !self.lock().list.knows(number) {
            return Err(missing());
        }
        let kept = self.stream.whole_after(None).into_iter().find(|dated| dated.number == number);
        let dated = kept.ok_or_else(missing)?;
        let fragment = VideoFragment::read(&self.stream, number)?.ok_or_else(missing)?;
        Ok((number, fragment, dated.on(self.settings.line)))
    }

    /// The track of the initialisation segment that was made of a fragment, which may be kept no longer.
    ///
    /// Errors: it is not that of a fragment that was listed.
    pub(crate) fn init(&self, number: &str) -> Result<HlsTrack, MediaRefusal> {
        match self.listed_init(number) {
            Some(track) => Ok(track),
            None => self.fragment(number).map(|(_, fragment, _)| fragment.track),
        }
    }

    fn listed_init(&self, number: &str) -> Option<HlsTrack> {
        let wanted: FragmentNumber = number.parse().ok()?;
        let state = self.lock();
        let entry = state.list.entries.iter().find(|entry| entry.init == wanted)?;
        Some(entry.track.clone())
    }

    fn nothing(&self) -> MediaRefusal {
        let wanted = match self.settings.mode {
            PlaybackMode::Live => "LIVE needs one of the last 30 s",
            PlaybackMode::LiveReplay { .. } | PlaybackMode::OnDemand { .. } => {
                "none is in the TimestampRange"
            }
        };
        MediaRefusal::NoFragments { stream: self.stream.identity().name.clone(), wanted }
    }

    fn list_new(&self, state: &mut State) -> Result<(), MediaRefusal> {
        match self.settings.mode {
            PlaybackMode::Live => self.list_live(state),
            PlaybackMode::LiveReplay { from_ms, to_ms } => self.list_replay(state, from_ms, to_ms),
            PlaybackMode::OnDemand { from_ms, to_ms } => self.list_all(state, from_ms, to_ms),
        }
    }

    fn list_live(&self, state: &mut State) -> Result<(), MediaRefusal> {
        let new = self.stream.whole_after(state.seen);
        let begins = state.seen.is_none();
        let skipped = if begins { new.len().saturating_sub(self.settings.most) } else { 0 };
        for dated in &new[skipped..] {
            let pause_ms = state.list.server_end_ms().map_or(0, |end| dated.server_ms - end);
            if pause_ms > LIVE_GAP_MS && begins {
                state.list = List::default();
            }
            state.paused |= pause_ms > LIVE_GAP_MS && !begins;
            self.list(state, dated)?;
        }
        state.list.trim(self.settings.most);
        let now_ms = self.stream.clock().now_ms();
        state.paused |= state.list.server_end_ms().is_none_or(|end| now_ms - end > LIVE_GAP_MS);
        Ok(())
    }

    /// A fragment is listed when those before it have had the time to be played since the session began.
    fn list_replay(&self, state: &mut State, from_ms: i64, to_ms: Option<i64>) -> Result<(), MediaRefusal> {
        let now_ms = self.stream.clock().now_ms();
        let elapsed_ms = now_ms - self.created_ms;
        let wanted = self.wanted(state, from_ms, to_ms.unwrap_or(i64::MAX));
        for dated in &wanted {
            if state.listed_ms > elapsed_ms {
                return Ok(());
            }
            self.list(state, dated)?;
            state.list.trim(self.settings.most);
        }
        state.ended = to_ms.is_some_and(|to_ms| to_ms < now_ms);
        Ok(())
    }

    fn list_all(&self, state: &mut State, from_ms: i64, to_ms: i64) -> Result<(), MediaRefusal> {
        if std::mem::replace(&mut state.ended, true) {
            return Ok(());
        }
        let mut wanted = self.wanted(state, from_ms, to_ms);
        wanted.truncate(self.settings.most);
        wanted.iter().try_for_each(|dated| self.list(state, dated))
    }

    /// The fragments not looked at that begin in a range, of several at one time the newest.
    fn wanted(&self, state: &State, from_ms: i64, to_ms: i64) -> Vec<Dated> {
        begun_within(self.stream.whole_after(state.seen), self.settings.line, (from_ms, to_ms))
    }

    /// Lists a fragment if it has video.
    fn list(&self, state: &mut State, dated: &Dated) -> Result<(), MediaRefusal> {
        state.seen = Some(dated.number);
        if let Some(fragment) = VideoFragment::read(&self.stream, dated.number)? {
            state.listed_ms += fragment.length_ms;
            state.list.push(dated, &fragment, &self.settings);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All sessions, by their tokens.
#[derive(Debug)]
pub(crate) struct Sessions {
    longest_ms: i64,
    open: Mutex<BTreeMap<String, Arc<HlsSession>>>,
}

const MOST_SESSIONS: usize = 1000;

impl Sessions {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest_ms: i64::try_from(longest.as_millis()).unwrap_or(i64::MAX), open: Mutex::default() }
    }

    /// Begins a session and gives its token.
    ///
    /// Errors: the stream has nothing to play; there are too many sessions.
    pub(crate) fn begin(&self, stream: Arc<Stream>, settings: HlsSettings) -> Result<String, MediaRefusal> {
        let now_ms = stream.clock().now_ms();
        let lasts_ms = (settings.expires_s * 1000).min(self.longest_ms);
        let session = Arc::new(HlsSession::new(stream, settings, lasts_ms)?);
        let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let mut open = self.lock();
        open.retain(|_, session| now_ms < session.expires_ms);
        if open.len() >= MOST_SESSIONS {
            return Err(MediaRefusal::TooManySessions { limit: MOST_SESSIONS });
        }
        open.insert(token.clone(), session);
        Ok(token)
    }

    /// Errors: there is no such session, or it has expired.
    pub(crate) fn find(&self, token: &str) -> Result<Arc<HlsSession>, MediaRefusal> {
        let session = self.lock().get(token).cloned().ok_or(MediaRefusal::NotAuthorized)?;
        if session.stream.clock().now_ms() >= session.expires_ms {
            return Err(MediaRefusal::NotAuthorized);
        }
        Ok(session)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<HlsSession>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
