//! One camera's place on the board.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::camera_row::{CameraRow, FrameCounts, State};
use super::feed::Feed;
use super::figures::{RATE_LOOKS, RATE_SPAN, age_ms, percentile_ms, rate};
use super::lag::{CameraLag, UnitRead};
use super::load::LoadWindow;
use super::unseen::{Unseen, explained};
use super::{lock, whole_ms};
use crate::base::{LogLimit, LogLine};
use crate::media::{CameraId, Event, Frame, Mode};
use crate::render::Label;

/// How long a lost connection is remembered.
const LOSS_SPAN: Duration = Duration::from_secs(15);

/// Lost connections that are remembered at most.
const LOSSES: usize = 100;

/// Bytes of a reason that are kept: texts of others are shorter where they come in, so this is the last resort.
const REASON_BYTES: usize = 4_096;

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES)]
}

/// Latencies that are kept for the percentiles.
const LATENCIES: usize = 1_000;

/// The share of the latest frames beyond which a camera whose frames cannot be decoded counts as one that sees nothing.
const BLIND_ABOVE: f64 = 0.9;

/// The share of a minute's frames that these must be besides: one long fragment does not make a camera blind.
const BLIND_MINUTE: f64 = 0.5;

/// The share below which it sees again.
const SEES_BELOW: f64 = 0.8;

/// The part of the way that cannot see then.
const FOOTAGE: &str = "footage";

/// The newest frame that was looked at.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Rises with every picture of the camera.
    pub version: u64,
    /// The frame.
    pub frame: Arc<Frame>,
    /// What was seen in it.
    pub labels: Arc<[Label]>,
}

/// A handle to one camera's place; clones share it.
#[derive(Clone)]
pub struct CameraStatus {
    inner: Arc<Inner>,
}

struct Inner {
    id: CameraId,
    stream: Box<str>,
    feed: Arc<Feed>,
    now: Mutex<Now>,
}

struct Now {
    mode: Mode,
    state: State,
    state_since: Instant,
    blind: BTreeMap<&'static str, (Instant, String)>,
    unseen: Unseen,
    trouble: Option<Trouble>,
    last_error: Option<String>,
    /// The server's figure.
    behind_ms: Option<u64>,
    lag: CameraLag,
    load: LoadWindow,
    model: Option<String>,
    looks: VecDeque<Instant>,
    picture: Option<Picture>,
    frames: FrameCounts,
    fragments: u64,
    events: u64,
    latencies: VecDeque<Duration>,
    connections: u64,
    losses: VecDeque<Instant>,
    last_loss: Option<String>,
    skipped_ms: u64,
    /// By kind of line.
    log_limits: BTreeMap<&'static str, LogLimit>,
}

/// It lasts from the first failure until footage comes or is waited for.
struct Trouble {
    reason: String,
    since: Instant,
    retry_at: Option<Instant>,
}

impl CameraStatus {
    pub(super) fn new(id: &CameraId, stream: &str, feed: Arc<Feed>) -> Self {
        let now = Now {
            mode: Mode::default(),
            state: State::Connecting,
            state_since: Instant::now(),
            blind: BTreeMap::new(),
            unseen: Unseen::default(),
            trouble: None,
            last_error: None,
            behind_ms: None,
            lag: CameraLag::default(),
            load: LoadWindow::default(),
            model: None,
            looks: VecDeque::new(),
            picture: None,
            frames: FrameCounts::default(),
            fragments: 0,
            events: 0,
            latencies: VecDeque::new(),
            connections: 0,
            losses: VecDeque::new(),
            last_loss: None,
            skipped_ms: 0,
            log_limits: BTreeMap::new(),
        };
        Self { inner: Arc::new(Inner { id: id.clone(), stream: stream.into(), feed, now: Mutex::new(now) }) }
    }

    /// A place that no board shows.
    #[must_use]
    pub fn alone(id: &CameraId) -> Self {
        Self::new(id, "", Arc::default())
    }

    /// The camera's id.
    #[must_use]
    pub fn id(&self) -> &CameraId {
        &self.inner.id
    }

    /// Counts a line of this kind for the log, and returns whether it is logged.
    pub(crate) fn log_line(&self, kind: &'static str) -> LogLine {
        self.write(|now| now.log_limits.entry(kind).or_default().line(Instant::now()))
    }

    /// A connection is asked for. A camera that is down stays so until footage comes.
    pub fn connecting(&self) {
        self.write(|now| {
            if now.trouble.is_none() {
                now.enter(State::Connecting);
            }
        });
    }

    /// A connection was opened.
    pub fn connected(&self) {
        self.write(|now| now.connections += 1);
    }

    /// A connection that had brought footage was lost.
    pub fn lost(&self, reason: &str) {
        self.write(|now| now.lose(cut(reason), Instant::now()));
    }

    /// Part of the way (`decode`, `detect`) cannot see, because of `reason`, or sees again: `None`.
    pub fn blind(&self, stage: &'static str, reason: Option<String>) {
        self.write(|now| match reason.map(|reason| cut(&reason).to_owned()) {
            Some(reason) => {
                now.last_error = Some(reason.clone());
                now.blind.entry(stage).or_insert_with(|| (Instant::now(), String::new())).1 = reason;
            }
            None => drop(now.blind.remove(stage)),
        });
    }

    /// Whether that part of the way cannot see.
    #[must_use]
    pub fn is_blind(&self, stage: &str) -> bool {
        lock(&self.inner.now).blind.contains_key(stage)
    }

    /// Footage comes.
    pub fn streaming(&self) {
        self.write(|now| now.connected(State::Streaming));
    }

    /// Connected, and the camera sends nothing.
    pub fn waiting(&self) {
        self.write(|now| {
            now.connected(State::Waiting);
            now.forget_lag();
        });
    }

    /// The camera cannot be read, because of `reason`; it is tried again in `retry_in`.
    pub fn down(&self, reason: impl Into<String>, retry_in: Option<Duration>) {
        let (reason, at) = (cut(&reason.into()).to_owned(), Instant::now());
        self.write(|now| {
            now.enter(State::Down);
            now.forget_lag();
            now.last_error = Some(reason.clone());
            let since = now.trouble.as_ref().map_or(at, |trouble| trouble.since);
            now.trouble = Some(Trouble { reason, since, retry_at: retry_in.map(|wait| at + wait) });
        });
    }

    /// How the camera is read from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.write(|now| now.mode = mode);
    }

    /// A fragment is complete; its reader was `behind_ms` behind the live edge.
    pub fn fragment(&self, behind_ms: Option<u64>) {
        self.write(|now| {
            now.fragments += 1;
            now.behind_ms = behind_ms.or(now.behind_ms);
        });
    }

    /// `span` of footage was jumped over.
    pub fn skipped(&self, span: Duration) {
        self.write(|now| now.skipped_ms += whole_ms(span));
    }

    /// An access unit was read. Returns the reason where frames have been read for a while and none was seen: once.
    pub fn frame_read(&self) -> Option<String> {
        self.write(|now| {
            let at = Instant::now();
            let complaint = now.unseen.read(at, &now.frames, now.fragments);
            now.frames.read += 1;
            now.load.count(at, |counts| counts.read += 1);
            complaint
        })
    }

    /// This access unit was read last.
    pub(crate) fn unit_read(&self, unit: UnitRead) {
        self.write(|now| now.lag.read(unit));
    }

    /// An access unit was decoded; it was `lag` behind the live edge then.
    pub(crate) fn unit_decoded(&self, lag: Duration) {
        self.write(|now| now.lag.decoded(lag, Instant::now()));
    }

    /// The slowest model that its frames go through has this name.
    pub fn uses_model(&self, name: &str) {
        self.write(|now| now.model = Some(name.to_owned()));
    }

    /// A picture came out of the decoder.
    pub fn frame_decoded(&self) {
        self.write(|now| {
            now.frames.decoded += 1;
            now.unseen.decoded();
        });
    }

    /// The decoder failed, for this reason.
    pub(crate) fn decode_failed(&self, reason: &str) {
        self.write(|now| now.unseen.decode_failed(reason));
    }

    /// Counts the camera as one that sees nothing where next to none of a minute's frames can be decoded, until that is over.
    pub(super) fn judge_footage(&self, at: Instant) {
        let load = self.write(|now| now.load.load(at, None));
        let is_blind = self.is_blind(FOOTAGE);
        let begins = load.lost_of_tried > BLIND_ABOVE && load.undecodable > BLIND_MINUTE;
        if begins || is_blind && load.lost_of_tried >= SEES_BELOW {
            let (lost, reason) = (load.lost_of_tried * 100.0, explained(load.lost_for));
            self.blind(FOOTAGE, Some(format!("{lost:.1} % of its frames could not be decoded: {reason}")));
        } else if is_blind {
            self.blind(FOOTAGE, None);
        }
    }

    /// The sampler picked a picture.
    pub fn frame_sampled(&self) {
        self.write(|now| {
            now.frames.sampled += 1;
            let at = Instant::now();
            now.lag.sampled(at);
            now.load.count(at, |counts| counts.sampled += 1);
        });
    }

    /// The motion gate spared a picture its look. Returns whether [`Self::frame_read`] had reported that none is seen.
    pub fn frame_skipped(&self) -> bool {
        self.write(|now| {
            now.frames.skipped += 1;
            now.lag.skipped();
            now.unseen.seen()
        })
    }

    /// Pictures were left out, because of `reason`: one of few.
    pub fn frames_dropped(&self, reason: &'static str, frames: u64) {
        self.write(|now| {
            *now.frames.dropped.entry(reason).or_default() += frames;
            now.load.count(Instant::now(), |counts| counts.dropped(reason, frames));
        });
    }

    /// Every detector looked at `frame`, and saw `labels`: the live picture from now on. Returns whether [`Self::frame_read`] had
    /// reported that none is seen.
    pub fn looked(&self, frame: Arc<Frame>, labels: Vec<Label>) -> bool {
        let (before, was_unseen) =
            self.write(|now| (now.look(frame, labels.into(), Instant::now()), now.unseen.seen()));
        drop(before);
        was_unseen
    }

    /// An event was made, `latency` after its confirming frame arrived. One with the id of a kept event is the same, read
    /// again, and not shown twice.
    pub fn event(&self, event: &Event, latency: Duration) {
        if self.inner.feed.push(event) {
            self.write(|now| now.event(latency));
        }
    }

    /// The newest frame that was looked at.
    #[must_use]
    pub fn picture(&self) -> Option<Picture> {
        lock(&self.inner.now).picture.clone()
    }

    /// How the camera stands.
    #[must_use]
    pub fn row(&self) -> CameraRow {
        self.row_at(Instant::now())
    }

    pub(super) fn row_at(&self, at: Instant) -> CameraRow {
        let now = lock(&self.inner.now);
        let trouble = now.trouble.as_ref();
        let unseen = || now.unseen.complaint(at, &now.frames, now.fragments);
        let blind = now.blind.values().next().cloned().or_else(unseen);
        let size_px = now.picture.as_ref().map(|picture| picture.frame.surface.size_px());
        CameraRow {
            id: self.inner.id.to_string(),
            stream: self.inner.stream.to_string(),
            mode: now.mode,
            state: now.state,
            state_for_ms: age_ms(now.state_since, at),
            error_for_ms: trouble
                .map(|trouble| trouble.since)
                .or(blind.as_ref().map(|(since, _)| *since))
                .map(|since| age_ms(since, at)),
            error: trouble.map(|trouble| trouble.reason.clone()).or(blind.map(|(_, reason)| reason)),
            retry_in_ms: trouble.and_then(|trouble| trouble.retry_at).map(|retry| age_ms(at, retry)),
            last_error: now.last_error.clone(),
            behind_ms: now.lag.shown(at).map(whole_ms).or(now.behind_ms),
            concern: now.lag.concern(at).filter(|_| now.mode == Mode::Live),
            load: now.load.load(at, now.model.as_ref()),
            fps: rate(&now.looks, at),
            width_px: size_px.map(|(width, _)| width),
            height_px: size_px.map(|(_, height)| height),
            last_frame_ts_ms: now.picture.as_ref().map(|picture| picture.frame.media.0),
            last_read_age_ms: now.unseen.last_read().map(|read| age_ms(read, at)),
            last_frame_age_ms: now.looks.back().map(|look| age_ms(*look, at)),
            frames: now.frames.clone(),
            fragments: now.fragments,
            events: now.events,
            latency_p50_ms: percentile_ms(&now.latencies, 0.50),
            latency_p99_ms: percentile_ms(&now.latencies, 0.99),
            reconnects: now.connections.saturating_sub(1),
            losses: now.losses.iter().filter(|loss| **loss + LOSS_SPAN >= at).count(),
            last_loss: now.last_loss.clone(),
            skipped_ms: now.skipped_ms,
        }
    }

    #[cfg(test)]
    pub(super) fn set_load(&self, load: LoadWindow) {
        self.write(|now| now.load = load);
    }

    fn write<T>(&self, change: impl FnOnce(&mut Now) -> T) -> T {
        change(&mut lock(&self.inner.now))
    }
}

impl Now {
    fn enter(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.state_since = Instant::now();
        }
    }

    fn connected(&mut self, state: State) {
        self.enter(state);
        self.trouble = None;
    }

    fn forget_lag(&mut self) {
        self.behind_ms = None;
        self.lag = CameraLag::default();
    }

    fn lose(&mut self, reason: &str, at: Instant) {
        if self.losses.len() == LOSSES {
            self.losses.pop_front();
        }
        self.losses.push_back(at);
        self.last_loss = Some(reason.to_owned());
    }

    fn event(&mut self, latency: Duration) {
        self.events += 1;
        if self.latencies.len() == LATENCIES {
            self.latencies.pop_front();
        }
        self.latencies.push_back(latency);
    }

    /// Gives the picture before, so that its memory is freed outside the lock.
    fn look(&mut self, frame: Arc<Frame>, labels: Arc<[Label]>, at: Instant) -> Option<Picture> {
        self.frames.inferred += 1;
        self.lag.inferred(&frame, at);
        while self.looks.len() >= RATE_LOOKS || self.looks.front().is_some_and(|old| *old + RATE_SPAN < at) {
            self.looks.pop_front();
        }
        self.looks.push_back(at);
        let version = self.picture.as_ref().map_or(0, |picture| picture.version) + 1;
        self.picture.replace(Picture { version, frame, labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> CameraStatus {
        CameraStatus::new(&CameraId::new("gate"), "gate-stream", Arc::default())
    }

    #[test]
    fn trouble_lasts_from_the_first_failure_until_footage_comes() {
        let gate = camera();
        gate.down("no such stream", Some(Duration::from_secs(4)));
        let first = gate.row();
        assert_eq!((first.state, first.error.as_deref()), (State::Down, Some("no such stream")));
        assert!(first.retry_in_ms.is_some_and(|ms| (3_000..=4_000).contains(&ms)), "{:?}", first.retry_in_ms);

        gate.connecting();
        let again = gate.row();
        assert_eq!(
            (again.state, again.error.as_deref()),
            (State::Down, Some("no such stream")),
            "asking is no cure"
        );

        gate.down("access denied", None);
        let second = gate.row_at(Instant::now() + Duration::from_secs(9));
        assert_eq!(second.error.as_deref(), Some("access denied"));
        assert!(second.error_for_ms.is_some_and(|ms| ms >= 9_000), "since the first failure");

        gate.streaming();
        let well = gate.row();
        assert_eq!((well.state, well.error, well.retry_in_ms), (State::Streaming, None, None));
        assert_eq!(well.last_error.as_deref(), Some("access denied"));
    }

    #[test]
    fn a_reason_is_never_longer_than_some_lines() {
        let gate = camera();
        let long = "é".repeat(2_000_000);
        gate.down(long.clone(), None);
        gate.lost(&long);
        let row = gate.row();
        for text in [row.error, row.last_error, row.last_loss] {
            assert_eq!(text.map(|text| text.len()), Some(REASON_BYTES));
        }
        gate.streaming();
        gate.blind("decode", Some(long));
        assert_eq!(gate.row().error.map(|text| text.len()), Some(REASON_BYTES));
    }

    #[test]
    fn a_camera_that_cannot_see_says_so_until_it_can() {
        let gate = camera();
        gate.streaming();
        gate.blind("detect", Some("out of memory".to_owned()));
        assert_eq!(gate.row().error.as_deref(), Some("out of memory"));
        gate.streaming();
        assert!(gate.is_blind("detect"), "footage is no cure");
        gate.blind("detect", None);
        assert_eq!(gate.row().error, None);
    }

    #[test]
    fn a_camera_of_which_next_to_no_frame_can_be_decoded_counts_as_down_until_they_can() {
        let gate = camera();
        gate.streaming();
        let start = Instant::now();
        for (name, damaged, well) in [
            ("half", 50, true),
            ("nearly all", 99, false),
            ("some recover", 85, false),
            ("half again", 50, true),
        ] {
            let mut window = LoadWindow::default();
            for second in 0..60 {
                window.count(start + Duration::from_secs(second), |counts| {
                    counts.read += 100;
                    counts.dropped("damaged", damaged);
                });
            }
            gate.set_load(window);
            gate.judge_footage(start + Duration::from_secs(60));
            let row = gate.row();
            assert_eq!(row.is_well(), well, "{name}: {row:?}");
            let said = format!("{damaged}.0 % of its frames could not be decoded: they are damaged");
            assert_eq!(row.error.is_some_and(|error| error.starts_with(&said)), !well, "{name}");
        }
    }

    #[test]
    fn nobody_knows_how_far_behind_a_camera_is_that_sends_nothing() {
        let gate = camera();
        gate.fragment(Some(120));
        gate.waiting();
        assert_eq!(gate.row().behind_ms, None, "waiting");
        gate.fragment(Some(120));
        gate.down("no such stream", None);
        assert_eq!(gate.row().behind_ms, None, "down");
    }

    #[test]
    fn the_lag_of_what_was_decoded_counts_and_ages_and_else_the_servers_figure() {
        let gate = camera();
        gate.fragment(Some(120));
        assert_eq!(gate.row().behind_ms, Some(120));
        gate.unit_decoded(Duration::from_secs(3));
        let in_s = |s: u64| gate.row_at(Instant::now() + Duration::from_secs(s)).behind_ms.unwrap();
        assert!((3_000..4_000).contains(&in_s(0)) && (8_000..9_000).contains(&in_s(5)), "{}", in_s(0));
        gate.waiting();
        assert_eq!(gate.row().behind_ms, None);
    }

    #[test]
    fn a_connection_counts_again_only_after_the_first() {
        let gate = camera();
        for _ in 0..3 {
            gate.connecting();
        }
        gate.connected();
        assert_eq!(gate.row().reconnects, 0);
        gate.streaming();
        gate.connecting();
        gate.connected();
        gate.waiting();
        assert_eq!(gate.row().reconnects, 1);
    }

    #[test]
    fn counts_add_up() {
        let gate = camera();
        gate.frame_read();
        gate.frame_decoded();
        gate.frame_sampled();
        gate.frames_dropped("newer_frame", 1);
        gate.frames_dropped("newer_frame", 1);
        gate.frames_dropped("decoder_error", 1);
        gate.fragment(Some(120));
        gate.fragment(None);
        gate.skipped(Duration::from_secs(2));
        let row = gate.row();
        assert_eq!((row.frames.read, row.frames.decoded, row.frames.sampled), (1, 1, 1));
        assert_eq!(row.frames.dropped, BTreeMap::from([("decoder_error", 1), ("newer_frame", 2)]));
        assert_eq!((row.fragments, row.behind_ms, row.skipped_ms), (2, Some(120), 2_000));
    }
}
