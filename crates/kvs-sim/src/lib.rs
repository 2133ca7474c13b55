//! A local Kinesis Video Streams: control plane, PutMedia, GetMedia, the archive, HLS, clips and images over HTTP, clips that
//! play like cameras, and faults.
//!
//! [`Sim`] is the server, and [`StreamStore`] holds its [`KvsStream`]s. A test can use the store without HTTP: load a clip with
//! [`append_clip`], a fragment with [`append_fragment`], invalid bytes with [`KvsStream::append_raw_document`], and read with
//! [`open_media`]. [`KvsStream::set_faults`] injects faults.
//!
//! The folders, each of which uses only those below it:
//!
//! - `api`: the operations over HTTP, a folder per service of AWS.
//! - `hls`: sessions and playlists.
//! - `playback`: clips as cameras.
//! - `store`: streams and fragments, in memory and on disk.
//! - `faults`: the faults, their text form, and their effect on a connection.
//! - `identifiers`: names, ARNs, regions and fragment numbers.

mod api;
mod clock;
mod connection_limit;
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
pub use api::media::get_media::{StartSelector, open_media};
pub use clock::{Clock, epoch_ms};
pub use error::ApiError;
pub use faults::model::{Fault, FaultKind, Faults, Limit, Operation};
pub use faults::parse::{FaultParseError, FaultPlan};
pub use identifiers::fragment_number::{FragmentNumber, FragmentNumberError};
pub use identifiers::region::{Region, RegionError};
pub use media_error::MediaError;
pub use playback::clip::ClipFile;
pub use playback::error::ClipError;
pub use playback::player::{ClipPace, Play, PlayParseError, append_clip};
pub use sim::{Sim, SimConfig};
pub use sim_error::SimError;
pub use store::cursor::{ReadStep, Seek, StreamCursor};
pub use store::disk::DataDirError;
pub use store::fragment::{FragmentHead, MediaHeader, TimeLine};
pub use store::fragment_writer::{FragmentWriter, append_fragment};
pub use store::identity::{StreamIdentity, StreamSettings};
pub use store::stream::{KvsStream, LiveDelivery, StreamLimits};
pub use store::streams::StreamStore;
