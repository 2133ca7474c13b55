//! A local Kinesis Video Streams: control plane, PutMedia, GetMedia and HLS over HTTP, and clips that play like cameras.
//!
//! [`Sim`] is the server. Behind it stands a [`Store`] of [`Stream`]s, which a test may also use without HTTP:
//! load a clip with [`append_clip`], a fragment with [`append_fragment`], rubbish with
//! [`Stream::append_raw_document`], and read with [`open`].

mod acks;
mod clip;
mod clip_container;
mod clip_dump;
mod clip_parameters;
mod clock;
mod control;
mod cursor;
mod disk;
mod errors;
mod fragment;
mod fragment_number;
mod fragment_writer;
mod get_media;
mod hls;
mod hls_fragment;
mod hls_list;
mod hls_playlist;
mod hls_refusal;
mod hls_request;
mod hls_session;
mod ingest;
mod play;
mod put_media;
mod rate;
mod service;
mod sim;
mod store;
mod stream;
mod tls;

pub use clip::{Clip, ClipError};
pub use clock::{Clock, epoch_ms};
pub use cursor::{Cursor, Seek, Step};
pub use errors::{ApiError, DiskError, SimError};
pub use fragment::{FragmentHead, MediaHeader, TimeLine};
pub use fragment_number::{FragmentNumber, NotANumber};
pub use fragment_writer::{FragmentWriter, append_fragment};
pub use get_media::{StartSelector, open};
pub use hls_refusal::HlsRefusal;
pub use play::{NotAPlay, Pace, Play, append_clip};
pub use sim::{Sim, SimConfig};
pub use store::Store;
pub use stream::{Delivery, Stream, StreamIdentity, StreamLimits, StreamSettings};
