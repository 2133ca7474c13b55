//! Streams and their fragments, in memory and on disk.

pub(crate) mod cursor;
pub(crate) mod disk;
pub(crate) mod fragment;
pub(crate) mod fragment_writer;
pub(crate) mod identity;
pub(crate) mod stream;
mod stream_state;
pub(crate) mod streams;
pub(crate) mod video_fragment;
