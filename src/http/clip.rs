//! Clips of stored footage: of an incident, and of any time of a camera.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
    RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::byte_range::ByteRange;
use super::reply::error_body;
use super::site::Site;
use crate::clips::{ClipFailure, ClipLibrary, ClipRules, ClipSpan, Mp4Clip};
use crate::source::{ArchiveError, SourceError};

/// Bytes that are read from a clip at a time.
const PART_BYTES: usize = 128 << 10;
/// Limit on the footage before and after an incident, s.
const MAX_AROUND_S: f64 = 600.0;
/// Delay after which a client asks again for a clip that is not ready, s.
const RETRY_S: &str = "2";

/// Media time of the first picture, ms since the epoch: position 0 of the clip.
const START_MS: HeaderName = HeaderName::from_static("x-clip-start-ms");
/// Media time at which the last picture ends, ms since the epoch.
const END_MS: HeaderName = HeaderName::from_static("x-clip-end-ms");

/// The footage around an incident, s.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AroundQuery {
    before: Option<f64>,
    after: Option<f64>,
}

/// A time span: ms since 1970, or RFC 3339.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpanQuery {
    from: String,
    to: String,
}

/// Answers with the clip of an incident.
pub(super) async fn incident_clip(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    query: Result<Query<AroundQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(library) = &site.clips else { return no_clips() };
    let rules = match query.map_err(|error| error.body_text()).and_then(|Query(query)| query.rules(library)) {
        Ok(rules) => rules,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error),
    };
    let sightings = match library.sightings(&id).await {
        Ok(Some(sightings)) => sightings,
        Ok(None) => return refuse(StatusCode::NOT_FOUND, format!("no incident {id}")),
        Err(error) => return ask_again(error),
    };
    let span = rules.span(sightings.first_ms, sightings.last_ms);
    answer(library, &sightings.camera_id, span, &method, &headers).await
}

/// Answers with the clip of a camera's footage.
pub(super) async fn camera_clip(
    State(site): State<Arc<Site>>,
    Path(camera): Path<String>,
    query: Result<Query<SpanQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(library) = &site.clips else { return no_clips() };
    let max_ms = library.rules().max_ms;
    match query.map_err(|error| error.body_text()).and_then(|Query(query)| query.span(max_ms)) {
        Ok(span) => answer(library, &camera, span, &method, &headers).await,
        Err(error) => refuse(StatusCode::BAD_REQUEST, error),
    }
}

impl AroundQuery {
    fn rules(&self, library: &ClipLibrary) -> Result<ClipRules, String> {
        let rules = library.rules();
        Ok(ClipRules {
            before_ms: around_ms("before", self.before, rules.before_ms)?,
            after_ms: around_ms("after", self.after, rules.after_ms)?,
            ..rules
        })
    }
}

/// Returns the value of a parameter in seconds, ms.
#[expect(clippy::cast_possible_truncation, reason = "at most ten minutes")]
fn around_ms(name: &str, value_s: Option<f64>, default_ms: i64) -> Result<i64, String> {
    match value_s {
        None => Ok(default_ms),
        Some(value_s) if (0.0..=MAX_AROUND_S).contains(&value_s) => Ok((value_s * 1000.0) as i64),
        Some(value_s) => Err(format!("{name}={value_s} is out of range: give 0 to {MAX_AROUND_S} seconds")),
    }
}

impl SpanQuery {
    fn span(&self, max_ms: i64) -> Result<ClipSpan, String> {
        let span = ClipSpan { from_ms: time_ms("from", &self.from)?, to_ms: time_ms("to", &self.to)? };
        let length_ms = span.to_ms.saturating_sub(span.from_ms);
        if length_ms <= 0 {
            return Err("to must be after from".to_owned());
        }
        if length_ms > max_ms {
            let max_s = max_ms / 1000;
            return Err(format!(
                "to is more than {max_s} s after from (clips.max_seconds): ask for a shorter time"
            ));
        }
        Ok(span)
    }
}

/// Returns the value of a parameter with a time, ms since the epoch.
fn time_ms(name: &str, text: &str) -> Result<i64, String> {
    // The years 1970 to 9999, which leave room for sums.
    let ms = text.parse().ok().or_else(|| Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis()));
    ms.filter(|ms| (0..=253_402_300_799_999).contains(ms)).ok_or_else(|| {
        format!("{name} is not a time: give ms since 1970, or a time such as 2026-12-01T08:30:00Z")
    })
}

async fn answer(
    library: &ClipLibrary,
    camera: &str,
    span: ClipSpan,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    match library.clip(camera, span).await {
        Ok(clip) => clip_answer(clip, method, headers),
        Err(error) => error_answer(&error),
    }
}

/// Returns the clip, or the part of it that the request asks for.
fn clip_answer(clip: Arc<Mp4Clip>, method: &Method, headers: &HeaderMap) -> Response {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bytes = clip.bytes();
    // RFC 9110, 14.2: ranges are defined for GET alone.
    let range = text(RANGE).filter(|_| method == Method::GET);
    if text(IF_NONE_MATCH).is_some_and(|seen| seen == clip.etag()) {
        return (StatusCode::NOT_MODIFIED, about(&clip)).into_response();
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
    let mut response =
        (status, about(&clip), Body::from_stream(parts(clip, first, last + 1))).into_response();
    let length = HeaderValue::from(last + 1 - first);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    if let Ok(range) = HeaderValue::try_from(format!("bytes {first}-{last}/{bytes}"))
        && status == StatusCode::PARTIAL_CONTENT
    {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    response
}

/// Returns the headers that describe a clip.
fn about(clip: &Mp4Clip) -> [(HeaderName, String); 5] {
    [
        (CONTENT_TYPE, "video/mp4".to_owned()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (ETAG, clip.etag().to_owned()),
        (START_MS, clip.start_ms.to_string()),
        (END_MS, clip.end_ms.to_string()),
    ]
}

/// Returns the bytes of a clip from `first` up to `end`, in parts, each of which is read when the client has taken the one before.
fn parts(clip: Arc<Mp4Clip>, first: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(first, move |at| {
        let clip = Arc::clone(&clip);
        async move {
            if at >= end {
                return Ok(None);
            }
            let max = usize::try_from(end - at).unwrap_or(usize::MAX).min(PART_BYTES);
            let part = spawn_blocking(move || clip.read_at(at, max)).await.map_err(io::Error::other)??;
            let next = at + part.len() as u64;
            Ok(Some((part, next)))
        }
    })
}

fn no_clips() -> Response {
    refuse(StatusCode::NOT_FOUND, "this process reads no cameras, so it has no clips")
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Response {
    (status, error_body(error)).into_response()
}

fn ask_again(error: impl Into<String>) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_S)], error_body(error)).into_response()
}

fn error_answer(error: &ClipFailure) -> Response {
    match status_of(error) {
        StatusCode::SERVICE_UNAVAILABLE => ask_again(error.to_string()),
        status => refuse(status, error.to_string()),
    }
}

fn status_of(error: &ClipFailure) -> StatusCode {
    match error {
        ClipFailure::UnknownCamera { .. }
        | ClipFailure::Archive(
            ArchiveError::RetentionOver { .. }
            | ArchiveError::NoFootage { .. }
            | ArchiveError::Request(SourceError::NoSuchStream { .. }),
        ) => StatusCode::NOT_FOUND,
        ClipFailure::Masked { .. }
        | ClipFailure::NoVideo { .. }
        | ClipFailure::FormatChanged { .. }
        | ClipFailure::TooLarge { .. }
        | ClipFailure::Unreadable { .. }
        | ClipFailure::Archive(ArchiveError::NoRetention { .. } | ArchiveError::TooMany { .. }) => {
            StatusCode::CONFLICT
        }
        ClipFailure::Archive(ArchiveError::Request(
            SourceError::NotAuthorized { .. }
            | SourceError::NoCredentials { .. }
            | SourceError::Signature { .. },
        )) => StatusCode::BAD_GATEWAY,
        ClipFailure::Archive(ArchiveError::Request(_)) | ClipFailure::Busy | ClipFailure::Stopped => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ClipFailure::Storage { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ms_or_rfc_3339() {
        for (text, expected) in [
            ("1795000000000", Some(1_795_000_000_000)),
            ("0", Some(0)),
            ("2026-11-18T08:26:40Z", Some(1_794_990_400_000)),
            ("2026-11-18T09:26:40.250+01:00", Some(1_794_990_400_250)),
            ("-5", None),
            ("yesterday", None),
            ("", None),
            ("999999999999999999", None),
        ] {
            assert_eq!(time_ms("from", text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_span_that_is_empty_or_too_long_is_refused_by_name() {
        let span =
            |from: &str, to: &str| SpanQuery { from: from.to_owned(), to: to.to_owned() }.span(120_000);
        assert_eq!(span("1000", "121000"), Ok(ClipSpan { from_ms: 1_000, to_ms: 121_000 }));
        for (from, to, named) in [
            ("1000", "1000", "to must be after from"),
            ("1000", "121001", "clips.max_seconds"),
            ("x", "1000", "from is not a time"),
            ("1000", "x", "to is not a time"),
        ] {
            let refused = span(from, to).unwrap_err();
            assert!(refused.contains(named), "{from} {to}: {refused}");
        }
    }

    #[test]
    fn footage_around_an_incident_is_bounded() {
        assert_eq!(around_ms("before", None, 5_000), Ok(5_000));
        assert_eq!(around_ms("before", Some(1.5), 5_000), Ok(1_500));
        for value in [-1.0, 601.0, f64::NAN, f64::INFINITY] {
            assert!(around_ms("before", Some(value), 5_000).unwrap_err().contains("before="), "{value}");
        }
    }
}
