//! packets -> frames: FFmpeg, the sampler, and the picture's surface.

mod sampler;
mod surface;

pub use sampler::{Sampler, SamplerState};
pub use surface::{Color, HostPicture, Matrix, Surface, Yuv420};
