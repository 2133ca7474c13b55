//! A model's input tensor, into whose slots pictures are painted.

use half::f16;

use super::encoding::InputEncoding;
use super::letterbox::Letterbox;
use super::model::InputShape;
use super::onnx::Tensor;
use super::resample::{PADDING, PictureFault, Resampler, TensorElement, fill_padding_with};
use crate::media::Frame;

/// The input of a batch, with what painting it needs.
pub(super) struct PaintedInput {
    tensor: Tensor,
    resampler: Resampler,
    encoding: InputEncoding,
    /// The letterbox of the last picture in each slot of the tensor, whose padding is already written.
    slots: Vec<Option<Letterbox>>,
}

impl PaintedInput {
    /// Returns an input of `slots` pictures, all of them grey.
    pub(super) fn new(input: InputShape, slots: usize, encoding: InputEncoding) -> Self {
        Self {
            tensor: grey(input, slots, encoding),
            resampler: Resampler::new(input.side_px()).encoded(encoding),
            encoding,
            slots: vec![None; slots],
        }
    }

    /// Returns the number of slots.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Paints a frame into a slot.
    pub(super) fn paint(&mut self, slot: usize, frame: &Frame) -> Result<Letterbox, PictureFault> {
        let greys = self.encoding.grey(PADDING);
        let place = Slot { index: slot, padded: &mut self.slots[slot], greys };
        match &mut self.tensor {
            Tensor::F32(all) => place.paint(&mut self.resampler, all, frame),
            Tensor::F16(all) => place.paint(&mut self.resampler, all, frame),
        }
    }
}

/// A slot of the tensor for a picture.
struct Slot<'a> {
    index: usize,
    /// The letterbox of the last picture in the slot.
    padded: &'a mut Option<Letterbox>,
    /// The padding's grey in each channel, in the encoding of the model.
    greys: [f32; 3],
}

impl Slot<'_> {
    fn paint<T: TensorElement>(
        self,
        resampler: &mut Resampler,
        all: &mut [T],
        frame: &Frame,
    ) -> Result<Letterbox, PictureFault> {
        let elements = resampler.elements();
        let out = &mut all[self.index * elements..][..elements];
        let letterbox = resampler.write(&frame.surface.view()?, out)?;
        // The padding changes only with the size of the picture.
        if self.padded.replace(letterbox) != Some(letterbox) {
            fill_padding_with(self.greys, &letterbox, out);
        }
        Ok(letterbox)
    }
}

/// An input all of padding.
fn grey(input: InputShape, slots: usize, encoding: InputEncoding) -> Tensor {
    let plane = input.width_px as usize * input.height_px as usize;
    let levels = encoding.grey(PADDING);
    let all = (0..slots).flat_map(|_| levels).flat_map(|level| std::iter::repeat_n(level, plane));
    if input.half { Tensor::F16(all.map(f16::of).collect()) } else { Tensor::F32(all.collect()) }
}
