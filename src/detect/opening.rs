//! Opening a model: its file, the device it runs on, and the errors if that fails.

use super::error::{DetectError, ModelFault};
use super::model::{ModelBytes, read_file};
use super::onnx::{Net, Refusal, has_cuda};
use super::spec::{Device, ModelSpec};
use crate::telemetry::detect::FellBackToCpu;

/// A model whose file is there and is the one that was asked for.
pub(super) struct Opening<'a> {
    pub(super) spec: &'a ModelSpec,
    /// Lower-case hex.
    pub(super) sha256: String,
    content: Option<Vec<u8>>,
    /// Of an inference on the CPU: what the model asks for, else its share.
    pub(super) threads: usize,
}

impl<'a> Opening<'a> {
    /// Errors: the file; see [`read_file`].
    pub(super) fn new(spec: &'a ModelSpec, threads: usize) -> Result<Self, DetectError> {
        let ModelBytes { sha256, content } = read_file(spec).map_err(|fault| faulty(spec, fault))?;
        Ok(Self { spec, sha256, content, threads: spec.threads.unwrap_or(threads).max(1) })
    }

    /// Returns the model that `load` makes on the device, and the reason if CUDA was tried and does not work.
    ///
    /// `load` gets the index of a CUDA device, or `None` for the CPU.
    ///
    /// Errors: those of `load`. A model that fails on both devices has the fault of the CPU.
    pub(super) fn on<T>(
        &self,
        device: Device,
        load: impl Fn(&Self, Option<u32>) -> Result<T, DetectError>,
    ) -> Result<(T, Option<String>), DetectError> {
        let refused = match device {
            Device::Cpu => return Ok((load(self, None)?, None)),
            Device::Cuda(index) => return Ok((load(self, Some(index))?, None)),
            Device::Auto => match load(self, Some(0)) {
                Ok(loaded) => return Ok((loaded, None)),
                // Without ONNX Runtime the CPU cannot work either.
                Err(error @ DetectError::Runtime(_)) => return Err(error),
                Err(DetectError::Cuda { reason, .. }) => reason,
                Err(error) => error.to_string(),
            },
        };
        // Only a model that works on the CPU has fallen back: otherwise its own fault is the message.
        let loaded = load(self, None)?;
        FellBackToCpu { model: &self.spec.name, reason: &refused, has_cuda: has_cuda() }.emit();
        Ok((loaded, Some(refused)))
    }

    /// The model in ONNX Runtime.
    pub(super) fn net(&self, cuda: Option<u32>) -> Result<Net, DetectError> {
        Net::open(self.spec, self.content.as_deref(), cuda, self.threads)
            .map_err(|refusal| self.refused(cuda, refusal))
    }

    fn refused(&self, cuda: Option<u32>, refusal: Refusal) -> DetectError {
        let model = self.spec.name.clone();
        match (refusal, cuda) {
            (Refusal::Runtime(fault), _) => DetectError::Runtime(fault),
            (Refusal::Cuda(reason), index) => DetectError::Cuda { model, index: index.unwrap_or(0), reason },
            (Refusal::Model(reason), _) => self.faulty(ModelFault::Load(reason)),
        }
    }

    /// A fault of this model.
    pub(super) fn faulty(&self, fault: ModelFault) -> DetectError {
        faulty(self.spec, fault)
    }
}

fn faulty(spec: &ModelSpec, fault: ModelFault) -> DetectError {
    DetectError::Model { model: spec.name.clone(), path: spec.path.clone(), fault: Box::new(fault) }
}
