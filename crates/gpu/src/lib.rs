//! The GPU path: NVIDIA's driver API, frames in device memory, and kernels that equal the CPU pass to the bit.
//!
//! [`CudaDriver`] is the driver's library, loaded at run time: without it there is an error, and the program runs on the CPU.
//! [`CudaContext`] is the primary context of one GPU, which ONNX Runtime and FFmpeg share, with our kernels loaded into it.
//! [`CudaStream`] orders copies and launches. [`DeviceFrame`] is a picture on the GPU. On it work [`paint()`], which makes a model's
//! input, [`LumaReader`], which makes the motion gate's grid, and [`DeviceMask`], which blackens regions. [`CandidateReader`] reads
//! the boxes of a model's output. [`GraphCapture`] keeps other work off the driver while a graph is captured. [`prove`] compares the kernels with the CPU pass before they are used.
//!
//! The kernels are `kernels/kernels.cu`. `kernels/kernels.ptx` is made of it by `scripts/gpu/ptx.py` and embedded; the driver compiles it
//! for its GPU. Tables of taps and factors come from the CPU's code, so that there is one source of each number.
//!
//! # Safety of device memory
//!
//! `unsafe` is confined to `driver.rs` and `context.rs`, and concerns host memory. A wrong device address cannot reach host memory: the
//! GPU reports it as a (sticky) error. Functions that take a [`DeviceAddress`] of another library are therefore safe to call.

mod candidates;
mod capture;
mod context;
mod driver;
mod error;
mod frame;
mod launch;
mod luma;
mod mask;
mod paint;
mod pool;
mod proof;
mod video;

pub use candidates::{CANDIDATE_CAPACITY, CandidateReader, FoundBox, HeadLayout, OutputHead, SlotBoxes};
pub use capture::{GpuWork, GraphCapture};
pub use context::{CudaContext, CudaEvent, CudaStream, DeviceBuffer, DeviceSlice, InFlight, PinnedBuffer};
pub use driver::{CudaDriver, DeviceAddress, DeviceRows};
pub use error::{GpuError, is_sticky};
pub use frame::{ChromaLayout, DeviceFrame, FramePlanes, MAX_FRAME_SIDE_PX};
pub use launch::MAX_FRAMES;
pub use luma::{LUMA_CELLS, LumaReader};
pub use mask::{DeviceMask, MaskSpans, SampleSpan};
pub use paint::{
    ChannelEncoding, ColorFactors, DeviceTables, ElementType, PaintJob, ResampleTables, RowTaps, TapTable,
    paint,
};
pub use pool::FramePool;
pub use proof::{ExpectedResults, ProofFault, ProofInput, prove};
pub use video::nvdec_engines;
