//! Runs models on frames and returns detections. One worker per model and device, shared by all cameras.

mod assigned_nodes;
mod avx2;
mod batch_limit;
mod batch_sizes;
mod batching;
mod bound_batch;
mod boxes;
mod claims;
mod classes;
mod cpu_fallback;
mod cuda;
mod cuda_fault;
mod cuda_libraries;
mod current_worker;
mod detector;
mod device;
mod device_loss;
mod device_tables;
mod encoding;
mod engine;
mod error;
mod external_data;
mod host_devices;
mod identify;
mod inference_path;
mod inference_proof;
mod kernel_proof;
#[cfg(test)]
mod kernel_tests;
mod layout;
mod letterbox;
mod luma;
mod model;
mod model_worker;
mod motion;
mod net_outputs;
mod nms;
mod node_placement;
#[cfg(test)]
mod noise;
pub mod ocr;
mod onnx;
mod opening;
mod openvino;
mod painted_input;
mod plausibility;
mod protobuf;
mod resample;
mod resample_rows;
mod runtime;
mod spec;
mod steps;
pub mod twins;

pub use cpu_fallback::CpuFallback;
pub use cuda::proved_context;
pub use detector::{Detector, FrameDetections, Sessions, usual_threads};
pub use device::{Device, DeviceChoice, UnknownDevice};
pub use device_tables::{channel_encoding, color_factors, resample_tables};
pub use encoding::InputEncoding;
pub use error::{DetectError, ModelFault};
pub use identify::LayoutSource;
pub use layout::Layout;
pub use letterbox::Letterbox;
pub use model::{InputShape, ModelInfo};
pub use motion::{MotionRules, MotionState, SceneObject, SceneView};
pub use nms::{Candidate, MAX_CANDIDATES, suppress};
pub use node_placement::NodePlacement;
pub use resample::{PADDING, PictureFault, Resampler, TensorElement, fill_padding};
pub(crate) use runtime::environment;
pub use runtime::{RuntimeFault, cache_dir};
pub use spec::{
    BoxUnits, EngineChoice, EngineInfo, GpuLevel, InferenceEngine, LayoutChoice, ModelSpec, Purpose,
    Thresholds, TwinKind,
};
pub use steps::Steps;
