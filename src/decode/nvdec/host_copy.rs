//! Pictures that NVDEC decoded, as the rest of the program has them: three planes in host memory.

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;

use super::cuda::{CudaError, CudaStream};
use super::hw_device::{SemiPlanar, download};
use crate::media::{Color, HostPicture};

/// The reason why a picture could not be copied from the GPU.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum GpuCopyError {
    /// A call of the driver failed.
    #[error("it cannot be copied from the GPU: {0}")]
    Cuda(#[from] CudaErrorOfCopy),
    /// NVDEC returned another format than 4:2:0.
    #[error("NVDEC returned it in an unknown format")]
    Format,
}

/// The driver's error, for those who do not know its type.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(in super::super) struct CudaErrorOfCopy(CudaError);

/// A picture that was copied from the GPU.
pub(in super::super) enum GpuCopy {
    /// 8 bits per sample: ready.
    Picture(HostPicture),
    /// 10 bits per sample in FFmpeg's planar format, as its software decoder returns them.
    TenBit(Video),
}

/// Copies a picture from the GPU, as FFmpeg's software decoder would have returned it.
///
/// # Errors
/// See [`GpuCopyError`].
pub(in super::super) fn copy_from_gpu(
    frame: &Video,
    stream: &CudaStream,
    color: Color,
) -> Result<GpuCopy, GpuCopyError> {
    let copied = download(frame, stream);
    let planes = copied.map_err(|error| match error {
        Some(error) => GpuCopyError::Cuda(CudaErrorOfCopy(error)),
        None => GpuCopyError::Format,
    })?;
    match planes.format {
        Pixel::P010LE => Ok(GpuCopy::TenBit(ten_bit(&planes))),
        _ => planar(planes, color).map(GpuCopy::Picture).ok_or(GpuCopyError::Format),
    }
}

/// Returns an NV12 picture with U and V apart.
fn planar(planes: SemiPlanar, color: Color) -> Option<HostPicture> {
    let SemiPlanar { size_px, luma, chroma, .. } = planes;
    let (u, v) = split(&chroma);
    let (width, half) = (size_px.0 as usize, size_px.0.div_ceil(2) as usize);
    HostPicture::from_planes(size_px, [luma, u, v], [width, half, half], color)
}

fn split(chroma: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (pairs, _odd) = chroma.as_chunks::<2>();
    (pairs.iter().map(|[u, _]| *u).collect(), pairs.iter().map(|[_, v]| *v).collect())
}

/// Returns a P010 picture, whose samples are in the upper 10 of 16 bits, as planes with samples in the lower 10.
fn ten_bit(planes: &SemiPlanar) -> Video {
    let (width, height) = planes.size_px;
    let mut video = Video::new(Pixel::YUV420P10LE, width, height);
    let (luma, _) = planes.luma.as_chunks::<2>();
    let (chroma, _) = planes.chroma.as_chunks::<4>();
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
        let luma: Vec<u8> = (0..15).collect();
        let chroma = vec![1, 101, 2, 102, 3, 103, 4, 104];
        let planes = SemiPlanar { format: Pixel::NV12, size_px: (3, 4), luma: luma[..12].to_vec(), chroma };
        let picture = planar(planes, COLOR).unwrap();
        let view = picture.view();
        assert_eq!(view.planes, [&luma[..12], &[1, 2, 3, 4], &[101, 102, 103, 104]]);
        assert_eq!((view.strides, view.color), ([3, 2, 2], COLOR));
    }

    #[test]
    fn ten_bits_move_down() {
        let wide =
            |values: &[u16]| values.iter().flat_map(|value| (value << 6).to_le_bytes()).collect::<Vec<u8>>();
        let (luma, chroma) = (wide(&[0, 1, 512, 1023, 7, 8]), wide(&[10, 20, 30, 40]));
        let video = ten_bit(&SemiPlanar { format: Pixel::P010LE, size_px: (3, 2), luma, chroma });
        let row = |plane: usize, row: usize, samples: usize| {
            let bytes = &video.data(plane)[row * video.stride(plane)..][..2 * samples];
            bytes.as_chunks::<2>().0.iter().map(|sample| u16::from_le_bytes(*sample)).collect::<Vec<_>>()
        };
        assert_eq!((row(0, 0, 3), row(0, 1, 3)), (vec![0, 1, 512], vec![1023, 7, 8]));
        assert_eq!((row(1, 0, 2), row(2, 0, 2)), (vec![10, 30], vec![20, 40]));
    }
}
