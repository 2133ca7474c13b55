//! The answer with a clip: whole or in ranges, read part by part.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use tokio::task::spawn_blocking;

use super::byte_range::ByteRange;
use super::reply::error_body;
use crate::clips::{ClipTimes, Mp4Clip};
use crate::history::StoredClip;

/// Bytes that are read from a clip that was made at a time.
const PART_BYTES: u64 = 128 << 10;

/// Media time of the first picture, ms since the epoch: position 0 of the clip.
const START_MS: HeaderName = HeaderName::from_static("x-clip-start-ms");
/// Media time at which the last picture ends, ms since the epoch.
const END_MS: HeaderName = HeaderName::from_static("x-clip-end-ms");
/// The origin of the clip: `archive` or `stored`.
const SOURCE: HeaderName = HeaderName::from_static("x-clip-source");
/// Time of an incident after the end of its clip, ms.
const LEFT_OUT_MS: HeaderName = HeaderName::from_static("x-clip-left-out-ms");

/// A clip as HTTP serves it. Clones share the file.
#[derive(Clone)]
pub(super) enum ServedClip {
    /// Made of the footage that KVS stores.
    Made(Arc<Mp4Clip>),
    /// Stored at the end of its incident.
    Stored(Arc<StoredClip>),
}

impl ServedClip {
    /// Returns the media times that the clip shows; `None`: its file does not have them.
    pub(super) fn times(&self) -> Option<ClipTimes> {
        match self {
            Self::Made(clip) => Some(clip.times),
            Self::Stored(clip) => clip.times(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Made(clip) => clip.bytes(),
            Self::Stored(clip) => clip.bytes(),
        }
    }

    fn etag(&self) -> &str {
        match self {
            Self::Made(clip) => clip.etag(),
            Self::Stored(clip) => clip.etag(),
        }
    }

    fn source(&self) -> &'static str {
        match self {
            Self::Made(_) => "archive",
            Self::Stored(_) => "stored",
        }
    }

    /// Reads a part of up to `max` bytes from `offset` on, at least one.
    async fn read_at(&self, offset: u64, max: u64) -> io::Result<Bytes> {
        let part = match self {
            Self::Made(clip) => {
                let (clip, max) = (Arc::clone(clip), max.min(PART_BYTES) as usize);
                spawn_blocking(move || clip.read_at(offset, max)).await.map_err(io::Error::other)??
            }
            Self::Stored(clip) => clip.read_at(offset, max).await?,
        };
        if part.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(part) }
    }

    /// Returns the headers that describe the clip.
    fn about(&self, left_out_ms: i64) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("video/mp4")),
            (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (SOURCE, HeaderValue::from_static(self.source())),
        ]);
        // Both kinds of clips have an entity tag of visible characters.
        headers.extend(HeaderValue::from_str(self.etag()).ok().map(|etag| (ETAG, etag)));
        if let Some(times) = self.times() {
            headers.insert(START_MS, HeaderValue::from(times.start_ms));
            headers.insert(END_MS, HeaderValue::from(times.end_ms));
        }
        if left_out_ms > 0 {
            headers.insert(LEFT_OUT_MS, HeaderValue::from(left_out_ms));
        }
        headers
    }
}

/// Returns the clip, or the part of it that the request asks for. `left_out_ms`: time of the incident after the clip's end.
pub(super) fn clip_answer(
    clip: ServedClip,
    left_out_ms: i64,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (bytes, about) = (clip.bytes(), clip.about(left_out_ms));
    // RFC 9110, 14.2: ranges are defined for GET alone.
    let range = text(RANGE).filter(|_| method == Method::GET);
    if text(IF_NONE_MATCH).is_some_and(|seen| seen == clip.etag()) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let (status, first, last) = match ByteRange::of(range, text(IF_RANGE), clip.etag(), bytes) {
        ByteRange::Whole => (StatusCode::OK, 0, bytes.saturating_sub(1)),
        ByteRange::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last),
        ByteRange::Unsatisfiable => {
            let error = error_body(format!("the clip has {bytes} bytes"));
            let range = [(CONTENT_RANGE, format!("bytes */{bytes}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, range, error).into_response();
        }
    };
    let mut response = (status, about, Body::from_stream(parts(clip, first, last + 1))).into_response();
    let length = HeaderValue::from(last + 1 - first);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    if let Ok(range) = HeaderValue::try_from(format!("bytes {first}-{last}/{bytes}"))
        && status == StatusCode::PARTIAL_CONTENT
    {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    response
}

/// Returns the bytes of a clip from `first` up to `end`, in parts, each of which is read when the client has taken the one before.
fn parts(clip: ServedClip, first: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(first, move |at| {
        let clip = clip.clone();
        async move {
            if at >= end {
                return Ok(None);
            }
            let part = clip.read_at(at, end - at).await?;
            let next = at + part.len() as u64;
            Ok(Some((part, next)))
        }
    })
}
