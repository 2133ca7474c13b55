//! GetImages: pictures of the stored footage at times in equal distance.

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
use crate::api::request::body::{read, seconds};
use crate::api::service::Service;
use crate::error::ApiError;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::identifiers::region::Region;
use crate::store::fragment::TimeLine;
use crate::store::stream::Stream;
use crate::store::video_fragment::VideoFragment;

/// A stored fragment on the time line of the request.
#[derive(Debug, Clone, Copy)]
struct Shown {
    number: FragmentNumber,
    begins_ms: i64,
    ends_ms: i64,
}

/// Why there is no picture of a time. Source: the service model of kinesis-video-archived-media, 2017-09-30.
#[derive(Debug, Clone, Copy)]
enum ImageError {
    /// There is no footage.
    NoMedia,
    /// There is footage of which no picture can be made.
    Media,
}

/// How long the last picture of a fragment counts after its end: fragments seldom follow each other to the millisecond, and
/// pictures before the first key frame of an open GOP leave a gap.
const LINGERS_MS: i64 = 500;
/// Characters of an image. Source: as of `ImageError`.
const LONGEST_CONTENT: usize = 6_291_456;

pub(crate) async fn get_images(
    State(service): State<Service>,
    region: Region,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Some(maker) = service.images else { return Err(ApiError::unknown_operation(&method, &uri)) };
    let request: ImageRequest = read(&body)?;
    let stream = request.stream.find(&service.store, &region)?;
    let (plan, format) = (request.plan(stream.identity().created_ms)?, request.format()?);
    stream.check_retains()?;
    let place = stream.claim_archive_reader()?;
    let (line, times_ms) = (plan.line, plan.times_ms);
    let made = spawn_blocking(move || {
        let _held = place;
        page(&stream, &*maker, line, &times_ms, format)
    });
    let images = made.await.map_err(|stopped| ApiError::Internal(stopped.to_string()))?;
    Ok(Json(json!({ "Images": images, "NextToken": plan.next_token })))
}

/// The images of times that rise, those of one fragment made at once.
fn page(
    stream: &Arc<Stream>,
    maker: &dyn ImageMaker,
    line: TimeLine,
    times_ms: &[i64],
    format: ImageFormat,
) -> Vec<Value> {
    let shown = shown(stream, line);
    let found: Vec<(i64, Option<Shown>)> = times_ms.iter().map(|&ms| (ms, at(&shown, ms))).collect();
    let same = |a: &(i64, Option<Shown>), b: &(i64, Option<Shown>)| {
        a.1.map(|shown| shown.number) == b.1.map(|shown| shown.number)
    };
    found.chunk_by(same).flat_map(|group| of_fragment(stream, maker, group, format)).collect()
}

/// All that is stored, in the order of its times.
fn shown(stream: &Stream, line: TimeLine) -> Vec<Shown> {
    let mut shown = stream.select(|fragment, media| {
        let begins_ms = match line {
            TimeLine::Server => fragment.server_ms,
            TimeLine::Producer => media.head.producer_ms,
        };
        Some(Shown { number: fragment.number, begins_ms, ends_ms: fragment.end_ms(line) })
    });
    shown.sort_by_key(|shown| (shown.begins_ms, shown.number));
    shown
}

/// The fragment whose picture is shown at a time: the last that began.
fn at(shown: &[Shown], ms: i64) -> Option<Shown> {
    let begun = shown.partition_point(|shown| shown.begins_ms <= ms);
    let last = *shown.get(begun.checked_sub(1)?)?;
    (ms < last.ends_ms.saturating_add(LINGERS_MS)).then_some(last)
}

fn of_fragment(
    stream: &Arc<Stream>,
    maker: &dyn ImageMaker,
    group: &[(i64, Option<Shown>)],
    format: ImageFormat,
) -> Vec<Value> {
    let Some((_, Some(fragment))) = group.first() else {
        return group.iter().map(|(ms, _)| image(*ms, Err(ImageError::NoMedia))).collect();
    };
    let Ok(Some(video)) = VideoFragment::read(stream, fragment.number) else {
        return group.iter().map(|(ms, _)| image(*ms, Err(ImageError::Media))).collect();
    };
    let wanted: Vec<usize> =
        group.iter().map(|(ms, _)| video.shown_at(ms.saturating_sub(fragment.begins_ms))).collect();
    let made = maker.images(&video.track, &video.units, &wanted, format);
    let made = made.into_iter().chain(std::iter::repeat(None));
    group.iter().zip(made).map(|((ms, _), file)| image(*ms, file.ok_or(ImageError::Media))).collect()
}

fn image(ms: i64, file: Result<Vec<u8>, ImageError>) -> Value {
    let content = file.map(|file| BASE64.encode(file));
    match content {
        Ok(content) if content.len() <= LONGEST_CONTENT => {
            json!({ "TimeStamp": seconds(ms), "ImageContent": content })
        }
        Err(ImageError::NoMedia) => json!({ "TimeStamp": seconds(ms), "Error": "NO_MEDIA" }),
        Ok(_) | Err(ImageError::Media) => json!({ "TimeStamp": seconds(ms), "Error": "MEDIA_ERROR" }),
    }
}
