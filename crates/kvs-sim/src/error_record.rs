//! Error records: Matroska documents inside a media answer, whose status 200 has been sent by the time that it fails.

use bytes::Bytes;
use kvs_mkv::{Tag, writer};

/// Returns the document with which GetMedia reports an error and ends.
pub(crate) fn error_document(fragment: &str, id: u32, code: &str) -> Bytes {
    tags_document(&[
        Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fragment),
        Tag::new("AWS_KINESISVIDEO_ERROR_CODE", code),
        Tag::new("AWS_KINESISVIDEO_ERROR_ID", id.to_string()),
    ])
}

/// Returns the document with which GetMediaForFragmentList reports an error and ends.
///
/// Source: AWS, GetMediaForFragmentList, Payload, 2026. Its tags are others than those of GetMedia: EXCEPTION_ERROR_CODE is
/// the number, which GetMedia calls ERROR_ID.
pub(crate) fn exception_document(fragment: &str, id: u32, message: &str) -> Bytes {
    tags_document(&[
        Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fragment),
        Tag::new("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", id.to_string()),
        Tag::new("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", message),
    ])
}

fn tags_document(tags: &[Tag]) -> Bytes {
    let mut out = Vec::new();
    writer::document_header(&mut out);
    writer::tags(&mut out, tags);
    out.into()
}
