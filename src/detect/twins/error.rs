//! The errors of making a twin, each with its remedy.

use crate::detect::DetectError;

/// A reason for which no twin of a model is made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TwinError {
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
    /// The weights of a model to quantise are float16.
    #[error("the model's weights are float16; export it in float32 (`half=False`) and give that file")]
    HalfWeights,
    /// The model to convert is float16 as it is.
    #[error(
        "the model is float16 already: its tensor {tensor} is; use the file as it is, or give the float32 model"
    )]
    AlreadyHalf {
        /// A tensor of float16.
        tensor: String,
    },
    /// A node has graphs of its own.
    #[error(
        "the model has the operator {operator} (node {node:?}), which has graphs of its own, and these are not converted to float16; \
         export it without control flow (without NMS inside, or with fixed sides)"
    )]
    Subgraphs {
        /// The operator.
        operator: String,
        /// The name of the node.
        node: String,
    },
    /// A number is beyond the range of float16.
    #[error(
        "the tensor {tensor} has the value {value}, and float16 ends at 65504; keep float32, or scale the weights where the model is \
         trained or exported"
    )]
    HalfRange {
        /// The tensor.
        tensor: String,
        /// Its first value beyond the range.
        value: f32,
    },
    /// Nothing would compute in float16.
    #[error(
        "the model has no convolution or matrix product of float32 numbers, so that it does not gain from float16"
    )]
    NoHalf,
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
