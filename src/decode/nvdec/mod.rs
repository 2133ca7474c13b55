//! Decoding by NVDEC, the video decoder of NVIDIA's GPUs, through FFmpeg.
//!
//! - **The device is ours** ([`HardwareDevice`]): the GPU's primary context, which inference uses as well, and a stream per decoder.
//!   The driver's libraries are loaded at run time; without them, or without NVDEC in FFmpeg, cameras are decoded on the CPU.
//! - **A picture leaves FFmpeg's pool at once**: a decoder has few surfaces, and fails when they are held. A frame that may be sampled
//!   is copied to host memory as soon as it does not come out of the reorder buffer immediately ([`copy_from_gpu`]).
//! - **A camera needs a ticket** of its GPU ([`GpuDecoders`]), since NVDEC has a fixed capacity. Without one it is decoded on the CPU, and
//!   asks again at keyframes.
//! - **A fallback of FFmpeg's is found by the format of the frames.** For a stream that NVDEC refuses, FFmpeg decodes in software and
//!   reports nothing ([`DecoderChoice`]).
//! - **A lost GPU ends the process**: after each error the driver is asked, and a sticky error is reported as that of a model is.

mod budget;
mod choice;
mod cuda;
mod driver_types;
mod gpus;
mod host_copy;
mod hw_device;
mod sent_rate;

pub(super) use choice::{DecoderChoice, DecoderMove};
pub(super) use cuda::CudaStream;
pub use gpus::{GpuDecoders, NvdecGpu};
pub(super) use host_copy::{GpuCopy, GpuCopyError, copy_from_gpu};
pub(super) use hw_device::{HardwareDevice, is_on_gpu};
