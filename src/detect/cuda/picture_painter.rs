//! The pictures of a batch on their way to a model's input on a GPU.

use std::collections::BTreeMap;
use std::sync::Arc;

use gpu::{
    ChannelEncoding, ChromaLayout, ColorFactors, CudaStream, DeviceFrame, DeviceSlice, DeviceTables,
    ElementType, FramePlanes, GpuError, GpuWork, InFlight, MAX_FRAMES, PaintJob, PinnedBuffer, paint,
};

use crate::detect::device_tables::{channel_encoding, color_factors, resample_tables};
use crate::detect::encoding::InputEncoding;
use crate::detect::letterbox::Letterbox;
use crate::detect::model::InputShape;
use crate::detect::resample::{PictureFault, check_planes};
use crate::media::{Frame, Surface, Yuv420};

/// The number of picture sizes from which on no tables are kept for the next batch.
const MAX_TABLES: usize = 16;

/// Copies pictures to a GPU and has its kernel paint them.
pub(super) struct PicturePainter {
    stream: Arc<CudaStream>,
    side_px: (u32, u32),
    element: ElementType,
    encoding: ChannelEncoding,
    /// By width and height of the picture, px.
    tables: BTreeMap<(u32, u32), DeviceTables>,
    /// The pictures of the next batch, in the order of its slots.
    pictures: Vec<UploadedPicture>,
    /// The reason for which a picture of the next batch is not on its way.
    fault: Option<GpuError>,
    memory: PictureMemory,
}

/// A picture on its way to the GPU.
struct UploadedPicture {
    frame: DeviceFrame,
    color: ColorFactors,
    upload: InFlight<PinnedBuffer>,
}

/// Memory for pictures that is kept for later ones: to allocate and to free it stops the GPU.
#[derive(Default)]
struct PictureMemory {
    frames: Vec<DeviceFrame>,
    staging: Vec<PinnedBuffer>,
}

impl PicturePainter {
    /// Returns a painter of inputs of this shape.
    pub(super) fn new(stream: Arc<CudaStream>, input: InputShape, encoding: InputEncoding) -> Self {
        Self {
            stream,
            side_px: input.side_px(),
            element: if input.half { ElementType::F16 } else { ElementType::F32 },
            encoding: channel_encoding(&encoding),
            tables: BTreeMap::new(),
            pictures: Vec::new(),
            fault: None,
            memory: PictureMemory::default(),
        }
    }

    /// Starts to copy a frame for a slot; slot 0 begins a batch.
    ///
    /// # Errors
    /// The picture cannot be read. A failure of the GPU is the error of [`Self::paint`].
    pub(super) fn add(&mut self, slot: usize, frame: &Frame) -> Result<Letterbox, PictureFault> {
        let _work = GpuWork::begin();
        if slot == 0 {
            self.recycle();
        }
        let Surface::Host(picture) = &frame.surface;
        let view = picture.view();
        check_planes(&view)?;
        let (width, height) = (view.width_px, view.height_px);
        let letterbox =
            Letterbox::fit((width, height), self.side_px).ok_or(PictureFault::Empty(width, height))?;
        match self.upload(&view, letterbox) {
            Ok(picture) => self.pictures.push(picture),
            Err(error) => self.fault = Some(error),
        }
        Ok(letterbox)
    }

    fn upload(&mut self, view: &Yuv420<'_>, letterbox: Letterbox) -> Result<UploadedPicture, GpuError> {
        if !self.tables.contains_key(&letterbox.frame_px) {
            let tables = DeviceTables::upload(&self.stream, &resample_tables(letterbox))?;
            self.tables.insert(letterbox.frame_px, tables);
        }
        let frame = self.memory.frame(&self.stream, letterbox.frame_px)?;
        let staging = self.memory.staging(&self.stream, frame.bytes())?;
        let planes = FramePlanes { planes: view.planes, strides: view.strides };
        let upload = frame.upload(&self.stream, &planes, staging)?;
        Ok(UploadedPicture { frame, color: color_factors(view.color), upload })
    }

    /// Has the pictures of the batch painted into `input`, padding included.
    ///
    /// # Errors
    /// The GPU's, also of [`Self::add`].
    pub(super) fn paint(&mut self, input: DeviceSlice) -> Result<(), GpuError> {
        let _work = GpuWork::begin();
        if let Some(error) = self.fault.take() {
            return Err(error);
        }
        let mut jobs = Vec::with_capacity(self.pictures.len());
        for UploadedPicture { frame, color, .. } in &self.pictures {
            let tables = self.tables.get(&frame.size_px());
            let tables = tables.ok_or(GpuError::Argument("a picture on the GPU has no tables"))?;
            jobs.push(PaintJob { frame, tables, color: *color });
        }
        // A launch takes a limited number of pictures, and a graph may fix a larger batch.
        let mut rest = input;
        for jobs in jobs.chunks(MAX_FRAMES) {
            paint(&self.stream, jobs, &self.encoding, self.element, rest)?;
            let painted: usize = jobs.iter().map(|job| job.tables.input_bytes(self.element)).sum();
            rest = rest
                .part(painted, rest.bytes - painted)
                .ok_or(GpuError::Argument("a batch is larger than its input"))?;
        }
        Ok(())
    }

    /// Takes the memory of the pictures back, once their copies are done.
    fn recycle(&mut self) {
        self.fault = None;
        if self.tables.len() > MAX_TABLES {
            self.tables.clear();
        }
        for UploadedPicture { frame, upload, .. } in self.pictures.drain(..) {
            // A failed copy is reported by the batch, whose stream it is in; its memory is not used again.
            if let Ok(staging) = upload.wait() {
                self.memory.keep(frame, staging);
            }
        }
    }
}

impl PictureMemory {
    /// The maximum number of pictures: two batches, so that cameras of several sizes take turns without allocation.
    const MAX_KEPT: usize = 2 * MAX_FRAMES;

    fn frame(&mut self, stream: &CudaStream, size_px: (u32, u32)) -> Result<DeviceFrame, GpuError> {
        match self.frames.iter().position(|frame| frame.size_px() == size_px) {
            Some(at) => Ok(self.frames.swap_remove(at)),
            None => DeviceFrame::new(stream.context(), size_px, ChromaLayout::Planar),
        }
    }

    fn staging(&mut self, stream: &CudaStream, bytes: usize) -> Result<PinnedBuffer, GpuError> {
        match self.staging.iter().position(|staging| staging.len() >= bytes) {
            Some(at) => Ok(self.staging.swap_remove(at)),
            None => PinnedBuffer::new(stream.context(), bytes),
        }
    }

    fn keep(&mut self, frame: DeviceFrame, staging: PinnedBuffer) {
        // The oldest goes first: it may be of a size that no camera has any more.
        if self.frames.len() == Self::MAX_KEPT {
            self.frames.remove(0);
        }
        self.frames.push(frame);
        if self.staging.len() == Self::MAX_KEPT {
            self.staging.remove(0);
        }
        self.staging.push(staging);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gpu::{CudaContext, CudaDriver, DeviceBuffer};
    use test_support::gpu::FakeDriver;

    use super::*;
    use crate::detect::noise::Noise;
    use crate::detect::onnx::Tensor;
    use crate::detect::painted_input::PaintedInput;
    use crate::media::{CameraId, Color, Fragment, HostPicture, Matrix, MediaMs};

    /// Returns a frame of noise; each `seed` has another size.
    fn frame(seed: u32) -> Frame {
        let color = Color { matrix: Matrix::Bt709, full_range: false };
        let Noise { size, planes, strides, color } =
            Noise::new((20 + seed, 40 - seed), [0; 3], seed.into(), color);
        Frame {
            camera: CameraId::new("front"),
            fragment: Arc::new(Fragment { number: Arc::from("1"), producer_ms: None, server_ms: None }),
            index: 0,
            media: MediaMs(0),
            arrived: Instant::now(),
            surface: Surface::Host(HostPicture::from_planes(size, planes, strides, color).unwrap()),
        }
    }

    #[test]
    fn a_batch_of_several_launches_equals_that_of_the_cpu() {
        let fake = FakeDriver::new();
        let context = CudaContext::retain(&CudaDriver::load_from(&fake.library()).unwrap(), 0).unwrap();
        let stream = Arc::new(CudaStream::new(&context).unwrap());
        let frames = u32::try_from(MAX_FRAMES).unwrap() + 4;
        let slots = frames as usize;
        let input = InputShape { batch: Some(slots), width_px: 32, height_px: 24, half: false };
        let mut by_gpu = PicturePainter::new(Arc::clone(&stream), input, InputEncoding::default());
        let mut by_cpu = PaintedInput::new(input, slots, InputEncoding::default());
        // The second batch takes the memory of the first.
        for first in [0, 1] {
            for slot in 0..slots {
                let frame = frame(first + u32::try_from(slot).unwrap());
                let place = by_gpu.add(slot, &frame).unwrap();
                assert_eq!(place, by_cpu.paint(slot, &frame).unwrap());
            }
            let Tensor::F32(want) = by_cpu.tensor() else { unreachable!("the input is f32") };
            let memory = DeviceBuffer::new(&context, 4 * want.len()).unwrap();
            by_gpu.paint(memory.all()).unwrap();
            let mut bytes = vec![0; 4 * want.len()];
            stream.download_now(memory.all(), &mut bytes).unwrap();
            let want: Vec<u8> = want.iter().flat_map(|number| number.to_ne_bytes()).collect();
            assert!(bytes == want, "batch {first}");
        }
    }
}
