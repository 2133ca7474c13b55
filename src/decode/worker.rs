//! The decode thread of one camera.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::decoder::Decoder;
use super::error::DecodeError;
use super::mask::Masks;
use super::queue::{Closed, FrameSender, Mode};
use super::sampler::Sampler;
use crate::frame::{Decoded, Demuxed};
use crate::telemetry::CameraBoard;
use crate::telemetry::decode::DecodeFailed;

/// How long the last frames of a fragment wait for the next fragment, whose leading pictures may refer to them. Live: an alert
/// must not be late for it. In catch-up the next fragment is stored already, and the same footage must give the same frames: only
/// where footage ends is there nothing to wait for.
const PAUSE_LIVE: Duration = Duration::from_millis(250);
const PAUSE_CATCH_UP: Duration = Duration::from_secs(5);

/// Starts the thread `decode-<camera>`, in whose frames `masks` are black. It uses the timer of the current runtime.
///
/// Shutdown: it ends when all senders of `input` are gone and what waited is decoded, or when the receiver of `output` is
/// gone; then `output` is closed. Join it.
///
/// # Errors
/// The system gives no further thread.
pub fn spawn(
    camera: CameraBoard,
    sampler: Sampler,
    masks: Option<Masks>,
    input: Receiver<Demuxed>,
    output: FrameSender,
) -> io::Result<JoinHandle<()>> {
    let name = format!("decode-{}", camera.id());
    let runtime = Handle::current();
    std::thread::Builder::new().name(name).spawn(move || {
        let decoder = Decoder::new(camera.clone(), sampler).masked(masks);
        Worker::new(camera, decoder, output).run(&runtime, input);
    })
}

struct Worker {
    camera: CameraBoard,
    decoder: Decoder,
    output: FrameSender,
    decoded: Vec<Decoded>,
    failed: Failed,
}

/// Whether errors came in the fragment at hand and in the one before.
#[derive(Default)]
struct Failed {
    now: bool,
    before: bool,
}

impl Worker {
    fn new(camera: CameraBoard, decoder: Decoder, output: FrameSender) -> Self {
        Self { camera, decoder, output, decoded: Vec::new(), failed: Failed::default() }
    }

    fn run(mut self, runtime: &Handle, mut input: Receiver<Demuxed>) {
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

    /// The next item; `None` when the senders are gone. While the end of a fragment waits for the next fragment, only for so long.
    fn next(&mut self, runtime: &Handle, input: &mut Receiver<Demuxed>) -> Result<Option<Demuxed>, Closed> {
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
            Demuxed::Packet(packet) => self.decoder.push(packet, &mut self.decoded),
            Demuxed::Primer(packet) => self.decoder.prime(packet, &mut self.decoded),
            Demuxed::FragmentEnd(end) => {
                let ended = self.decoder.end_fragment(end, &mut self.decoded);
                self.tell(ended);
                self.failed = Failed { now: false, before: self.failed.now };
                return self.hand_over();
            }
            Demuxed::Discontinuity => {
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

    fn hand_over(&mut self) -> Result<(), Closed> {
        self.decoded.drain(..).try_for_each(|item| self.output.push(item))
    }

    fn tell(&mut self, decoded: Result<(), DecodeError>) {
        if let Err(error) = decoded {
            let repeated = self.failed.now || self.failed.before;
            DecodeFailed { camera: &self.camera, error: &error, repeated }.emit();
            self.failed.now = true;
        }
    }
}
