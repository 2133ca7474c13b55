//! GetHLSStreamingSessionURL, and what a player of its URL asks for.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::archive::hls_request::HlsRequest;
use crate::api::request::body::read;
use crate::api::service::Service;
use crate::error::ApiError;
use crate::hls::playlist;
use crate::identifiers::region::Region;
use crate::media_error::MediaRefusal;

/// What a URL of a session says after the question mark.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    session_token: Option<String>,
    fragment_number: Option<String>,
}

impl Asked {
    fn token(&self) -> &str {
        self.session_token.as_deref().unwrap_or_default()
    }

    fn number(&self) -> &str {
        self.fragment_number.as_deref().unwrap_or_default()
    }
}

type Answer = Result<Response, ApiError>;

const PLAYLIST: &str = "application/x-mpegURL";
const MP4: &str = "video/mp4";
const MPEG_TS: &str = "video/MP2T";

/// The operation, and the paths of a session.
pub(crate) fn router() -> Router<Service> {
    let paths: [(&str, MethodRouter<Service>); 5] = [
        ("/hls/v1/getHLSMasterPlaylist.m3u8", get(master_playlist)),
        ("/hls/v1/getHLSMediaPlaylist.m3u8", get(media_playlist)),
        ("/hls/v1/getMP4InitFragment.mp4", get(init_segment)),
        ("/hls/v1/getMP4MediaFragment.mp4", get(mp4_segment)),
        ("/hls/v1/getTSFragment.ts", get(ts_segment)),
    ];
    let session = paths
        .into_iter()
        .fold(Router::new(), |router, (path, asked)| router.route(path, asked.options(preflight)));
    let session = session.layer(middleware::map_response(for_any_page));
    session.route("/getHLSStreamingSessionURL", post(get_hls_streaming_session_url))
}

/// Players in pages of other servers may read it, as those of Kinesis Video Streams: who has a URL has its token.
async fn for_any_page(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// What a browser asks before a player's request that has headers of its own.
async fn preflight(headers: HeaderMap) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    let allowed = answer.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    allowed.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    answer
}

async fn get_hls_streaming_session_url(
    State(service): State<Service>,
    region: Region,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: HlsRequest = read(&body)?;
    let stream = request.stream.find(&service.store, &region)?;
    let settings = request.settings(stream.clock().now_ms())?;
    stream.check_retains()?;
    let token = service.hls.begin(stream, settings)?;
    let endpoint = service.endpoint_for(&headers);
    let url = format!("{endpoint}/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken={token}");
    Ok(Json(json!({ "HLSStreamingSessionURL": url })))
}

async fn master_playlist(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let session = service.hls.find(asked.token())?;
    let shown = session.shown()?;
    let stream = || session.stream.identity().name.clone();
    let entry = shown.entries.last().ok_or_else(|| MediaRefusal::Paused { stream: stream() })?;
    Ok(answer(PLAYLIST, playlist::master(entry, asked.token())))
}

async fn media_playlist(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let session = service.hls.find(asked.token())?;
    let shown = session.shown()?;
    Ok(answer(PLAYLIST, playlist::media(&shown, &session.settings, asked.token())))
}

async fn init_segment(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let track = service.hls.find(asked.token())?.init(asked.number())?;
    Ok(answer(MP4, kvs_hls::mp4::write_init(&track)))
}

async fn mp4_segment(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let (number, fragment, start_ms) = service.hls.find(asked.token())?.fragment(asked.number())?;
    let sequence = u32::try_from(number.counter() & u64::from(u32::MAX)).unwrap_or(0);
    Ok(answer(MP4, kvs_hls::mp4::write_media(sequence, start_ms, &fragment.units)))
}

async fn ts_segment(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let (_, fragment, start_ms) = service.hls.find(asked.token())?.fragment(asked.number())?;
    let written = kvs_hls::ts::write(&fragment.track, start_ms, &fragment.units);
    Ok(answer(MPEG_TS, written.map_err(|error| ApiError::Internal(error.to_string()))?))
}

fn answer(kind: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}
