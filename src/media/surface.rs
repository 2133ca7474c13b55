//! The memory of a decoded picture.

use gpu::GpuError;

use super::{CudaPicture, HostPicture, Yuv420};

/// The picture of a frame, where its decoder left it.
#[derive(Debug)]
pub enum Surface {
    /// Planes in host memory.
    Host(HostPicture),
    /// Planes in the memory of a GPU.
    Cuda(CudaPicture),
}

impl Surface {
    /// Returns width and height, px.
    #[must_use]
    pub fn size_px(&self) -> (u32, u32) {
        match self {
            Self::Host(picture) => (picture.width_px, picture.height_px),
            Self::Cuda(picture) => picture.frame().size_px(),
        }
    }

    /// Returns the planes in host memory. The first call for a picture on a GPU copies it, and blocks for about a millisecond.
    ///
    /// # Errors
    /// The GPU's; never for a picture that is in host memory.
    pub fn view(&self) -> Result<Yuv420<'_>, GpuError> {
        match self {
            Self::Host(picture) => Ok(picture.view()),
            Self::Cuda(picture) => picture.host().map(HostPicture::view),
        }
    }
}
