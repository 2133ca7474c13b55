//! A model in ONNX Runtime: tensors in, tensors out.

use std::path::Path;

use gpu::GpuWork;
use half::f16;
use half::slice::HalfFloatSliceExt;
use ort::ep::{self, ExecutionProvider};
use ort::session::{NoSelectedOutputs, RunOptions, Session, SessionOutputs};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef};

use super::assigned_nodes::assigned_nodes;
use super::bound_batch::{BoundBatch, DeviceTensor, without_graph};
use super::layout::OutputShape;
use super::model::{InputShape, InputTensor};
use super::node_placement::NodePlacement;
use super::openvino;
use super::runtime::{self, RuntimeFault};
use super::spec::InferenceEngine;
use crate::base::{MAX_MESSAGE_CHARS, MAX_NAME_CHARS, clean_text};

/// The input of a batch, NCHW.
pub(super) enum Tensor {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

/// The hardware and the engine that run a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// The CUDA device with this index.
    Cuda(u32),
    /// The CPU.
    Cpu(InferenceEngine),
}

impl Placement {
    /// Returns the index of the GPU; 0 for the CPU.
    fn gpu(self) -> u32 {
        match self {
            Self::Cuda(index) => index,
            Self::Cpu(_) => 0,
        }
    }

    /// Returns the name of the execution provider that should compute the nodes.
    fn provider(self) -> &'static str {
        match self {
            Self::Cuda(_) => ep::CUDA::NAME,
            Self::Cpu(InferenceEngine::OnnxRuntime) => ep::CPU::NAME,
            Self::Cpu(InferenceEngine::OpenVino) => openvino::PROVIDER,
        }
    }
}

/// The CUDA stream of a session; without effect on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionStream {
    /// A stream of the session's own.
    Own,
    /// The stream with the handle at this address, which outlives the session.
    Given {
        address: usize,
        /// Runs may be captured as graphs.
        graphs: bool,
    },
}

/// A reason for which a model was not opened.
pub(super) enum Refusal {
    /// No ONNX Runtime.
    Runtime(RuntimeFault),
    /// The CUDA provider says no.
    Cuda(String),
    /// ONNX Runtime says no to the model.
    Model(String),
}

/// An open model.
pub(super) struct Net {
    session: Session,
    nodes: Option<NodePlacement>,
    placement: Placement,
    /// Of inferences from host memory, which no graph captures.
    options: RunOptions<NoSelectedOutputs>,
}

impl Net {
    /// Opens the model, from `content` where it is all in there, else from the file; on the CPU with `threads` threads.
    ///
    /// The threads do not spin when they are idle: on a busy machine that costs more than it gains.
    pub(super) fn open(
        path: &Path,
        content: Option<&[u8]>,
        (placement, stream): (Placement, SessionStream),
        threads: usize,
    ) -> Result<Self, Refusal> {
        let _work = gpu_work(placement);
        let mut builder = builder_at(placement, stream, threads)?;
        // Weights in further files are found only beside the model file, so such a model is opened by its path.
        let session = match content {
            Some(content) => builder.commit_from_memory(content),
            None => builder.commit_from_file(path),
        };
        let session = session.map_err(|error| Refusal::Model(words_of(&error)))?;
        let nodes = node_placement(&session, placement);
        let options = without_graph().map_err(|error| Refusal::Model(words_of(&error)))?;
        match &nodes {
            // Single nodes may be on the CPU on purpose: ONNX Runtime computes shapes there.
            Some(nodes) if matches!(placement, Placement::Cuda(_)) && nodes.as_wanted() == 0 => {
                Err(Refusal::Cuda(format!(
                    "ONNX Runtime assigned none of the model's {} nodes to CUDA",
                    nodes.total()
                )))
            }
            _ => Ok(Self { session, nodes, placement, options }),
        }
    }

    /// Returns the providers that compute the model's nodes, if ONNX Runtime says so.
    pub(super) fn nodes(&self) -> Option<&NodePlacement> {
        self.nodes.as_ref()
    }

    /// Returns the scalar of type float in each of these outputs, after one inference of all slots of `input`.
    pub(super) fn run_scalars(
        &mut self,
        input: &Tensor,
        dims: [usize; 4],
        outputs: &[String],
    ) -> Result<Vec<f32>, String> {
        let made = self.run_dims(input, dims)?;
        let scalar = |name: &String| {
            let value = made.get(name.as_str()).ok_or_else(|| format!("it has no output {name}"))?;
            let (_, values) = value.try_extract_tensor::<f32>().map_err(|error| words_of(&error))?;
            values.first().copied().ok_or_else(|| format!("its output {name} is empty"))
        };
        outputs.iter().map(scalar).collect()
    }

    pub(super) fn inputs(&self) -> Vec<InputTensor> {
        self.session.inputs().iter().map(input_tensor).collect()
    }

    /// Returns the names of the inputs and outputs with elements of this type.
    pub(super) fn tensors_of(&self, element: TensorElementType) -> impl Iterator<Item = &str> {
        let all = self.session.inputs().iter().chain(self.session.outputs());
        all.filter(move |tensor| tensor.dtype().tensor_type() == Some(element)).map(Outlet::name)
    }

    /// The value of `key` in the model's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<String> {
        self.session.metadata().ok()?.custom(key)
    }

    /// Returns names, shapes and types of the outputs, `Some(true)` for `f16`, `Some(false)` for `f32`, from an inference of the first `batch`
    /// slots of `input`. Errors: ONNX Runtime's words.
    pub(super) fn output_shapes(
        &mut self,
        input: &Tensor,
        shape: InputShape,
        batch: usize,
    ) -> Result<Vec<(OutputShape, Option<bool>)>, String> {
        let outputs = self.run(input, shape, batch)?;
        let halves = outputs.values().map(|value| half_of(value.dtype().tensor_type()));
        Ok(shapes(&outputs).into_iter().zip(halves).collect())
    }

    /// Returns a batch of these tensors, for [`Self::run_bound`]. Errors: ONNX Runtime's words.
    pub(super) fn bind(
        &self,
        input: &DeviceTensor,
        outputs: &[DeviceTensor],
        graph: Option<u32>,
    ) -> Result<BoundBatch, String> {
        let bound = BoundBatch::new(&self.session, self.placement.gpu(), input, outputs, graph);
        bound.map_err(|error| words_of(&error))
    }

    /// One inference from and to the tensors of a batch. Errors: ONNX Runtime's words.
    pub(super) fn run_bound(&mut self, batch: &mut BoundBatch) -> Result<(), String> {
        batch.run(&mut self.session).map_err(|error| words_of(&error))
    }

    /// One inference of the first `batch` slots of `input`. Errors: ONNX Runtime's words.
    pub(super) fn run(
        &mut self,
        input: &Tensor,
        shape: InputShape,
        batch: usize,
    ) -> Result<SessionOutputs<'_>, String> {
        self.run_dims(input, [batch, 3, shape.height_px as usize, shape.width_px as usize])
    }

    /// One inference of the first part of `input`, which has these dimensions. Errors: ONNX Runtime's words.
    pub(super) fn run_dims(
        &mut self,
        input: &Tensor,
        dims: [usize; 4],
    ) -> Result<SessionOutputs<'_>, String> {
        // The tensor has room for the largest batch; an inference takes the slots that are filled.
        let length = dims.iter().product();
        let _work = gpu_work(self.placement);
        let outputs = match input {
            Tensor::F32(all) => TensorRef::from_array_view((dims, &all[..length]))
                .and_then(|tensor| self.session.run_with_options(ort::inputs![tensor], &self.options)),
            Tensor::F16(all) => TensorRef::from_array_view((dims, &all[..length]))
                .and_then(|tensor| self.session.run_with_options(ort::inputs![tensor], &self.options)),
        };
        outputs.map_err(|error| words_of(&error))
    }
}

/// Returns the permission for work on a GPU; none is needed on the CPU.
fn gpu_work(placement: Placement) -> Option<GpuWork> {
    matches!(placement, Placement::Cuda(_)).then(GpuWork::begin)
}

/// Returns the providers that compute the nodes of the session; `None` if it has none, or ONNX Runtime does not say.
fn node_placement(session: &Session, placement: Placement) -> Option<NodePlacement> {
    let nodes = assigned_nodes(session).ok()?;
    let placement = NodePlacement::new(placement.provider(), nodes);
    (placement.total() > 0).then_some(placement)
}

/// ONNX Runtime's words, which quote names of the model.
fn words_of(error: &ort::Error) -> String {
    clean_text(&error.to_string(), MAX_MESSAGE_CHARS)
}

fn name_of(tensor: &str) -> String {
    clean_text(tensor, MAX_NAME_CHARS)
}

fn input_tensor(input: &Outlet) -> InputTensor {
    let half = half_of(input.dtype().tensor_type());
    let dims = input.dtype().tensor_shape().map(|dims| dims.to_vec()).unwrap_or_default();
    InputTensor { name: name_of(input.name()), half, dims, described: input.dtype().to_string() }
}

/// Returns `Some(true)` for `f16`, `Some(false)` for `f32`, `None` for another type.
fn half_of(element: Option<TensorElementType>) -> Option<bool> {
    match element {
        Some(TensorElementType::Float32) => Some(false),
        Some(TensorElementType::Float16) => Some(true),
        _ => None,
    }
}

type Builder = ort::session::builder::SessionBuilder;

/// The option by which a session records the providers of its nodes. Source: onnxruntime_session_options_config_keys.h, 1.24.
const RECORD_NODES: &str = "session.record_ep_graph_assignment_info";

/// Returns a builder of sessions on this hardware and engine.
fn builder_at(placement: Placement, stream: SessionStream, threads: usize) -> Result<Builder, Refusal> {
    let environment = runtime::environment().map_err(Refusal::Runtime)?;
    let said = |error: ort::Error| Refusal::Model(words_of(&error));
    let builder = Session::builder(&environment).map_err(said)?;
    let builder = with_threads(builder, threads).map_err(said)?;
    let builder = builder.with_config_entry(RECORD_NODES, "1").map_err(|error| said(error.into()))?;
    match placement {
        Placement::Cuda(index) => {
            with_cuda(builder, index, stream).map_err(|error| Refusal::Cuda(why_not_cuda(&words_of(&error))))
        }
        Placement::Cpu(InferenceEngine::OnnxRuntime) => Ok(builder),
        Placement::Cpu(InferenceEngine::OpenVino) => {
            openvino::with_openvino(builder, &environment, threads).map_err(said)
        }
    }
}

fn with_threads(builder: Builder, threads: usize) -> ort::Result<Builder> {
    // One graph node at a time: parallel nodes would compete with decoding for the same cores.
    let builder = builder.with_intra_threads(threads)?.with_inter_threads(1)?;
    Ok(builder.with_intra_op_spinning(false)?.with_inter_op_spinning(false)?)
}

/// Returns whether this ONNX Runtime was built with CUDA; it may still not work here.
pub(super) fn has_cuda() -> bool {
    ep::CUDA::is_available().unwrap_or(false)
}

/// Kernels are chosen by heuristics: an exhaustive search would stall each new size of batch for seconds.
fn with_cuda(builder: Builder, index: u32, stream: SessionStream) -> ort::Result<Builder> {
    let index = i32::try_from(index).map_err(|_| ort::Error::new("there is no such device"))?;
    let cuda = ep::CUDA::default()
        .with_device_id(index)
        .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
        // The default doubles the arena, so a batch that would fit fails where other models have taken half of the memory.
        .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested);
    let cuda = on_stream(cuda, stream)
        .build()
        // Without this ONNX Runtime falls back to the CPU in silence.
        .error_on_failure();
    Ok(builder.with_execution_providers([cuda])?)
}

#[expect(unsafe_code, reason = "the handle of a stream")]
fn on_stream(cuda: ep::CUDA, stream: SessionStream) -> ep::CUDA {
    match stream {
        SessionStream::Own => cuda,
        SessionStream::Given { address, graphs } => {
            // SAFETY: the stream outlives the session, as `SessionStream` asks for.
            unsafe { cuda.with_compute_stream(std::ptr::without_provenance_mut(address)) }
                .with_cuda_graph(graphs)
        }
    }
}

/// The outputs' names, shapes and types.
pub(super) fn shapes(outputs: &SessionOutputs<'_>) -> Vec<OutputShape> {
    let shape = |(name, value): (&str, &DynValue)| {
        let dims = value
            .dtype()
            .tensor_shape()
            // An output has concrete dimensions; -1 (open) can only come from a broken model.
            .map(|dims| dims.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)));
        let float = matches!(
            value.dtype().tensor_type(),
            Some(TensorElementType::Float32 | TensorElementType::Float16)
        );
        OutputShape { name: name_of(name), dims: dims.map(Iterator::collect).unwrap_or_default(), float }
    };
    outputs.keys().zip(outputs.values()).map(|(name, value)| shape((name, &value))).collect()
}

/// An output as `f32`, by way of `scratch` where it is `f16`. Errors: ONNX Runtime's words.
pub(super) fn floats<'a>(output: &'a DynValue, scratch: &'a mut Vec<f32>) -> Result<&'a [f32], String> {
    if let Ok((_, values)) = output.try_extract_tensor::<f32>() {
        return Ok(values);
    }
    let (_, values) = output.try_extract_tensor::<f16>().map_err(|error| words_of(&error))?;
    scratch.resize(values.len(), 0.0);
    values.convert_to_f32_slice(scratch);
    Ok(scratch)
}
/// ONNX Runtime's words in one line; first ours where there is no driver, which is the commonest reason.
fn why_not_cuda(said: &str) -> String {
    let said = said.trim().trim_end_matches('.');
    if !said.contains("libcuda.so.1: cannot open") {
        return said.to_owned();
    }
    format!(
        "there is no NVIDIA driver here (libcuda.so.1 is missing), so no GPU; on a host that has one, a container must be given it \
         (docker run --gpus all, ECS resourceRequirements GPU). ONNX Runtime says: {said}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_named() {
        let no_driver = "Failed to load libonnxruntime_providers_cuda.so with error: libcuda.so.1: cannot open shared object file\n";
        let reason = why_not_cuda(no_driver);
        assert!(reason.starts_with("there is no NVIDIA driver here (libcuda.so.1 is missing)"), "{reason}");
        assert!(reason.ends_with("cannot open shared object file"), "{reason}");
        let other = "CUDA execution provider is not enabled in this build.";
        assert_eq!(why_not_cuda(other), "CUDA execution provider is not enabled in this build");
    }
}
