//! A GPU whose kernels have given the results of the CPU.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gpu::{CudaContext, CudaDriver, CudaStream, GpuError, GpuWork};

use crate::base::lock;
use crate::detect::kernel_proof::prove_kernels;

/// The GPUs that are proved, by index. They are kept until the process ends, as ONNX Runtime keeps its own.
static PROVED: Mutex<BTreeMap<u32, CudaContext>> = Mutex::new(BTreeMap::new());

/// A GPU whose kernels have given the results of the CPU, and a stream of one model on it.
pub(in crate::detect) struct ProvedGpu {
    stream: Arc<CudaStream>,
}

impl ProvedGpu {
    /// Returns the GPU of this index; the first time, its kernels are compared with the CPU.
    ///
    /// # Errors
    /// The reason for which its kernels cannot be used. A later call tries again.
    pub(in crate::detect) fn open(index: u32) -> Result<Self, String> {
        let _work = GpuWork::begin();
        let stream = CudaStream::new(&proved_context(index)?).map_err(|error| words_of(&error))?;
        Ok(Self { stream: Arc::new(stream) })
    }

    /// Returns the stream.
    pub(super) fn stream(&self) -> Arc<CudaStream> {
        Arc::clone(&self.stream)
    }

    /// Returns the address of the stream's handle, for ONNX Runtime.
    pub(in crate::detect) fn stream_address(&self) -> usize {
        self.stream.as_ptr().addr()
    }
}

/// Returns the GPU of this index, whose kernels have given the results of the CPU; the first time, they are compared.
///
/// # Errors
/// The reason for which its kernels cannot be used. A later call tries again.
pub fn proved_context(index: u32) -> Result<CudaContext, String> {
    let _work = GpuWork::begin();
    // Held during the proof: models and decoders that start at once need one.
    let mut proved = lock(&PROVED);
    if let Some(context) = proved.get(&index) {
        return Ok(context.clone());
    }
    let context = CudaDriver::load().and_then(|driver| CudaContext::retain(&driver, index));
    let context = context.map_err(|error| words_of(&error))?;
    prove_kernels(&context).map_err(|fault| fault.to_string())?;
    proved.insert(index, context.clone());
    Ok(context)
}

/// Returns the words of an error; those of a call begin as ONNX Runtime's, so that one reader knows what they mean.
pub(super) fn words_of(error: &GpuError) -> String {
    match error {
        GpuError::Call { code, .. } => format!("CUDA failure {code}: {error}"),
        other => other.to_string(),
    }
}
