//! Operations of the service kinesis-video-media: GetMedia and PutMedia.

mod acks;
mod fragment_rate;
pub(crate) mod get_media;
mod ingest;
pub(crate) mod put_media;
