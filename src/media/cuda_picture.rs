//! A picture in the memory of a GPU.

use std::sync::{Arc, OnceLock};

use gpu::{CudaStream, DeviceFrame, GpuError, GpuWork, LUMA_CELLS};

use super::{Color, HostPicture};

/// An 8-bit YUV 4:2:0 picture in the memory of a GPU, complete and with its masks in black.
///
/// It is copied to host memory when somebody first reads it there, and at most once.
pub struct CudaPicture {
    frame: Arc<DeviceFrame>,
    color: Color,
    luma: Box<[u8; LUMA_CELLS]>,
    /// The stream of its decoder, on which it is copied.
    stream: Arc<CudaStream>,
    host: OnceLock<Result<HostPicture, GpuError>>,
}

impl CudaPicture {
    /// Returns the picture in `frame`, with the average luma of each cell of the motion gate's grid.
    pub(crate) fn new(
        frame: Arc<DeviceFrame>,
        color: Color,
        luma: Box<[u8; LUMA_CELLS]>,
        stream: Arc<CudaStream>,
    ) -> Self {
        Self { frame, color, luma, stream, host: OnceLock::new() }
    }

    /// Returns the picture's memory. Whoever has the GPU read it keeps it until that is done.
    pub(crate) fn frame(&self) -> &Arc<DeviceFrame> {
        &self.frame
    }

    /// Returns the color coding.
    pub(crate) fn color(&self) -> Color {
        self.color
    }

    /// Returns the average luma of each cell of the motion gate's grid, row by row.
    pub(crate) fn luma_cells(&self) -> &[u8; LUMA_CELLS] {
        &self.luma
    }

    /// Returns the picture in host memory. The first call copies it, which takes about a millisecond.
    ///
    /// # Errors
    /// The GPU's, also those of earlier work of its decoder.
    pub(super) fn host(&self) -> Result<&HostPicture, GpuError> {
        self.host.get_or_init(|| self.download()).as_ref().map_err(Clone::clone)
    }

    fn download(&self) -> Result<HostPicture, GpuError> {
        let planes = {
            let _work = GpuWork::begin();
            self.frame.download_now(&self.stream)?
        };
        let (width, half) = (self.frame.size_px().0 as usize, self.frame.size_px().0.div_ceil(2) as usize);
        HostPicture::from_planes(self.frame.size_px(), planes, [width, half, half], self.color)
            .ok_or(GpuError::Argument("a picture of the GPU has planes of another size"))
    }
}

impl std::fmt::Debug for CudaPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.frame.size_px();
        write!(f, "CudaPicture({width}x{height}, {:?}, GPU {})", self.color, self.stream.context().ordinal())
    }
}
