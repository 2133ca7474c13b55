//! The errors of quantisation, each with its remedy.

use crate::detect::DetectError;

/// A reason for which a model is not quantised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantizeError {
    /// The model cannot be used at all.
    #[error(transparent)]
    Model(#[from] DetectError),
    /// The file is no ONNX graph.
    #[error("the file holds no ONNX graph; give the .onnx file of a detector")]
    NotOnnx,
    /// The weights are beside the file.
    #[error(
        "the model has weights in further files; save it as one file first (onnx.save_model with save_as_external_data=False)"
    )]
    ExternalData,
    /// There are quantised operators.
    #[error("the model is quantised already: it has the operator {operator}; give the float32 model")]
    AlreadyQuantized {
        /// The operator.
        operator: String,
    },
    /// The operator set is too old.
    #[error(
        "the model is of operator set {opset}, and a scale per channel needs {min} or later; export it again with `opset={min}`, or \
         convert it with onnx.version_converter"
    )]
    Opset {
        /// That of the model.
        opset: u64,
        /// The first one that can be used.
        min: u64,
    },
    /// The weights are float16.
    #[error("the model's weights are float16; export it in float32 (`half=False`) and give that file")]
    Half,
    /// There is nothing to quantise.
    #[error(
        "the model has no convolution that can be quantised: it has {all}, and the first and the last ones stay in float32, as do \
         those whose weights are computed; such a model does not gain from int8"
    )]
    NoConv {
        /// Number of its convolutions.
        all: usize,
    },
    /// Calibration saw no frame.
    #[error("the footage for calibration has no frame")]
    NoFrames,
    /// Calibration found no usable range.
    #[error(
        "no convolution has a usable range of values on this footage; give footage of the cameras that will use the model"
    )]
    NoRange,
    /// The float32 model fails.
    #[error("the model fails on a frame of the footage: {0}")]
    Inference(String),
}
