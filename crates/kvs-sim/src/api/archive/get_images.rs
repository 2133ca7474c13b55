//! GetImages: images of the stored footage at equal intervals.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::api::archive::image_request::ImageRequest;
use crate::api::image_maker::{ImageFormat, ImageMaker};
use crate::api::request::body::{JsonResult, parse_body, seconds};
use crate::api::state::ApiState;
use crate::error::ApiError;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::identifiers::region::Region;
use crate::store::fragment::TimeLine;
use crate::store::stream::KvsStream;
use crate::store::video_fragment::VideoFragment;

/// A stored fragment on the time line of the request.
#[derive(Debug, Clone, Copy)]
struct FragmentInterval {
    number: FragmentNumber,
    begins_ms: i64,
    ends_ms: i64,
}

/// A time of the request, and the fragment that holds its image.
type TimedFragment = (i64, Option<FragmentInterval>);

/// The error of one image. Source: the service model of kinesis-video-archived-media, 2017-09-30, ImageError.
#[derive(Debug, Clone, Copy)]
enum ImageError {
    /// There is no footage.
    NoMedia,
    /// There is footage, but no image can be made of it.
    Media,
}

/// Time after a fragment's end for which its last frame still counts.
///
/// Fragments seldom follow each other to the millisecond, and frames before the first keyframe of an open GOP leave a gap.
const LINGER_MS: i64 = 500;
/// Characters of an image at most. Source: the service model of kinesis-video-archived-media, 2017-09-30, ImageContent.
const MAX_CONTENT_LEN: usize = 6_291_456;

pub(crate) async fn get_images(
    State(state): State<ApiState>,
    region: Region,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> JsonResult {
    let Some(maker) = state.images else { return Err(ApiError::unknown_operation(&method, &uri)) };
    let request: ImageRequest = parse_body(&body)?;
    let stream = request.stream.find(&state.store, &region)?;
    let (plan, format) = (request.plan(stream.identity().created_ms)?, request.format()?);
    stream.check_retains()?;
    let permit = stream.claim_archive_reader()?;
    let (line, times_ms) = (plan.line, plan.times_ms);
    let made = spawn_blocking(move || {
        // A client that goes away does not stop the work, so its connection counts until the work is done.
        let _held = permit;
        make_page(&stream, &*maker, line, &times_ms, format)
    });
    let images = made.await.map_err(|panic| ApiError::Internal(panic.to_string()))?;
    Ok(Json(json!({ "Images": images, "NextToken": plan.next_token })))
}

/// Makes the images of ascending times.
fn make_page(
    stream: &Arc<KvsStream>,
    maker: &dyn ImageMaker,
    line: TimeLine,
    times_ms: &[i64],
    format: ImageFormat,
) -> Vec<Value> {
    let intervals = fragment_intervals(stream, line);
    let timed: Vec<TimedFragment> = times_ms.iter().map(|&ms| (ms, fragment_at(&intervals, ms))).collect();
    let same_fragment = |a: &TimedFragment, b: &TimedFragment| {
        a.1.map(|interval| interval.number) == b.1.map(|interval| interval.number)
    };
    // A fragment is decoded once for all its images.
    let groups = timed.chunk_by(same_fragment);
    groups.flat_map(|group| images_of_fragment(stream, maker, group, format)).collect()
}

/// Returns all stored fragments in the order of their times.
fn fragment_intervals(stream: &KvsStream, line: TimeLine) -> Vec<FragmentInterval> {
    let mut intervals = stream.select(|fragment, media| {
        let begins_ms = match line {
            TimeLine::Server => fragment.server_ms,
            TimeLine::Producer => media.head.producer_ms,
        };
        Some(FragmentInterval { number: fragment.number, begins_ms, ends_ms: fragment.end_ms(line) })
    });
    // A producer can upload footage with times from before: the order of numbers is not that of times.
    intervals.sort_by_key(|interval| (interval.begins_ms, interval.number));
    intervals
}

/// Returns the fragment that holds the image of a time: the last that began by then, unless it ended too long ago.
fn fragment_at(intervals: &[FragmentInterval], ms: i64) -> Option<FragmentInterval> {
    let begun = intervals.partition_point(|interval| interval.begins_ms <= ms);
    let last = *intervals.get(begun.checked_sub(1)?)?;
    (ms < last.ends_ms.saturating_add(LINGER_MS)).then_some(last)
}

fn images_of_fragment(
    stream: &Arc<KvsStream>,
    maker: &dyn ImageMaker,
    group: &[TimedFragment],
    format: ImageFormat,
) -> Vec<Value> {
    let Some((_, Some(fragment))) = group.first() else {
        return group.iter().map(|(ms, _)| image_entry(*ms, Err(ImageError::NoMedia))).collect();
    };
    // A track that cannot be decoded is an error of its images and not of the request: others of the page can be good.
    let Ok(Some(video)) = VideoFragment::read(stream, fragment.number) else {
        return group.iter().map(|(ms, _)| image_entry(*ms, Err(ImageError::Media))).collect();
    };
    let wanted: Vec<usize> =
        group.iter().map(|(ms, _)| video.unit_at(ms.saturating_sub(fragment.begins_ms))).collect();
    let files = maker.images(&video.track, &video.units, &wanted, format);
    // A maker that returns too few images must not shift the others.
    let files = files.into_iter().chain(std::iter::repeat(None));
    group.iter().zip(files).map(|((ms, _), file)| image_entry(*ms, file.ok_or(ImageError::Media))).collect()
}

fn image_entry(ms: i64, file: Result<Vec<u8>, ImageError>) -> Value {
    let content = file.map(|file| BASE64.encode(file));
    match content {
        Ok(content) if content.len() <= MAX_CONTENT_LEN => {
            json!({ "TimeStamp": seconds(ms), "ImageContent": content })
        }
        Err(ImageError::NoMedia) => json!({ "TimeStamp": seconds(ms), "Error": "NO_MEDIA" }),
        Ok(_) | Err(ImageError::Media) => json!({ "TimeStamp": seconds(ms), "Error": "MEDIA_ERROR" }),
    }
}
