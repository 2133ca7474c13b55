//! Pictures that NVDEC decoded, on their way out of its surfaces: into memory of ours on the same GPU, else into host memory.

use std::sync::Arc;

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use gpu::{CudaStream, DeviceFrame, DeviceMask, FramePool, GpuError, LUMA_CELLS, LumaReader};

use crate::decode::hw_device::{SurfacePlanes, download_by_ffmpeg, surface_planes};
use crate::decode::mask::{MaskPainter, black_luma};
use crate::media::{Color, CudaPicture, GpuLossListener, HostPicture};
use crate::telemetry::decode::PictureLeftGpu;

/// The reason why a picture could not be copied.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum GpuCopyError {
    /// A call of the driver failed.
    #[error("it cannot be copied from its surface: {0}")]
    Gpu(#[from] GpuError),
    /// FFmpeg cannot copy it.
    #[error("FFmpeg cannot copy it from its surface: {0}")]
    Ffmpeg(#[from] ffmpeg_next::Error),
    /// Its planes have another size than it.
    #[error("its planes have another size")]
    Planes,
}

/// A picture that was copied out of a surface.
pub(in super::super) enum GpuCopy {
    /// It stays on the GPU; its masks are black.
    OnGpu(CudaPicture),
    /// 8 bits per sample, in host memory.
    Host(HostPicture),
    /// More than 8 bits per sample or more chroma, in one of FFmpeg's formats in host memory.
    Other(Video),
}

/// Copies the pictures of one decoder out of its surfaces.
pub(in super::super) struct SurfaceCopier {
    stream: Arc<CudaStream>,
    /// `None`: the GPU's kernels cannot be used, so pictures go to host memory.
    on_gpu: Option<PicturesOnGpu>,
    /// True if the last picture could not be copied on the GPU.
    has_failed: bool,
}

/// The memory and the tables of pictures that stay on the GPU.
struct PicturesOnGpu {
    pool: FramePool,
    luma: LumaReader,
    on_loss: GpuLossListener,
    /// The masks for the size of the last picture.
    mask: Option<((u32, u32), DeviceMask)>,
}

impl SurfaceCopier {
    /// Returns the copier of a decoder that works on `stream`; with `pool`, its pictures stay on the GPU, and `on_loss` is called when one
    /// of them shows that the GPU is lost.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn new(
        stream: Arc<CudaStream>,
        pool: Option<&FramePool>,
        on_loss: GpuLossListener,
    ) -> Result<Self, GpuError> {
        let on_gpu = pool.map(|pool| {
            let luma = LumaReader::new(stream.context())?;
            Ok(PicturesOnGpu { pool: pool.clone(), luma, on_loss, mask: None })
        });
        Ok(Self { on_gpu: on_gpu.transpose()?, stream, has_failed: false })
    }

    /// Returns the stream of the decoder.
    pub(super) fn stream(&self) -> &CudaStream {
        &self.stream
    }

    /// Copies a picture, and waits until its surface is free. The masks are black where the copy stays on the GPU.
    ///
    /// # Errors
    /// See [`GpuCopyError`].
    pub(in super::super) fn copy(
        &mut self,
        frame: &Video,
        color: Color,
        masks: Option<&mut MaskPainter>,
    ) -> Result<GpuCopy, GpuCopyError> {
        let Some(surface) = surface_planes(frame) else {
            return Ok(GpuCopy::Other(download_by_ffmpeg(frame)?));
        };
        if surface.format == Pixel::NV12
            && let Some(pictures) = &mut self.on_gpu
        {
            match pictures.copy(&self.stream, &surface, color, masks) {
                Ok(copied) => {
                    self.has_failed = false;
                    return Ok(GpuCopy::OnGpu(copied));
                }
                Err(error) => self.check_failure(error)?,
            }
        }
        self.copy_to_host(&surface, color)
    }

    /// Returns the error if the GPU is lost. Another one, mostly that its memory is full, is logged once.
    fn check_failure(&mut self, error: GpuError) -> Result<(), GpuError> {
        if error.is_sticky() {
            return Err(error);
        }
        if !std::mem::replace(&mut self.has_failed, true) {
            let gpu = self.stream.context().ordinal();
            PictureLeftGpu { gpu, reason: &error.to_string() }.emit();
        }
        Ok(())
    }

    /// Copies a picture to host memory, without masks.
    fn copy_to_host(&self, surface: &SurfacePlanes, color: Color) -> Result<GpuCopy, GpuCopyError> {
        let mut planes = surface.planes.map(|plane| vec![0; plane.row_bytes * plane.rows]);
        for (plane, copy) in surface.planes.iter().zip(&mut planes) {
            self.stream.download_rows_now(plane, copy)?;
        }
        let [luma, chroma] = planes;
        match surface.format {
            Pixel::P010LE => Ok(GpuCopy::Other(ten_bit(surface.size_px, &luma, &chroma))),
            _ => planar(surface.size_px, luma, &chroma, color).map(GpuCopy::Host).ok_or(GpuCopyError::Planes),
        }
    }
}

impl PicturesOnGpu {
    fn copy(
        &mut self,
        stream: &Arc<CudaStream>,
        surface: &SurfacePlanes,
        color: Color,
        masks: Option<&mut MaskPainter>,
    ) -> Result<CudaPicture, GpuError> {
        let frame = self.pool.take(surface.size_px)?;
        let filled = self.fill(stream, surface, (&frame, color), masks).inspect_err(|_| {
            // A copy that began must end before its surface and its target are used again.
            let _waited = stream.synchronize();
        });
        let on_loss = Arc::clone(&self.on_loss);
        Ok(CudaPicture::new(frame, color, Box::new(filled?), Arc::clone(stream), on_loss))
    }

    /// Copies the picture into `frame`, blackens its masks, and waits; returns the motion gate's grid.
    fn fill(
        &mut self,
        stream: &CudaStream,
        surface: &SurfacePlanes,
        (frame, color): (&DeviceFrame, Color),
        masks: Option<&mut MaskPainter>,
    ) -> Result<[u8; LUMA_CELLS], GpuError> {
        frame.copy_from(stream, &surface.planes)?;
        if let Some(masks) = masks {
            self.mask_for(stream, surface.size_px, masks)?.paint(stream, frame, black_luma(color))?;
        }
        self.luma.start(stream, &[frame])?;
        // Everything before it in the stream is done as well.
        self.luma.finish()?.pop().ok_or(GpuError::Argument("the GPU averaged no picture"))
    }

    fn mask_for(
        &mut self,
        stream: &CudaStream,
        size_px: (u32, u32),
        masks: &mut MaskPainter,
    ) -> Result<&DeviceMask, GpuError> {
        let mask = match self.mask.take().filter(|(mask_px, _)| *mask_px == size_px) {
            Some(mask) => mask,
            None => (size_px, DeviceMask::upload(stream, size_px, &masks.device_spans(size_px))?),
        };
        Ok(&self.mask.insert(mask).1)
    }
}

/// Returns an NV12 picture with U and V apart.
fn planar(size_px: (u32, u32), luma: Vec<u8>, chroma: &[u8], color: Color) -> Option<HostPicture> {
    let (u, v) = split(chroma);
    let (width, half) = (size_px.0 as usize, size_px.0.div_ceil(2) as usize);
    HostPicture::from_planes(size_px, [luma, u, v], [width, half, half], color)
}

fn split(chroma: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (pairs, _odd) = chroma.as_chunks::<2>();
    (pairs.iter().map(|[u, _]| *u).collect(), pairs.iter().map(|[_, v]| *v).collect())
}

/// Returns a P010 picture, whose samples are in the upper 10 of 16 bits, as planes with samples in the lower 10.
fn ten_bit((width, height): (u32, u32), luma: &[u8], chroma: &[u8]) -> Video {
    let mut video = Video::new(Pixel::YUV420P10LE, width, height);
    let (luma, _) = luma.as_chunks::<2>();
    let (chroma, _) = chroma.as_chunks::<4>();
    let (width, half) = (width as usize, width.div_ceil(2) as usize);
    write_rows(&mut video, 0, width, luma.iter().copied());
    write_rows(&mut video, 1, half, chroma.iter().map(|[a, b, ..]| [*a, *b]));
    write_rows(&mut video, 2, half, chroma.iter().map(|[.., a, b]| [*a, *b]));
    video
}

fn write_rows(video: &mut Video, plane: usize, width: usize, samples: impl Iterator<Item = [u8; 2]>) {
    let (stride, mut samples) = (video.stride(plane), samples);
    for row in video.data_mut(plane).chunks_mut(stride.max(1)) {
        for (place, sample) in row.as_chunks_mut::<2>().0.iter_mut().take(width).zip(&mut samples) {
            *place = (u16::from_le_bytes(sample) >> 6).to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Matrix;

    const COLOR: Color = Color { matrix: Matrix::Bt601, full_range: true };

    #[test]
    fn chroma_is_taken_apart_also_of_an_odd_size() {
        let luma: Vec<u8> = (0..12).collect();
        let picture = planar((3, 4), luma.clone(), &[1, 101, 2, 102, 3, 103, 4, 104], COLOR).unwrap();
        let view = picture.view();
        assert_eq!(view.planes, [&luma[..], &[1, 2, 3, 4], &[101, 102, 103, 104]]);
        assert_eq!((view.strides, view.color), ([3, 2, 2], COLOR));
    }

    #[test]
    fn ten_bits_move_down() {
        let wide =
            |values: &[u16]| values.iter().flat_map(|value| (value << 6).to_le_bytes()).collect::<Vec<u8>>();
        let video = ten_bit((3, 2), &wide(&[0, 1, 512, 1023, 7, 8]), &wide(&[10, 20, 30, 40]));
        let row = |plane: usize, row: usize, samples: usize| {
            let bytes = &video.data(plane)[row * video.stride(plane)..][..2 * samples];
            bytes.as_chunks::<2>().0.iter().map(|sample| u16::from_le_bytes(*sample)).collect::<Vec<_>>()
        };
        assert_eq!((row(0, 0, 3), row(0, 1, 3)), (vec![0, 1, 512], vec![1023, 7, 8]));
        assert_eq!((row(1, 0, 2), row(2, 0, 2)), (vec![10, 30], vec![20, 40]));
    }
}
