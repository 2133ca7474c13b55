//! The types that all stages share, below every one of them: source -> demux -> decode -> detect -> decide -> publish.
//!
//! They are listed in the order in which the stages produce them: an access unit, a picture, a detection, an event.

mod access_unit;
mod cuda_picture;
mod decoded;
mod detection;
mod event;
mod ffmpeg_planes;
mod fragment;
mod frame;
mod host_picture;
mod idle_query;
mod mode;
mod sampler_state;
mod surface;

pub use access_unit::{ArrivalLag, Demuxed, FragmentEnd, Packet, VideoTrack};
pub use cuda_picture::{CudaPicture, GpuLossListener};
pub use decoded::Decoded;
pub use detection::{BBox, Detection, PlateText};
pub use event::{ActivityCounts, Event, Extras, ModelId, Payload, Phase};
pub use fragment::{CameraId, Fragment, MediaMs, Position, TimeSource, fragment_order};
pub use frame::Frame;
pub use h26x::{Codec, PictureRole};
pub use host_picture::{Color, HostPicture, Matrix, Yuv420};
pub use idle_query::{IdleQuery, QuietAnswer};
pub use mode::{Mode, ModeCell};
pub use sampler_state::{
    IdleRecord, KeyframeRecord, KeyframeVerdict, OpenWake, QuietSizes, RecentGops, SamplerState, SizeRange,
};
pub use surface::Surface;
