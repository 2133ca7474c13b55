//! Matroska documents that carry an error inside an answer that began with 200.

use bytes::Bytes;
use kvs_mkv::{Tag, writer};

/// A document that says why GetMedia stops, inside an answer that began with 200.
pub(crate) fn error_document(fragment: &str, id: u32, code: &str) -> Bytes {
    let mut out = Vec::new();
    writer::document_header(&mut out);
    let tags = [
        Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fragment),
        Tag::new("AWS_KINESISVIDEO_ERROR_CODE", code),
        Tag::new("AWS_KINESISVIDEO_ERROR_ID", id.to_string()),
    ];
    writer::tags(&mut out, &tags);
    out.into()
}

/// A document that says why GetMediaForFragmentList stops.
///
/// Source: the documentation of its Payload, which names other tags than that of GetMedia.
pub(crate) fn exception_document(fragment: &str, id: u32, message: &str) -> Bytes {
    let mut out = Vec::new();
    writer::document_header(&mut out);
    let tags = [
        Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fragment),
        Tag::new("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", id.to_string()),
        Tag::new("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", message),
    ];
    writer::tags(&mut out, &tags);
    out.into()
}
