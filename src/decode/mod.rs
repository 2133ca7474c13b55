//! The decode stage: turns packets into sampled frames, by FFmpeg.
//!
//! One thread per camera ([`spawn`]) owns a [`Decoder`]; a [`packet_queue()`] is its input and a [`frame_queue()`] its
//! output.
//!
//! **A fragment stands alone**, unless its GOP is open. All its frames are returned before its end. A decoder that holds
//! frames back (B-frames) is drained and flushed there. So no frame waits for the next fragment, and the frames of a
//! fragment do not depend on where reading started. A decoder that holds nothing back is left as it is. After a flush,
//! and after an error, packets are left out (and counted) until the next keyframe, with which KVS fragments begin. A
//! packet is a keyframe if the container or its NAL units say so.
//!
//! One exception: if the headers of a stream with B-frames do not state the reordering depth, FFmpeg learns it in the
//! first GOP, of which a frame may be lost.
//!
//! **Open GOPs** (x265's default): the leading pictures of an H.265 CRA or of an H.264 recovery point may refer to the
//! previous fragment. So the decoder is not drained after such a fragment; its last frames and its end follow with the
//! next packets, or after a short pause. If the next fragment refers to it after a pause (HLS, whole fragments), it is
//! decoded again from packets that are kept. A resume after such a fragment reads it again first, as a primer
//! ([`Position::primer`](crate::media::Position::primer)). So the same footage gives the same frames wherever reading
//! starts. Leading pictures without references are left out, counted as `leading`, and hold nothing back.
//!
//! **No unsound frame is returned.** A frame waits until all packets before its own, in decoding order, have returned
//! their frames: a damaged packet among them invalidates it. Without B-frames nothing waits.
//!
//! **A frame that is not sampled costs only its decoding.** The [`Sampler`] decides before anything is copied or
//! converted.
//!
//! **Masks are black before any other stage gets the picture.** They are painted into a copy ([`MaskPainter`], or a kernel), since
//! the decoder may use its own picture as a reference. Detection, the motion gate, snapshots and the live picture get
//! the copy.
//!
//! **Pictures have a maximum size** (`max_pixels` of the camera), since a decoder keeps up to 16 of them. It is checked
//! against the parameter sets before decoding, and by FFmpeg, with room for the padding of coded pictures.
//!
//! **NVDEC**, the decoder of NVIDIA's GPUs, takes the place of FFmpeg's own where the configuration and the GPU allow it. Its frames
//! stay on the GPU until another stage reads them in host memory. See the module `nvdec`.

mod avcodec;
mod current_fragment;
mod decoder;
mod error;
mod frame_queue;
mod hw_device;
mod idle;
mod idle_worker;
mod mask;
mod nvdec;
mod packet_queue;
mod picture;
mod quiet_sizes;
mod recent_gops;
mod reference_tracker;
mod reorder;
mod sampler;
mod track_decoder;
mod worker;

pub use decoder::Decoder;
pub use error::DecodeError;
pub use frame_queue::{FrameReceiver, FrameSender, QueueClosed, frame_queue};
pub use mask::{MaskPainter, Masks};
pub use nvdec::{GpuDecoders, NvdecGpu};
pub use packet_queue::{MAX_QUEUED_BYTES, PacketReceiver, PacketSender, packet_queue};
pub use sampler::Sampler;
pub use worker::{DecodeSettings, spawn};
