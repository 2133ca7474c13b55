//! Operations of the service kinesis-video-archived-media.

pub(crate) mod fragment_media;
pub(crate) mod get_clip;
pub(crate) mod get_images;
pub(crate) mod hls;
mod hls_request;
mod image_request;
pub(crate) mod list_fragments;
mod page_token;
