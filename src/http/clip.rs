//! Clips of stored footage: of an incident, and of any time of a camera.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use serde::Deserialize;

use super::clip_file::{ServedClip, clip_answer};
use super::reply::error_body;
use super::site::{ClipSources, Site};
use crate::base::clean_text;
use crate::clips::{ClipFailure, ClipLibrary, ClipRules, ClipSpan, IncidentSightings};
use crate::history::StoredClipError;
use crate::source::{ArchiveError, SourceError};

/// Limit on the footage before and after an incident, s.
const MAX_AROUND_S: f64 = 600.0;
/// Delay after which a client asks again for a clip that is not ready, s.
const RETRY_S: &str = "2";
/// Limit on the reason why there is no clip, characters: it may have texts of a record.
const MAX_REASON_CHARS: usize = 700;

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
    let Some(clips) = &site.clips else { return no_clips() };
    let library = &clips.library;
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
    match library.clip(&sightings.camera_id, span).await {
        Ok(clip) => {
            clip_answer(ServedClip::Made(clip), left_out_ms(&sightings, span.to_ms), &method, &headers)
        }
        Err(error) if error.is_footage_gone() => {
            stored_answer(clips, &id, &sightings, &error, (&method, &headers)).await
        }
        Err(error) => error_answer(&error),
    }
}

/// Answers with the clip of a camera's footage.
pub(super) async fn camera_clip(
    State(site): State<Arc<Site>>,
    Path(camera): Path<String>,
    query: Result<Query<SpanQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(ClipSources { library, .. }) = &site.clips else { return no_clips() };
    let max_ms = library.rules().max_ms;
    let span = match query.map_err(|error| error.body_text()).and_then(|Query(query)| query.span(max_ms)) {
        Ok(span) => span,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error),
    };
    match library.clip(&camera, span).await {
        Ok(clip) => clip_answer(ServedClip::Made(clip), 0, &method, &headers),
        Err(error) => error_answer(&error),
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

/// Answers with the clip that was stored at the end of an incident, whose footage is gone.
async fn stored_answer(
    clips: &ClipSources,
    incident: &str,
    sightings: &IncidentSightings,
    gone: &ClipFailure,
    (method, headers): (&Method, &HeaderMap),
) -> Response {
    let error = match clips.stored.find(incident, sightings).await {
        Ok(clip) => {
            let clip = ServedClip::Stored(Arc::new(clip));
            let end_ms = clip.times().map_or(i64::MAX, |times| times.end_ms);
            return clip_answer(clip, left_out_ms(sightings, end_ms), method, headers);
        }
        Err(error) => error,
    };
    let text = clean_text(&format!("{gone}; {error}"), MAX_REASON_CHARS);
    match error {
        StoredClipError::Absent(_) => refuse(status_of(gone), text),
        StoredClipError::Denied(_) => refuse(StatusCode::BAD_GATEWAY, text),
        StoredClipError::Unavailable(_) => ask_again(text),
        StoredClipError::Disk(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, text),
    }
}

/// Returns the time from the end of a clip to that of its incident, ms; 0: the clip has the last sighting.
fn left_out_ms(sightings: &IncidentSightings, clip_end_ms: i64) -> i64 {
    sightings.last_ms.saturating_add(1).saturating_sub(clip_end_ms).max(0)
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
