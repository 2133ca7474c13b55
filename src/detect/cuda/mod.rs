//! The parts of detection on a GPU: pictures that are painted there, and batches that stay there.

mod device_model;
mod device_path;
mod picture_painter;
mod proved_gpu;

pub(super) use device_model::DeviceOutputs;
pub(super) use device_path::DevicePath;
pub(super) use proved_gpu::ProvedGpu;
pub use proved_gpu::proved_context;
