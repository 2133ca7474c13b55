//! The outputs of an inference.

use ort::session::SessionOutputs;

use super::cuda::DeviceOutputs;
use super::layout::OutputShape;
use super::onnx::{floats, shapes};

/// The outputs of an inference, in host memory.
pub(super) enum NetOutputs<'a> {
    /// Those that ONNX Runtime allocated.
    Session(SessionOutputs<'a>),
    /// Those that were copied from the memory of a GPU.
    Device(&'a DeviceOutputs),
}

impl NetOutputs<'_> {
    /// Returns their names, shapes and types.
    pub(super) fn shapes(&self) -> Vec<OutputShape> {
        match self {
            Self::Session(outputs) => shapes(outputs),
            Self::Device(outputs) => outputs.shapes(),
        }
    }

    /// Returns an output as `f32`, by way of `scratch` where it is not one in memory.
    ///
    /// # Errors
    /// ONNX Runtime's words.
    pub(super) fn floats<'s>(
        &'s self,
        output: usize,
        scratch: &'s mut Vec<f32>,
    ) -> Result<&'s [f32], String> {
        match self {
            Self::Session(outputs) => floats(&outputs[output], scratch),
            Self::Device(outputs) => outputs.read(output, scratch).map(|()| &**scratch),
        }
    }
}
