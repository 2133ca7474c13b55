//! The self-test of NVDEC: built-in clips must come out as on the CPU, to the bit, since decoding is exact in both standards.

use std::sync::Arc;

use ffmpeg_next::decoder;
use ffmpeg_next::frame::Video;
use gpu::{CudaContext, CudaStream, GpuError};

use super::gpu_pictures::{GpuCopy, GpuCopyError, SurfaceCopier};
use crate::decode::avcodec;
use crate::decode::hw_device::{HardwareDevice, is_on_gpu};
use crate::media::{Codec, Color, HostPicture, Matrix, VideoTrack, Yuv420};

/// Byte streams of `scripts/gpu/self_test_clips`: each access unit begins with an access unit delimiter.
const CLIPS: [(Codec, &str, &[u8], &[u8]); 2] = [
    (Codec::H264, "H.264", include_bytes!("self_test.h264"), &[0, 0, 0, 1, 9]),
    (Codec::H265, "H.265", include_bytes!("self_test.h265"), &[0, 0, 0, 1, 70]),
];

/// The pictures of each clip.
const PICTURES: usize = 6;
/// More than those of the clips have, with room for padding.
const MAX_PIXELS: u32 = 1 << 18;

/// The reason for which NVDEC must not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SelfTestFault {
    /// FFmpeg cannot use the GPU.
    #[error("{0}")]
    Device(String),
    /// The driver's.
    #[error("{0}")]
    Gpu(#[from] GpuError),
    /// FFmpeg has no such decoder, or returned an error.
    #[error("the self-test of NVDEC failed: FFmpeg cannot decode a built-in clip in {codec}: {error}")]
    Ffmpeg { codec: &'static str, error: ffmpeg_next::Error },
    /// It was not NVDEC that decoded.
    #[error(
        "the self-test of NVDEC failed: it refused a built-in clip in {codec}: this GPU does not decode it, or has no memory for a decoder"
    )]
    Refused { codec: &'static str },
    /// A picture could not be read.
    #[error("the self-test of NVDEC failed: a picture of a built-in clip in {codec} was lost: {error}")]
    Copy { codec: &'static str, error: GpuCopyError },
    /// The CPU's decoder and NVDEC returned other pictures.
    #[error(
        "the self-test of NVDEC failed: picture {picture} of a built-in clip in {codec} differs from the CPU's; update NVIDIA's driver"
    )]
    Differs { codec: &'static str, picture: usize },
    /// Some are missing.
    #[error(
        "the self-test of NVDEC failed: a built-in clip in {codec} has {got} pictures in place of {PICTURES}; update NVIDIA's driver"
    )]
    Missing { codec: &'static str, got: usize },
}

/// Decodes built-in clips by NVDEC and on the CPU, and compares every picture.
///
/// # Errors
/// The reason for which NVDEC must not be used.
pub(super) fn test_nvdec(context: &CudaContext) -> Result<(), SelfTestFault> {
    CLIPS.iter().try_for_each(|clip| test_codec(context, clip))
}

fn test_codec(
    context: &CudaContext,
    &(codec, name, clip, delimiter): &(Codec, &'static str, &[u8], &[u8]),
) -> Result<(), SelfTestFault> {
    let stream = Arc::new(CudaStream::new(context)?);
    let device = HardwareDevice::new(Arc::clone(&stream)).map_err(SelfTestFault::Device)?;
    let mut copier = SurfaceCopier::new(stream, None, Arc::new(|_| {}))?;
    let units = access_units(clip, delimiter);
    let on_cpu = decode((codec, name), &units, None, |frame| {
        let color = Color { matrix: Matrix::Bt601, full_range: false };
        let lost = GpuCopyError::Planes;
        HostPicture::from_ffmpeg(frame, color).ok_or(SelfTestFault::Copy { codec: name, error: lost })
    })?;
    let by_nvdec = decode((codec, name), &units, Some(&device), |frame| on_host(&frame, name, &mut copier))?;
    for got in [on_cpu.len(), by_nvdec.len()] {
        if got != PICTURES {
            return Err(SelfTestFault::Missing { codec: name, got });
        }
    }
    match on_cpu.iter().zip(&by_nvdec).position(|(cpu, gpu)| !is_same(cpu, gpu)) {
        Some(picture) => Err(SelfTestFault::Differs { codec: name, picture }),
        None => Ok(()),
    }
}

/// Decodes all access units; returns what `keep` makes of each picture, as soon as it comes.
fn decode(
    (codec, name): (Codec, &'static str),
    units: &[&[u8]],
    device: Option<&HardwareDevice>,
    mut keep: impl FnMut(Video) -> Result<HostPicture, SelfTestFault>,
) -> Result<Vec<HostPicture>, SelfTestFault> {
    let failed = |error| SelfTestFault::Ffmpeg { codec: name, error };
    // The parameter sets are in the stream.
    let track = VideoTrack { codec, codec_private: bytes::Bytes::new(), width_px: 0, height_px: 0 };
    let mut decoder = avcodec::open(&track, MAX_PIXELS, device).map_err(failed)?;
    let mut pictures = Vec::new();
    for unit in units {
        decoder.send_packet(&ffmpeg_next::Packet::copy(unit)).map_err(failed)?;
        receive(&mut decoder, &mut pictures, &mut keep)?;
    }
    decoder.send_eof().map_err(failed)?;
    receive(&mut decoder, &mut pictures, &mut keep)?;
    Ok(pictures)
}

fn receive(
    decoder: &mut decoder::Video,
    pictures: &mut Vec<HostPicture>,
    keep: &mut impl FnMut(Video) -> Result<HostPicture, SelfTestFault>,
) -> Result<(), SelfTestFault> {
    loop {
        let mut frame = Video::empty();
        // An error is one of too few pictures: the decoder returns no other reason.
        if decoder.receive_frame(&mut frame).is_err() {
            return Ok(());
        }
        pictures.push(keep(frame)?);
    }
}

/// Returns a picture of NVDEC's in host memory.
fn on_host(
    frame: &Video,
    codec: &'static str,
    copier: &mut SurfaceCopier,
) -> Result<HostPicture, SelfTestFault> {
    if !is_on_gpu(frame) {
        return Err(SelfTestFault::Refused { codec });
    }
    let color = Color { matrix: Matrix::Bt601, full_range: false };
    match copier.copy(frame, color, None) {
        Ok(GpuCopy::Host(picture)) => Ok(picture),
        Ok(GpuCopy::OnGpu(_) | GpuCopy::Other(_)) => {
            Err(SelfTestFault::Copy { codec, error: GpuCopyError::Planes })
        }
        Err(error) => Err(SelfTestFault::Copy { codec, error }),
    }
}

/// Returns the access units of a byte stream, of which each begins with `delimiter`.
fn access_units<'a>(clip: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let starts: Vec<usize> = clip
        .windows(delimiter.len())
        .enumerate()
        .filter(|(_, at)| *at == delimiter)
        .map(|(at, _)| at)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([clip.len()]);
    starts.iter().zip(ends).map(|(start, end)| &clip[*start..end]).collect()
}

/// Returns true if both pictures have the same size and samples.
fn is_same(a: &HostPicture, b: &HostPicture) -> bool {
    let (a, b) = (a.view(), b.view());
    let size = (a.width_px as usize, a.height_px as usize);
    let half = (size.0.div_ceil(2), size.1.div_ceil(2));
    let rows = |view: &Yuv420<'_>, i: usize, (columns, rows): (usize, usize)| -> Vec<u8> {
        let lines = view.planes[i].chunks(view.strides[i].max(1)).take(rows);
        lines.flat_map(|line| line.iter().take(columns).copied()).collect()
    };
    let planes = [size, half, half];
    (a.width_px, a.height_px) == (b.width_px, b.height_px)
        && planes.iter().enumerate().all(|(i, size)| rows(&a, i, *size) == rows(&b, i, *size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_decodes_the_built_in_clips() {
        for (codec, name, clip, delimiter) in CLIPS {
            let units = access_units(clip, delimiter);
            assert_eq!(units.concat(), clip, "{name}");
            let color = Color { matrix: Matrix::Bt601, full_range: false };
            let pictures = decode((codec, name), &units, None, |frame| {
                Ok(HostPicture::from_ffmpeg(frame, color).unwrap())
            });
            let pictures = pictures.unwrap();
            assert_eq!(pictures.len(), PICTURES, "{name}");
            for (i, picture) in pictures.iter().enumerate() {
                assert_eq!((picture.view().width_px, picture.view().height_px), (192, 160), "{name}");
                let same = pictures.iter().filter(|other| is_same(picture, other)).count();
                assert_eq!(same, 1, "{name}: picture {i} is like no other");
            }
        }
    }
}
