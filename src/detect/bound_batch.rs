//! A batch of one size whose input and outputs stay at their places in device memory, by ONNX Runtime's C interface.
#![expect(unsafe_code, reason = "memory that is not of ONNX Runtime: ort would bind a copy of such an input")]

use std::ffi::CString;

use gpu::{GpuWork, GraphCapture};
use half::f16;
use ort::AsPointer;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::{DynValueTypeMarker, PrimitiveTensorElementType, Shape, TensorRefMut, ValueRefMut};

/// The run option with the number of a captured graph. Source: onnxruntime_run_options_config_keys.h, 1.24.
const GRAPH_NUMBER: &str = "gpu_graph_id";
/// The number of a run that is neither captured nor replayed.
const NO_GRAPH: i64 = -1;

type BoundValue<'a> = ValueRefMut<'a, DynValueTypeMarker>;

/// A tensor in device memory.
#[derive(Clone, Debug)]
pub(super) struct DeviceTensor {
    /// The name of the model's input or output.
    pub(super) name: String,
    /// The device address of its first number.
    pub(super) address: u64,
    pub(super) dims: Vec<usize>,
    /// `f16` instead of `f32`.
    pub(super) half: bool,
}

/// The tensors of a batch, bound to a session, and the number of its graph.
pub(super) struct BoundBatch {
    binding: IoBinding,
    options: RunOptions<NoSelectedOutputs>,
    /// The next run captures a graph.
    captures: bool,
}

impl BoundBatch {
    /// Binds the tensors on the GPU of this index. With `graph`, the first run captures a graph of that number, and later runs replay it.
    ///
    /// The memory of the tensors has to outlive the batch. Memory that is gone is an error that the GPU reports: no address of the device
    /// reaches host memory.
    ///
    /// # Errors
    /// Those of ONNX Runtime.
    pub(super) fn new(
        session: &Session,
        gpu: u32,
        input: &DeviceTensor,
        outputs: &[DeviceTensor],
        graph: Option<u32>,
    ) -> ort::Result<Self> {
        let mut binding = session.create_binding()?;
        bind_input(&binding, &value(gpu, input)?, &input.name)?;
        for output in outputs {
            binding.bind_output(output.name.clone(), value(gpu, output)?)?;
        }
        let options = graph_options(graph.map_or(NO_GRAPH, i64::from))?;
        Ok(Self { binding, options, captures: graph.is_some() })
    }

    /// Runs the session; its outputs are in place when this returns.
    ///
    /// # Errors
    /// Those of ONNX Runtime.
    pub(super) fn run(&mut self, session: &mut Session) -> ort::Result<()> {
        if self.captures {
            let _capture = GraphCapture::begin();
            session.run_binding_with_options(&self.binding, &self.options)?;
            self.captures = false;
            return Ok(());
        }
        let _work = GpuWork::begin();
        session.run_binding_with_options(&self.binding, &self.options).map(drop)
    }
}

/// Returns the options of a run that no graph concerns.
///
/// # Errors
/// Those of ONNX Runtime.
pub(super) fn without_graph() -> ort::Result<RunOptions<NoSelectedOutputs>> {
    graph_options(NO_GRAPH)
}

fn graph_options(number: i64) -> ort::Result<RunOptions<NoSelectedOutputs>> {
    let mut options = RunOptions::new()?;
    options.set(GRAPH_NUMBER, number.to_string())?;
    Ok(options)
}

/// Binds the memory of `value` itself, which `IoBinding::bind_input` does only for memory that ONNX Runtime has allocated.
fn bind_input(binding: &IoBinding, value: &BoundValue<'_>, name: &str) -> ort::Result<()> {
    let name = CString::new(name).map_err(|_| ort::Error::new("the name of the input has a zero byte"))?;
    // SAFETY: all three live during the call, and the binding keeps a share of the value. It changes nothing that Rust refers to.
    unsafe {
        let status = (ort::api().BindInput)(binding.ptr().cast_mut(), name.as_ptr(), value.ptr());
        ort::Error::result_from_status(status)
    }
}

fn value(gpu: u32, tensor: &DeviceTensor) -> ort::Result<BoundValue<'static>> {
    if tensor.half { typed_value::<f16>(gpu, tensor) } else { typed_value::<f32>(gpu, tensor) }
}

fn typed_value<T: PrimitiveTensorElementType + std::fmt::Debug>(
    gpu: u32,
    tensor: &DeviceTensor,
) -> ort::Result<BoundValue<'static>> {
    let gpu = i32::try_from(gpu).map_err(|_| ort::Error::new("there is no such device"))?;
    let info = MemoryInfo::new(AllocationDevice::CUDA, gpu, AllocatorType::Device, MemoryType::Default)?;
    let address = std::ptr::without_provenance_mut(usize::try_from(tensor.address).unwrap_or_default());
    // SAFETY: nothing on the host follows the address: ONNX Runtime hands it to CUDA, which checks it.
    let value = unsafe { TensorRefMut::<T>::from_raw(info, address, Shape::from(&*tensor.dims)) }?;
    Ok(value.into_dyn())
}
