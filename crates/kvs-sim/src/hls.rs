//! GetHLSStreamingSessionURL, and what a player of its URL asks for.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::read;
use crate::errors::ApiError;
use crate::hls_playlist;
use crate::hls_refusal::HlsRefusal;
use crate::hls_request::HlsRequest;
use crate::service::Service;

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
    Router::new()
        .route("/getHLSStreamingSessionURL", post(get_hls_streaming_session_url))
        .route("/hls/v1/getHLSMasterPlaylist.m3u8", get(master_playlist))
        .route("/hls/v1/getHLSMediaPlaylist.m3u8", get(media_playlist))
        .route("/hls/v1/getMP4InitFragment.mp4", get(init_segment))
        .route("/hls/v1/getMP4MediaFragment.mp4", get(mp4_segment))
        .route("/hls/v1/getTSFragment.ts", get(ts_segment))
}

async fn get_hls_streaming_session_url(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: HlsRequest = read(&body)?;
    let stream = request.stream.find(&service.store)?;
    let settings = request.settings(stream.clock().now_ms())?;
    if stream.identity().settings.retention_hours == 0 {
        return Err(HlsRefusal::NoDataRetention { stream: stream.identity().name.clone() }.into());
    }
    let token = service.hls.begin(stream, settings)?;
    let endpoint = service.endpoint_for(&headers);
    let url = format!("{endpoint}/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken={token}");
    Ok(Json(json!({ "HLSStreamingSessionURL": url })))
}

async fn master_playlist(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let session = service.hls.find(asked.token())?;
    let shown = session.shown()?;
    let stream = || session.stream.identity().name.clone();
    let entry = shown.entries.last().ok_or_else(|| HlsRefusal::Paused { stream: stream() })?;
    Ok(answer(PLAYLIST, hls_playlist::master(entry, asked.token())))
}

async fn media_playlist(State(service): State<Service>, Query(asked): Query<Asked>) -> Answer {
    let session = service.hls.find(asked.token())?;
    let shown = session.shown()?;
    Ok(answer(PLAYLIST, hls_playlist::media(&shown, &session.settings, asked.token())))
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

/// Players in pages of other servers may read it, as those of Kinesis Video Streams.
fn answer(kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (headers, body).into_response()
}
