//! The decoders of a GPU, by the driver's library for video. FFmpeg makes all other calls of it.
#![expect(unsafe_code, reason = "a function of a C library, called by pointer")]

use std::ffi::{c_int, c_uchar, c_uint, c_ushort};
use std::mem::ManuallyDrop;

use libloading::Library;

use super::context::CudaContext;
use super::driver::loader_words;
use super::error::GpuError;

/// The library by the name that the driver installs, and that containers with the capability `video` get injected.
const LIBRARY: &str = "libnvcuvid.so.1";

/// cudaVideoCodec_H264
const CODEC_H264: c_int = 4;
/// cudaVideoChromaFormat_420
const CHROMA_420: c_int = 1;

/// CUVIDDECODECAPS. Source: cuviddec.h of the Video Codec SDK 11.1.
#[repr(C)]
#[derive(Default)]
struct DecoderCapabilities {
    codec: c_int,
    chroma: c_int,
    bit_depth_minus8: c_uint,
    reserved_in: [c_uint; 3],
    is_supported: c_uchar,
    engines: c_uchar,
    output_formats: c_ushort,
    max_width: c_uint,
    max_height: c_uint,
    max_macroblocks: c_uint,
    min_width: c_ushort,
    min_height: c_ushort,
    has_histogram: c_uchar,
    histogram_bits: c_uchar,
    histogram_bins: c_ushort,
    reserved_out: [c_uint; 10],
}

/// Returns the number of the GPU's NVDEC engines, at least 1.
///
/// # Errors
///
/// The library for video is missing, or the GPU has no engine that decodes H.264 in 4:2:0, or the driver's.
pub fn nvdec_engines(context: &CudaContext) -> Result<u8, GpuError> {
    let missing = |error: libloading::Error| GpuError::NoVideoLibrary {
        library: LIBRARY.to_owned(),
        reason: loader_words(&error),
    };
    // SAFETY: the initialisers of the driver's library expect nothing of the process.
    let library = unsafe { Library::new(LIBRARY) }.map_err(missing)?;
    // Never unloaded, like the driver itself.
    let library = ManuallyDrop::new(library);
    let driver = context.driver()?;
    let mut capabilities =
        DecoderCapabilities { codec: CODEC_H264, chroma: CHROMA_420, ..DecoderCapabilities::default() };
    // SAFETY: the type is the function's declaration in cuviddec.h; the structure is its own, with reserved fields of zero.
    let code = unsafe {
        let ask = library.get::<unsafe extern "C" fn(*mut DecoderCapabilities) -> u32>("cuvidGetDecoderCaps");
        (*ask.map_err(missing)?)(&mut capabilities)
    };
    driver.check("cuvidGetDecoderCaps", code)?;
    if capabilities.is_supported == 0 {
        return Err(GpuError::NoNvdec { ordinal: context.ordinal(), name: context.name().to_owned() });
    }
    Ok(capabilities.engines.max(1))
}
