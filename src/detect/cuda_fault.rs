//! The meaning of ONNX Runtime's error messages about CUDA.

/// A failure of CUDA that concerns more than the frames of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CudaFault {
    /// The error is sticky: each later call of CUDA in this process fails as well.
    Sticky,
    /// The GPU has too little free memory.
    OutOfMemory,
}

/// The text before the number of an error of the CUDA runtime. Source: ONNX Runtime, core/providers/cuda/cuda_call.cc
/// ("%s failure %d: %s ; GPU=%d ; ..."), 2026-12.
const CUDA_FAILURE: &str = "CUDA failure ";

/// Statuses of cuDNN and cuBLAS by which a kernel of theirs failed while it ran. They hide the number of the CUDA error.
const FAILED_KERNELS: [&str; 2] = ["CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED"];

/// The error of the CUDA runtime for too little memory, cudaErrorMemoryAllocation.
const OUT_OF_MEMORY: u32 = 2;

/// The texts of too little memory. Source: ONNX Runtime, core/framework/bfc_arena.cc, and the statuses of cuDNN 9 and cuBLAS, 2026-12.
const NO_MEMORY: [&str; 5] = [
    "Failed to allocate memory for requested buffer",
    "is smaller than requested bytes of",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
];

impl CudaFault {
    /// Returns the fault that ONNX Runtime's message names, if it names one.
    pub(super) fn of(message: &str) -> Option<Self> {
        let is_sticky = cuda_errors(message).any(gpu::is_sticky)
            || FAILED_KERNELS.iter().any(|status| message.contains(status));
        let is_memory = || {
            cuda_errors(message).any(|error| error == OUT_OF_MEMORY)
                || NO_MEMORY.iter().any(|text| message.contains(text))
        };
        // A sticky error counts where both are named: no smaller batch works after it.
        if is_sticky { Some(Self::Sticky) } else { is_memory().then_some(Self::OutOfMemory) }
    }
}

/// Returns the numbers of the errors of the CUDA runtime in the message.
fn cuda_errors(message: &str) -> impl Iterator<Item = u32> {
    message.split(CUDA_FAILURE).skip(1).filter_map(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::CudaFault;

    /// Returns a message as ONNX Runtime makes it.
    fn said(error: &str) -> String {
        format!(
            "Non-zero status code returned while running Conv node. Name:'/model.0/conv/Conv' Status Message: {error} ; GPU=0 ; \
             hostname=ip-10-0-0-1 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc ; line=455 ; expr=cudaMemcpy();"
        )
    }

    #[test]
    fn errors_that_only_a_new_process_ends_are_sticky() {
        for error in [
            "CUDA failure 700: an illegal memory access was encountered",
            "CUDA failure 719: unspecified launch failure",
            "CUDA failure 214: uncorrectable ECC error encountered",
            "CUDA failure 226: contained error",
            "CUDA failure 999: unknown error",
            "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED",
            "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED",
            "CUDA failure 1: invalid argument; then CUDA failure 719: unspecified launch failure",
        ] {
            assert_eq!(CudaFault::of(&said(error)), Some(CudaFault::Sticky), "{error}");
        }
    }

    #[test]
    fn too_little_memory_is_recognised() {
        for error in [
            "CUDA failure 2: out of memory",
            "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 104857600",
            "BFCArena::AllocateRawInternal Available memory of 536870912 is smaller than requested bytes of 1073741824",
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        ] {
            assert_eq!(CudaFault::of(&said(error)), Some(CudaFault::OutOfMemory), "{error}");
        }
        let both =
            "CUDA failure 2: out of memory; CUDA failure 700: an illegal memory access was encountered";
        assert_eq!(CudaFault::of(&said(both)), Some(CudaFault::Sticky));
    }

    #[test]
    fn errors_of_one_call_are_not() {
        for error in [
            "CUDA failure 1: invalid argument",
            "CUDA failure 7: too many resources requested for launch",
            "CUDA failure 98: invalid device function",
            "CUDA failure 209: no kernel image is available for execution on the device",
            "CUDA failure 701: too many resources requested for launch",
            "CUDA failure 7190: no such error",
            "CUDA failure : no number",
            "CUDNN_FE failure 8: HEURISTIC_QUERY_FAILED",
            "CUDNN failure 3000: CUDNN_STATUS_NOT_SUPPORTED",
            "ROCM failure 719: another provider",
            "Got invalid dimensions for input: images, index: 2 Got: 719 Expected: 640",
        ] {
            assert_eq!(CudaFault::of(&said(error)), None, "{error}");
        }
    }
}
