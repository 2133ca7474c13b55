//! packets -> frames: FFmpeg, the sampler, and the picture's surface.
//!
//! One named thread a camera ([`spawn`]) owns a [`Decoder`], and a [`frame_queue`] hands over what it makes.
//!
//! **A fragment stands alone.** All frames of a fragment are out before its end is told. A decoder that holds frames
//! back (B-frames) is drained and flushed there, so nothing waits for the next fragment, and what comes of a fragment
//! does not depend on where the reading started. A decoder that holds nothing back is left as it is. After a flush, and
//! after an error, packets are skipped (and counted) until the next key frame; KVS fragments begin with one.
//! One exception: a stream with B-frames whose headers do not tell the depth of reordering teaches it to FFmpeg in its
//! first group of pictures, of which a frame may be lost.
//!
//! **Nothing unsound comes out.** A frame waits until all packets before its own, in order of decoding, have given theirs:
//! a damaged one among them takes it along. Without B-frames nothing waits.
//!
//! **What is not picked costs its decoding only.** The [`Sampler`] is asked before anything is copied or converted.
//!
//! **Masks are black before anyone looks.** They are painted into a copy of a picked picture ([`MaskPainter`]), since the decoder
//! may build on its own; detection, the motion gate, snapshots and the live picture get the copy.
//!
//! Hardware decoding is not in this version; it will be another kind of [`Surface`].

mod avcodec;
mod decoder;
mod mask;
mod picture;
mod queue;
mod sampler;
mod surface;
mod worker;

pub use decoder::{DecodeError, Decoder};
pub use mask::{MaskPainter, Masks};
pub use queue::{Closed, FrameReceiver, FrameSender, Mode, ModeCell, frame_queue};
pub use sampler::{Sampler, SamplerState};
pub use surface::{Color, HostPicture, Matrix, Surface, Yuv420};
pub use worker::spawn;
