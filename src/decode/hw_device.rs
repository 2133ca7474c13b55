//! FFmpeg's hardware device on our CUDA context, and the planes of its pictures.
#![expect(unsafe_code, reason = "FFmpeg's wrapper has no hardware devices")]

use std::sync::Arc;

use ffmpeg_next::codec::Context;
use ffmpeg_next::ffi;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;

use gpu::{CudaStream, DeviceRows};

/// A device with which FFmpeg decodes by NVDEC, in our context and on our stream.
///
/// FFmpeg's own way to the primary context (AV_CUDA_USE_PRIMARY_CONTEXT) fails when inference made it first, with other flags.
pub(super) struct HardwareDevice {
    device: *mut ffi::AVBufferRef,
}

impl HardwareDevice {
    /// Creates a device on `stream`, which lives as long as anything of FFmpeg's that uses the device.
    ///
    /// # Errors
    /// FFmpeg was built without CUDA, or cannot load the driver.
    pub(super) fn new(stream: Arc<CudaStream>) -> Result<Self, String> {
        // SAFETY: FFmpeg returns a device of its own, or null.
        let device = unsafe { ffi::av_hwdevice_ctx_alloc(ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA) };
        if device.is_null() {
            return Err("this FFmpeg was built without NVDEC".to_owned());
        }
        // Dropped, and so freed, if the initialization fails.
        let created = Self { device };
        let (context, stream_pointer) = (stream.context().as_ptr(), stream.as_ptr());
        // SAFETY: a device of this type that is not initialized yet has these two structures, and FFmpeg calls `free` once, after
        // everything that uses them has ended.
        let status = unsafe {
            let device = (*created.device).data.cast::<ffi::AVHWDeviceContext>();
            let cuda = (*device).hwctx.cast::<ffi::AVCUDADeviceContext>();
            (*cuda).cuda_ctx = context.cast();
            (*cuda).stream = stream_pointer.cast();
            (*device).user_opaque = Arc::into_raw(stream).cast_mut().cast();
            (*device).free = Some(release_stream);
            ffi::av_hwdevice_ctx_init(created.device)
        };
        match status {
            0.. => Ok(created),
            error => Err(format!("FFmpeg cannot use NVIDIA's driver: {}", ffmpeg_next::Error::from(error))),
        }
    }

    /// Has the decoder of `context`, which is not open yet, decode with this device where it can.
    ///
    /// FFmpeg's own choice of a pixel format prefers the device, and falls back to software without an error.
    pub(super) fn attach(&self, context: &mut Context) {
        // SAFETY: the context is ours and not yet open; it owns its reference from now on.
        unsafe { (*context.as_mut_ptr()).hw_device_ctx = ffi::av_buffer_ref(self.device) };
    }
}

impl Drop for HardwareDevice {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and is given up once.
        unsafe { ffi::av_buffer_unref(&raw mut self.device) };
    }
}

/// Gives up the stream of a device that FFmpeg frees.
unsafe extern "C" fn release_stream(device: *mut ffi::AVHWDeviceContext) {
    // SAFETY: `HardwareDevice::new` made this pointer of an `Arc`, and FFmpeg calls this function once per device.
    unsafe { drop(Arc::from_raw((*device).user_opaque.cast::<CudaStream>().cast_const())) };
}

/// Returns true if the picture is in the memory of a GPU.
pub(super) fn is_on_gpu(frame: &Video) -> bool {
    frame.format() == Pixel::CUDA
}

/// Returns the height of the picture as it is shown, px: FFmpeg crops one on a GPU at the right and at the bottom only.
pub(super) fn shown_height_px(frame: &Video) -> u32 {
    // SAFETY: the frame is alive, and a number of it is read. It is 0 for a picture in host memory, which is cropped.
    let top = unsafe { (*frame.as_ptr()).crop_top };
    frame.height().saturating_sub(u32::try_from(top).unwrap_or(0))
}

/// Copies a picture of any format from its surface to host memory, cropped.
///
/// # Errors
/// FFmpeg's.
pub(super) fn download_by_ffmpeg(frame: &Video) -> Result<Video, ffmpeg_next::Error> {
    let mut copy = Video::empty();
    // SAFETY: both frames are alive and ours, and the second one has no buffers, which FFmpeg allocates.
    let status = unsafe {
        let (to, from) = (copy.as_mut_ptr(), frame.as_ptr());
        match ffi::av_hwframe_transfer_data(to, from, 0) {
            0.. => match ffi::av_frame_copy_props(to, from) {
                0.. => ffi::av_frame_apply_cropping(to, ffi::AV_FRAME_CROP_UNALIGNED as i32),
                error => error,
            },
            error => error,
        }
    };
    match status {
        0.. => Ok(copy),
        error => Err(error.into()),
    }
}

/// The planes of a picture in a surface: luma, and chroma with U and V in turns.
pub(super) struct SurfacePlanes {
    /// NV12 or P010.
    pub(super) format: Pixel,
    pub(super) size_px: (u32, u32),
    pub(super) planes: [DeviceRows; 2],
}

/// Returns the planes of a picture on the GPU, which are there as long as `frame`; `None` if it is not 4:2:0 in two planes.
pub(super) fn surface_planes(frame: &Video) -> Option<SurfacePlanes> {
    // SAFETY: the frame is alive and borrowed; only fields of it and of the context that it holds are read.
    let (format, data, linesize, crop) = unsafe {
        let raw = &*frame.as_ptr();
        let context = raw.hw_frames_ctx.as_ref()?;
        let context = &*context.data.cast::<ffi::AVHWFramesContext>();
        (Pixel::from(context.sw_format), raw.data, raw.linesize, (raw.crop_left, raw.crop_top))
    };
    let sample_bytes = match format {
        Pixel::NV12 => 1,
        Pixel::P010LE => 2,
        _ => return None,
    };
    // FFmpeg crops a picture on the GPU at the right and at the bottom only, and leaves the rest to its reader.
    let (left, top) = crop;
    let (width, height) =
        ((frame.width() as usize).checked_sub(left)?, (frame.height() as usize).checked_sub(top)?);
    let plane = |index: usize, (left, top): (usize, usize), row_bytes: usize, rows: usize| {
        let pitch = usize::try_from(linesize[index]).ok()?;
        let address = data[index] as u64 + (top * pitch + left * sample_bytes) as u64;
        Some(DeviceRows { address, pitch, row_bytes, rows })
    };
    let luma = plane(0, (left, top), width * sample_bytes, height)?;
    // Its own pointer: between the planes are the rows by which the coded picture is higher.
    let chroma_bytes = 2 * width.div_ceil(2) * sample_bytes;
    let chroma = plane(1, (left / 2 * 2, top / 2), chroma_bytes, height.div_ceil(2))?;
    let size_px = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    Some(SurfacePlanes { format, size_px, planes: [luma, chroma] })
}
