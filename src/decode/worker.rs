//! The decode thread of one camera.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::Receiver;

use super::decoder::{DecodeError, Decoder};
use super::mask::Masks;
use super::queue::{Closed, FrameSender};
use super::sampler::Sampler;
use crate::frame::{Decoded, Demuxed, Frame};
use crate::telemetry::CameraBoard;
use crate::telemetry::decode::DecodeFailed;

/// Starts the thread `decode-<camera>`, in whose frames `masks` are black.
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
    std::thread::Builder::new().name(name).spawn(move || {
        let decoder = Decoder::new(camera.clone(), sampler).masked(masks);
        Worker::new(camera, decoder, output).run(input);
    })
}

struct Worker {
    camera: CameraBoard,
    decoder: Decoder,
    output: FrameSender,
    frames: Vec<Arc<Frame>>,
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
        Self { camera, decoder, output, frames: Vec::new(), failed: Failed::default() }
    }

    fn run(mut self, mut input: Receiver<Demuxed>) {
        while let Some(item) = input.blocking_recv() {
            if self.take(item).is_err() {
                return;
            }
        }
    }

    fn take(&mut self, item: Demuxed) -> Result<(), Closed> {
        match item {
            Demuxed::Packet(packet) => {
                let decoded = self.decoder.push(packet, &mut self.frames);
                self.tell(decoded);
                self.hand_over()
            }
            Demuxed::FragmentEnd(end) => {
                let decoded = self.decoder.end_fragment(&mut self.frames);
                self.tell(decoded);
                self.failed = Failed { now: false, before: self.failed.now };
                self.hand_over()?;
                self.output.push(Decoded::FragmentEnd { end, sampler: self.decoder.committed() })
            }
            Demuxed::Discontinuity => {
                self.decoder.discontinuity();
                self.output.push(Decoded::Discontinuity)
            }
        }
    }

    fn hand_over(&mut self) -> Result<(), Closed> {
        self.frames.drain(..).try_for_each(|frame| self.output.push(Decoded::Frame(frame)))
    }

    fn tell(&mut self, decoded: Result<(), DecodeError>) {
        if let Err(error) = decoded {
            let repeated = self.failed.now || self.failed.before;
            DecodeFailed { camera: &self.camera, error: &error, repeated }.emit();
            self.failed.now = true;
        }
    }
}
