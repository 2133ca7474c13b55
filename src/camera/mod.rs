//! One camera: its stages from source to publish, joined.
//!
//! A camera has three parts with their own pace: the task `read` (source and demux, `ingest`), the thread
//! `decode-<camera>`, and the task `decide` (detect, decide and publish, `analysis`). Two bounded queues connect them;
//! see ARCHITECTURE.md.
//!
//! Shutdown: cancelling the token ends `read`, whose end closes the packet queue and ends decode, whose end closes the
//! frame queue and ends `decide`. [`CameraPipeline::join`] waits for all three.

mod analysis;
mod analysis_end;
mod connection_end;
mod demuxed_connection;
mod frame_models;
mod idle_verdicts;
mod ingest;
mod warm;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::Checkpoint;
use crate::config::{CameraSpec, StartPosition, StreamProtocol};
use crate::decide::Rules;
use crate::decode::{
    self, DecodeSettings, FrameSender, GpuDecoders, PacketReceiver, PacketSender, Sampler, frame_queue,
    packet_queue,
};
use crate::delivery::EventOutbox;
use crate::detect::Detector;
use crate::detect::ocr::TextReader;
use crate::media::{Mode, ModeCell, Position};
use crate::source::{Kvs, SourceError, StartAt, StreamSource};
use crate::status::CameraStatus;
use crate::status::Watch;
pub use analysis::AnalysisPace;
use analysis::AnalysisTask;
use frame_models::FrameModels;
use ingest::{IngestParts, IngestTask};
pub use warm::WarmCamera;
use warm::WarmReading;

/// The capacity of the packet queue: two seconds at 60 frames/s.
///
/// Decode takes packets of a live camera off when they are a second late. So the queue has room before it is full, and
/// no footage waits unseen in the socket buffers of its connection.
const MAX_QUEUED_PACKETS: usize = 128;

/// The resources and settings that all cameras share.
#[derive(Clone)]
pub struct CameraResources {
    /// The Kinesis Video Streams clients.
    pub kvs: Kvs,
    /// The outbox that takes the events.
    pub outbox: Arc<EventOutbox>,
    /// The base of the exponential backoff between connections.
    pub reconnect_delay: Duration,
    /// The age at which an HLS session is renewed.
    pub hls_session: Duration,
    /// The lag at which a live camera jumps to NOW.
    pub max_behind: Duration,
    /// The token that ends all cameras.
    pub stop: CancellationToken,
    /// The token that ends them after the current frame, with what is queued left out.
    pub halt: CancellationToken,
    /// The epoch under which this worker owns a shared camera; `None` in single mode.
    pub epoch: Option<u64>,
    /// The pace of the analysis of all cameras.
    pub pace: AnalysisPace,
    /// The GPUs that may decode.
    pub gpus: GpuDecoders,
}

/// The rules of one pipeline entry, with its loaded models.
#[derive(Clone)]
pub struct EntryModels {
    /// The rules that decide applies to the detections.
    pub rules: Rules,
    /// The model that detects objects.
    pub detector: Detector,
    /// The model that reads their text, if the entry has one.
    pub ocr: Option<EntryOcr>,
}

/// The text recognition of one pipeline entry.
#[derive(Clone)]
pub struct EntryOcr {
    /// The recognition model.
    pub reader: TextReader,
    /// The margin around a box that is read too, as a share of its sides per edge, 0..=0.5.
    pub crop_expand: f32,
}

/// A running camera.
pub struct CameraPipeline {
    ingest: JoinHandle<()>,
    decode: std::thread::JoinHandle<()>,
    analysis: JoinHandle<()>,
}

/// A camera that failed to start, or that did not end cleanly.
#[derive(Debug, Error)]
pub enum CameraError {
    /// The system grants no further thread.
    #[error("camera {camera}: cannot start its decode thread: {source}; raise the limit on threads")]
    Thread {
        /// The camera's id.
        camera: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The source of its stream cannot be created.
    #[error("camera {camera}: {source}")]
    Source {
        /// The camera's id.
        camera: String,
        /// The source's error.
        source: SourceError,
    },
    /// One of its parts panicked: a bug.
    #[error("camera {camera}: its {part} part broke down; this is a bug of kvs-infer")]
    BrokeDown {
        /// The camera's id.
        camera: String,
        /// The part: read, decode or decide.
        part: &'static str,
    },
}

impl CameraPipeline {
    /// Starts a camera, from the `checkpoint` at which it ended before.
    ///
    /// `entries` are those of its pipeline, in their order.
    ///
    /// # Errors
    /// The system grants no further thread, or the source cannot be created.
    pub fn start(
        spec: CameraSpec,
        entries: Vec<EntryModels>,
        checkpoint: Option<Checkpoint>,
        status: CameraStatus,
        resources: &CameraResources,
    ) -> Result<Self, CameraError> {
        let checkpoint = continued(checkpoint.unwrap_or_default(), &spec);
        let (start, mode) = choose_start(spec.start, checkpoint.position.clone());
        status.set_mode(mode);
        let mode = Arc::new(ModeCell::new(mode));
        let (packet_sender, packets) = packet_queue(MAX_QUEUED_PACKETS);
        let camera = StartingCamera { spec, checkpoint, mode, status, resources };
        let ingest = camera.ingest_task(start, packet_sender)?;
        camera.start(entries, packets, || tokio::spawn(ingest.run()))
    }

    /// Starts a camera in catch-up, from the beginning of what `feed` sends to its decode thread; it ends when `feed` has ended.
    ///
    /// # Errors
    /// The system grants no further thread.
    pub fn start_fed(
        spec: CameraSpec,
        entries: Vec<EntryModels>,
        status: CameraStatus,
        resources: &CameraResources,
        feed: impl FnOnce(PacketSender) -> JoinHandle<()>,
    ) -> Result<Self, CameraError> {
        let checkpoint = Checkpoint::new(&spec.stream);
        status.set_mode(Mode::CatchUp);
        let mode = Arc::new(ModeCell::new(Mode::CatchUp));
        let (packet_sender, packets) = packet_queue(MAX_QUEUED_PACKETS);
        let camera = StartingCamera { spec, checkpoint, mode, status, resources };
        camera.start(entries, packets, || feed(packet_sender))
    }

    /// Starts a camera as [`Self::start`] does, with the reading of one that was warm where that has all footage after the checkpoint.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub async fn start_warm(
        spec: CameraSpec,
        entries: Vec<EntryModels>,
        checkpoint: Option<Checkpoint>,
        warm: WarmCamera,
        status: CameraStatus,
        resources: &CameraResources,
    ) -> Result<Self, CameraError> {
        let position = checkpoint.as_ref().and_then(|checkpoint| checkpoint.position.as_ref());
        let Some(WarmReading { ingest, mode, packets }) = warm.release(position).await else {
            return Self::start(spec, entries, checkpoint, status, resources);
        };
        status.set_mode(mode.get());
        let checkpoint = continued(checkpoint.unwrap_or_default(), &spec);
        let started =
            StartingCamera { spec, checkpoint, mode, status, resources }.start(entries, packets, || ingest);
        if started.is_err() {
            // No stage takes what is read.
            resources.stop.cancel();
        }
        started
    }

    /// Returns the watches that report the end of a part on /healthz.
    pub fn watches(&self, camera: &str) -> [Watch; 2] {
        // Decode needs none: its end closes both queues, which ends the other two parts.
        [("read", &self.ingest), ("decide", &self.analysis)].map(|(part, task)| {
            let task = task.abort_handle();
            Watch {
                name: format!("{part}-{camera}"),
                alive: Box::new(move || !task.is_finished()),
                busy_since: Box::new(|| None),
                limit: Duration::MAX,
            }
        })
    }

    /// Waits until all parts have ended.
    ///
    /// # Errors
    /// A part panicked.
    pub async fn join(self, camera: &str) -> Result<(), CameraError> {
        let broke_down = |part| CameraError::BrokeDown { camera: camera.to_owned(), part };
        let decode = self.decode;
        let ingest_outcome = self.ingest.await.map_err(|_| broke_down("read"));
        // Joining a thread blocks, which a task must not.
        let decode_outcome = tokio::task::spawn_blocking(move || decode.join()).await;
        let analysis_outcome = self.analysis.await.map_err(|_| broke_down("decide"));
        let decode_outcome = decode_outcome.ok().and_then(Result::ok).ok_or_else(|| broke_down("decode"));
        ingest_outcome.and(decode_outcome).and(analysis_outcome)
    }
}

/// A camera whose stages are being started.
struct StartingCamera<'r> {
    spec: CameraSpec,
    checkpoint: Checkpoint,
    mode: Arc<ModeCell>,
    status: CameraStatus,
    resources: &'r CameraResources,
}

impl StartingCamera<'_> {
    /// Starts the stages behind the packet queue; `ingest` starts those before it once these can be.
    fn start(
        self,
        entries: Vec<EntryModels>,
        packets: PacketReceiver,
        ingest: impl FnOnce() -> JoinHandle<()>,
    ) -> Result<CameraPipeline, CameraError> {
        let (frame_sender, frames) = frame_queue(self.status.clone(), Arc::clone(&self.mode));
        let decode = self.spawn_decode(&entries, packets, frame_sender)?;
        let analysis = self.analysis_task(entries);
        Ok(CameraPipeline { ingest: ingest(), decode, analysis: tokio::spawn(analysis.run(frames)) })
    }

    /// Starts the decode thread.
    fn spawn_decode(
        &self,
        entries: &[EntryModels],
        packets: PacketReceiver,
        frames: FrameSender,
    ) -> Result<std::thread::JoinHandle<()>, CameraError> {
        let Self { spec, checkpoint, status, resources, .. } = self;
        let settings = DecodeSettings {
            sampler: Sampler::new(spec.fps_target, checkpoint.sampler.clone()),
            masks: spec.masks.clone(),
            max_pixels: spec.max_pixels,
            decodes_idly: spec.decodes_idly,
            gpu: resources.gpus.of_camera(self.decoding_gpu(entries)),
        };
        decode::spawn(status.clone(), settings, packets, frames)
            .map_err(|source| CameraError::Thread { camera: spec.id.to_string(), source })
    }

    /// Returns the index of the GPU on which the models run; where the decoder must be on a GPU, that for which they were loaded.
    fn decoding_gpu(&self, entries: &[EntryModels]) -> Option<u32> {
        let running = entries.iter().find_map(|entry| entry.detector.info().device.gpu());
        let own = || entries.iter().find_map(|entry| entry.detector.device().gpu());
        // A model that fell back moves to its own GPU later, where the pictures are then.
        running.or_else(|| own().filter(|_| self.resources.gpus.are_demanded()))
    }

    /// Returns the ingest task, which reads from `start` and sends packets to `out`.
    fn ingest_task(&self, start: StartAt, out: PacketSender) -> Result<IngestTask, CameraError> {
        let resources = self.resources;
        Ok(IngestTask::new(IngestParts {
            source: new_source(&self.spec, resources)?,
            start,
            reconnect_delay: resources.reconnect_delay,
            max_behind: resources.max_behind,
            mode: Arc::clone(&self.mode),
            out,
            status: self.status.clone(),
            stop: resources.stop.clone(),
        }))
    }

    /// Returns the analysis task, which runs the models of `entries`.
    fn analysis_task(self, entries: Vec<EntryModels>) -> AnalysisTask {
        let Self { spec, checkpoint, mode, status, resources } = self;
        report_slowest_model(&entries, &status);
        AnalysisTask {
            camera: spec.id,
            stream: spec.stream,
            models: Arc::new(FrameModels::new(entries, status.clone())),
            pace: resources.pace,
            motion: spec.motion,
            has_woken: false,
            checkpoint,
            outbox: Arc::clone(&resources.outbox),
            epoch: resources.epoch,
            halt: resources.halt.clone(),
            is_new_here: true,
            route: Arc::new(spec.route),
            mode,
            status,
        }
    }
}

/// Returns the checkpoint from which a camera with these settings continues.
fn continued(checkpoint: Checkpoint, spec: &CameraSpec) -> Checkpoint {
    let mut checkpoint = checkpoint.of_stream(&spec.stream);
    // A gate that is switched on later must not compare with a picture from before.
    if spec.motion.is_none() {
        checkpoint.motion.forget();
    }
    if !spec.decodes_idly {
        checkpoint.sampler.forget_idle();
    }
    checkpoint
}

/// Reports the slowest of the camera's models to its status: the one that limits the frame rate.
fn report_slowest_model(entries: &[EntryModels], status: &CameraStatus) {
    let infer_ms = |entry: &EntryModels| entry.detector.info().infer_ms;
    if let Some(entry) = entries.iter().max_by(|a, b| infer_ms(a).total_cmp(&infer_ms(b))) {
        status.uses_model(&entry.detector.info().id.name);
    }
}

fn new_source(spec: &CameraSpec, resources: &CameraResources) -> Result<StreamSource, CameraError> {
    match spec.mode {
        StreamProtocol::GetMedia => Ok(StreamSource::get_media(&resources.kvs, &spec.stream)),
        StreamProtocol::Hls => StreamSource::hls(&resources.kvs, &spec.stream, resources.hls_session)
            .map_err(|source| CameraError::Source { camera: spec.id.to_string(), source }),
    }
}

/// Returns the place where reading starts, and the mode of the camera there.
///
/// The state of decide is restored in any case, so a restart does not report a known object again.
fn choose_start(configured: StartPosition, position: Option<Position>) -> (StartAt, Mode) {
    match (configured, position) {
        (StartPosition::Now, _) | (StartPosition::Checkpoint, None) => (StartAt::Now, Mode::Live),
        (StartPosition::Earliest, None) => (StartAt::Earliest, Mode::CatchUp),
        (StartPosition::Earliest | StartPosition::Checkpoint, Some(position)) => {
            (StartAt::After(position), Mode::CatchUp)
        }
    }
}
