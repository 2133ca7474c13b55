//! The float32 file of which a twin is made.

use super::error::TwinError;
use super::graph::OnnxFile;
use crate::detect::DetectError;
use crate::detect::error::ModelFault;
use crate::detect::model::read_file;
use crate::detect::onnx::{Net, Placement, Refusal, SessionStream};
use crate::detect::spec::{InferenceEngine, ModelSpec};

/// Operators of a graph that is quantised already.
const QUANTIZED_OPERATORS: [&str; 6] = [
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearConv",
    "ConvInteger",
    "QLinearMatMul",
    "DynamicQuantizeLinear",
];

/// The content of a model file with all its weights.
pub(super) struct TwinSource<'s> {
    spec: &'s ModelSpec,
    pub(super) content: Vec<u8>,
    /// Lower-case hex.
    pub(super) sha256: String,
}

impl<'s> TwinSource<'s> {
    /// Reads the model's file.
    ///
    /// # Errors
    /// It cannot be read, has another digest than it should, or has weights in further files.
    pub(super) fn read(spec: &'s ModelSpec) -> Result<Self, TwinError> {
        let file = read_file(&spec.path, spec.sha256.as_deref()).map_err(|fault| faulty(spec, fault))?;
        let content = file.content.ok_or(TwinError::ExternalData)?;
        Ok(Self { spec, content, sha256: file.sha256 })
    }

    /// Opens `content`, an edited form of the file, on ONNX Runtime's own kernels.
    ///
    /// # Errors
    /// ONNX Runtime refuses it.
    pub(super) fn open(&self, content: &[u8], threads: usize) -> Result<Net, TwinError> {
        let cpu = Placement::Cpu(InferenceEngine::OnnxRuntime);
        let net = Net::open(&self.spec.path, Some(content), (cpu, SessionStream::Own), threads.max(1));
        net.map_err(|refusal| match refusal {
            Refusal::Runtime(fault) => TwinError::Model(DetectError::Runtime(fault)),
            Refusal::Cuda(reason) | Refusal::Model(reason) => self.faulty(ModelFault::Load(reason)),
        })
    }

    /// Returns the error of a fault of this file.
    pub(super) fn faulty(&self, fault: ModelFault) -> TwinError {
        faulty(self.spec, fault)
    }
}

fn faulty(spec: &ModelSpec, fault: ModelFault) -> TwinError {
    let (model, path) = (spec.name.clone(), spec.path.clone());
    TwinError::Model(DetectError::Model { model, path, fault: Box::new(fault) })
}

/// Reads the graph of a model file that is not quantised.
///
/// # Errors
/// It has no graph, or operators of quantisation.
pub(super) fn read_float_graph(content: &[u8]) -> Result<OnnxFile<'_>, TwinError> {
    let file = OnnxFile::read(content).ok_or(TwinError::NotOnnx)?;
    match file.nodes.iter().find(|node| QUANTIZED_OPERATORS.contains(&node.operator)) {
        Some(node) => Err(TwinError::AlreadyQuantized { operator: node.operator.to_owned() }),
        None => Ok(file),
    }
}
