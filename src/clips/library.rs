//! The clips that clients of HTTP watch: each is made once, and kept for as long as it is watched.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::ClipFailure;
use super::file::Mp4Clip;
use super::maker::ClipMaker;
use super::span::{ClipRules, ClipSpan};
use crate::base::{epoch_ms, lock};

/// Clips that are made at a time: each takes a connection, of which a stream allows five.
const MAX_AT_ONCE: usize = 2;
/// Limit on the clips that are being made or wait for that.
const MAX_MAKING: usize = 8;
/// Limit on the wait of a request, below that of an answer of HTTP.
const MAX_WAIT: Duration = Duration::from_secs(15);
/// Limit on the time in which a clip is made.
const MAX_MAKE_TIME: Duration = Duration::from_secs(180);
/// Limit on the clips that are kept, bytes; one alone may be larger.
const MAX_KEPT_BYTES: u64 = 512 << 20;
/// Time for which a clip is kept after its last use: a player that was paused reads on from the same file.
const KEEP_IDLE: Duration = Duration::from_secs(300);
/// Time for which a clip is kept after its last use if footage may still be added at its end.
const KEEP_GROWING: Duration = Duration::from_secs(20);
/// Age from which on no footage is added any more, ms: producers send a fragment at least every 20 s.
const GROWING_MS: i64 = 60_000;
/// Time for which a failure answers requests for the same clip.
const KEEP_FAILURE: Duration = Duration::from_secs(2);
/// Time for which the absence of footage answers them: a player of the stored clip asks for one range after the other.
const KEEP_ABSENCE: Duration = Duration::from_secs(60);
/// Limit on the answers that are kept beside the clips that are being made.
const MAX_KEPT: usize = 256;

/// A camera whose footage clips are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipCamera {
    /// The name of its Kinesis video stream.
    pub stream: String,
    /// `true`: parts of its pictures are masked.
    pub has_masks: bool,
}

/// The camera of an incident and the times at which its object was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentSightings {
    /// The camera's id.
    pub camera_id: String,
    /// The first sighting, ms since the epoch.
    pub first_ms: i64,
    /// The last sighting, ms since the epoch.
    pub last_ms: i64,
    /// The address of the clip in its end record.
    pub clip: Option<String>,
}

/// Finds an incident by its id; `None`: there is no such incident. The error is for a person.
pub type FindIncident =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Option<IncidentSightings>, String>> + Send + Sync>;

type ClipAnswer = Result<Arc<Mp4Clip>, Arc<ClipFailure>>;

/// Makes and keeps clips for the clients of HTTP.
pub struct ClipLibrary {
    maker: ClipMaker,
    rules: ClipRules,
    ignores_masks: bool,
    find: FindIncident,
    /// Runs the making of clips.
    runtime: Handle,
    making: TaskTracker,
    turns: Arc<Semaphore>,
    stop: CancellationToken,
    cameras: Mutex<BTreeMap<String, ClipCamera>>,
    kept: Mutex<Vec<KeptClip>>,
}

/// A clip that was asked for.
struct KeptClip {
    stream: String,
    span: ClipSpan,
    answer: Shared<BoxFuture<'static, ClipAnswer>>,
    begun: Instant,
    used: Instant,
    /// `true`: footage may have been added at its end since.
    grows: bool,
}

impl fmt::Debug for ClipLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClipLibrary").field("maker", &self.maker).finish_non_exhaustive()
    }
}

impl ClipLibrary {
    /// Creates the library on the current runtime. `ignores_masks`: cameras with masks have clips, too. It has no cameras yet.
    #[must_use]
    pub fn new(maker: ClipMaker, rules: ClipRules, ignores_masks: bool, find: FindIncident) -> Self {
        Self {
            maker,
            rules,
            ignores_masks,
            find,
            runtime: Handle::current(),
            making: TaskTracker::new(),
            turns: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            stop: CancellationToken::new(),
            cameras: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Sets the cameras of the configuration, by id.
    pub fn set_cameras(&self, cameras: BTreeMap<String, ClipCamera>) {
        *lock(&self.cameras) = cameras;
    }

    /// Returns the lengths of clips.
    #[must_use]
    pub fn rules(&self) -> ClipRules {
        self.rules
    }

    /// Returns the sightings of an incident; `None`: there is no such incident.
    ///
    /// # Errors
    /// The incidents cannot be read; the text is for a person.
    pub async fn sightings(&self, incident: &str) -> Result<Option<IncidentSightings>, String> {
        (self.find)(incident.to_owned()).await
    }

    /// Returns the clip of a camera's footage, which is made unless it is kept.
    ///
    /// # Errors
    /// See [`ClipFailure`].
    pub async fn clip(&self, camera: &str, span: ClipSpan) -> Result<Arc<Mp4Clip>, Arc<ClipFailure>> {
        let stream = self.stream(camera)?;
        let answer = self.answer(&stream, span, Instant::now())?;
        // The clip is finished all the same, so that a later request finds it.
        timeout(MAX_WAIT, answer).await.unwrap_or_else(|_late| Err(Arc::new(ClipFailure::Busy)))
    }

    /// Ends the making of clips.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.making.close();
        self.making.wait().await;
    }

    /// Returns the stream of a camera whose clips may be shown.
    fn stream(&self, camera: &str) -> Result<String, ClipFailure> {
        let cameras = lock(&self.cameras);
        let known = cameras.get(camera);
        let known = known.ok_or_else(|| ClipFailure::UnknownCamera { camera: camera.to_owned() })?;
        if known.has_masks && !self.ignores_masks {
            return Err(ClipFailure::Masked { camera: camera.to_owned() });
        }
        Ok(known.stream.clone())
    }

    /// Returns the clip that is kept or being made, or begins to make it.
    fn answer(
        &self,
        stream: &str,
        span: ClipSpan,
        now: Instant,
    ) -> Result<Shared<BoxFuture<'static, ClipAnswer>>, ClipFailure> {
        let mut kept = lock(&self.kept);
        forget(&mut kept, now);
        if let Some(found) = kept.iter_mut().find(|kept| kept.stream == stream && kept.span == span) {
            found.used = now;
            return Ok(found.answer.clone());
        }
        let making = kept.iter().filter(|kept| kept.answer.peek().is_none()).count();
        if making >= MAX_MAKING || self.stop.is_cancelled() {
            return Err(if self.stop.is_cancelled() { ClipFailure::Stopped } else { ClipFailure::Busy });
        }
        let answer = self.begin(stream.to_owned(), span).shared();
        let grows = span.to_ms > epoch_ms() - GROWING_MS;
        let stream = stream.to_owned();
        kept.push(KeptClip { stream, span, answer: answer.clone(), begun: now, used: now, grows });
        Ok(answer)
    }

    fn begin(&self, stream: String, span: ClipSpan) -> BoxFuture<'static, ClipAnswer> {
        let (maker, turns, stop) = (self.maker.clone(), Arc::clone(&self.turns), self.stop.clone());
        let make = async move {
            // The semaphore is never closed, so a permit always comes.
            let _turn = turns.acquire().await.ok();
            let made = timeout(MAX_MAKE_TIME, maker.make(&stream, span)).await;
            made.unwrap_or(Err(ClipFailure::Busy)).map(Arc::new).map_err(Arc::new)
        };
        let task = async move { stop.run_until_cancelled(make).await };
        // A task of the service and not of the request: the clients of a clip come and go.
        let task = self.making.spawn_on(task, &self.runtime);
        let ended =
            async move { task.await.ok().flatten().unwrap_or_else(|| Err(Arc::new(ClipFailure::Stopped))) };
        ended.boxed()
    }
}

/// Forgets the clips that are not watched any more, and the least recently used ones beyond the limit.
fn forget(kept: &mut Vec<KeptClip>, now: Instant) {
    kept.retain(|clip| clip.is_wanted(now));
    kept.sort_by_key(|clip| std::cmp::Reverse(clip.used));
    let (mut bytes, mut count) = (0_u64, 0);
    kept.retain(|clip| {
        if clip.answer.peek().is_none() {
            return true;
        }
        count += 1;
        let clip_bytes = clip.bytes();
        let fits = bytes == 0 || bytes + clip_bytes <= MAX_KEPT_BYTES || clip_bytes == 0;
        bytes += if fits { clip_bytes } else { 0 };
        fits && count <= MAX_KEPT
    });
}

impl KeptClip {
    fn is_wanted(&self, now: Instant) -> bool {
        let (since, limit) = match self.answer.peek() {
            None => return true,
            // Footage may still come where it is new.
            Some(Err(error)) if error.is_footage_gone() && !self.grows => (self.begun, KEEP_ABSENCE),
            Some(Err(_)) => (self.begun, KEEP_FAILURE),
            Some(Ok(_)) if self.grows => (self.used, KEEP_GROWING),
            Some(Ok(_)) => (self.used, KEEP_IDLE),
        };
        now.saturating_duration_since(since) < limit
    }

    /// Returns the size of the clip; 0 before it is made.
    fn bytes(&self) -> u64 {
        self.answer.peek().and_then(|answer| answer.as_ref().ok()).map_or(0, |clip| clip.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ArchiveError;

    fn kept(answer: BoxFuture<'static, ClipAnswer>, begun: Instant) -> KeptClip {
        let answer = answer.shared();
        let _first = answer.clone().now_or_never();
        let span = ClipSpan { from_ms: 0, to_ms: 1 };
        KeptClip { stream: "s".to_owned(), span, answer, begun, used: begun, grows: false }
    }

    fn failed(error: ClipFailure) -> BoxFuture<'static, ClipAnswer> {
        std::future::ready(Err(Arc::new(error))).boxed()
    }

    fn no_footage() -> ClipFailure {
        ArchiveError::NoFootage { stream: "s".to_owned() }.into()
    }

    #[test]
    fn absence_is_remembered_for_longer_than_other_failures_unless_footage_may_come() {
        let begun = Instant::now();
        let growing = KeptClip { grows: true, ..kept(failed(no_footage()), begun) };
        for (name, clip, expected) in [
            ("no footage", kept(failed(no_footage()), begun), [true, true, false]),
            ("no footage yet", growing, [true, false, false]),
            ("another failure", kept(failed(ClipFailure::Busy), begun), [true, false, false]),
            ("being made", kept(std::future::pending().boxed(), begun), [true, true, true]),
        ] {
            let wanted = [1, 59, 61].map(|s| clip.is_wanted(begun + Duration::from_secs(s)));
            assert_eq!(wanted, expected, "{name}");
        }
    }

    #[test]
    fn the_answers_that_are_kept_are_limited_and_no_clip_that_is_being_made_is_forgotten() {
        let begun = Instant::now();
        let mut all = vec![kept(std::future::pending().boxed(), begun)];
        let later = begun + Duration::from_secs(1);
        all.extend((0..2 * MAX_KEPT).map(|_| kept(failed(no_footage()), later)));
        forget(&mut all, later);
        assert_eq!(all.len(), MAX_KEPT + 1);
        assert_eq!(all.iter().filter(|clip| clip.answer.peek().is_none()).count(), 1);
    }
}
