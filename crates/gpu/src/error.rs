//! Failures of the GPU path.

/// A failure of the GPU path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// The driver's library cannot be loaded.
    #[error("cannot load NVIDIA's driver library {library}: {reason}; install the driver, or run on the CPU")]
    NoDriver {
        /// The file name or path.
        library: String,
        /// The loader's words.
        reason: String,
    },
    /// The driver's library is older than the kernels need.
    #[error(
        "NVIDIA's driver serves CUDA {major}.{minor}, and 13.0 is needed; install driver 580 or later, or run on the CPU"
    )]
    OldDriver {
        /// The major version.
        major: u32,
        /// The minor version.
        minor: u32,
    },
    /// There is no GPU of this number.
    #[error(
        "there is no GPU {ordinal}: the driver reports {count}; choose another `device`, or run on the CPU"
    )]
    NoDevice {
        /// The number that was asked for, from 0.
        ordinal: u32,
        /// The number of GPUs.
        count: u32,
    },
    /// The driver's library for decoding cannot be loaded.
    #[error("cannot load {library}: {reason}; a container needs the driver capability `video`")]
    NoVideoLibrary {
        /// The file name.
        library: String,
        /// The loader's words.
        reason: String,
    },
    /// The GPU has no decoder.
    #[error("GPU {ordinal} ({name}) has no NVDEC that decodes H.264")]
    NoNvdec {
        /// The number of the GPU, from 0.
        ordinal: u32,
        /// The name of the GPU.
        name: String,
    },
    /// A call of the driver failed.
    #[error("{call} failed: {name} ({code}), {text}")]
    Call {
        /// The function of the driver API.
        call: &'static str,
        /// The number of the error.
        code: u32,
        /// The name of the error.
        name: String,
        /// The driver's description, and its log where it could not compile the kernels.
        text: String,
    },
    /// An argument that the kernels must not be given.
    #[error("{0}; this is a fault of the program, please report it")]
    Argument(&'static str),
}

/// CUDA_ERROR_OUT_OF_MEMORY.
const OUT_OF_MEMORY: u32 = 2;

impl GpuError {
    /// Returns whether CUDA works again only in a new process.
    #[must_use]
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Call { code, .. } if is_sticky(*code))
    }

    /// Returns whether the GPU, or pinned host memory, has too little room.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Call { code: OUT_OF_MEMORY, .. })
    }
}

/// Returns whether CUDA works again only in a new process after the error with this number.
///
/// The runtime and the driver API have the same numbers. Source: the CUDA Runtime API, cudaError ("the process must be terminated and
/// relaunched"), 13.0. Added to these are hardware errors that CUDA reports again and again (214, 220), a context that is gone
/// (201, 709), and 999, with which calls fail after a GPU has fallen off the bus.
#[must_use]
pub fn is_sticky(code: u32) -> bool {
    matches!(code, 201 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721 | 999)
}

#[cfg(test)]
mod tests {
    use super::GpuError;

    #[test]
    fn errors_are_classified_by_number() {
        let failed = |code| {
            let text = "as the driver says".to_owned();
            GpuError::Call { call: "cuLaunchKernel", code, name: "CUDA_ERROR_X".to_owned(), text }
        };
        for (code, sticky, memory) in
            [(1, false, false), (2, false, true), (719, true, false), (999, true, false)]
        {
            let error = failed(code);
            assert_eq!((error.is_sticky(), error.is_out_of_memory()), (sticky, memory), "{code}");
        }
        assert_eq!(failed(719).to_string(), "cuLaunchKernel failed: CUDA_ERROR_X (719), as the driver says");
        assert!(!GpuError::NoDevice { ordinal: 719, count: 2 }.is_sticky());
    }
}
