//! A loaded model, and the thread that loads it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::ServiceError;
use super::gpu_loss::report_gpu_loss;
use crate::detect::ocr::TextReader;
use crate::detect::{
    CpuFallback, DetectError, Detector, Device, ModelSpec, NodePlacement, Purpose, Sessions,
};
use crate::status::{LoadThread, StatusBoard, Watch};
use crate::telemetry::service::{AbandonedLoadEnded, LoadAbandoned};

/// The time after which an inference counts as stuck.
const STUCK_INFERENCE: Duration = Duration::from_secs(60);

/// A loaded model, by purpose. Clones share it.
#[derive(Clone)]
pub(super) enum LoadedModel {
    Detector(Detector),
    TextReader(TextReader),
}

impl LoadedModel {
    /// Loads a model on a thread of its own, `load-MODEL` (`load@N-MODEL` for GPU N, from 1). Dropping the future abandons the load: its
    /// thread runs on, since ONNX Runtime cannot be interrupted, and the model is dropped at its end.
    pub(super) async fn load(
        purpose: Purpose,
        spec: ModelSpec,
        device: Device,
        sessions: Sessions,
        board: &StatusBoard,
    ) -> Result<Self, ServiceError> {
        let _shown = board.show_loading(&spec.name, &loading_step(device));
        let task = device.task("load");
        let load = LoadWaiter(board.add_load_thread(&task, &spec.name));
        let thread = LoadEnd(Arc::clone(&load.0));
        // A thread instead of the blocking pool: the pool would wait for it at the end of the process.
        let (answer, loaded) = oneshot::channel();
        let model = spec.name.clone();
        let run = move || {
            let model = Self::open(purpose, &spec, device, sessions);
            drop(thread);
            // The receiver is gone where the load was abandoned: the model is dropped here.
            drop(answer.send(model));
        };
        let spawned = std::thread::Builder::new().name(format!("{task}-{model}")).spawn(run);
        spawned.map_err(|why| DetectError::Thread { model, reason: why.to_string() })?;
        Ok(loaded.await.map_err(|_panicked| ServiceError::Loading)??)
    }

    fn open(
        purpose: Purpose,
        spec: &ModelSpec,
        device: Device,
        sessions: Sessions,
    ) -> Result<Self, DetectError> {
        Ok(match purpose {
            Purpose::Find => Self::Detector(Detector::start_sessions(spec, device, sessions)?),
            // A plate is read in a fraction of the time that it takes to find it.
            Purpose::Read => Self::TextReader(TextReader::start(spec, device, sessions.threads)?),
        })
    }

    /// Returns the detector, unless it is a text reader.
    pub(super) fn detector(&self) -> Option<&Detector> {
        match self {
            Self::Detector(detector) => Some(detector),
            Self::TextReader(_) => None,
        }
    }

    pub(super) fn stop(&self) {
        match self {
            Self::Detector(detector) => detector.stop(),
            Self::TextReader(reader) => reader.stop(),
        }
    }

    /// Has the board fail when the GPU of the model is lost.
    pub(super) fn report_loss_to(&self, board: StatusBoard) {
        let fail = move |reason: String| report_gpu_loss(&board, &reason);
        match self {
            Self::Detector(detector) => detector.on_device_lost(fail),
            Self::TextReader(reader) => reader.on_device_lost(fail),
        }
    }

    /// Returns the reason for which CUDA was tried and the model runs on the CPU.
    pub(super) fn fallback(&self) -> Option<CpuFallback> {
        match self {
            Self::Detector(detector) => detector.info().fallback.clone(),
            Self::TextReader(reader) => reader.info().fallback.clone(),
        }
    }

    /// Has the model run on its GPU from now on; see [`Detector::move_to_gpu`].
    pub(super) fn move_to_gpu(&self) -> Result<(), DetectError> {
        match self {
            Self::Detector(detector) => detector.move_to_gpu(),
            Self::TextReader(reader) => reader.move_to_gpu(),
        }
    }

    /// Returns the SHA-256 of the model's file for its device: that of the one that was tried on CUDA where it fell back.
    pub(super) fn file_sha256(&self) -> String {
        let running = match self {
            Self::Detector(detector) => detector.info().id.sha256.clone(),
            Self::TextReader(reader) => reader.info().id.sha256.clone(),
        };
        self.fallback().map_or(running, |fallback| fallback.sha256)
    }

    /// Returns the execution providers that compute the model's nodes, if they are known.
    pub(super) fn nodes(&self) -> Option<NodePlacement> {
        match self {
            Self::Detector(detector) => detector.info().nodes.clone(),
            Self::TextReader(reader) => reader.info().nodes.clone(),
        }
    }

    /// Returns the name of the model.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Detector(detector) => detector.info().id.name.clone(),
            Self::TextReader(reader) => reader.info().id.name.clone(),
        }
    }

    pub(super) fn watch(&self) -> Watch {
        match self {
            Self::Detector(detector) => {
                let (alive, busy) = (detector.clone(), detector.clone());
                let name = format!("{}-{}", detector.device().task("detect"), detector.info().id.name);
                inference_watch(name, move || alive.is_alive(), move || busy.busy_since())
            }
            Self::TextReader(reader) => {
                let (alive, busy) = (reader.clone(), reader.clone());
                let name = format!("{}-{}", reader.device().task("ocr"), reader.info().id.name);
                inference_watch(name, move || alive.is_alive(), move || busy.busy_since())
            }
        }
    }
}

/// Returns the step of a load on the device: the rest of a sentence that begins with the model.
fn loading_step(device: Device) -> String {
    match device.gpu() {
        None | Some(0) => "is being loaded".to_owned(),
        Some(index) => format!("is being loaded on cuda:{index}"),
    }
}

/// Returns the watch of an inference thread; the functions are those of [`Watch`].
fn inference_watch(
    name: String,
    alive: impl Fn() -> bool + Send + Sync + 'static,
    busy_since: impl Fn() -> Option<Instant> + Send + Sync + 'static,
) -> Watch {
    Watch { name, alive: Box::new(alive), busy_since: Box::new(busy_since), limit: STUCK_INFERENCE }
}

/// A guard of the caller that waits for a load: its drop abandons the load, unless it has ended.
struct LoadWaiter(Arc<LoadThread>);

impl Drop for LoadWaiter {
    fn drop(&mut self) {
        if self.0.abandon() {
            LoadAbandoned { model: &self.0.model, after: self.0.age() }.emit();
        }
    }
}

/// A guard of the thread of a load: its drop, also by a panic, marks the load as ended.
struct LoadEnd(Arc<LoadThread>);

impl Drop for LoadEnd {
    fn drop(&mut self) {
        if self.0.end() {
            AbandonedLoadEnded { model: &self.0.model, after: self.0.age() }.emit();
        }
    }
}
