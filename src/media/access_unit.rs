//! Compressed video: access units and the markers between them, from demux to decode.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h26x::{Codec, PictureRole};

use super::{Fragment, MediaMs, Position};

/// The video track that packets belong to. A decoder can continue with a track that is equal to its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoTrack {
    /// The codec.
    pub codec: Codec,
    /// The decoder configuration record: avcC or hvcC.
    pub codec_private: Bytes,
    /// Width by the container, px. The decoder's own figure takes precedence.
    pub width_px: u32,
    /// Height by the container, px. The decoder's own figure takes precedence.
    pub height_px: u32,
}

/// One access unit, its NAL units length-prefixed as avcC or hvcC says.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The fragment that contains the access unit.
    pub fragment: Arc<Fragment>,
    /// The track that the access unit belongs to.
    pub track: Arc<VideoTrack>,
    /// Index of the block among the video blocks of its fragment, from 0.
    pub index: u32,
    /// Media time of presentation.
    pub media: MediaMs,
    /// `true` if the container marks it as a keyframe.
    pub key: bool,
    /// The bytes of the access unit.
    pub unit: Bytes,
    /// The time at which the last byte of the access unit was read.
    pub arrived: Instant,
    /// The lag behind the live edge at that time.
    pub lag: ArrivalLag,
}

impl Packet {
    /// Returns the role of the picture for a decoder that joins the stream in the middle.
    #[must_use]
    pub fn role(&self) -> PictureRole {
        // The role is read from the NAL units, because containers do not mark leading pictures.
        PictureRole::of(self.track.codec, &self.track.codec_private, &self.unit)
    }
}

/// The lag of an access unit at its arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArrivalLag {
    /// The lag behind the live edge at arrival.
    pub at_arrival: Duration,
    /// The part of the lag that the delivery of whole fragments or segments explains; it recurs with each of them.
    pub explained: Duration,
}

/// An item that demux passes to decode, in stream order.
#[derive(Clone, Debug)]
pub enum Demuxed {
    /// An access unit.
    Packet(Packet),
    /// An access unit of the fragment before the position, read a second time because later pictures may refer to it.
    Primer(Packet),
    /// The trailing tags arrived: the fragment is complete.
    FragmentEnd(FragmentEnd),
    /// The stream broke off inside a fragment, or jumped. Packets since the last `FragmentEnd` are read again or are lost.
    Discontinuity,
}

/// The end of a complete fragment.
#[derive(Clone, Debug)]
pub struct FragmentEnd {
    /// The complete fragment.
    pub fragment: Arc<Fragment>,
    /// The position after the fragment.
    pub position: Position,
    /// The reader's lag behind the live edge, ms; `None` where unknown.
    pub behind_ms: Option<u64>,
    /// `true` if the reader has reached the live edge: from here on newer frames replace older ones.
    pub caught_up: bool,
}
