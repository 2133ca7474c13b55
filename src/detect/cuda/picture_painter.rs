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
    pictures: Vec<BatchPicture>,
    /// The reason for which a picture of the next batch is not on its way.
    fault: Option<GpuError>,
    memory: PictureMemory,
}

/// A picture of a batch.
struct BatchPicture {
    origin: PictureOrigin,
    color: ColorFactors,
}

enum PictureOrigin {
    /// In the memory of this GPU, by its decoder.
    Decoded(Arc<DeviceFrame>),
    /// On its way from host memory.
    Uploaded { frame: DeviceFrame, upload: InFlight<PinnedBuffer> },
}

impl BatchPicture {
    fn frame(&self) -> &DeviceFrame {
        match &self.origin {
            PictureOrigin::Decoded(frame) => frame,
            PictureOrigin::Uploaded { frame, .. } => frame,
        }
    }
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

    /// Takes a frame for a slot, and starts to copy it unless it is on this GPU; slot 0 begins a batch.
    ///
    /// # Errors
    /// The picture cannot be read. A failure of the GPU is the error of [`Self::paint`].
    pub(super) fn add(&mut self, slot: usize, frame: &Frame) -> Result<Letterbox, PictureFault> {
        if slot == 0 {
            self.recycle();
        }
        let frame_px = frame.surface.size_px();
        let letterbox =
            Letterbox::fit(frame_px, self.side_px).ok_or(PictureFault::Empty(frame_px.0, frame_px.1))?;
        let added = match &frame.surface {
            Surface::Cuda(picture) if picture.frame().context() == self.stream.context() => {
                let (origin, color) = (PictureOrigin::Decoded(Arc::clone(picture.frame())), picture.color());
                self.prepare_tables(letterbox).map(|()| BatchPicture { origin, color: color_factors(color) })
            }
            elsewhere => {
                let view = elsewhere.view()?;
                check_planes(&view)?;
                self.upload(&view, letterbox)
            }
        };
        match added {
            Ok(picture) => self.pictures.push(picture),
            Err(error) => self.fault = Some(error),
        }
        Ok(letterbox)
    }

    fn upload(&mut self, view: &Yuv420<'_>, letterbox: Letterbox) -> Result<BatchPicture, GpuError> {
        self.prepare_tables(letterbox)?;
        let _work = GpuWork::begin();
        let frame = self.memory.frame(&self.stream, letterbox.frame_px)?;
        let staging = self.memory.staging(&self.stream, frame.bytes())?;
        let planes = FramePlanes { planes: view.planes, strides: view.strides };
        let upload = frame.upload(&self.stream, &planes, staging)?;
        let origin = PictureOrigin::Uploaded { frame, upload };
        Ok(BatchPicture { origin, color: color_factors(view.color) })
    }

    fn prepare_tables(&mut self, letterbox: Letterbox) -> Result<(), GpuError> {
        if !self.tables.contains_key(&letterbox.frame_px) {
            let _work = GpuWork::begin();
            let tables = DeviceTables::upload(&self.stream, &resample_tables(letterbox))?;
            self.tables.insert(letterbox.frame_px, tables);
        }
        Ok(())
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
        for picture in &self.pictures {
            let (frame, color) = (picture.frame(), picture.color);
            let tables = self.tables.get(&frame.size_px());
            let tables = tables.ok_or(GpuError::Argument("a picture on the GPU has no tables"))?;
            jobs.push(PaintJob { frame, tables, color });
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

    /// Gives the memory of the pictures back, once nothing reads it any more.
    fn recycle(&mut self) {
        let _work = GpuWork::begin();
        self.fault = None;
        if self.tables.len() > MAX_TABLES {
            self.tables.clear();
        }
        if self.pictures.iter().any(|picture| matches!(picture.origin, PictureOrigin::Decoded(_))) {
            // The decoder writes into them again. The batch has ended, unless it failed: then its kernels may run, and its failure
            // has been reported.
            let _done = self.stream.synchronize();
        }
        for BatchPicture { origin, .. } in self.pictures.drain(..) {
            // A failed copy is reported by the batch, whose stream it is in; its memory is not used again.
            if let PictureOrigin::Uploaded { frame, upload } = origin
                && let Ok(staging) = upload.wait()
            {
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

    use gpu::{CudaContext, CudaDriver, DeviceBuffer, LUMA_CELLS};
    use test_support::gpu::FakeDriver;

    use super::*;
    use crate::detect::noise::Noise;
    use crate::detect::onnx::Tensor;
    use crate::detect::painted_input::PaintedInput;
    use crate::media::{CameraId, Color, CudaPicture, Fragment, HostPicture, Matrix, MediaMs};

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

    /// Returns the frame as a decoder on the GPU of `stream` leaves it there.
    fn decoded(frame: Frame, stream: &Arc<CudaStream>) -> Frame {
        let view = frame.surface.view().unwrap();
        let size_px = (view.width_px, view.height_px);
        let memory = DeviceFrame::new(stream.context(), size_px, ChromaLayout::Interleaved).unwrap();
        let staging = PinnedBuffer::new(stream.context(), memory.bytes()).unwrap();
        let planes = FramePlanes { planes: view.planes, strides: view.strides };
        memory.upload(stream, &planes, staging).unwrap().wait().unwrap();
        let luma = Box::new([0; LUMA_CELLS]);
        let picture =
            CudaPicture::new(Arc::new(memory), view.color, luma, Arc::clone(stream), Arc::new(|_| {}));
        Frame { surface: Surface::Cuda(picture), ..frame }
    }

    #[test]
    fn a_picture_is_painted_where_its_decoder_left_it() {
        let fake = FakeDriver::new();
        let driver = CudaDriver::load_from(&fake.library()).unwrap();
        let of_gpu = |index| {
            let context = CudaContext::retain(&driver, index).unwrap();
            Arc::new(CudaStream::new(&context).unwrap())
        };
        let (here, there) = (of_gpu(0), of_gpu(1));
        let input = InputShape { batch: Some(3), width_px: 32, height_px: 24, half: false };
        let mut by_gpu = PicturePainter::new(Arc::clone(&here), input, InputEncoding::default());
        let mut by_cpu = PaintedInput::new(input, 3, InputEncoding::default());
        let memory = DeviceBuffer::new(&here.context().clone(), 4 * 3 * 3 * 32 * 24).unwrap();
        for batch in 0..2 {
            let frames = [decoded(frame(batch), &here), frame(batch + 1), decoded(frame(batch + 2), &there)];
            for (slot, of_batch) in frames.iter().enumerate() {
                let place = by_gpu.add(slot, of_batch).unwrap();
                assert_eq!(place, by_cpu.paint(slot, of_batch).unwrap());
            }
            let uploaded = |picture: &BatchPicture| matches!(picture.origin, PictureOrigin::Uploaded { .. });
            assert_eq!(by_gpu.pictures.iter().map(uploaded).collect::<Vec<_>>(), [false, true, true]);
            drop(frames);
            by_gpu.paint(memory.all()).unwrap();
            let Tensor::F32(want) = by_cpu.tensor() else { unreachable!("the input is f32") };
            let mut bytes = vec![0; 4 * want.len()];
            here.download_now(memory.all(), &mut bytes).unwrap();
            let want: Vec<u8> = want.iter().flat_map(|number| number.to_ne_bytes()).collect();
            assert!(bytes == want, "batch {batch}");
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
