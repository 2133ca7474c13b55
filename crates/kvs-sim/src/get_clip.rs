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
use tokio::task::spawn_blocking;

use crate::control::read;
use crate::errors::ApiError;
use crate::fragment::{TimeLine, begun_within};
use crate::media_refusal::MediaRefusal;
use crate::region::Region;
use crate::request_values::{TIME_LINES, TimestampRange, invalid, one_of};
use crate::service::Service;
use crate::stream::Stream;
use crate::stream_reference::StreamReference;
use crate::video_fragment::VideoFragment;

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

/// The video of a clip: fragments with the same tracks, each with its time.
struct ClipVideo {
    fragments: Vec<(i64, VideoFragment)>,
}

/// Source: AWS, Kinesis Video Streams quotas of GetClip, 2026.
const MOST_FRAGMENTS: usize = 200;
/// Source: as above.
const MOST_BYTES: usize = 100_000_000;

const PIECE_BYTES: usize = 64 << 10;

pub(crate) async fn get_clip(
    State(service): State<Service>,
    region: Region,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: GetClip = read(&body)?;
    let stream = request.stream.find(&service.store, &region)?;
    let selector = request.clip_fragment_selector;
    let line = one_of("FragmentSelectorType", &selector.fragment_selector_type, &TIME_LINES)?;
    let (from_ms, to_ms) = selector.timestamp_range.read(line, stream.clock().now_ms())?;
    let to_ms = to_ms.ok_or_else(|| invalid("TimestampRange.EndTimestamp is needed: seconds since 1970"))?;
    stream.check_retains()?;
    let place = stream.claim_archive_reader()?;
    let collected = spawn_blocking(move || ClipVideo::collect(&stream, line, (from_ms, to_ms))).await;
    let clip = collected.map_err(|stopped| ApiError::Internal(stopped.to_string()))??;
    let pieces = clip.into_file();
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let sent = stream::iter(pieces.into_iter().map(move |piece| {
        let _held = &place;
        Ok::<_, Infallible>(piece)
    }));
    let headers =
        [(header::CONTENT_TYPE, "video/mp4".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(sent)).into_response())
}

impl ClipVideo {
    /// The first fragments that begin in a range, as many as a clip may have.
    ///
    /// Errors: there is none, or one cannot be played, or not with those before it.
    fn collect(stream: &Arc<Stream>, line: TimeLine, range_ms: (i64, i64)) -> Result<Self, MediaRefusal> {
        let name = || stream.identity().name.clone();
        let mut fragments: Vec<(i64, VideoFragment)> = Vec::new();
        let mut bytes = 0;
        for dated in begun_within(stream.whole_after(None), line, range_ms).iter().take(MOST_FRAGMENTS) {
            let Some(fragment) = VideoFragment::read(stream, dated.number)? else { continue };
            bytes += fragment.bytes();
            if bytes > MOST_BYTES {
                break;
            }
            let number = dated.number.to_string();
            if let Some(reason) = fragment.flaw() {
                return Err(MediaRefusal::InvalidMediaFrame { stream: name(), number, reason });
            }
            match fragments.first() {
                Some((_, first)) if first.codecs != fragment.codecs => {
                    return Err(MediaRefusal::ChangedTracks { stream: name(), number });
                }
                Some((_, first)) if first.track.codec_private != fragment.track.codec_private => {
                    let reason =
                        format!("it changes with the fragment {number}; ask for a clip that ends before it");
                    return Err(MediaRefusal::InvalidCodecPrivateData { stream: name(), reason });
                }
                _ => fragments.push((dated.on(line), fragment)),
            }
        }
        if fragments.is_empty() {
            let wanted = "none is in the TimestampRange";
            return Err(MediaRefusal::NoFragments { stream: name(), wanted });
        }
        Ok(Self { fragments })
    }

    /// The file in pieces, so that what a client does not take yet waits here, and holds its place.
    fn into_file(self) -> Vec<Bytes> {
        let units: Vec<(i64, &[AccessUnit])> =
            self.fragments.iter().map(|(at_ms, fragment)| (*at_ms, &fragment.units[..])).collect();
        let head = self.fragments.first().map(|(_, first)| write_file_head(&first.track, &units));
        let frames = self.fragments.iter().flat_map(|(_, fragment)| &fragment.units);
        let whole = head.into_iter().map(Bytes::from).chain(frames.map(|unit| unit.data.clone()));
        whole.flat_map(cut_up).collect()
    }
}

fn cut_up(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let starts = (0..bytes.len()).step_by(PIECE_BYTES);
    starts.map(move |start| bytes.slice(start..bytes.len().min(start + PIECE_BYTES)))
}
