//! The decode thread of a camera.
//!
//! **A live camera that is late decodes less.** An access unit is late if its lag behind the live edge exceeds what its
//! delivery explains by [`MAX_LAG`], because it waited for the decoder. It is not decoded, nor are the access units after
//! it up to the next keyframe that is not late. Leaving out costs next to nothing, so the packet queue runs empty and
//! the camera returns to the live edge. All cameras have the same limit, so they leave out alike.
//!
//! The time for which this thread waits for detection does not count, up to [`HARD_MAX_LAG`]: the frame queue handles a
//! slow model, frame by frame.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::decoder::Decoder;
use super::error::DecodeError;
use super::frame_queue::{FrameSender, QueueClosed};
use super::idle::IdleDecode;
use super::mask::Masks;
use super::nvdec::NvdecGpu;
use super::packet_queue::PacketReceiver;
use super::sampler::Sampler;
use crate::base::Stopwatch;
use crate::media::{Decoded, Demuxed, FragmentEnd, Mode, Packet};
use crate::status::CameraStatus;
use crate::telemetry::decode::{DecodeFailed, DropReason, FramesDropped, GpuLost, UnitHandled, WakeTrigger};

/// The maximum lag of a live camera beyond what its delivery explains.
///
/// That is half the allowed lag of a live event; the other half is for detection.
const MAX_LAG: Duration = Duration::from_secs(1);

/// The maximum lag with the time included for which this thread waited for detection.
const HARD_MAX_LAG: Duration = Duration::from_millis(1_500);

/// The minimum wait in this process of a late access unit: the lag of one that waited less has another cause.
const MIN_WAIT: Duration = Duration::from_millis(500);

/// The maximum wait of a live fragment's last frames for the next fragment: an alert must not be late for it.
const LIVE_PAUSE: Duration = Duration::from_millis(250);

/// The maximum wait of a fragment's last frames for the next fragment in catch-up.
///
/// It is long because the same footage must give the same frames: the next fragment is stored already, and only the end of
/// the footage needs a pause.
const CATCH_UP_PAUSE: Duration = Duration::from_secs(5);

/// The maximum length of a GOP for idle decode, ms: over a longer gap between inferences the tracker keeps nothing but incidents.
const MAX_IDLE_GOP_MS: u32 = 10_000;

/// The settings of a camera's decode thread.
pub struct DecodeSettings {
    /// Picks the frames for detection.
    pub sampler: Sampler,
    /// The regions that are black in each frame.
    pub masks: Option<Masks>,
    /// The maximum size of pictures, px; larger ones are not decoded.
    pub max_pixels: u32,
    /// True to decode keyframes alone while the motion gate is closed.
    pub decodes_idly: bool,
    /// The GPU that may decode; `None`: the CPU does.
    pub gpu: Option<Arc<NvdecGpu>>,
}

/// Starts the thread `decode-<camera>`, which uses the timer of the current runtime.
///
/// The receiver of `output` answers the questions of idle decode, if that is on.
///
/// Shutdown: the thread ends when all senders of `input` were dropped and its items are decoded, or when the receiver of
/// `output` was dropped; then it closes `output`. Join it.
///
/// # Errors
/// The system grants no further thread.
pub fn spawn(
    camera: CameraStatus,
    settings: DecodeSettings,
    input: PacketReceiver,
    output: FrameSender,
) -> io::Result<JoinHandle<()>> {
    let name = format!("decode-{}", camera.id());
    let runtime = Handle::current();
    std::thread::Builder::new().name(name).spawn(move || {
        let DecodeSettings { sampler, masks, max_pixels, decodes_idly, gpu } = settings;
        let decoder = Decoder::new(camera.clone(), sampler);
        let decoder = decoder.with_masks(masks).with_max_pixels(max_pixels).with_gpu(gpu);
        let mut worker = DecodeWorker::new(camera, decoder, output);
        worker.idle = decodes_idly.then(|| IdleDecode::new(worker.decoder.sizes()));
        worker.run(&runtime, input);
    })
}

pub(super) struct DecodeWorker {
    pub(super) camera: CameraStatus,
    pub(super) decoder: Decoder,
    pub(super) output: FrameSender,
    /// The items that the decoder has returned and that are not in the frame queue yet.
    pub(super) decoded: Vec<Decoded>,
    /// The state of idle decode; `None` where it is off.
    pub(super) idle: Option<IdleDecode>,
    errors: RecentErrors,
    /// True while access units are left out up to the next keyframe.
    skips: bool,
    pub(super) waits: OutputWaits,
    /// True once the GPU that decodes is lost: nothing is delivered any more, so the next process reads the fragment again.
    is_gpu_lost: bool,
}

/// The recent times in which this thread waited for detection, or decoded retained access units.
#[derive(Default)]
pub(super) struct OutputWaits {
    /// The end and the length of each wait, the oldest first; at most [`MAX_WAITS`].
    waits: VecDeque<(Instant, Duration)>,
}

const MAX_WAITS: usize = 256;

impl OutputWaits {
    pub(super) fn add(&mut self, began: Instant, ended: Instant) {
        let wait = ended.saturating_duration_since(began);
        if wait < Duration::from_millis(1) {
            return;
        }
        if self.waits.len() == MAX_WAITS {
            self.waits.pop_front();
        }
        self.waits.push_back((ended, wait));
    }

    /// Returns the total time of waiting since `then`.
    fn since(&self, then: Instant) -> Duration {
        let later = self.waits.iter().rev().take_while(|(ended, _)| *ended > then);
        later.map(|(ended, wait)| (*wait).min(ended.saturating_duration_since(then))).sum()
    }
}

/// The fragments among the last two that had errors.
#[derive(Default)]
struct RecentErrors {
    current: bool,
    previous: bool,
}

impl DecodeWorker {
    fn new(camera: CameraStatus, decoder: Decoder, output: FrameSender) -> Self {
        Self {
            camera,
            decoder,
            output,
            decoded: Vec::new(),
            idle: None,
            errors: RecentErrors::default(),
            skips: false,
            waits: OutputWaits::default(),
            is_gpu_lost: false,
        }
    }

    fn run(mut self, runtime: &Handle, mut input: PacketReceiver) {
        let mut watch = Stopwatch::of_this_thread();
        while let Ok(Some(item)) = self.next_item(runtime, &mut input) {
            let is_end = matches!(item, Demuxed::FragmentEnd(_));
            if self.process_item(item).is_err() {
                return;
            }
            if is_end {
                self.camera.add_decode_cpu(watch.lap().cpu);
            }
        }
        // Retained access units are read again by the next process: their position is not committed.
        if self.is_idle() {
            return;
        }
        // The rest of the last complete fragment is delivered. Held frames of a broken one are not: a frame that is
        // shown earlier may be missing, and frames must come in order of presentation.
        let ended = self.decoder.handle_discontinuity(&mut self.decoded);
        self.report_error(ended);
        let _closed = self.deliver();
    }

    /// Returns the next item; `None` if the senders were dropped. Ends a wait for the next fragment if it takes too long.
    fn next_item(
        &mut self,
        runtime: &Handle,
        input: &mut PacketReceiver,
    ) -> Result<Option<Demuxed>, QueueClosed> {
        while let Some(limit) = self.pause_limit() {
            match runtime.block_on(async { timeout(limit, input.recv()).await }) {
                Ok(item) => return Ok(item),
                Err(_elapsed) => self.pause()?,
            }
        }
        Ok(input.blocking_recv())
    }

    /// Returns the maximum wait for the next item; `None` if nothing is held back or retained.
    fn pause_limit(&self) -> Option<Duration> {
        let mode = self.output.mode();
        if let Some(idle) = self.idle.as_ref().filter(|idle| idle.is_idle()) {
            return Some(idle.pause_limit(mode, self.decoder.longest_gop_ms()));
        }
        self.decoder.awaits_next_fragment().then_some(match mode {
            Mode::Live => LIVE_PAUSE,
            Mode::CatchUp => CATCH_UP_PAUSE,
        })
    }

    fn process_item(&mut self, item: Demuxed) -> Result<(), QueueClosed> {
        let decoded = match item {
            Demuxed::Packet(packet) => return self.process_packet(packet),
            Demuxed::Primer(packet) => self.decoder.prime(packet, &mut self.decoded),
            Demuxed::FragmentEnd(end) => return self.end_fragment(end),
            Demuxed::Discontinuity => self.handle_discontinuity(),
        };
        self.report_error(decoded);
        self.deliver()
    }

    fn end_fragment(&mut self, end: FragmentEnd) -> Result<(), QueueClosed> {
        if let Some(end) = self.retain_end(end) {
            let ended = self.decoder.end_fragment(end, &mut self.decoded);
            self.report_error(ended);
        }
        self.errors = RecentErrors { current: false, previous: self.errors.current };
        self.deliver()
    }

    fn handle_discontinuity(&mut self) -> Result<(), DecodeError> {
        self.skips = false;
        // Complete fragments that are retained stay so: their frames depend on nothing that broke off.
        let stays_idle = self.discard_retained();
        let ended = if stays_idle { Ok(()) } else { self.decoder.handle_discontinuity(&mut self.decoded) };
        if let Some(idle) = self.idle.as_mut().filter(|_| !stays_idle) {
            idle.set_sizes(self.decoder.sizes());
        }
        self.decoded.push(Decoded::Discontinuity);
        ended
    }

    /// Decodes and delivers everything that is retained or held back, because nothing follows for now.
    fn pause(&mut self) -> Result<(), QueueClosed> {
        if let Some(media) = self.idle.as_ref().and_then(IdleDecode::newest_media) {
            return self.wake(WakeTrigger::Pause, media);
        }
        let paused = self.decoder.pause(&mut self.decoded);
        self.report_error(paused);
        self.deliver()
    }

    fn process_packet(&mut self, packet: Packet) -> Result<(), QueueClosed> {
        // An idle camera only retains access units: it is not late, and to leave one out would save nothing.
        if !self.is_idle() && self.skip_late(&packet) {
            FramesDropped { camera: &self.camera, frames: 1, reason: DropReason::Late }.emit();
            return self.deliver();
        }
        if self.is_idle() || self.may_become_idle() { self.process_idly(packet) } else { self.decode(packet) }
    }

    /// Decodes an access unit and delivers the frames.
    pub(super) fn decode(&mut self, packet: Packet) -> Result<(), QueueClosed> {
        let (lag, arrived) = (packet.lag, packet.arrived);
        let decoded = self.decoder.push(packet, &mut self.decoded);
        self.report_error(decoded);
        self.deliver()?;
        UnitHandled { camera: &self.camera, lag: lag.at_arrival + arrived.elapsed() }.emit();
        Ok(())
    }

    /// Returns true if idle decode suits the stream's GOPs.
    fn may_become_idle(&self) -> bool {
        // Where keyframes alone are decoded anyway, there is nothing to rewind to.
        self.idle.is_some()
            && !self.decoder.keyframes_suffice()
            && self.decoder.longest_gop_ms().is_none_or(|ms| ms <= MAX_IDLE_GOP_MS)
    }

    fn is_idle(&self) -> bool {
        self.idle.as_ref().is_some_and(IdleDecode::is_idle)
    }

    /// Reports that the access unit was handled without decoding it.
    pub(super) fn report_handled(&self, packet: &Packet) {
        UnitHandled { camera: &self.camera, lag: packet.lag.at_arrival + packet.arrived.elapsed() }.emit();
    }

    /// Returns true if the access unit is left out, because it is late or depends on one that was.
    fn skip_late(&mut self, packet: &Packet) -> bool {
        let late = self.output.mode() == Mode::Live
            && is_late(packet, self.waits.since(packet.arrived), Instant::now());
        if late && !self.skips {
            let drained = self.decoder.skip_to_keyframe(&mut self.decoded);
            self.report_error(drained);
        }
        self.skips = late || (self.skips && !packet.key && !packet.role().is_random_access());
        self.skips
    }

    /// Puts the decoded items into the frame queue.
    ///
    /// # Errors
    /// The thread is to end: the queue is closed, or the GPU is lost.
    pub(super) fn deliver(&mut self) -> Result<(), QueueClosed> {
        self.check_gpu()?;
        let began = Instant::now();
        let delivered = self.decoded.drain(..).try_for_each(|item| self.output.push(item));
        self.waits.add(began, Instant::now());
        delivered
    }

    /// Ends the thread if the GPU that decodes is lost. What was decoded since then is discarded, since frames are missing in it.
    pub(super) fn check_gpu(&mut self) -> Result<(), QueueClosed> {
        if self.is_gpu_lost { Err(QueueClosed) } else { Ok(()) }
    }

    pub(super) fn report_error(&mut self, decoded: Result<(), DecodeError>) {
        if let Some(reason) = self.decoder.find_gpu_loss() {
            self.is_gpu_lost = true;
            GpuLost { camera: &self.camera, reason: &reason }.emit();
            return;
        }
        if let Err(error) = decoded {
            let repeated = self.errors.current || self.errors.previous;
            DecodeFailed {
                camera: &self.camera,
                kind: error.kind(),
                reason: &error.reason(),
                error: &error,
                is_blinding: error.is_blinding(),
                repeated,
            }
            .emit();
            self.errors.current = true;
        }
    }
}

/// Returns true if a live camera's access unit is late; `blocked` is the part of its wait due to detection.
fn is_late(packet: &Packet, blocked: Duration, now: Instant) -> bool {
    let waited = now.saturating_duration_since(packet.arrived);
    let lag = (packet.lag.at_arrival + waited).saturating_sub(packet.lag.explained);
    // Decoding less helps only if the packet waited here: it does not make a slow network faster.
    let by_decoding = waited.saturating_sub(blocked) >= MIN_WAIT && lag.saturating_sub(blocked) > MAX_LAG;
    by_decoding || (waited >= MIN_WAIT && lag > HARD_MAX_LAG)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::media::{ArrivalLag, Codec, Fragment, MediaMs, VideoTrack};

    fn packet(arrived: Instant, at_arrival_ms: u64, explained_ms: u64) -> Packet {
        let track = VideoTrack { codec: Codec::H264, codec_private: Bytes::new(), width_px: 2, height_px: 2 };
        let [at_arrival, explained] = [at_arrival_ms, explained_ms].map(Duration::from_millis);
        Packet {
            fragment: Arc::new(Fragment { number: "1".into(), producer_ms: None, server_ms: None }),
            track: Arc::new(track),
            index: 0,
            media: MediaMs(0),
            key: true,
            unit: Bytes::new(),
            arrived,
            lag: ArrivalLag { at_arrival, explained },
        }
    }

    #[test]
    fn a_packet_is_late_if_it_waited_here_beyond_what_delivery_explains() {
        let arrived = Instant::now();
        for (name, at_arrival_ms, explained_ms, waited_ms, blocked_ms, late) in [
            ("at once", 0, 0, 0, 0, false),
            ("a second in the queue", 0, 0, 1_000, 0, false),
            ("more than a second in the queue", 0, 0, 1_001, 0, true),
            ("on the way and in the queue", 600, 0, 500, 0, true),
            ("on the way alone: decoding less does not help", 60_000, 0, 499, 0, false),
            ("the first of a segment of ten seconds", 10_000, 10_000, 900, 0, false),
            ("the last of it, after two seconds of decoding", 0, 10_000, 2_000, 0, false),
            ("one of the next segment, behind a queue", 10_000, 10_000, 1_001, 0, true),
            ("detection is waited for", 0, 0, 1_400, 1_000, false),
            ("detection is waited for too long", 0, 0, 1_501, 1_501, true),
        ] {
            let at = arrived + Duration::from_millis(waited_ms);
            let packet = packet(arrived, at_arrival_ms, explained_ms);
            assert_eq!(is_late(&packet, Duration::from_millis(blocked_ms), at), late, "{name}");
        }
    }

    #[test]
    fn waits_are_summed_from_an_instant_on() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut waits = OutputWaits::default();
        for (began, ended) in [(0, 100), (200, 500), (600, 600), (700, 800)] {
            waits.add(at(began), at(ended));
        }
        for (then, ms) in [(0, 500), (150, 400), (400, 200), (500, 100), (800, 0)] {
            assert_eq!(waits.since(at(then)), Duration::from_millis(ms), "{then}");
        }
    }
}
