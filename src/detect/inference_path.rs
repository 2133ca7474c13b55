//! The way of a batch from its pictures to the model's outputs.

use gpu::FoundBox;

use super::cuda::DevicePath;
use super::layout::Head;
use super::letterbox::Letterbox;
use super::model::InputShape;
use super::net_outputs::NetOutputs;
use super::onnx::Net;
use super::painted_input::PaintedInput;
use super::resample::PictureFault;
use crate::media::Frame;

/// The way of a batch from its pictures to the model's outputs.
pub(super) enum InferencePath {
    /// The CPU paints the pictures, and ONNX Runtime copies them to the model's device.
    Host(Box<HostPath>),
    /// The GPU paints the pictures.
    Device(Box<DevicePath>),
}

/// A model and its input in host memory.
pub(super) struct HostPath {
    pub(super) net: Net,
    pub(super) input: InputShape,
    pub(super) painted: PaintedInput,
}

impl InferencePath {
    /// Returns the model.
    pub(super) fn net(&self) -> &Net {
        match self {
            Self::Host(path) => &path.net,
            Self::Device(path) => path.net(),
        }
    }

    /// Paints a frame into a slot; slot 0 begins a batch.
    ///
    /// # Errors
    /// The picture cannot be read.
    pub(super) fn paint(&mut self, slot: usize, frame: &Frame) -> Result<Letterbox, PictureFault> {
        match self {
            Self::Host(path) => path.painted.paint(slot, frame),
            Self::Device(path) => path.paint(slot, frame),
        }
    }

    /// Runs the model on the first `batch` slots and returns the boxes with at least `conf`, above 0, of each; `None` where the outputs are
    /// needed as a whole.
    ///
    /// # Errors
    /// ONNX Runtime's words, or the GPU's.
    pub(super) fn find(
        &mut self,
        batch: usize,
        head: (Head, usize),
        conf: f32,
    ) -> Result<Option<Vec<Vec<FoundBox>>>, String> {
        match self {
            Self::Host(_) => Ok(None),
            Self::Device(path) => path.find(batch, head, conf),
        }
    }

    /// Runs the model on the first `batch` slots.
    ///
    /// # Errors
    /// ONNX Runtime's words, or the GPU's.
    pub(super) fn run(&mut self, batch: usize) -> Result<NetOutputs<'_>, String> {
        match self {
            Self::Host(path) => {
                let HostPath { net, input, painted } = &mut **path;
                net.run(painted.tensor(), *input, batch).map(NetOutputs::Session)
            }
            Self::Device(path) => path.run(batch).map(NetOutputs::Device),
        }
    }
}
