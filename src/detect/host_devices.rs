//! The devices of this host.

use gpu::CudaDriver;

use super::device::{Device, DeviceChoice};
use super::onnx::has_cuda;

impl DeviceChoice {
    /// Returns the devices that are meant on this host, at least one. Blocks while NVIDIA's driver starts.
    #[must_use]
    pub fn on_this_host(self) -> Vec<Device> {
        let gpus = match self {
            Self::AllGpus => gpu_count(),
            // A runtime without CUDA would load each model once per GPU, on the CPU.
            Self::Auto => Some(gpu_count()).filter(|gpus| *gpus > 1 && has_cuda()).unwrap_or(1),
            Self::Cpu | Self::Gpu(_) => 1,
        };
        self.devices(gpus)
    }
}

/// Returns the number of GPUs of this host that this process may use; 0 without a driver that works.
fn gpu_count() -> u32 {
    // The fault is not lost: a model that is loaded there meets it too.
    CudaDriver::load().and_then(|driver| driver.device_count()).unwrap_or(0)
}
