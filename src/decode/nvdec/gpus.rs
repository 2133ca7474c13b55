//! The GPUs on which cameras are decoded, shared by all cameras of the service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use kvs_config::raw::DecodeDevice;

use super::budget::{DecodeBudget, capacity_of};
use super::cuda::CudaContext;
use crate::base::lock;
use crate::telemetry::decode::{NvdecOpened, NvdecUnavailable};

/// A function that is called with the reason of a loss.
type GpuLossListener = Box<dyn Fn(String) + Send + Sync>;

/// The GPUs of the service, opened when the first camera needs them; clones share them.
#[derive(Clone)]
pub struct GpuDecoders {
    inner: Arc<GpusInner>,
}

struct GpusInner {
    choice: DecodeDevice,
    gpus: Mutex<BTreeMap<u32, Arc<NvdecGpu>>>,
    on_loss: Arc<GpuLossListener>,
}

impl GpuDecoders {
    /// Returns the GPUs for this choice; `on_loss` is called when one is lost.
    #[must_use]
    pub fn new(choice: DecodeDevice, on_loss: impl Fn(String) + Send + Sync + 'static) -> Self {
        let on_loss: Arc<GpuLossListener> = Arc::new(Box::new(on_loss));
        Self { inner: Arc::new(GpusInner { choice, gpus: Mutex::default(), on_loss }) }
    }

    /// Returns no GPU for any camera.
    #[must_use]
    pub fn none() -> Self {
        Self::new(DecodeDevice::Cpu, |_| {})
    }

    /// Returns the GPU that decodes a camera whose models run on the GPU `of_models`; `None`: the CPU decodes it.
    #[must_use]
    pub fn of_camera(&self, of_models: Option<u32>) -> Option<Arc<NvdecGpu>> {
        match self.inner.choice {
            DecodeDevice::Cpu => None,
            DecodeDevice::Auto => of_models.map(|index| self.gpu(index)),
            DecodeDevice::Cuda => Some(self.gpu(of_models.unwrap_or(0))),
        }
    }

    /// Opens the GPU of `decode: cuda`; does nothing for another choice.
    ///
    /// # Errors
    /// The reason why it cannot decode.
    pub fn open(&self, of_models: Option<u32>) -> Result<(), String> {
        match self.of_camera(of_models).filter(|_| self.inner.choice == DecodeDevice::Cuda) {
            Some(gpu) => gpu.open().map(drop),
            None => Ok(()),
        }
    }

    fn gpu(&self, index: u32) -> Arc<NvdecGpu> {
        let new = || {
            let (opened, on_loss) = (OnceLock::new(), Arc::clone(&self.inner.on_loss));
            Arc::new(NvdecGpu { index, opened, on_loss })
        };
        Arc::clone(lock(&self.inner.gpus).entry(index).or_insert_with(new))
    }
}

impl fmt::Debug for GpuDecoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GpuDecoders").field(&self.inner.choice).finish()
    }
}

/// A GPU that may decode.
pub struct NvdecGpu {
    index: u32,
    opened: OnceLock<Result<OpenedGpu, String>>,
    on_loss: Arc<GpuLossListener>,
}

/// The context of a GPU, and the capacity of its decoders.
pub(super) struct OpenedGpu {
    pub(super) context: Arc<CudaContext>,
    pub(super) budget: Arc<DecodeBudget>,
}

impl NvdecGpu {
    /// Opens the GPU, at the first call.
    ///
    /// # Errors
    /// The reason why it cannot decode, which stays the same for the life of the process.
    pub(super) fn open(&self) -> Result<&OpenedGpu, String> {
        let opened = self.opened.get_or_init(|| {
            let gpu = self.to_string();
            let opened = CudaContext::retain(self.index).and_then(|context| {
                let engines = context.nvdec_engines()?;
                let capacity = capacity_of(engines);
                NvdecOpened { gpu: &gpu, engines, capacity }.emit();
                Ok(OpenedGpu { context: Arc::new(context), budget: DecodeBudget::new(capacity) })
            });
            if let Err(reason) = &opened {
                NvdecUnavailable { gpu: &gpu, reason }.emit();
            }
            opened
        });
        opened.as_ref().map_err(Clone::clone)
    }

    /// Reports the loss of the GPU to the service.
    pub(super) fn report_loss(&self, reason: String) {
        (self.on_loss)(reason);
    }
}

impl fmt::Display for NvdecGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{}", self.index)
    }
}

impl fmt::Debug for NvdecGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NvdecGpu({})", self.index)
    }
}
