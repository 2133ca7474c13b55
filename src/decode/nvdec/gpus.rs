//! The GPUs on which cameras are decoded, shared by all cameras of the service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use gpu::{CudaContext, CudaDriver, FramePool, GpuError, GpuWork, nvdec_engines};
use kvs_config::raw::DecodeDevice;

use super::budget::{DecodeBudget, capacity_of, macroblocks};
use super::self_test::test_nvdec;
use crate::base::lock;
use crate::telemetry::decode::{NvdecOpened, NvdecUnavailable};

/// A function that is called with the reason of a loss.
type LossReasonListener = dyn Fn(String) + Send + Sync;

/// A function that returns a GPU by its index once its kernels have proved themselves, else the reason why they cannot be used.
type KernelOpener = dyn Fn(u32) -> Result<CudaContext, String> + Send + Sync;

/// The GPUs of the service, opened when the first camera needs them; clones share them.
#[derive(Clone)]
pub struct GpuDecoders {
    inner: Arc<GpusInner>,
}

struct GpusInner {
    choice: DecodeDevice,
    gpus: Mutex<BTreeMap<u32, Arc<NvdecGpu>>>,
    on_loss: Arc<LossReasonListener>,
    kernels: Arc<KernelOpener>,
}

impl GpuDecoders {
    /// Returns the GPUs for this choice.
    ///
    /// `on_loss` is called when one is lost. `kernels` returns a GPU by its index, with kernels that can be used, so that pictures stay
    /// there; or the reason why pictures are copied to host memory.
    #[must_use]
    pub fn new(
        choice: DecodeDevice,
        kernels: impl Fn(u32) -> Result<CudaContext, String> + Send + Sync + 'static,
        on_loss: impl Fn(String) + Send + Sync + 'static,
    ) -> Self {
        let (kernels, on_loss) = (Arc::new(kernels), Arc::new(on_loss));
        Self { inner: Arc::new(GpusInner { choice, gpus: Mutex::default(), on_loss, kernels }) }
    }

    /// Returns no GPU for any camera.
    #[must_use]
    pub fn none() -> Self {
        Self::new(DecodeDevice::Cpu, |_| Err(String::new()), |_| {})
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

    /// Opens the GPU with this index and tests it; returns for how many cameras of 1920 x 1080 px at 30 frames per second it counts.
    ///
    /// # Errors
    /// The reason why it cannot decode.
    pub fn cameras_of(&self, index: u32) -> Result<u64, String> {
        self.gpu(index).open().map(|opened| opened.budget.capacity() / (30 * macroblocks((1920, 1080))))
    }

    /// Returns what the GPUs that were to decode do not do, with the reasons, if there is something.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let gpus = lock(&self.inner.gpus);
        let fault = |gpu: &Arc<NvdecGpu>| match gpu.opened.get()? {
            Err(reason) => Some(format!("cameras are decoded on the CPU, not by NVDEC of {gpu}: {reason}")),
            Ok(opened) => {
                let reason = opened.pool.as_ref().err()?;
                Some(format!("pictures of NVDEC of {gpu} are copied to host memory: {reason}"))
            }
        };
        let faults: Vec<String> = gpus.values().filter_map(fault).collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    /// Returns whether every camera is to be decoded by a GPU, wherever its models run.
    #[must_use]
    pub fn are_demanded(&self) -> bool {
        self.inner.choice == DecodeDevice::Cuda
    }

    fn gpu(&self, index: u32) -> Arc<NvdecGpu> {
        let new = || {
            let GpusInner { kernels, on_loss, .. } = &*self.inner;
            let (kernels, on_loss) = (Arc::clone(kernels), Arc::clone(on_loss));
            Arc::new(NvdecGpu { index, opened: OnceLock::new(), kernels, on_loss })
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
    kernels: Arc<KernelOpener>,
    on_loss: Arc<LossReasonListener>,
}

/// The context of a GPU, and the capacity of its decoders.
pub(super) struct OpenedGpu {
    pub(super) context: CudaContext,
    pub(super) budget: Arc<DecodeBudget>,
    /// The memory of pictures that stay on the GPU, or the reason for which they are copied to host memory.
    pub(super) pool: Result<FramePool, String>,
}

impl NvdecGpu {
    /// Opens the GPU, at the first call.
    ///
    /// # Errors
    /// The reason why it cannot decode, which stays the same for the life of the process.
    pub(super) fn open(&self) -> Result<&OpenedGpu, String> {
        // Before the wait for another thread that opens it: a capture waits for this one's work, if it has any.
        let _work = GpuWork::begin();
        let opened = self.opened.get_or_init(|| {
            let opened = self.open_now();
            if let Err(reason) = &opened {
                NvdecUnavailable { gpu: &self.to_string(), reason }.emit();
            }
            opened
        });
        opened.as_ref().map_err(Clone::clone)
    }

    fn open_now(&self) -> Result<OpenedGpu, String> {
        let with_kernels = (self.kernels)(self.index);
        let pool = with_kernels.as_ref().map(FramePool::new).map_err(Clone::clone);
        let plain =
            || CudaDriver::load().and_then(|driver| CudaContext::retain_without_kernels(&driver, self.index));
        let context = with_kernels.or_else(|_| plain()).map_err(|error| error.to_string())?;
        let engines = nvdec_engines(&context).map_err(|error| error.to_string())?;
        test_nvdec(&context).map_err(|fault| fault.to_string())?;
        let capacity = capacity_of(engines);
        let to_host = pool.as_ref().err().map(String::as_str);
        NvdecOpened { gpu: &self.to_string(), engines, capacity, to_host }.emit();
        Ok(OpenedGpu { context, budget: DecodeBudget::new(capacity), pool })
    }

    /// Returns the words of an error by which the GPU is lost.
    pub(super) fn loss(&self, error: &GpuError) -> String {
        format!("GPU {self} is lost, and CUDA works again only in a new process: {error}")
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
