//! packets -> frames: FFmpeg, the sampler, and the picture's surface.
//!
//! One named thread a camera ([`spawn`]) owns a [`Decoder`], and a [`frame_queue`] hands over what it makes.
//!
//! **A fragment stands alone**, unless its GOP is open. All frames of a fragment are out before its end is. A decoder that holds
//! frames back (B-frames) is drained and flushed there, so nothing waits for the next fragment, and what comes of a fragment
//! does not depend on where the reading started. A decoder that holds nothing back is left as it is. After a flush, and
//! after an error, packets are left out (and counted) until the next key frame; KVS fragments begin with one. A key frame is
//! what the container calls one, or what its NAL units say is one.
//! One exception: a stream with B-frames whose headers do not say the depth of reordering teaches it to FFmpeg in its
//! first group of pictures, of which a frame may be lost.
//!
//! **Open GOPs** (x265's default): the pictures that are shown before a CRA of H.265, or before a recovery point of H.264, may
//! refer to the fragment before. So after such a fragment the decoder is not drained; its last frames and its end come with the
//! next packets, or after a short pause ([`spawn`]); after that the fragment is decoded again, from packets that are kept, when the
//! next one refers to it (HLS, whole fragments). Whoever resumes behind such a fragment reads it again first
//! ([`Position::primer`](crate::media::Position::primer)), so the same footage gives the same frames wherever the reading starts.
//! Where there is nothing to refer to, those leading pictures are left out, counted as `leading`, and hold nothing back.
//!
//! **Nothing unsound comes out.** A frame waits until all packets before its own, in order of decoding, have given theirs:
//! a damaged one among them takes it along. Without B-frames nothing waits.
//!
//! **What is not picked costs its decoding only.** The [`Sampler`] is asked before anything is copied or converted.
//!
//! **Masks are black before anyone looks.** They are painted into a copy of a picked picture ([`MaskPainter`]), since the decoder
//! may build on its own; detection, the motion gate, snapshots and the live picture get the copy.
//!
//! **Pictures have a limit** (`max_pixels` of the camera), since a decoder keeps up to 16 of them. It is held by the parameter sets
//! before anything is decoded, and by FFmpeg, with room for the padding of coded pictures.
//!
//! Hardware decoding is not in this version; it will be another kind of [`Surface`].

mod avcodec;
mod current_fragment;
mod decoder;
mod error;
mod mask;
mod packet_queue;
mod picture;
mod queue;
mod reorder;
mod sampler;
mod track_decoder;
mod worker;

pub use decoder::Decoder;
pub use error::DecodeError;
pub use mask::{MaskPainter, Masks};
pub use packet_queue::{MAX_QUEUED_BYTES, PacketReceiver, PacketSender, packet_queue};
pub use queue::{Closed, FrameReceiver, FrameSender, frame_queue};
pub use sampler::Sampler;
pub use worker::spawn;
