//! `/api/incidents`: the incidents of the past, their records and their pictures.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;

use super::reply::error_body;
use super::site::Site;
use crate::base::{MAX_NAME_CHARS, clean_text};
use crate::history::{
    EventPicture, HistoryError, IncidentFilter, IncidentHistory, IncidentQuery, PictureKind, PictureMissing,
    comparable_text,
};

/// Number of incidents on a page where the client names none.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
/// Maximum number of cameras in a filter.
const MAX_CAMERAS: usize = 1_000;
/// The caching of pictures: the picture of a record never changes.
const IMMUTABLE: &str = "private, max-age=86400, immutable";
const NO_HISTORY: &str = "no store keeps the incidents: set publishers.local_dir or publishers.ddb_table";

type Parameters = Vec<(String, String)>;

/// Answers with a page of incidents, newest first.
pub(super) async fn incidents(
    State(site): State<Arc<Site>>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let query = match parse_query(&parameters) {
        Ok(query) => query,
        Err(why) => return (StatusCode::BAD_REQUEST, error_body(why)).into_response(),
    };
    let Some(history) = &site.history else { return no_history() };
    history.page(query).await.map_or_else(|error| failed(&error), |page| Json(page).into_response())
}

/// Answers with an incident and its records.
pub(super) async fn incident(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Response {
    let Some(history) = &site.history else { return no_history() };
    match history.incident(&id).await {
        Ok(Some(detail)) => Json(detail).into_response(),
        Ok(None) => {
            let id = clean_text(&id, MAX_NAME_CHARS);
            let why = format!("no incident {id}: it is unknown, or its records are deleted");
            (StatusCode::NOT_FOUND, error_body(why)).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// Answers with a picture of a record.
pub(super) async fn picture(
    State(site): State<Arc<Site>>,
    Path((id, event_id)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let kind = match parse_kind(&parameters) {
        Ok(kind) => kind,
        Err(why) => return (StatusCode::BAD_REQUEST, error_body(why)).into_response(),
    };
    let Some(history) = &site.history else { return no_history() };
    picture_answer(history, (&id, &event_id, kind), &headers).await
}

async fn picture_answer(
    history: &IncidentHistory,
    (id, event_id, kind): (&str, &str, PictureKind),
    headers: &HeaderMap,
) -> Response {
    match history.picture(id, event_id, kind).await {
        Ok(EventPicture { content_type, bytes }) => {
            // Only of a picture that is there, so the id is one of ours and fits a header.
            let etag = format!("\"{event_id}-{}\"", kind.as_str());
            let caching = [(ETAG, etag.clone()), (CACHE_CONTROL, IMMUTABLE.to_owned())];
            if headers.get(IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == etag.as_bytes()) {
                return (StatusCode::NOT_MODIFIED, caching).into_response();
            }
            (caching, [(CONTENT_TYPE, content_type)], bytes).into_response()
        }
        Err(PictureMissing::NotFound(why)) => {
            (StatusCode::NOT_FOUND, error_body(clean_text(&why, 500))).into_response()
        }
        Err(PictureMissing::History(error)) => failed(&error),
    }
}

fn no_history() -> Response {
    (StatusCode::CONFLICT, error_body(NO_HISTORY)).into_response()
}

fn failed(error: &HistoryError) -> Response {
    let body = error_body(error.to_string());
    match error {
        HistoryError::Indexing { .. } | HistoryError::Busy => {
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "2")], body).into_response()
        }
        HistoryError::Aws(_) => (StatusCode::SERVICE_UNAVAILABLE, body).into_response(),
        HistoryError::Index { .. } | HistoryError::Stopped(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
    }
}

/// Returns the query of these parameters, or an error that names the wrong one.
fn parse_query(parameters: &[(String, String)]) -> Result<IncidentQuery, String> {
    let mut query = IncidentQuery { filter: IncidentFilter::default(), limit: DEFAULT_LIMIT, cursor: None };
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in parameters {
        if name != "camera" && seen.contains(&name.as_str()) {
            return Err(format!("{}: it is given twice", clean_text(name, MAX_NAME_CHARS)));
        }
        seen.push(name);
        let named = |why: String| format!("{name}: {why}");
        match name.as_str() {
            "camera" => add_cameras(&mut query.filter.cameras, value).map_err(named)?,
            "label" => query.filter.label = parse_text(value).map_err(named)?,
            "type" => query.filter.kind = parse_text(value).map_err(named)?,
            "zone" => query.filter.zone = parse_text(value).map_err(named)?,
            "text" => {
                let text = parse_text(value).map_err(named)?;
                query.filter.text = text.map(|text| comparable_text(&text)).filter(|text| !text.is_empty());
            }
            "from" => query.filter.from_ms = parse_time(value).map_err(named)?,
            "to" => query.filter.to_ms = parse_time(value).map_err(named)?,
            "limit" => query.limit = parse_limit(value).map_err(named)?,
            "cursor" if value.is_empty() => {}
            "cursor" => query.cursor = Some(value.parse().map_err(|error| format!("cursor: {error}"))?),
            other => return Err(unknown(other)),
        }
    }
    match (query.filter.from_ms, query.filter.to_ms) {
        (Some(from), Some(to)) if from > to => Err("from: it is after to".to_owned()),
        _ => Ok(query),
    }
}

fn unknown(name: &str) -> String {
    let name = clean_text(name, MAX_NAME_CHARS);
    format!(
        "{name}: there is no such parameter; those of this path are camera, label, type, zone, text, from, to, limit and cursor"
    )
}

fn add_cameras(cameras: &mut Vec<String>, value: &str) -> Result<(), String> {
    for id in value.split(',').filter(|id| !id.is_empty()) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if id.len() > 64 || !id.bytes().all(is_plain) {
            let id = clean_text(id, MAX_NAME_CHARS);
            return Err(format!("{id} is no id of a camera; separate several ids by commas"));
        }
        if !cameras.iter().any(|known| known == id) {
            cameras.push(id.to_owned());
        }
    }
    if cameras.len() > MAX_CAMERAS {
        return Err(format!(
            "at most {MAX_CAMERAS} cameras may be named; without the parameter all are searched"
        ));
    }
    Ok(())
}

/// Returns the text; `None` where it is empty.
fn parse_text(value: &str) -> Result<Option<String>, String> {
    if value.chars().count() > MAX_NAME_CHARS {
        return Err(format!("it has more than {MAX_NAME_CHARS} characters"));
    }
    Ok(Some(value.to_owned()).filter(|text| !text.is_empty()))
}

/// Returns ms since the epoch; `None` where the text is empty.
fn parse_time(value: &str) -> Result<Option<i64>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    if let Ok(ms) = value.parse() {
        return Ok(Some(ms));
    }
    // A plus sign of an offset that was not encoded arrives as a blank.
    let time = DateTime::parse_from_rfc3339(&value.replace(' ', "+"));
    let time = time.map_err(|_| {
        "it is neither milliseconds since 1970 nor a time such as 2026-12-01T06:30:00Z".to_owned()
    })?;
    Ok(Some(time.timestamp_millis()))
}

fn parse_limit(value: &str) -> Result<usize, String> {
    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| format!("it is not a number from 1 to {MAX_LIMIT}"))
}

/// Returns the kind of picture that is asked for: the snapshot where none is named.
fn parse_kind(parameters: &[(String, String)]) -> Result<PictureKind, String> {
    match parameters {
        [] => Ok(PictureKind::Snapshot),
        [(name, value)] if name == "kind" => {
            value.parse().map_err(|()| "kind: it is not snapshot, clean or crop".to_owned())
        }
        [(name, _), ..] => {
            let name = clean_text(name, MAX_NAME_CHARS);
            Err(format!(
                "{name}: there is no such parameter, or it is given twice; that of this path is kind"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(parameters: &[(&str, &str)]) -> Result<IncidentQuery, String> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        parse_query(&parameters.iter().map(own).collect::<Vec<_>>())
    }

    #[test]
    fn all_parameters_are_read() {
        let query = parsed(&[
            ("camera", "gate,yard"),
            ("camera", "gate,lawn"),
            ("label", "car"),
            ("type", "alpr"),
            ("zone", "drive way"),
            ("text", "B-AB 1"),
            ("from", "2026-12-01T00:00:00 01:00"),
            ("to", "1800000000000"),
            ("limit", "200"),
            ("cursor", "17.a"),
        ]);
        let query = query.unwrap();
        let own = |text: &str| Some(text.to_owned());
        let filter = IncidentFilter {
            cameras: ["gate", "yard", "lawn"].map(str::to_owned).into(),
            label: own("car"),
            kind: own("alpr"),
            zone: own("drive way"),
            text: own("bab1"),
            from_ms: Some(1_796_079_600_000),
            to_ms: Some(1_800_000_000_000),
        };
        assert_eq!((query.filter, query.limit), (filter, 200));
        assert_eq!(query.cursor.unwrap().to_string(), "17.a");
        let empty =
            ["camera", "label", "type", "zone", "text", "from", "to", "cursor"].map(|name| (name, ""));
        let query = parsed(&empty).unwrap();
        assert_eq!((query.filter, query.limit), (IncidentFilter::default(), DEFAULT_LIMIT));
        assert!(query.cursor.is_none());
    }

    #[test]
    fn an_error_names_its_parameter() {
        let long = "x".repeat(MAX_NAME_CHARS + 1);
        let hostile = "<script>\n";
        for (parameters, expected) in [
            (&[("limit", "0")][..], "limit: it is not a number from 1 to 200"),
            (&[("limit", "201")], "limit: "),
            (&[("limit", "x")], "limit: "),
            (&[("from", "yesterday")], "from: it is neither"),
            (&[("to", "2026-12-01")], "to: it is neither"),
            (&[("from", "2"), ("to", "1")], "from: it is after to"),
            (&[("cursor", "nonsense")], "cursor: it is not the value of `next`"),
            (&[("camera", "a,b/c")], "camera: b/c is no id"),
            (&[("camera", "../..")], "camera: ../.. is no id"),
            (&[("label", &long)], "label: it has more than 200 characters"),
            (&[("label", "a"), ("label", "b")], "label: it is given twice"),
            (&[(hostile, "1")], "<script>: there is no such parameter"),
        ] {
            let why = parsed(parameters).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
    }

    #[test]
    fn kinds_of_pictures() {
        let kind = |parameters: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            parse_kind(&parameters.iter().map(own).collect::<Vec<_>>())
        };
        assert_eq!(kind(&[]), Ok(PictureKind::Snapshot));
        assert_eq!(kind(&[("kind", "crop")]), Ok(PictureKind::Crop));
        assert!(kind(&[("kind", "clip")]).unwrap_err().starts_with("kind: "));
        assert!(kind(&[("size", "1")]).unwrap_err().starts_with("size: "));
    }
}
