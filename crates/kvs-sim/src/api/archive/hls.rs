//! GetHLSStreamingSessionURL, and the playlists and segments of its sessions.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::api::archive::hls_request::HlsRequest;
use crate::api::request::body::{JsonResult, parse_body};
use crate::api::state::ApiState;
use crate::error::ApiError;
use crate::hls::playlist;
use crate::identifiers::region::Region;
use crate::media_error::MediaError;

/// The query of a session's URLs.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SessionQuery {
    session_token: Option<String>,
    fragment_number: Option<String>,
}

impl SessionQuery {
    fn token(&self) -> &str {
        self.session_token.as_deref().unwrap_or_default()
    }

    fn number(&self) -> &str {
        self.fragment_number.as_deref().unwrap_or_default()
    }
}

type MediaResult = Result<Response, ApiError>;

const PLAYLIST: &str = "application/x-mpegURL";
const MP4: &str = "video/mp4";
const MPEG_TS: &str = "video/MP2T";

/// Returns the routes of the operation and of its sessions.
pub(crate) fn router() -> Router<ApiState> {
    // The names of AWS's URLs, which players and proxies can match.
    let paths: [(&str, MethodRouter<ApiState>); 5] = [
        ("/hls/v1/getHLSMasterPlaylist.m3u8", get(master_playlist)),
        ("/hls/v1/getHLSMediaPlaylist.m3u8", get(media_playlist)),
        ("/hls/v1/getMP4InitFragment.mp4", get(init_segment)),
        ("/hls/v1/getMP4MediaFragment.mp4", get(mp4_segment)),
        ("/hls/v1/getTSFragment.ts", get(ts_segment)),
    ];
    let session = paths
        .into_iter()
        .fold(Router::new(), |router, (path, handler)| router.route(path, handler.options(preflight)));
    let session = session.layer(middleware::map_response(allow_any_origin));
    session.route("/getHLSStreamingSessionURL", post(get_hls_streaming_session_url))
}

/// Allows pages of other servers to read an answer, as AWS does for HLS: the token in the URL is the authorization.
async fn allow_any_origin(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Answers a browser's CORS preflight, which precedes a request with headers of the player's own.
async fn preflight(headers: HeaderMap) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    let allowed = answer.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    allowed.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    if let Some(requested) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
    }
    answer
}

async fn get_hls_streaming_session_url(
    State(state): State<ApiState>,
    region: Region,
    headers: HeaderMap,
    body: Bytes,
) -> JsonResult {
    let request: HlsRequest = parse_body(&body)?;
    let stream = request.stream.find(&state.store, &region)?;
    let settings = request.settings(stream.clock().now_ms())?;
    stream.check_retains()?;
    let token = state.hls.begin(stream, settings)?;
    let endpoint = state.endpoint_for(&headers);
    let url = format!("{endpoint}/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken={token}");
    Ok(Json(json!({ "HLSStreamingSessionURL": url })))
}

async fn master_playlist(State(state): State<ApiState>, Query(query): Query<SessionQuery>) -> MediaResult {
    let session = state.hls.find(query.token())?;
    let snapshot = session.snapshot()?;
    let stream = || session.stream.identity().name.clone();
    // The newest segment: bitrate and codec of what the player is about to get.
    let newest = snapshot.segments.last().ok_or_else(|| MediaError::Paused { stream: stream() })?;
    Ok(media_answer(PLAYLIST, playlist::write_master(newest, query.token())))
}

async fn media_playlist(State(state): State<ApiState>, Query(query): Query<SessionQuery>) -> MediaResult {
    let session = state.hls.find(query.token())?;
    let snapshot = session.snapshot()?;
    Ok(media_answer(PLAYLIST, playlist::write_media(&snapshot, &session.settings, query.token())))
}

async fn init_segment(State(state): State<ApiState>, Query(query): Query<SessionQuery>) -> MediaResult {
    let track = state.hls.find(query.token())?.init_track(query.number())?;
    Ok(media_answer(MP4, kvs_hls::mp4::write_init(&track)))
}

async fn mp4_segment(State(state): State<ApiState>, Query(query): Query<SessionQuery>) -> MediaResult {
    let (number, fragment, start_ms) = state.hls.find(query.token())?.fragment(query.number())?;
    // mfhd.sequence_number has 32 bits (ISO/IEC 14496-12, 8.8.5).
    let sequence = u32::try_from(number.counter() & u64::from(u32::MAX)).unwrap_or(0);
    Ok(media_answer(MP4, kvs_hls::mp4::write_media(sequence, start_ms, &fragment.units)))
}

async fn ts_segment(State(state): State<ApiState>, Query(query): Query<SessionQuery>) -> MediaResult {
    let (_, fragment, start_ms) = state.hls.find(query.token())?.fragment(query.number())?;
    let written = kvs_hls::ts::write(&fragment.track, start_ms, &fragment.units);
    Ok(media_answer(MPEG_TS, written.map_err(|error| ApiError::Internal(error.to_string()))?))
}

fn media_answer(content_type: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}
