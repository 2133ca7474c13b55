//! A model that reads its input from device memory and writes its outputs there, each at one place, whatever the size of the batch.
//!
//! So a batch needs no allocation, and its kernels can be captured as a graph, one per size. A graph replays the addresses that it was
//! captured with.

use std::collections::BTreeMap;
use std::sync::Arc;

use gpu::{CudaStream, DeviceBuffer, DeviceSlice, ElementType, GpuError, GpuWork, OutputHead, PinnedBuffer};
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::proved_gpu::words_of;
use crate::detect::bound_batch::{BoundBatch, DeviceTensor};
use crate::detect::boxes::head_layout;
use crate::detect::layout::{Head, Layout, OutputShape};
use crate::detect::model::InputShape;
use crate::detect::onnx::{Net, Tensor};

/// A model with the memory of its batches.
pub(super) struct DeviceModel {
    // Before the memory and the stream, which they refer to: fields are dropped in this order.
    batches: BTreeMap<usize, BoundBatch>,
    net: Net,
    input: DeviceTensor,
    input_memory: DeviceBuffer,
    outputs: DeviceOutputs,
    graphs: bool,
    stream: Arc<CudaStream>,
}

/// The outputs of the last batch, in device memory, and what was copied of them to the host.
pub(in crate::detect) struct DeviceOutputs {
    outputs: Vec<DeviceOutput>,
    /// Size of the batch.
    batch: usize,
}

/// An output.
struct DeviceOutput {
    /// Of one slot, without the batch.
    shape: OutputShape,
    half: bool,
    memory: DeviceBuffer,
    /// Absent while it is copied, and after a copy that failed.
    host: Option<PinnedBuffer>,
}

impl DeviceModel {
    /// Allocates the memory of batches of up to `slots` pictures for a model whose session runs on `stream`; the input is `grey`.
    ///
    /// # Errors
    /// The reason for which its outputs cannot stay in device memory; or the GPU's or ONNX Runtime's.
    pub(super) fn new(
        mut net: Net,
        stream: Arc<CudaStream>,
        input: InputShape,
        (slots, graphs): (usize, bool),
        grey: &Tensor,
    ) -> Result<Self, String> {
        let batch = input.batch.unwrap_or(1);
        let shapes = net.output_shapes(grey, input, batch)?;
        let _work = GpuWork::begin();
        let outputs = DeviceOutputs::new(&stream, &shapes, batch, slots)?;
        let name = net.inputs().into_iter().next().map(|input| input.name).unwrap_or_default();
        let memory = grey_memory(&stream, grey).map_err(|error| words_of(&error))?;
        let dims = vec![3, input.height_px as usize, input.width_px as usize];
        let input = DeviceTensor { name, address: memory.all().address, dims, half: input.half };
        Ok(Self { batches: BTreeMap::new(), net, input, input_memory: memory, outputs, graphs, stream })
    }

    /// Returns the model.
    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    /// Returns the memory of the input.
    pub(super) fn input(&self) -> DeviceSlice {
        self.input_memory.all()
    }

    /// Runs the model on the first `batch` slots of its input. The first run of a size captures its graph.
    ///
    /// # Errors
    /// ONNX Runtime's words.
    pub(super) fn run(&mut self, batch: usize) -> Result<(), String> {
        if !self.batches.contains_key(&batch) {
            let outputs = self.outputs.tensors(batch);
            let input = of_batch(&self.input, batch);
            let graph = self.graphs.then(|| u32::try_from(batch).unwrap_or_default());
            self.batches.insert(batch, self.net.bind(&input, &outputs, graph)?);
        }
        self.outputs.batch = batch;
        match self.batches.get_mut(&batch) {
            Some(bound) => self.net.run_bound(bound),
            None => Err("its batch is not bound".to_owned()),
        }
    }

    /// Returns the outputs of the last batch as the kernel that finds boxes reads them; `None` where it does not know their layout.
    pub(super) fn head(&self, head: Head, classes: usize) -> Option<OutputHead> {
        let layout = head_layout(head.layout)?;
        let (boxes, scores) = (self.outputs.outputs.get(head.boxes)?, self.outputs.outputs.get(head.scores)?);
        let element = if boxes.half { ElementType::F16 } else { ElementType::F32 };
        let [rows, columns] = scores.shape.dims[..] else { return None };
        let anchors = if head.layout == Layout::Yolov8 { columns } else { rows };
        let memory = |output: &DeviceOutput| output.memory.all();
        (boxes.half == scores.half).then(|| OutputHead {
            layout,
            anchors,
            classes,
            element,
            boxes: memory(boxes),
            scores: memory(scores),
        })
    }

    /// Copies the outputs of the last batch to the host.
    ///
    /// # Errors
    /// The GPU's.
    pub(super) fn download(&mut self) -> Result<&DeviceOutputs, String> {
        self.outputs.download(&self.stream).map_err(|error| words_of(&error))?;
        Ok(&self.outputs)
    }
}

impl DeviceOutputs {
    /// Returns outputs for batches of up to `slots`; `shapes` are those of a batch of `batch`.
    fn new(
        stream: &CudaStream,
        shapes: &[(OutputShape, Option<bool>)],
        batch: usize,
        slots: usize,
    ) -> Result<Self, String> {
        let output = |(shape, half): &(OutputShape, Option<bool>)| {
            let (Some(half), Some((first, rest))) = (*half, shape.dims.split_first()) else {
                return Err(format!("its output {} is neither float32 nor float16", shape.name));
            };
            if *first != batch {
                return Err(format!("its output {} does not begin with the batch", shape.name));
            }
            let shape = OutputShape { dims: rest.to_vec(), ..shape.clone() };
            let bytes = slots * bytes_of(&shape, half);
            let memory = DeviceBuffer::new(stream.context(), bytes).map_err(|error| words_of(&error))?;
            Ok(DeviceOutput { shape, half, memory, host: None })
        };
        Ok(Self { outputs: shapes.iter().map(output).collect::<Result<_, String>>()?, batch })
    }

    fn tensors(&self, batch: usize) -> Vec<DeviceTensor> {
        let tensor = |output: &DeviceOutput| {
            let (name, dims) = (output.shape.name.clone(), output.shape.dims.clone());
            let address = output.memory.all().address;
            of_batch(&DeviceTensor { name, address, dims, half: output.half }, batch)
        };
        self.outputs.iter().map(tensor).collect()
    }

    fn download(&mut self, stream: &CudaStream) -> Result<(), GpuError> {
        let _work = GpuWork::begin();
        let batch = self.batch;
        let mut copies = Vec::new();
        for output in &mut self.outputs {
            let host = match output.host.take() {
                Some(host) => host,
                None => PinnedBuffer::new(stream.context(), output.memory.all().bytes)?,
            };
            let used = output.memory.all().part(0, batch * bytes_of(&output.shape, output.half));
            let used = used.ok_or(GpuError::Argument("a batch is larger than its outputs"))?;
            copies.push(stream.download(used, host)?);
        }
        for (output, copy) in self.outputs.iter_mut().zip(copies) {
            output.host = Some(copy.wait()?);
        }
        Ok(())
    }

    /// Returns names, shapes and types of the outputs of the last batch.
    pub(in crate::detect) fn shapes(&self) -> Vec<OutputShape> {
        let shape = |output: &DeviceOutput| {
            let dims = std::iter::once(self.batch).chain(output.shape.dims.iter().copied()).collect();
            OutputShape { dims, ..output.shape.clone() }
        };
        self.outputs.iter().map(shape).collect()
    }

    /// Writes the numbers of an output into `numbers`.
    ///
    /// # Errors
    /// The output is not on the host.
    pub(in crate::detect) fn read(&self, output: usize, numbers: &mut Vec<f32>) -> Result<(), String> {
        let missing = || format!("its output {output} was not copied from the GPU");
        let output = self.outputs.get(output).ok_or_else(missing)?;
        let host = output.host.as_deref().ok_or_else(missing)?;
        let bytes = &host[..self.batch * bytes_of(&output.shape, output.half)];
        numbers.clear();
        if output.half {
            let halves: Vec<f16> =
                bytes.as_chunks().0.iter().map(|bytes| f16::from_ne_bytes(*bytes)).collect();
            numbers.resize(halves.len(), 0.0);
            halves.convert_to_f32_slice(numbers);
        } else {
            numbers.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)));
        }
        Ok(())
    }
}

/// Returns the tensor of a batch; `one` has the dimensions of a slot.
fn of_batch(one: &DeviceTensor, batch: usize) -> DeviceTensor {
    let dims = std::iter::once(batch).chain(one.dims.iter().copied()).collect();
    DeviceTensor { dims, ..one.clone() }
}

/// Returns the bytes of an output of one slot.
fn bytes_of(shape: &OutputShape, half: bool) -> usize {
    shape.dims.iter().product::<usize>() * if half { 2 } else { 4 }
}

fn grey_memory(stream: &CudaStream, grey: &Tensor) -> Result<DeviceBuffer, GpuError> {
    let bytes: Vec<u8> = match grey {
        Tensor::F32(all) => all.iter().flat_map(|number| number.to_ne_bytes()).collect(),
        Tensor::F16(all) => all.iter().flat_map(|number| number.to_ne_bytes()).collect(),
    };
    let memory = DeviceBuffer::new(stream.context(), bytes.len())?;
    stream.upload_now(&bytes, memory.all())?;
    Ok(memory)
}
