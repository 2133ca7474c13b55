//! Structures of NVIDIA's driver, as its C headers define them.

use std::ffi::{c_int, c_uchar, c_uint, c_ushort, c_void};
use std::ptr;

/// cudaVideoCodec_H264
pub(super) const CODEC_H264: c_int = 4;
/// cudaVideoChromaFormat_420
pub(super) const CHROMA_420: c_int = 1;

/// CU_MEMORYTYPE_HOST
const HOST: c_int = 1;
/// CU_MEMORYTYPE_DEVICE
const DEVICE: c_int = 2;

/// A plane of a picture in the memory of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DevicePlane {
    /// The address of its first sample on the GPU.
    pub(super) address: u64,
    /// Bytes from one row to the next.
    pub(super) pitch: usize,
    /// Bytes of a row that are part of the picture.
    pub(super) bytes: usize,
    /// The number of rows.
    pub(super) rows: usize,
}

/// CUDA_MEMCPY2D. Source: cuda.h of CUDA 13.0.
#[repr(C)]
pub(super) struct Copy2d {
    source_x: usize,
    source_y: usize,
    source_type: c_int,
    source_host: *const c_void,
    source_device: u64,
    source_array: *mut c_void,
    source_pitch: usize,
    target_x: usize,
    target_y: usize,
    target_type: c_int,
    target_host: *mut c_void,
    target_device: u64,
    target_array: *mut c_void,
    target_pitch: usize,
    bytes: usize,
    rows: usize,
}

impl Copy2d {
    /// Returns the copy of `plane` to `target`, which has room for its rows without padding.
    pub(super) fn to_host(plane: &DevicePlane, target: &mut [u8]) -> Self {
        Self {
            source_x: 0,
            source_y: 0,
            source_type: DEVICE,
            source_host: ptr::null(),
            source_device: plane.address,
            source_array: ptr::null_mut(),
            source_pitch: plane.pitch,
            target_x: 0,
            target_y: 0,
            target_type: HOST,
            target_host: target.as_mut_ptr().cast(),
            target_device: 0,
            target_array: ptr::null_mut(),
            target_pitch: plane.bytes,
            bytes: plane.bytes,
            rows: plane.rows,
        }
    }
}

/// CUVIDDECODECAPS. Source: cuviddec.h of the Video Codec SDK 11.1.
#[repr(C)]
#[derive(Default)]
pub(super) struct DecoderCapabilities {
    codec: c_int,
    chroma: c_int,
    bit_depth_minus8: c_uint,
    reserved_in: [c_uint; 3],
    /// 1 if such pictures are decoded.
    pub(super) is_supported: c_uchar,
    /// The number of NVDEC engines that decode them.
    pub(super) engines: c_uchar,
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

impl DecoderCapabilities {
    /// Returns the question about a codec, a chroma format and a bit depth less 8.
    pub(super) fn asked(codec: c_int, chroma: c_int, bit_depth_minus8: c_uint) -> Self {
        Self { codec, chroma, bit_depth_minus8, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Copy2d, DecoderCapabilities};

    #[test]
    fn the_structures_have_the_sizes_of_the_headers() {
        // 16 fields of 8 bytes, two of which are an int with padding; 88 bytes by the fields of CUVIDDECODECAPS.
        assert_eq!((size_of::<Copy2d>(), size_of::<DecoderCapabilities>()), (128, 88));
    }
}
