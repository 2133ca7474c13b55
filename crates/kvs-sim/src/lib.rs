//! A local Kinesis Video Streams: control plane, PutMedia, GetMedia, the archive, HLS, clips and images over HTTP, clips that
//! play like cameras, and faults.
//!
//! [`Sim`] is the server. Behind it stands a [`Store`] of [`Stream`]s, which a test may also use without HTTP:
//! load a clip with [`append_clip`], a fragment with [`append_fragment`], rubbish with
//! [`Stream::append_raw_document`], and read with [`open`]. What goes wrong is told by [`Stream::set_faults`].

mod acks;
mod archive;
mod armed;
mod clip;
mod clip_container;
mod clip_dump;
mod clip_parameters;
mod clock;
mod control;
mod course;
mod cursor;
mod disk;
mod disturbed;
mod errors;
mod fault_control;
mod fault_words;
mod faults;
mod fragment;
mod fragment_number;
mod fragment_writer;
mod get_clip;
mod get_images;
mod get_media;
mod hls;
mod hls_list;
mod hls_playlist;
mod hls_request;
mod hls_session;
mod image_maker;
mod image_request;
mod ingest;
mod media_refusal;
mod mix;
mod page_token;
mod play;
mod put_media;
mod rate;
mod refusals;
mod region;
mod request_values;
mod retention;
mod service;
mod sim;
mod store;
mod stream;
mod stream_arn;
mod stream_identity;
mod stream_name;
mod stream_reference;
mod stream_state;
mod tags;
mod tls;
mod video_fragment;

pub use clip::{Clip, ClipError};
pub use clock::{Clock, epoch_ms};
pub use cursor::{Cursor, Seek, Step};
pub use errors::{ApiError, DiskError, SimError};
pub use fault_words::{FaultPlan, NotAFault};
pub use faults::{Fault, FaultKind, Faults, Limit, Operation};
pub use fragment::{FragmentHead, MediaHeader, TimeLine};
pub use fragment_number::{FragmentNumber, NotANumber};
pub use fragment_writer::{FragmentWriter, append_fragment};
pub use get_media::{StartSelector, open};
pub use image_maker::{ImageFormat, ImageMaker, ImageSize};
pub use media_refusal::MediaRefusal;
pub use play::{NotAPlay, Pace, Play, append_clip};
pub use region::{NotARegion, Region};
pub use sim::{Sim, SimConfig};
pub use store::Store;
pub use stream::{Delivery, Stream, StreamLimits};
pub use stream_identity::{StreamIdentity, StreamSettings};
