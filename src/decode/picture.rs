//! Makes pictures of FFmpeg's frames: without a copy if possible, else copied or converted.

use ffmpeg_next::color::{Range, Space};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::software::scaling;

use super::hw_device::{is_on_gpu, shown_height_px};
use super::mask::{MaskPainter, Masks};
use super::nvdec::{GpuCopy, GpuCopyError, SurfaceCopier};
use crate::media::{Color, CudaPicture, HostPicture, Matrix, Surface};

/// The height from which a picture without a stated matrix counts as BT.709, px.
const HD_HEIGHT_PX: u32 = 720;

/// The picture of a frame that the decoder returned.
pub(super) enum DecodedPicture {
    /// FFmpeg's frame, in host memory or in a surface of NVDEC's.
    Ffmpeg(Video),
    /// A copy in host memory from the GPU, without masks.
    Copied(HostPicture),
    /// A copy on the GPU, with masks.
    OnGpu(CudaPicture),
    /// A copy from the GPU that failed, with the reason.
    Failed(FramePictureError),
    /// None: the frame was on the GPU, and the sampler will not pick it.
    Unneeded,
}

/// The reason why a frame has no picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum FramePictureError {
    /// FFmpeg cannot convert it.
    #[error(transparent)]
    Convert(#[from] ffmpeg_next::Error),
    /// It cannot be copied from the GPU.
    #[error(transparent)]
    Copy(#[from] GpuCopyError),
    /// It was left on the GPU.
    #[error("it was not copied from the GPU, because its time did not show that it would be sampled")]
    NotCopied,
}

/// Makes pictures with the camera's masks in black.
#[derive(Default)]
pub(super) struct PictureMaker {
    /// The converter of the last format and size.
    converter: Option<PictureConverter>,
    masks: Option<MaskPainter>,
}

struct PictureConverter {
    from: scaling::context::Definition,
    context: scaling::Context,
}

impl PictureMaker {
    /// Sets the regions that are black in each picture.
    pub(super) fn set_masks(&mut self, masks: Option<Masks>) {
        self.masks = masks.map(MaskPainter::new);
    }

    /// Returns the picture, without a copy if it is 8-bit 4:2:0 in host memory and nothing is masked.
    pub(super) fn make(
        &mut self,
        picture: DecodedPicture,
        copier: Option<&mut SurfaceCopier>,
    ) -> Result<Surface, FramePictureError> {
        let picture = match self.free_surface(picture, copier, true) {
            DecodedPicture::Ffmpeg(frame) => {
                let color = color_of(&frame);
                self.convert(frame, color)?
            }
            DecodedPicture::Copied(picture) => picture,
            DecodedPicture::OnGpu(picture) => return Ok(Surface::Cuda(picture)),
            DecodedPicture::Failed(error) => return Err(error),
            DecodedPicture::Unneeded => return Err(FramePictureError::NotCopied),
        };
        Ok(Surface::Host(match &mut self.masks {
            Some(masks) => masks.paint(&picture),
            None => picture,
        }))
    }

    /// Takes the picture out of NVDEC's surfaces, if it is in one; without a copy if it is not needed.
    pub(super) fn free_surface(
        &mut self,
        picture: DecodedPicture,
        copier: Option<&mut SurfaceCopier>,
        is_needed: bool,
    ) -> DecodedPicture {
        match picture {
            DecodedPicture::Ffmpeg(frame) if is_on_gpu(&frame) => match copier {
                Some(copier) if is_needed => {
                    self.copied(&frame, copier).unwrap_or_else(DecodedPicture::Failed)
                }
                _ => DecodedPicture::Unneeded,
            },
            other => other,
        }
    }

    fn copied(
        &mut self,
        frame: &Video,
        copier: &mut SurfaceCopier,
    ) -> Result<DecodedPicture, FramePictureError> {
        let color = color_of(frame);
        Ok(match copier.copy(frame, color, self.masks.as_mut())? {
            GpuCopy::OnGpu(picture) => DecodedPicture::OnGpu(picture),
            GpuCopy::Host(picture) => DecodedPicture::Copied(picture),
            GpuCopy::Other(picture) => DecodedPicture::Copied(self.convert(picture, color)?),
        })
    }

    fn convert(&mut self, frame: Video, color: Color) -> Result<HostPicture, ffmpeg_next::Error> {
        if HostPicture::takes(&frame) {
            return HostPicture::from_ffmpeg(frame, color).ok_or(ffmpeg_next::Error::InvalidData);
        }
        let mut planar = Video::empty();
        self.converter_for(&frame)?.run(&frame, &mut planar)?;
        HostPicture::from_ffmpeg(planar, color).ok_or(ffmpeg_next::Error::InvalidData)
    }

    fn converter_for(&mut self, frame: &Video) -> Result<&mut scaling::Context, ffmpeg_next::Error> {
        let (format, width, height) = (frame.format(), frame.width(), frame.height());
        let from = scaling::context::Definition { format, width, height };
        let converter = match self.converter.take().filter(|converter| converter.from == from) {
            Some(converter) => converter,
            None => PictureConverter { from, context: open_converter(&from)? },
        };
        Ok(&mut self.converter.insert(converter).context)
    }
}

fn open_converter(from: &scaling::context::Definition) -> Result<scaling::Context, ffmpeg_next::Error> {
    let (width, height) = (from.width, from.height);
    // A target of the same range leaves the sample values as they are.
    let to = if swscale_assumes_full_range(from.format) { Pixel::YUVJ420P } else { Pixel::YUV420P };
    scaling::Context::get(from.format, width, height, to, width, height, scaling::Flags::BILINEAR)
}

/// Returns true if swscale assumes full range for a format, whatever the frame says.
fn swscale_assumes_full_range(format: Pixel) -> bool {
    matches!(
        format,
        Pixel::YUVJ420P
            | Pixel::YUVJ422P
            | Pixel::YUVJ444P
            | Pixel::YUVJ440P
            | Pixel::GRAY8
            | Pixel::GRAY10LE
            | Pixel::GRAY12LE
    )
}

/// Returns the color of the picture that [`PictureMaker::make`] returns for `frame`.
fn color_of(frame: &Video) -> Color {
    // The J formats are full range by definition, and FFmpeg does not always set color_range for them.
    let is_full_range_format = matches!(frame.format(), Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P);
    match frame.color_space() {
        // matrix_coefficients 0 (RGB, H.264 Table E-5): swscale converts it to BT.601 in limited range.
        Space::RGB => Color { matrix: Matrix::Bt601, full_range: false },
        space => Color {
            matrix: matrix_of(space, shown_height_px(frame)),
            full_range: is_full_range_format || frame.color_range() == Range::JPEG,
        },
    }
}

fn matrix_of(space: Space, height_px: u32) -> Matrix {
    match space {
        // The resampler has two matrices; for BT.2020 the one of BT.709 is the closer.
        Space::BT709 | Space::BT2020NCL | Space::BT2020CL => Matrix::Bt709,
        Space::BT470BG | Space::SMPTE170M | Space::SMPTE240M | Space::FCC => Matrix::Bt601,
        // Unspecified: by convention SD is BT.601 and HD is BT.709.
        _ if height_px >= HD_HEIGHT_PX => Matrix::Bt709,
        _ => Matrix::Bt601,
    }
}
