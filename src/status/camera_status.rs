//! The status of one camera: written by its stages, read as a [`CameraRow`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::camera_row::{CameraRow, CameraState, CameraWork, FrameCounts};
use super::event_feed::EventFeed;
use super::figures::{MAX_RATE_SAMPLES, RATE_SPAN, age_ms, percentile_ms, rate};
use super::inference_gap::{InferenceGap, explained};
use super::lag::{CameraLag, UnitRead};
use super::load::LoadWindow;
use super::recent_boxes::{FrameBoxes, RecentBox, RecentBoxes};
use super::whole_ms;
use crate::base::{LogLimit, LogLine, lock};
use crate::media::{CameraId, Event, Frame, MediaMs, Mode};
use crate::render::Label;

/// The time for which a lost connection counts.
const LOSS_SPAN: Duration = Duration::from_secs(15);

/// Maximum number of lost connections that are remembered.
const MAX_LOSSES: usize = 100;

/// Maximum size of a reason, bytes. Texts of others are cut to less where they come in, so this is the last resort.
const MAX_REASON_BYTES: usize = 4_096;

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}

/// Number of latencies that the percentiles are taken over.
const MAX_LATENCIES: usize = 1_000;

/// The share of frames that cannot be decoded above which a camera counts as not analyzed.
const BLIND_ABOVE: f64 = 0.9;

/// The share of a whole minute's frames that these must be as well: one long fragment is not enough.
const BLIND_MINUTE: f64 = 0.5;

/// The share below which the camera counts as analyzed again; lower than [`BLIND_ABOVE`], so that the state does not flap.
const RECOVERS_BELOW: f64 = 0.8;

/// The key of that state among those of the stages.
const FOOTAGE: &str = "footage";

/// The last inferred frame.
#[derive(Clone, Debug)]
pub struct InferredPicture {
    /// A number that rises with every picture of the camera; it serves as the ETag.
    pub version: u64,
    /// The frame.
    pub frame: Arc<Frame>,
    /// The boxes to draw on it.
    pub labels: Arc<[Label]>,
}

/// A handle to the status of one camera; clones share it.
#[derive(Clone)]
pub struct CameraStatus {
    inner: Arc<CameraInner>,
}

struct CameraInner {
    id: CameraId,
    stream: Box<str>,
    feed: Arc<EventFeed>,
    now: Mutex<CameraRecord>,
    /// A lock of its own: a reader that copies boxes holds up no stage but the one that adds some.
    boxes: Mutex<RecentBoxes>,
}

#[derive(Default)]
struct CameraRecord {
    mode: Mode,
    idle: bool,
    /// The GPU of the models that inferred the last frame, by its index; `Some(None)`: the CPU, `None`: no frame was inferred.
    inferred_on: Option<Option<u32>>,
    decoder: Option<&'static str>,
    decoder_note: Option<String>,
    current: StateEntry,
    /// The stages that cannot analyze frames: since when, and the reason.
    blind: BTreeMap<&'static str, (Instant, String)>,
    gap: InferenceGap,
    outage: Option<Outage>,
    last_error: Option<String>,
    /// The server's figure, shown until something was decoded.
    behind_ms: Option<u64>,
    lag: CameraLag,
    load: LoadWindow,
    model: Option<String>,
    inferences: VecDeque<Instant>,
    picture: Option<InferredPicture>,
    frames: FrameCounts,
    fragments: u64,
    events: u64,
    latencies: VecDeque<Duration>,
    connections: u64,
    connection_losses: VecDeque<Instant>,
    last_connection_loss: Option<String>,
    skipped_ms: u64,
    footage: Duration,
    decode_cpu: Duration,
    /// By kind of log line.
    log_limits: BTreeMap<&'static str, LogLimit>,
}

/// The state of the connection, and the time at which it was entered.
struct StateEntry {
    state: CameraState,
    since: Instant,
}

impl Default for StateEntry {
    fn default() -> Self {
        Self { state: CameraState::Connecting, since: Instant::now() }
    }
}

impl CameraRecord {
    fn work(&self) -> CameraWork {
        CameraWork {
            footage: self.footage,
            decode_cpu: self.decode_cpu,
            inferred: self.frames.inferred,
            superseded: self.frames.dropped.get("superseded").copied().unwrap_or(0),
        }
    }
}

/// A time in which the stream cannot be read, from the first failure until a connection succeeds.
struct Outage {
    reason: String,
    since: Instant,
    retry_at: Option<Instant>,
}

impl CameraStatus {
    pub(super) fn new(id: &CameraId, stream: &str, feed: Arc<EventFeed>) -> Self {
        let (id, stream, now, boxes) = (id.clone(), stream.into(), Mutex::default(), Mutex::default());
        Self { inner: Arc::new(CameraInner { id, stream, feed, now, boxes }) }
    }

    /// Returns the status of a camera that is on no board.
    #[must_use]
    pub fn alone(id: &CameraId) -> Self {
        Self::new(id, "", Arc::default())
    }

    /// Returns the camera's id.
    #[must_use]
    pub fn id(&self) -> &CameraId {
        &self.inner.id
    }

    /// Counts a log line of this kind and returns whether it is written.
    pub(crate) fn log_line(&self, kind: &'static str) -> LogLine {
        self.write(|now| now.log_limits.entry(kind).or_default().line(Instant::now()))
    }

    /// Records that a connection is being opened. A camera that is down stays so until a connection succeeds.
    pub fn connecting(&self) {
        self.write(|now| {
            if now.outage.is_none() {
                now.enter(CameraState::Connecting);
            }
        });
    }

    /// Records that a connection was opened.
    pub fn connected(&self) {
        self.write(|now| now.connections += 1);
    }

    /// Records that a connection was lost after it had delivered footage.
    pub fn connection_lost(&self, reason: &str) {
        self.write(|now| now.lose(cut(reason), Instant::now()));
    }

    /// Records that a stage (`decode`, `detect`) cannot analyze frames, for `reason`; `None`: it can again.
    pub fn blind(&self, stage: &'static str, reason: Option<String>) {
        self.write(|now| match reason.map(|reason| cut(&reason).to_owned()) {
            Some(reason) => {
                now.last_error = Some(reason.clone());
                now.blind.entry(stage).or_insert_with(|| (Instant::now(), String::new())).1 = reason;
            }
            // `last_error` stays, for a person who looks at the page later.
            None => drop(now.blind.remove(stage)),
        });
    }

    /// Returns whether that stage cannot analyze frames.
    #[must_use]
    pub fn is_blind(&self, stage: &str) -> bool {
        lock(&self.inner.now).blind.contains_key(stage)
    }

    /// Records that footage arrives.
    pub fn streaming(&self) {
        self.write(|now| now.connected(CameraState::Streaming));
    }

    /// Records that the connection is open and the camera sends nothing.
    pub fn waiting(&self) {
        self.write(|now| {
            // Nothing is behind where nothing comes: an old figure would age for ever.
            now.connected(CameraState::Waiting);
            now.forget_lag();
        });
    }

    /// Records that the stream cannot be read, for `reason`, and is retried in `retry_in`.
    pub fn down(&self, reason: impl Into<String>, retry_in: Option<Duration>) {
        let (reason, at) = (cut(&reason.into()).to_owned(), Instant::now());
        self.write(|now| {
            // The state is entered once: its age is the age of the outage, not of the last attempt.
            now.enter(CameraState::Down);
            now.forget_lag();
            now.last_error = Some(reason.clone());
            let since = now.outage.as_ref().map_or(at, |outage| outage.since);
            now.outage = Some(Outage { reason, since, retry_at: retry_in.map(|wait| at + wait) });
        });
    }

    /// Records whether the camera is live or in catch-up.
    pub fn set_mode(&self, mode: Mode) {
        self.write(|now| now.mode = mode);
    }

    /// Records whether only keyframes of the camera are decoded, because nothing moves.
    pub fn set_idle(&self, idle: bool) {
        self.write(|now| now.idle = idle);
    }

    /// Records the decoder of the camera's frames, and the reason if it is not the one that was to be used.
    pub(crate) fn decodes_by(&self, decoder: &'static str, note: Option<String>) {
        self.write(|now| (now.decoder, now.decoder_note) = (Some(decoder), note));
    }

    /// Records a complete fragment that was `behind_ms` behind the live edge.
    pub fn fragment(&self, behind_ms: Option<u64>) {
        self.write(|now| {
            now.fragments += 1;
            // A fragment without a figure does not erase the previous one.
            now.behind_ms = behind_ms.or(now.behind_ms);
        });
    }

    /// Adds a complete fragment's length to the camera's work.
    pub(crate) fn add_footage(&self, length: Duration) {
        self.write(|now| now.footage += length);
    }

    /// Adds CPU time of the decode thread to the camera's work.
    pub(crate) fn add_decode_cpu(&self, time: Duration) {
        self.write(|now| now.decode_cpu += time);
    }

    /// Records that a jump to NOW skipped `span` of footage.
    pub fn skipped(&self, span: Duration) {
        self.write(|now| now.skipped_ms += whole_ms(span));
    }

    /// Records an access unit that was read. Returns a reason, once, where frames have been read for some time and none was inferred.
    pub fn frame_read(&self) -> Option<String> {
        self.write(|now| {
            let at = Instant::now();
            let reason = now.gap.read(at, &now.frames, now.fragments);
            now.frames.read += 1;
            now.load.count(at, |counts| counts.read += 1);
            reason
        })
    }

    /// Records the arrival time and the lag of the access unit that was read last.
    pub(crate) fn unit_read(&self, unit: UnitRead) {
        self.write(|now| now.lag.read(unit));
    }

    /// Records that an access unit was decoded when it was `lag` behind the live edge.
    pub(crate) fn unit_decoded(&self, lag: Duration) {
        self.write(|now| now.lag.decoded(lag, Instant::now()));
    }

    /// Records the name of the slowest of the camera's models.
    pub fn uses_model(&self, name: &str) {
        self.write(|now| now.model = Some(name.to_owned()));
    }

    /// Records the index of the GPU of the models that inferred a frame; `None`: the CPU.
    pub fn inferred_on(&self, gpu: Option<u32>) {
        self.write(|now| now.inferred_on = Some(gpu));
    }

    /// Records a frame that the decoder returned.
    pub fn frame_decoded(&self) {
        self.write(|now| {
            now.frames.decoded += 1;
            now.gap.decoded();
        });
    }

    /// Records access units that were not decoded, because nothing needs their frames.
    pub(crate) fn units_skipped(&self, units: u64) {
        self.write(|now| now.frames.undecoded += units);
    }

    /// Records the reason of a decoding error.
    pub(crate) fn decode_failed(&self, reason: &str) {
        self.write(|now| now.gap.decode_failed(reason));
    }

    /// Marks the camera as not analyzed while hardly any of a minute's frames can be decoded.
    pub(super) fn judge_footage(&self, at: Instant) {
        let load = self.write(|now| now.load.load(at, None));
        let is_blind = self.is_blind(FOOTAGE);
        // Two thresholds for the beginning: nearly all of what reached the decoder, and half of a whole minute.
        let begins = load.lost_of_tried > BLIND_ABOVE && load.undecodable > BLIND_MINUTE;
        if begins || is_blind && load.lost_of_tried >= RECOVERS_BELOW {
            let (lost, reason) = (load.lost_of_tried * 100.0, explained(load.lost_for));
            self.blind(FOOTAGE, Some(format!("{lost:.1} % of its frames could not be decoded: {reason}")));
        } else if is_blind {
            self.blind(FOOTAGE, None);
        }
    }

    /// Records a frame that the sampler picked.
    pub fn frame_sampled(&self) {
        self.write(|now| {
            now.frames.sampled += 1;
            let at = Instant::now();
            now.lag.sampled(at);
            now.load.count(at, |counts| counts.sampled += 1);
        });
    }

    /// Records a frame without inference, since the motion gate found no change in it. Returns whether [`Self::frame_read`] had
    /// reported that none is inferred.
    pub fn frame_skipped(&self) -> bool {
        self.write(|now| {
            now.frames.skipped += 1;
            now.lag.skipped();
            now.gap.inferred()
        })
    }

    /// Records dropped frames; `reason` is a label of `kvs_infer_frames_dropped_total`.
    pub fn frames_dropped(&self, reason: &'static str, frames: u64) {
        self.write(|now| {
            *now.frames.dropped.entry(reason).or_default() += frames;
            now.load.count(Instant::now(), |counts| counts.dropped(reason, frames));
        });
    }

    /// Records that every detector inferred `frame`, which becomes the live picture with `labels`. Returns whether
    /// [`Self::frame_read`] had reported that none is inferred.
    pub fn frame_inferred(&self, frame: Arc<Frame>, labels: Vec<Label>) -> bool {
        let (before, was_reported) =
            self.write(|now| (now.infer(frame, labels.into(), Instant::now()), now.gap.inferred()));
        // The memory of a frame takes time to free: not under the lock.
        drop(before);
        was_reported
    }

    /// Returns whether [`Self::add_boxes`] keeps those of a frame of this time: at most those of one frame per half second.
    #[must_use]
    pub fn wants_boxes(&self, media: MediaMs) -> bool {
        lock(&self.inner.boxes).wants(media)
    }

    /// Keeps the boxes of a frame of this size, px, as examples for the zone editor: at most 1,000 boxes and 10 minutes per camera.
    pub fn add_boxes(&self, media: MediaMs, size_px: (u32, u32), boxes: Vec<RecentBox>) {
        lock(&self.inner.boxes).add(media, size_px, boxes);
    }

    /// Returns the kept boxes by frame, oldest first, and the size of these frames, px.
    #[must_use]
    pub fn recent_boxes(&self) -> ((u32, u32), Vec<FrameBoxes>) {
        lock(&self.inner.boxes).all()
    }

    /// Records an event that the outbox accepted `latency` after its confirming frame arrived. One with the id of a kept event comes
    /// of footage that was read again, and is not shown twice.
    pub fn event(&self, event: &Event, latency: Duration) {
        // Outside the lock of the camera: the feed has its own.
        if self.inner.feed.push(event) {
            self.write(|now| now.event(latency));
        }
    }

    /// Returns the last inferred frame.
    #[must_use]
    pub fn picture(&self) -> Option<InferredPicture> {
        lock(&self.inner.now).picture.clone()
    }

    /// Returns the current figures.
    #[must_use]
    pub fn row(&self) -> CameraRow {
        self.row_at(Instant::now())
    }

    pub(super) fn row_at(&self, at: Instant) -> CameraRow {
        let now = lock(&self.inner.now);
        let fault = now.fault(at);
        let retry_at = now.outage.as_ref().and_then(|outage| outage.retry_at);
        let size_px = now.picture.as_ref().map(|picture| picture.frame.surface.size_px());
        CameraRow {
            id: self.inner.id.to_string(),
            stream: self.inner.stream.to_string(),
            mode: now.mode,
            idle: now.idle,
            device: now.inferred_on.map(device_text),
            decoder: now.decoder,
            decoder_note: now.decoder_note.clone(),
            state: now.current.state,
            state_for_ms: age_ms(now.current.since, at),
            error_for_ms: fault.as_ref().map(|(since, _)| age_ms(*since, at)),
            error: fault.map(|(_, reason)| reason),
            retry_in_ms: retry_at.map(|retry| age_ms(at, retry)),
            last_error: now.last_error.clone(),
            // The server's figure of the fragment fills in until something was decoded.
            behind_ms: now.lag.shown(at).map(whole_ms).or(now.behind_ms),
            // In catch-up the camera is behind by design.
            excess_lag: now.lag.excess(at).filter(|_| now.mode == Mode::Live),
            load: now.load.load(at, now.model.as_ref()),
            work: now.work(),
            fps: rate(&now.inferences, at),
            width_px: size_px.map(|(width, _)| width),
            height_px: size_px.map(|(_, height)| height),
            last_frame_ts_ms: now.picture.as_ref().map(|picture| picture.frame.media.0),
            last_read_age_ms: now.gap.last_read().map(|read| age_ms(read, at)),
            last_frame_age_ms: now.inferences.back().map(|inference| age_ms(*inference, at)),
            frames: now.frames.clone(),
            fragments: now.fragments,
            events: now.events,
            latency_p50_ms: percentile_ms(&now.latencies, 0.50),
            latency_p99_ms: percentile_ms(&now.latencies, 0.99),
            // The first connection is not a reconnect.
            reconnects: now.connections.saturating_sub(1),
            connections_lost: now.connection_losses.iter().filter(|loss| **loss + LOSS_SPAN >= at).count(),
            last_connection_loss: now.last_connection_loss.clone(),
            skipped_ms: now.skipped_ms,
        }
    }

    #[cfg(test)]
    pub(super) fn set_load(&self, load: LoadWindow) {
        self.write(|now| now.load = load);
    }

    fn write<T>(&self, change: impl FnOnce(&mut CameraRecord) -> T) -> T {
        change(&mut lock(&self.inner.now))
    }
}

impl CameraRecord {
    fn enter(&mut self, state: CameraState) {
        if self.current.state != state {
            self.current = StateEntry { state, since: Instant::now() };
        }
    }

    fn connected(&mut self, state: CameraState) {
        self.enter(state);
        self.outage = None;
    }

    /// Returns the beginning and the reason of the time in which the camera is not read or analyzed.
    fn fault(&self, at: Instant) -> Option<(Instant, String)> {
        // An outage hides the rest: a stream that is not read cannot be decoded or inferred either.
        let outage = self.outage.as_ref().map(|outage| (outage.since, outage.reason.clone()));
        let blind = || self.blind.values().next().cloned();
        let gap = || self.gap.reason(at, &self.frames, self.fragments);
        outage.or_else(blind).or_else(gap)
    }

    fn forget_lag(&mut self) {
        self.behind_ms = None;
        self.lag = CameraLag::default();
    }

    fn lose(&mut self, reason: &str, at: Instant) {
        if self.connection_losses.len() == MAX_LOSSES {
            self.connection_losses.pop_front();
        }
        self.connection_losses.push_back(at);
        self.last_connection_loss = Some(reason.to_owned());
    }

    fn event(&mut self, latency: Duration) {
        self.events += 1;
        if self.latencies.len() == MAX_LATENCIES {
            self.latencies.pop_front();
        }
        self.latencies.push_back(latency);
    }

    /// Returns the previous picture, whose memory the caller frees outside the lock.
    fn infer(&mut self, frame: Arc<Frame>, labels: Arc<[Label]>, at: Instant) -> Option<InferredPicture> {
        self.frames.inferred += 1;
        self.lag.inferred(&frame, at);
        let is_old = |begun: &Instant| *begun + RATE_SPAN < at;
        while self.inferences.len() >= MAX_RATE_SAMPLES || self.inferences.front().is_some_and(is_old) {
            self.inferences.pop_front();
        }
        self.inferences.push_back(at);
        let version = self.picture.as_ref().map_or(0, |picture| picture.version) + 1;
        self.picture.replace(InferredPicture { version, frame, labels })
    }
}

/// Returns the name of a GPU by its index, or of the CPU.
fn device_text(gpu: Option<u32>) -> String {
    gpu.map_or_else(|| "cpu".to_owned(), |index| format!("cuda:{index}"))
}

#[cfg(test)]
mod tests;
