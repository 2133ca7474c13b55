//! The handle of a recognition model that runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::{ReadEngine, ReadJob, ReaderInfo, Readings};
use crate::detect::desk::Desk;
use crate::detect::error::DetectError;
use crate::detect::spec::{Device, ModelSpec};
use crate::detect::worker::Batching;
use crate::media::{BBox, Frame, Reading};
use crate::telemetry::detect::TextModelLoaded;

/// Frames whose boxes are read together on a GPU: only those that wait already, since few frames have boxes.
const GPU_FRAMES: usize = 16;

/// A recognition model with its thread `read-NAME`. Clones share it; the thread ends with [`Self::stop`] or with the last
/// clone.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    info: ReaderInfo,
    desk: Desk<ReadJob, Readings>,
}

impl Reader {
    /// Loads a model and starts its thread; blocks while it loads and makes its first inferences.
    ///
    /// Errors: as of [`Detector::start`](crate::detect::Detector::start).
    pub fn start(spec: &ModelSpec, device: Device, threads: usize) -> Result<Self, DetectError> {
        let engine = ReadEngine::load(spec, device, threads)?;
        let info = engine.info().clone();
        TextModelLoaded {
            model: &info.id.name,
            sha256: &info.id.sha256,
            input: &info.input,
            characters: info.characters,
            device: &info.device,
            threads: info.threads,
            warmup_ms: info.warmup_ms,
            infer_ms: info.infer_ms,
        }
        .emit();
        let most = if matches!(info.device, Device::Cpu) { 1 } else { GPU_FRAMES };
        let desk = Desk::open("read", &info.id.name, engine, Batching { most, wait: Duration::ZERO })?;
        Ok(Self { shared: Arc::new(Shared { info, desk }) })
    }

    /// What was loaded, and where it runs.
    #[must_use]
    pub fn info(&self) -> &ReaderInfo {
        &self.shared.info
    }

    /// The plate's text in each box (frame px) of a frame, in their order; `None` where there is none. `expand` is the share of
    /// a box's sides that is read beyond each of its edges, 0..=0.5. What is read of a box hangs on the box alone.
    ///
    /// Errors: [`DetectError::Picture`] and [`DetectError::Inference`] concern this frame, [`DetectError::Ended`] all.
    pub async fn read(
        &self,
        frame: Arc<Frame>,
        boxes: Vec<BBox>,
        expand: f32,
    ) -> Result<Vec<Option<Reading>>, DetectError> {
        if boxes.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.desk.ask(ReadJob { frame, boxes, expand }).await
    }

    /// Whether its thread lives; `false` after [`Self::stop`].
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shared.desk.is_alive()
    }

    /// When the boxes that are being read were begun; long ago means that the worker is stuck.
    #[must_use]
    pub fn busy_since(&self) -> Option<Instant> {
        self.shared.desk.busy_since()
    }

    /// Takes no more requests, answers those that wait, and ends the thread; blocks until then.
    pub fn stop(&self) {
        self.shared.desk.stop();
    }
}
