//! Decoding by NVDEC, the video decoder of NVIDIA's GPUs, through FFmpeg.
//!
//! - **The device is ours** ([`HardwareDevice`](super::hw_device::HardwareDevice)): the GPU's primary context, which inference uses as well, and a stream per decoder.
//!   The driver's libraries are loaded at run time; without them, or without NVDEC in FFmpeg, cameras are decoded on the CPU.
//! - **A picture leaves FFmpeg's pool at once**: a decoder has few surfaces, and fails when they are held. A frame that may be sampled
//!   is copied as soon as it does not come out of the reorder buffer immediately ([`SurfaceCopier`]).
//! - **It stays on the GPU**, with its masks in black and the luma that the motion gate compares, where the kernels of the crate `gpu` have
//!   proved themselves. Models on the same GPU read it there; everybody else gets a copy in host memory when they first ask for one
//!   ([`Surface`](crate::media::Surface)). Where the kernels cannot be used, or for 10 bits per sample, it is copied to host memory at once.
//! - **A GPU proves itself**: it decodes built-in clips, whose pictures must be those of the CPU, before it decodes a camera.
//! - **A camera needs a ticket** of its GPU ([`GpuDecoders`]), since NVDEC has a fixed capacity. Without one it is decoded on the CPU, and
//!   asks again at keyframes.
//! - **A fallback of FFmpeg's is found by the format of the frames.** For a stream that NVDEC refuses, FFmpeg decodes in software and
//!   reports nothing ([`DecoderChoice`]).
//! - **A lost GPU ends the process**: after each error the driver is asked, and a sticky error is reported as that of a model is.

mod budget;
mod choice;
mod gpu_pictures;
mod gpus;
mod self_test;
mod sent_rate;

pub(super) use choice::{DecoderChoice, DecoderMove};
pub(super) use gpu_pictures::{GpuCopy, GpuCopyError, SurfaceCopier};
pub use gpus::{GpuDecoders, NvdecGpu};
