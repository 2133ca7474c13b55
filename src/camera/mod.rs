//! One camera's way: source -> demux -> decode -> detect -> decide -> publish, joined.
//!
//! Three parts, each with its own pace: the task `read` (network), the thread `decode-<camera>` and the task `decide`.
//! Between them stand two bounded queues; see ARCHITECTURE.md. Shutdown: cancelling the token ends `read`, whose end
//! ends decode, whose end ends `decide`; [`Camera::join`] waits for all three.

mod deciding;
mod feed;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::Checkpoint;
use crate::config::{CameraSpec, PlaybackMode, Start};
use crate::decode::{self, Sampler, frame_queue, packet_queue};
use crate::delivery::EventOutbox;
use crate::detect::Detector;
use crate::detect::ocr::Reader;
use crate::media::{Mode, ModeCell, Position};
use crate::source::{Kvs, SourceError, StartAt, StreamSource};
use crate::status::CameraStatus;
use crate::status::Watch;
use deciding::{Deciding, Entry, SharedModel};
use reading::{Reading, ReadingParts};

/// Access units that wait for the decoder before reading does: two seconds of 60 a second. A live camera leaves out what waits
/// longer than one, so reading does not wait for its decoder, and nothing piles up unseen in the buffers of its connection.
const PACKETS: usize = 128;

/// What a camera shares with the others.
#[derive(Clone)]
pub struct Shared {
    /// The clients.
    pub kvs: Kvs,
    /// Where events go.
    pub outbox: Arc<EventOutbox>,
    /// Base of the wait between connections.
    pub reconnect_delay: Duration,
    /// The life of an HLS session.
    pub hls_session: Duration,
    /// How far behind a live camera may be.
    pub max_behind: Duration,
    /// Ends all cameras.
    pub stop: CancellationToken,
}

/// The loaded models of one entry of a pipeline.
pub struct EntryModels {
    /// What finds things.
    pub detector: Detector,
    /// What reads their text.
    pub reading: Option<EntryReader>,
}

/// What reads the text in an entry's boxes.
pub struct EntryReader {
    /// The model.
    pub reader: Reader,
    /// The share of a box's sides that is read beyond each of its edges, 0..=0.5.
    pub crop_expand: f32,
}

/// A camera at work.
pub struct Camera {
    reading: JoinHandle<()>,
    decoding: std::thread::JoinHandle<()>,
    deciding: JoinHandle<()>,
}

/// Why a camera could not start, or did not end as it should.
#[derive(Debug, Error)]
pub enum CameraError {
    /// The system gives no further thread.
    #[error("camera {camera}: cannot start its decode thread: {source}; raise the limit on threads")]
    Thread {
        /// The camera.
        camera: String,
        /// Why.
        source: std::io::Error,
    },
    /// What reads its stream cannot be set up.
    #[error("camera {camera}: {source}")]
    Source {
        /// The camera.
        camera: String,
        /// Why.
        source: SourceError,
    },
    /// One of its parts panicked: a bug.
    #[error("camera {camera}: its {part} part broke down; this is a bug of kvs-infer")]
    BrokeDown {
        /// The camera.
        camera: String,
        /// Which part.
        part: &'static str,
    },
}

impl Camera {
    /// Starts a camera; `models` are those of its pipeline's entries, in their order; `checkpoint` is where it was when
    /// it ended.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub fn start(
        spec: CameraSpec,
        models: Vec<EntryModels>,
        checkpoint: Option<Checkpoint>,
        board: CameraStatus,
        shared: &Shared,
    ) -> Result<Self, CameraError> {
        let mut at = checkpoint.unwrap_or_default().of_stream(&spec.stream);
        if spec.motion.is_none() {
            at.motion.forget();
        }
        let (start, mode) = start(spec.start, at.position.clone());
        board.set_mode(mode);
        let mode = Arc::new(ModeCell::new(mode));
        let (packets, input) = packet_queue(PACKETS);
        let (output, frames) = frame_queue(board.clone(), Arc::clone(&mode));
        let sampler = Sampler::new(spec.fps_target, at.sampler);
        let decoding =
            decode::spawn(board.clone(), sampler, spec.masks.clone(), spec.max_pixels, input, output)
                .map_err(|source| CameraError::Thread { camera: spec.id.to_string(), source })?;
        let reading = Reading::new(ReadingParts {
            source: source(&spec, shared)?,
            start,
            reconnect_delay: shared.reconnect_delay,
            max_behind: shared.max_behind,
            mode: Arc::clone(&mode),
            out: packets,
            board: board.clone(),
            stop: shared.stop.clone(),
        });
        let rules = spec.pipeline.into_iter().map(|entry| entry.rules);
        let entry = |(rules, EntryModels { detector, reading })| Entry { rules, detector, reading };
        let entries: Vec<_> = rules.zip(models).map(entry).collect();
        let slowest =
            |a: &&Entry, b: &&Entry| a.detector.info().infer_ms.total_cmp(&b.detector.info().infer_ms);
        if let Some(entry) = entries.iter().max_by(slowest) {
            board.uses_model(&entry.detector.info().id.name);
        }
        let deciding = Deciding {
            camera: spec.id,
            stream: spec.stream,
            models: SharedModel::of(&entries),
            entries,
            motion: spec.motion,
            at,
            outbox: Arc::clone(&shared.outbox),
            route: Arc::new(spec.route),
            mode,
            board,
        };
        Ok(Self {
            reading: tokio::spawn(reading.run()),
            decoding,
            deciding: tokio::spawn(deciding.run(frames)),
        })
    }

    /// What tells that one of its parts is gone. A dead decode thread ends the other two.
    pub fn watches(&self, camera: &str) -> [Watch; 2] {
        [("read", &self.reading), ("decide", &self.deciding)].map(|(part, task)| {
            let task = task.abort_handle();
            Watch {
                name: format!("{part}-{camera}"),
                alive: Box::new(move || !task.is_finished()),
                busy_since: Box::new(|| None),
                limit: Duration::MAX,
            }
        })
    }

    /// Waits until every part has ended.
    ///
    /// # Errors
    /// A part panicked.
    pub async fn join(self, camera: &str) -> Result<(), CameraError> {
        let broke = |part| CameraError::BrokeDown { camera: camera.to_owned(), part };
        let decoding = self.decoding;
        let reading = self.reading.await.map_err(|_| broke("read"));
        let decoding = tokio::task::spawn_blocking(move || decoding.join()).await;
        let deciding = self.deciding.await.map_err(|_| broke("decide"));
        let decoding = decoding.ok().and_then(Result::ok).ok_or_else(|| broke("decode"));
        reading.and(decoding).and(deciding)
    }
}

fn source(spec: &CameraSpec, shared: &Shared) -> Result<StreamSource, CameraError> {
    match spec.mode {
        PlaybackMode::GetMedia => Ok(StreamSource::get_media(&shared.kvs, &spec.stream)),
        PlaybackMode::Hls => StreamSource::hls(&shared.kvs, &spec.stream, shared.hls_session)
            .map_err(|source| CameraError::Source { camera: spec.id.to_string(), source }),
    }
}

/// Where reading starts, and in which mode. What decide remembers goes on in any case: a thing that was told of is not told of
/// again because the process started anew.
fn start(asked: Start, position: Option<Position>) -> (StartAt, Mode) {
    match (asked, position) {
        (Start::Now, _) | (Start::Checkpoint, None) => (StartAt::Now, Mode::Live),
        (Start::Earliest, None) => (StartAt::Earliest, Mode::CatchUp),
        (Start::Earliest | Start::Checkpoint, Some(position)) => (StartAt::After(position), Mode::CatchUp),
    }
}
