//! GetClip: the stored fragments of a range as one MP4 file.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use kvs_hls::AccessUnit;
use kvs_hls::mp4::write_file_head;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use crate::api::request::body::parse_body;
use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::{TIME_LINES, TimestampRange, invalid, one_of};
use crate::api::state::ApiState;
use crate::error::ApiError;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::identifiers::region::Region;
use crate::media_error::MediaError;
use crate::store::fragment::{TimeLine, begun_within};
use crate::store::stream::KvsStream;
use crate::store::video_fragment::VideoFragment;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetClip {
    #[serde(flatten)]
    stream: StreamReference,
    clip_fragment_selector: ClipFragmentSelector,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ClipFragmentSelector {
    fragment_selector_type: String,
    timestamp_range: TimestampRange,
}

/// The video of a clip: fragments with the same tracks, each with its time in ms since 1970.
struct ClipVideo {
    fragments: Vec<(i64, VideoFragment)>,
}

// Source of both limits: AWS, Kinesis Video Streams quotas of GetClip, 2026.
const MAX_FRAGMENTS: usize = 200;
const MAX_BYTES: usize = 100_000_000;

const PIECE_BYTES: usize = 64 << 10;

pub(crate) async fn get_clip(
    State(state): State<ApiState>,
    region: Region,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: GetClip = parse_body(&body)?;
    let stream = request.stream.find(&state.store, &region)?;
    let selector = request.clip_fragment_selector;
    let line = one_of("FragmentSelectorType", &selector.fragment_selector_type, &TIME_LINES)?;
    let (from_ms, to_ms) = selector.timestamp_range.read(line, stream.clock().now_ms())?;
    let to_ms = to_ms.ok_or_else(|| invalid("TimestampRange.EndTimestamp is needed: seconds since 1970"))?;
    stream.check_retains()?;
    let permit = stream.claim_archive_reader()?;
    // Parsing up to 100 MB of Matroska would hold up the other connections of a runtime thread.
    let collected = spawn_blocking(move || ClipVideo::collect(&stream, line, (from_ms, to_ms))).await;
    let clip = collected.map_err(|panic| ApiError::Internal(panic.to_string()))??;
    Ok(file_response(clip.into_file(), permit))
}

/// Returns the response with an MP4 file in pieces.
fn file_response(pieces: Vec<Bytes>, permit: OwnedSemaphorePermit) -> Response {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let sent = stream::iter(pieces.into_iter().map(move |piece| {
        // Moved in: the connection counts until its last piece is sent.
        let _held = &permit;
        Ok::<_, Infallible>(piece)
    }));
    let headers =
        [(header::CONTENT_TYPE, "video/mp4".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    (headers, Body::from_stream(sent)).into_response()
}

impl ClipVideo {
    /// Collects the first fragments that begin in a range, up to the limits of a clip.
    ///
    /// Fails if there is none, if one cannot be played, or if its tracks differ from those before it.
    fn collect(stream: &Arc<KvsStream>, line: TimeLine, range_ms: (i64, i64)) -> Result<Self, MediaError> {
        let mut fragments: Vec<(i64, VideoFragment)> = Vec::new();
        let mut bytes = 0;
        let whole = stream.whole_fragments_after(None);
        for times in begun_within(whole, line, range_ms).iter().take(MAX_FRAGMENTS) {
            // Read one by one: only the fragments of the clip are in memory at the same time.
            let Some(fragment) = VideoFragment::read(stream, times.number)? else { continue };
            bytes += fragment.bytes();
            if bytes > MAX_BYTES {
                break;
            }
            let first = fragments.first().map(|(_, first)| first);
            check_fragment(stream, times.number, &fragment, first)?;
            fragments.push((times.on(line), fragment));
        }
        if fragments.is_empty() {
            let wanted = "none is in the TimestampRange";
            return Err(MediaError::NoFragments { stream: stream.identity().name.clone(), wanted });
        }
        Ok(Self { fragments })
    }

    /// Returns the MP4 file in pieces: small ones, so that the part that a slow client has not taken stays in this process and
    /// its connection keeps counting, instead of moving into socket buffers at once.
    fn into_file(self) -> Vec<Bytes> {
        let units: Vec<(i64, &[AccessUnit])> =
            self.fragments.iter().map(|(at_ms, fragment)| (*at_ms, &fragment.units[..])).collect();
        let head = self.fragments.first().map(|(_, first)| write_file_head(&first.track, &units));
        let frames = self.fragments.iter().flat_map(|(_, fragment)| &fragment.units);
        let whole = head.into_iter().map(Bytes::from).chain(frames.map(|unit| unit.data.clone()));
        whole.flat_map(split).collect()
    }
}

/// Fails if a fragment cannot be played, or if its tracks differ from those of the first fragment of its clip.
fn check_fragment(
    stream: &KvsStream,
    number: FragmentNumber,
    fragment: &VideoFragment,
    first: Option<&VideoFragment>,
) -> Result<(), MediaError> {
    let (stream, number) = (stream.identity().name.clone(), number.to_string());
    if let Some(reason) = fragment.invalid_frame() {
        return Err(MediaError::InvalidMediaFrame { stream, number, reason });
    }
    // The file has one sample description (stsd, ISO/IEC 14496-12, 8.5.2) for all frames.
    match first {
        Some(first) if first.codecs != fragment.codecs => Err(MediaError::ChangedTracks { stream, number }),
        Some(first) if first.track.codec_private != fragment.track.codec_private => {
            let reason = format!("it changes with the fragment {number}; ask for a clip that ends before it");
            Err(MediaError::InvalidCodecPrivateData { stream, reason })
        }
        _ => Ok(()),
    }
}

fn split(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let starts = (0..bytes.len()).step_by(PIECE_BYTES);
    starts.map(move |start| bytes.slice(start..bytes.len().min(start + PIECE_BYTES)))
}
