//! Calibration: the float32 model runs on frames, and the ranges of its activations are kept.

use std::collections::HashMap;

use super::plan::QuantizePlan;
use super::rewrite::{ValueRange, quantized, with_range_outputs};
use crate::detect::DetectError;
use crate::detect::model::{InputShape, read_input};
use crate::detect::onnx::Net;
use crate::detect::painted_input::PaintedInput;
use crate::detect::spec::ModelSpec;
use crate::detect::twins::error::TwinError;
use crate::detect::twins::source::TwinSource;
use crate::media::Frame;

/// A float32 model that observes frames and is then quantised.
pub struct Calibrator {
    model: Vec<u8>,
    sha256: String,
    net: Net,
    input: InputShape,
    painted: PaintedInput,
    /// The names of the outputs with the range of each activation: its smallest and its largest value.
    outputs: Vec<String>,
    ranges: Vec<Option<ValueRange>>,
    frames: usize,
}

/// A quantised model and its size.
pub struct QuantizedModel {
    /// The ONNX file.
    pub bytes: Vec<u8>,
    /// Number of quantised convolutions.
    pub convs: usize,
    /// Number of all convolutions.
    pub all_convs: usize,
    /// Number of frames that were observed.
    pub frames: usize,
}

impl Calibrator {
    /// Opens a model with its activations as outputs, on ONNX Runtime's own kernels.
    ///
    /// # Errors
    /// The model cannot be used or quantised.
    pub fn open(spec: &ModelSpec, threads: usize) -> Result<Self, TwinError> {
        let source = TwinSource::read(spec)?;
        let (with_outputs, names) = with_range_outputs(&QuantizePlan::read(&source.content)?);
        let net = source.open(&with_outputs, threads)?;
        let input = read_input(&net.inputs(), net.metadata("imgsz").as_deref());
        let input = input.map_err(|fault| source.faulty(fault))?;
        let painted = PaintedInput::new(input, input.batch.unwrap_or(1), spec.input);
        let ranges = vec![None; names.len()];
        let outputs = names.into_iter().flatten().collect();
        let TwinSource { content: model, sha256, .. } = source;
        Ok(Self { model, sha256, net, input, painted, outputs, ranges, frames: 0 })
    }

    /// Runs the model on a frame and extends the ranges.
    ///
    /// # Errors
    /// The picture cannot be read, or the inference fails.
    pub fn observe(&mut self, frame: &Frame) -> Result<(), TwinError> {
        self.painted.paint(0, frame).map_err(|fault| DetectError::picture(frame, fault))?;
        let (width, height) = self.input.side_px();
        let dims = [self.input.batch.unwrap_or(1), 3, height as usize, width as usize];
        let values = self.net.run_scalars(self.painted.tensor(), dims, &self.outputs);
        let values = values.map_err(TwinError::Inference)?;
        for (range, ends) in self.ranges.iter_mut().zip(values.chunks_exact(2)) {
            let [min, max] = [ends[0], ends[1]];
            // f32::min would drop a NaN, which says that the range means nothing: it stays, and so does the float32 convolution.
            let seen = if min.is_nan() || max.is_nan() {
                ValueRange { min: f32::NEG_INFINITY, max: f32::INFINITY }
            } else {
                ValueRange { min, max }
            };
            *range = Some(range.map_or(seen, |range| range.with(seen)));
        }
        self.frames += 1;
        Ok(())
    }

    /// Returns the quantised model.
    ///
    /// # Errors
    /// No frame was observed, or no convolution has a usable range.
    pub fn quantize(&self) -> Result<QuantizedModel, TwinError> {
        if self.frames == 0 {
            return Err(TwinError::NoFrames);
        }
        let plan = QuantizePlan::read(&self.model)?;
        let ranges: HashMap<&str, ValueRange> = plan
            .activations()
            .into_iter()
            .zip(&self.ranges)
            .filter_map(|(name, range)| Some((name, (*range)?)))
            .collect();
        let made = quantized(&plan, &ranges, &self.sha256);
        if made.convs == 0 {
            return Err(TwinError::NoRange);
        }
        let (all_convs, frames) = (plan.all_convs, self.frames);
        Ok(QuantizedModel { bytes: made.bytes, convs: made.convs, all_convs, frames })
    }
}
