//! A decoded, sampled frame.

use std::sync::Arc;
use std::time::Instant;

use super::{CameraId, Fragment, MediaMs, Surface};

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
