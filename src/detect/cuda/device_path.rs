//! The way of a batch on a GPU: its pictures are copied there and painted by a kernel, and the model runs from and to device memory.

use std::sync::Arc;

use gpu::{CandidateReader, CudaStream, FoundBox, GpuError, GpuWork, MAX_FRAMES, OutputHead, SlotBoxes};

use super::device_model::{DeviceModel, DeviceOutputs};
use super::picture_painter::PicturePainter;
use super::proved_gpu::{ProvedGpu, words_of};
use crate::detect::encoding::InputEncoding;
use crate::detect::layout::Head;
use crate::detect::letterbox::Letterbox;
use crate::detect::model::InputShape;
use crate::detect::onnx::{Net, Tensor};
use crate::detect::resample::PictureFault;
use crate::media::Frame;

/// A model on a GPU with its painter.
pub(in crate::detect) struct DevicePath {
    model: DeviceModel,
    painter: PicturePainter,
    /// Absent before the first search.
    reader: Option<CandidateReader>,
    stream: Arc<CudaStream>,
}

impl DevicePath {
    /// Returns the path of batches of up to `slots` pictures for a model whose session runs on the stream of `gpu`; with `graphs`, each
    /// size of a batch has a captured graph.
    ///
    /// # Errors
    /// The reason for which the model cannot run so.
    pub(in crate::detect) fn new(
        net: Net,
        gpu: &ProvedGpu,
        (input, encoding): (InputShape, InputEncoding),
        (slots, graphs): (usize, bool),
        grey: &Tensor,
    ) -> Result<Self, String> {
        let model = DeviceModel::new(net, gpu.stream(), input, (slots, graphs), grey)?;
        let painter = PicturePainter::new(gpu.stream(), input, encoding);
        let mut path = Self { model, painter, reader: None, stream: gpu.stream() };
        if graphs {
            // Before the warm-up, which takes a failure for a batch that is too large: what a model cannot capture, it cannot in any size.
            path.run(input.batch.unwrap_or(1))?;
        }
        Ok(path)
    }

    /// Returns the model.
    pub(in crate::detect) fn net(&self) -> &Net {
        self.model.net()
    }

    /// Starts to copy a frame for a slot; slot 0 begins a batch.
    ///
    /// # Errors
    /// The picture cannot be read.
    pub(in crate::detect) fn paint(&mut self, slot: usize, frame: &Frame) -> Result<Letterbox, PictureFault> {
        self.painter.add(slot, frame)
    }

    /// Runs the model on the first `batch` slots and copies its outputs to the host.
    ///
    /// # Errors
    /// The GPU's or ONNX Runtime's words.
    pub(in crate::detect) fn run(&mut self, batch: usize) -> Result<&DeviceOutputs, String> {
        self.infer(batch)?;
        self.model.download()
    }

    /// Runs the model on the first `batch` slots, and finds the boxes with at least `conf` (above 0) on the GPU: some kilobytes are copied
    /// to the host in place of the outputs. `None` where the outputs are needed as a whole: their layout is not known there, the batch is larger than a launch, or a picture
    /// has very many boxes.
    ///
    /// # Errors
    /// The GPU's or ONNX Runtime's words.
    pub(in crate::detect) fn find(
        &mut self,
        batch: usize,
        (head, classes): (Head, usize),
        conf: f32,
    ) -> Result<Option<Vec<Vec<FoundBox>>>, String> {
        let output = self.model.head(head, classes).filter(|_| batch <= MAX_FRAMES);
        let Some(output) = output else { return Ok(None) };
        self.infer(batch)?;
        let found = self.search(&output, batch, conf).map_err(|error| words_of(&error))?;
        let of_slot = |slot| match slot {
            SlotBoxes::Found(boxes) => Some(boxes),
            SlotBoxes::TooMany => None,
        };
        Ok(found.into_iter().map(of_slot).collect())
    }

    fn infer(&mut self, batch: usize) -> Result<(), String> {
        self.painter.paint(self.model.input()).map_err(|error| words_of(&error))?;
        self.model.run(batch)
    }

    fn search(&mut self, output: &OutputHead, batch: usize, conf: f32) -> Result<Vec<SlotBoxes>, GpuError> {
        let _work = GpuWork::begin();
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(CandidateReader::new(self.stream.context())?),
        };
        reader.start(&self.stream, output, batch, conf)?;
        reader.finish(&self.stream)
    }
}
