//! The decode thread of one camera.
//!
//! **A live camera that is late decodes less.** An access unit is late when it is further behind the live edge than its delivery
//! explains by [`MAX_LAG`], because it waited for the decoder. It is not decoded, nor is what follows it up to the next key
//! frame that is not late: leaving out costs next to nothing, so the queue before the decoder runs empty and the camera is at
//! the live edge again. All cameras have the same limit, so they leave out alike. The time for which this thread waits for
//! detection does not count up to [`HARD_MAX_LAG`]: a slow model is the frame queue's to deal with, frame by frame.

use std::collections::VecDeque;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::decoder::Decoder;
use super::error::DecodeError;
use super::mask::Masks;
use super::packet_queue::PacketReceiver;
use super::queue::{Closed, FrameSender};
use super::sampler::Sampler;
use crate::media::{Decoded, Demuxed, Mode, Packet};
use crate::status::CameraStatus;
use crate::telemetry::decode::{DecodeFailed, DropReason, FramesDropped, UnitHandled};

/// How far behind the live edge a live camera decodes, beyond what the delivery of its footage explains. Half of what a live
/// event may be late: the other half is for detection.
const MAX_LAG: Duration = Duration::from_secs(1);

/// The same with the time for which this thread waited for detection.
const HARD_MAX_LAG: Duration = Duration::from_millis(1_500);

/// An access unit that waited less than this in the process is late for a reason that decoding less would not cure.
const MIN_WAIT: Duration = Duration::from_millis(500);

/// How long the last frames of a fragment wait for the next fragment, whose leading pictures may refer to them. Live: an alert
/// must not be late for it. In catch-up the next fragment is stored already, and the same footage must give the same frames: only
/// where footage ends is there nothing to wait for.
const PAUSE_LIVE: Duration = Duration::from_millis(250);
const PAUSE_CATCH_UP: Duration = Duration::from_secs(5);

/// Starts the thread `decode-<camera>`, in whose frames `masks` are black and have `max_pixels` at most. It uses the timer of the current runtime.
///
/// Shutdown: it ends when all senders of `input` are gone and what waited is decoded, or when the receiver of `output` is
/// gone; then `output` is closed. Join it.
///
/// # Errors
/// The system gives no further thread.
pub fn spawn(
    camera: CameraStatus,
    sampler: Sampler,
    masks: Option<Masks>,
    max_pixels: u32,
    input: PacketReceiver,
    output: FrameSender,
) -> io::Result<JoinHandle<()>> {
    let name = format!("decode-{}", camera.id());
    let runtime = Handle::current();
    std::thread::Builder::new().name(name).spawn(move || {
        let decoder = Decoder::new(camera.clone(), sampler).masked(masks).limited(max_pixels);
        Worker::new(camera, decoder, output).run(&runtime, input);
    })
}

struct Worker {
    camera: CameraStatus,
    decoder: Decoder,
    output: FrameSender,
    decoded: Vec<Decoded>,
    failed: Failed,
    /// Whether access units are left out up to the next key frame.
    skips: bool,
    blocked: Blocked,
}

/// The latest waits for room in the frame queue.
#[derive(Default)]
struct Blocked {
    /// When each ended, and how long it was; at most [`WAITS_MAX`], the oldest first.
    waits: VecDeque<(Instant, Duration)>,
}

const WAITS_MAX: usize = 256;

impl Blocked {
    fn add(&mut self, began: Instant, ended: Instant) {
        let wait = ended.saturating_duration_since(began);
        if wait < Duration::from_millis(1) {
            return;
        }
        if self.waits.len() == WAITS_MAX {
            self.waits.pop_front();
        }
        self.waits.push_back((ended, wait));
    }

    /// Returns how long was waited since then.
    fn since(&self, then: Instant) -> Duration {
        let later = self.waits.iter().rev().take_while(|(ended, _)| *ended > then);
        later.map(|(ended, wait)| (*wait).min(ended.saturating_duration_since(then))).sum()
    }
}

/// Whether errors came in the fragment at hand and in the one before.
#[derive(Default)]
struct Failed {
    now: bool,
    before: bool,
}

impl Worker {
    fn new(camera: CameraStatus, decoder: Decoder, output: FrameSender) -> Self {
        let (failed, blocked) = (Failed::default(), Blocked::default());
        Self { camera, decoder, output, decoded: Vec::new(), failed, skips: false, blocked }
    }

    fn run(mut self, runtime: &Handle, mut input: PacketReceiver) {
        while let Ok(Some(item)) = self.next(runtime, &mut input) {
            if self.take(item).is_err() {
                return;
            }
        }
        // The rest of the last complete fragment is given out. Of a broken one nothing more is: a frame must not come before one
        // that is shown earlier.
        let ended = self.decoder.discontinuity(&mut self.decoded);
        self.tell(ended);
        let _closed = self.hand_over();
    }

    /// The next item; `None` when the senders are gone. Where the end of a fragment waits for it, the wait is limited.
    fn next(&mut self, runtime: &Handle, input: &mut PacketReceiver) -> Result<Option<Demuxed>, Closed> {
        if self.decoder.awaits_next_fragment() {
            let limit = match self.output.mode() {
                Mode::Live => PAUSE_LIVE,
                Mode::CatchUp => PAUSE_CATCH_UP,
            };
            match runtime.block_on(async { timeout(limit, input.recv()).await }) {
                Ok(item) => return Ok(item),
                Err(_elapsed) => self.pause()?,
            }
        }
        Ok(input.blocking_recv())
    }

    fn take(&mut self, item: Demuxed) -> Result<(), Closed> {
        let decoded = match item {
            Demuxed::Packet(packet) => return self.packet(packet),
            Demuxed::Primer(packet) => self.decoder.prime(packet, &mut self.decoded),
            Demuxed::FragmentEnd(end) => {
                let ended = self.decoder.end_fragment(end, &mut self.decoded);
                self.tell(ended);
                self.failed = Failed { now: false, before: self.failed.now };
                return self.hand_over();
            }
            Demuxed::Discontinuity => {
                self.skips = false;
                let flushed = self.decoder.discontinuity(&mut self.decoded);
                self.decoded.push(Decoded::Discontinuity);
                flushed
            }
        };
        self.tell(decoded);
        self.hand_over()
    }

    fn pause(&mut self) -> Result<(), Closed> {
        let paused = self.decoder.pause(&mut self.decoded);
        self.tell(paused);
        self.hand_over()
    }

    fn packet(&mut self, packet: Packet) -> Result<(), Closed> {
        if self.leaves_out(&packet) {
            FramesDropped { camera: &self.camera, frames: 1, reason: DropReason::Late }.emit();
            return self.hand_over();
        }
        let (lag, arrived) = (packet.lag, packet.arrived);
        let decoded = self.decoder.push(packet, &mut self.decoded);
        self.tell(decoded);
        self.hand_over()?;
        UnitHandled { camera: &self.camera, lag: lag.at_arrival + arrived.elapsed() }.emit();
        Ok(())
    }

    /// Whether the access unit is not decoded, because it is late or follows one that was.
    fn leaves_out(&mut self, packet: &Packet) -> bool {
        let late = self.output.mode() == Mode::Live
            && is_late(packet, self.blocked.since(packet.arrived), Instant::now());
        if late && !self.skips {
            let drained = self.decoder.skip_to_key_frame(&mut self.decoded);
            self.tell(drained);
        }
        self.skips = late || (self.skips && !packet.key && !packet.role().is_random_access());
        self.skips
    }

    fn hand_over(&mut self) -> Result<(), Closed> {
        let began = Instant::now();
        let handed_over = self.decoded.drain(..).try_for_each(|item| self.output.push(item));
        self.blocked.add(began, Instant::now());
        handed_over
    }

    fn tell(&mut self, decoded: Result<(), DecodeError>) {
        if let Err(error) = decoded {
            let repeated = self.failed.now || self.failed.before;
            let (kind, reason) = (error.kind(), error.reason());
            let is_blinding = error.is_blinding();
            DecodeFailed {
                camera: &self.camera,
                kind,
                reason: &reason,
                error: &error,
                is_blinding,
                repeated,
            }
            .emit();
            self.failed.now = true;
        }
    }
}

/// Whether a live camera's access unit is late; `blocked`: the part of its wait in which detection was waited for.
fn is_late(packet: &Packet, blocked: Duration, now: Instant) -> bool {
    let waited = now.saturating_duration_since(packet.arrived);
    let lag = (packet.lag.at_arrival + waited).saturating_sub(packet.lag.explained);
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
    fn late_is_what_waited_here_beyond_what_delivery_explains() {
        let arrived = Instant::now();
        for (name, at_arrival_ms, explained_ms, waited_ms, blocked_ms, late) in [
            ("at once", 0, 0, 0, 0, false),
            ("a second in the queue", 0, 0, 1_000, 0, false),
            ("more than a second in the queue", 0, 0, 1_001, 0, true),
            ("on the way and in the queue", 600, 0, 500, 0, true),
            ("on the way alone: decoding less is no cure", 60_000, 0, 499, 0, false),
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
    fn waits_for_detection_count_from_then_on() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut blocked = Blocked::default();
        for (began, ended) in [(0, 100), (200, 500), (600, 600), (700, 800)] {
            blocked.add(at(began), at(ended));
        }
        for (then, ms) in [(0, 500), (150, 400), (400, 200), (500, 100), (800, 0)] {
            assert_eq!(blocked.since(at(then)), Duration::from_millis(ms), "{then}");
        }
    }
}
