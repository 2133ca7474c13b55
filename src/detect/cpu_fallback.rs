//! A model with `device: auto` that runs on the CPU.

use std::path::Path;

use super::cuda_fault::CudaFault;
use super::error::{DetectError, ModelFault};
use crate::media::ModelId;

/// The reason for which a model runs on the CPU although CUDA was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuFallback {
    /// The index of the GPU that was tried.
    pub gpu: u32,
    /// ONNX Runtime's words.
    pub reason: String,
    /// The digest of the file that was tried on CUDA, lower-case hex.
    pub sha256: String,
    /// `true` if this ONNX Runtime was built with CUDA, so that CUDA may work later.
    pub has_cuda: bool,
}

impl CpuFallback {
    /// Checks that a model that was loaded later is of the same file: its classes were checked against the cameras.
    pub(super) fn check_file(&self, loaded: &ModelId, path: &Path) -> Result<(), DetectError> {
        if loaded.sha256 == self.sha256 {
            return Ok(());
        }
        let (model, path) = (loaded.name.clone(), path.to_owned());
        Err(DetectError::Model { model, path, fault: Box::new(ModelFault::Replaced) })
    }

    /// Returns whether CUDA works again only in a new process after this reason.
    #[must_use]
    pub fn is_final(&self) -> bool {
        CudaFault::of(&self.reason) == Some(CudaFault::Sticky)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fallback(reason: &str) -> CpuFallback {
        CpuFallback { gpu: 0, reason: reason.to_owned(), sha256: "aa".to_owned(), has_cuda: true }
    }

    #[test]
    fn another_file_than_the_one_that_was_tried_is_refused() {
        let fallback = fallback("CUDA failure 2: out of memory");
        let id = |sha256: &str| ModelId { name: "street".into(), sha256: sha256.into() };
        let path = Path::new("models/street.onnx");
        assert_eq!(fallback.check_file(&id("aa"), path), Ok(()));
        let refused = fallback.check_file(&id("bb"), path).unwrap_err().to_string();
        assert_eq!(
            refused,
            "model street (models/street.onnx): it was replaced since it was loaded; restart kvs-infer to use the new file"
        );
    }

    #[test]
    fn a_sticky_error_is_final() {
        assert!(fallback("CUDA failure 719: unspecified launch failure").is_final());
        assert!(!fallback("CUDA failure 2: out of memory").is_final());
    }
}
