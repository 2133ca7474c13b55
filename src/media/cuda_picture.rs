//! A picture in the memory of a GPU.

use std::sync::{Arc, OnceLock};

use gpu::{CudaStream, DeviceFrame, GpuError, GpuWork, LUMA_CELLS};

use super::{Color, HostPicture};

/// An 8-bit YUV 4:2:0 picture in the memory of a GPU, complete and with its masks in black.
///
/// It is copied to host memory when it is first read there, and at most once.
pub struct CudaPicture {
    frame: Arc<DeviceFrame>,
    color: Color,
    luma: Box<[u8; LUMA_CELLS]>,
    /// The stream of its decoder, on which it is copied.
    stream: Arc<CudaStream>,
    /// Called with an error of the copy by which the GPU is lost.
    on_loss: GpuLossListener,
    host: OnceLock<Result<HostPicture, GpuError>>,
}

/// A function that reports the loss of a GPU by the error that shows it.
pub type GpuLossListener = Arc<dyn Fn(&GpuError) + Send + Sync>;

impl CudaPicture {
    /// Returns the picture in `frame`, with the average luma of each cell of the motion gate's grid.
    pub(crate) fn new(
        frame: Arc<DeviceFrame>,
        color: Color,
        luma: Box<[u8; LUMA_CELLS]>,
        stream: Arc<CudaStream>,
        on_loss: GpuLossListener,
    ) -> Self {
        Self { frame, color, luma, stream, on_loss, host: OnceLock::new() }
    }

    /// Returns the picture's memory. It is kept as long as the GPU reads it.
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
        let copied = self.host.get_or_init(|| {
            self.download().inspect_err(|error| {
                if error.is_sticky() {
                    (self.on_loss)(error);
                }
            })
        });
        copied.as_ref().map_err(Clone::clone)
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
