//! A local Kinesis Video Streams: control plane, PutMedia, GetMedia, the archive, HLS, clips and images over HTTP, clips that
//! play like cameras, and faults.
//!
//! [`Sim`] is the server. Behind it stands a [`Store`] of [`Stream`]s, which a test may also use without HTTP:
//! load a clip with [`append_clip`], a fragment with [`append_fragment`], rubbish with
//! [`Stream::append_raw_document`], and read with [`open`]. What goes wrong is told by [`Stream::set_faults`].

mod api;
mod clock;
mod error;
mod error_record;
mod faults;
mod hls;
mod identifiers;
mod media_error;
mod playback;
mod sim;
mod sim_error;
mod store;
mod tls;

pub use api::image_maker::{ImageFormat, ImageMaker, ImageSize};
pub use api::media::get_media::{StartSelector, open};
pub use clock::{Clock, epoch_ms};
pub use error::ApiError;
pub use faults::model::{Fault, FaultKind, Faults, Limit, Operation};
pub use faults::parse::{FaultPlan, NotAFault};
pub use identifiers::fragment_number::{FragmentNumber, NotANumber};
pub use identifiers::region::{NotARegion, Region};
pub use media_error::MediaRefusal;
pub use playback::clip::Clip;
pub use playback::error::ClipError;
pub use playback::player::{NotAPlay, Pace, Play, append_clip};
pub use sim::{Sim, SimConfig};
pub use sim_error::SimError;
pub use store::cursor::{Cursor, Seek, Step};
pub use store::disk::DiskError;
pub use store::fragment::{FragmentHead, MediaHeader, TimeLine};
pub use store::fragment_writer::{FragmentWriter, append_fragment};
pub use store::identity::{StreamIdentity, StreamSettings};
pub use store::stream::{Delivery, Stream, StreamLimits};
pub use store::streams::Store;
