//! A decoded, sampled frame, and the markers between frames, from decode to detect and decide.

use std::sync::Arc;
use std::time::Instant;

use super::{CameraId, Fragment, FragmentEnd, IdleQuery, MediaMs, SamplerState, Surface};

/// An item that decode passes to detect and decide, in stream order.
#[derive(Debug)]
pub enum Decoded {
    /// A sampled frame.
    Frame(Arc<Frame>),
    /// A question of idle decode, answered after the frames before it.
    IdleQuery(IdleQuery),
    /// The end of a fragment whose sampled frames were all passed on before.
    FragmentEnd {
        /// The end of the fragment.
        end: FragmentEnd,
        /// The sampler's state after the fragment, for a resume there.
        sampler: SamplerState,
    },
    /// A break in the stream: the receiver returns to the state of the last committed fragment.
    Discontinuity,
}

/// A decoded picture and its place in the stream.
#[derive(Debug)]
pub struct Frame {
    /// The camera that the frame belongs to.
    pub camera: CameraId,
    /// The fragment that contains the frame.
    pub fragment: Arc<Fragment>,
    /// Index of the block among the video blocks of its fragment, from 0.
    pub index: u32,
    /// Media time of presentation.
    pub media: MediaMs,
    /// The time at which the last byte of the block was read.
    pub arrived: Instant,
    /// The picture.
    pub surface: Surface,
}
