//! Black regions of a picture, by the kernel `mask`.

use super::context::{CudaStream, DeviceBuffer};
use super::error::GpuError;
use super::frame::DeviceFrame;
use super::launch::{ArgumentBytes, Kernel, int};

const THREADS: u32 = 128;

/// Samples of a row of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleSpan {
    /// The row.
    pub row: u32,
    /// The first sample.
    pub from: u32,
    /// The sample after the last.
    pub to: u32,
}

/// The black samples of a picture. Made by the CPU's mask painter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskSpans {
    /// Samples of the luma.
    pub luma: Vec<SampleSpan>,
    /// Samples of both chroma planes.
    pub chroma: Vec<SampleSpan>,
}

/// [`MaskSpans`] in device memory. One serves all pictures of a size.
#[derive(Debug)]
pub struct DeviceMask {
    size_px: (u32, u32),
    /// `None` where nothing is black.
    spans: Option<DeviceBuffer>,
    count: u32,
    luma_count: usize,
}

impl DeviceMask {
    /// Copies the spans for pictures of `size_px` to the GPU and waits for it.
    ///
    /// # Errors
    ///
    /// A span leads out of the picture, or the driver's.
    pub fn upload(stream: &CudaStream, size_px: (u32, u32), spans: &MaskSpans) -> Result<Self, GpuError> {
        let half_px = (size_px.0.div_ceil(2), size_px.1.div_ceil(2));
        let inside = |spans: &[SampleSpan], (columns, rows): (u32, u32)| {
            spans.iter().all(|span| span.row < rows && span.from <= span.to && span.to <= columns)
        };
        if !inside(&spans.luma, size_px) || !inside(&spans.chroma, half_px) {
            return Err(GpuError::Argument("a mask on the GPU leads out of the picture"));
        }
        let mut bytes = ArgumentBytes::default();
        for SampleSpan { row, from, to } in spans.luma.iter().chain(&spans.chroma) {
            bytes.int(int(*row as usize)).int(int(*from as usize)).int(int(*to as usize));
        }
        let count = spans.luma.len() + spans.chroma.len();
        let count = u32::try_from(count).map_err(|_| GpuError::Argument("a mask has too many spans"))?;
        let mut mask = Self { size_px, spans: None, count, luma_count: spans.luma.len() };
        if count > 0 {
            let buffer = DeviceBuffer::new(stream.context(), bytes.as_bytes().len())?;
            stream.upload_now(bytes.as_bytes(), buffer.all())?;
            mask.spans = Some(buffer);
        }
        Ok(mask)
    }

    /// Puts the blackening of a picture into the stream: luma becomes `black` (0 in full range, 16 in limited range), chroma 128.
    ///
    /// # Errors
    ///
    /// The picture has another size than the mask, or is of another GPU, or the driver's.
    pub fn paint(&self, stream: &CudaStream, frame: &DeviceFrame, black: u8) -> Result<(), GpuError> {
        if frame.size_px() != self.size_px || frame.context() != stream.context() {
            return Err(GpuError::Argument("a picture on the GPU has another size than its mask"));
        }
        let Some(spans) = &self.spans else { return Ok(()) };
        let mut arguments = ArgumentBytes::default();
        frame.write_arguments(&mut arguments);
        arguments.address(spans.all().address).int(int(self.luma_count)).int(black.into());
        stream.launch(Kernel::Mask, [self.count, 1, 1], [THREADS, 1], &arguments)
    }
}
