//! ListFragments and GetMediaForFragmentList: what is stored, as a list and as media.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream as ByteStream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::api::archive::page_token::{PageToken, Span};
use crate::api::request::body::{read, seconds};
use crate::api::request::stream_reference::StreamReference;
use crate::api::service::Service;
use crate::error::ApiError;
use crate::error_record::exception_document;
use crate::faults::connection::Piece;
use crate::faults::mix::mix64;
use crate::faults::stream::disturbed;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::identifiers::region::Region;
use crate::store::fragment::{Fragment, Media, TimeLine};
use crate::store::stream::Stream;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListFragments {
    #[serde(flatten)]
    stream: StreamReference,
    max_results: Option<usize>,
    next_token: Option<String>,
    fragment_selector: Option<FragmentSelector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FragmentSelector {
    fragment_selector_type: String,
    timestamp_range: TimestampRange,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimestampRange {
    start_timestamp: f64,
    end_timestamp: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetMediaForFragmentList {
    #[serde(flatten)]
    stream: StreamReference,
    fragments: Vec<String>,
}

/// Source: the service model of kinesis-video-archived-media, 2017-09-30.
const MOST_RESULTS: usize = 1000;
/// Fragments on a page where the caller does not say; the documentation gives no number.
const USUAL_RESULTS: usize = 100;
/// Source: as of `MOST_RESULTS`.
const MOST_FRAGMENTS: usize = 1000;
const LONGEST_NUMBER: usize = 128;
const FRAGMENT_NOT_FOUND: (u32, &str) = (4000, "the fragment is not there, or no longer");

pub(crate) async fn list_fragments(
    State(service): State<Service>,
    region: Region,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: ListFragments = read(&body)?;
    let stream = request.stream.find(&service.store, &region)?;
    let most = request.most()?;
    let token = request.token(&stream)?;
    let listed = list(&stream, token);
    let page = &listed[..most.min(listed.len())];
    let more = page.last().filter(|_| listed.len() > most);
    let next = more.map(|&(rank, _)| PageToken { after: Some(rank), ..token }.to_string());
    let fragments = page.iter().filter_map(|&(_, number)| stream.read_archived(number, describe));
    let fragments: Vec<Value> = fragments.collect();
    Ok(Json(json!({ "Fragments": fragments, "NextToken": next })))
}

impl ListFragments {
    fn most(&self) -> Result<usize, ApiError> {
        match self.max_results {
            Some(most) if !(1..=MOST_RESULTS).contains(&most) => {
                Err(ApiError::InvalidArgument(format!("MaxResults {most}: 1 to {MOST_RESULTS} are possible")))
            }
            most => Ok(most.unwrap_or(USUAL_RESULTS)),
        }
    }

    /// Where the page begins.
    fn token(&self, stream: &Stream) -> Result<PageToken, ApiError> {
        let created_ms = stream.identity().created_ms;
        if let Some(text) = &self.next_token {
            let token = PageToken::read(text).filter(|token| token.created_ms == created_ms);
            let wrong =
                || ApiError::InvalidArgument("NextToken is none of this stream's; begin without".to_owned());
            return token.ok_or_else(wrong);
        }
        let needed = || ApiError::InvalidArgument("FragmentSelector or NextToken is needed".to_owned());
        let span = self.fragment_selector.as_ref().ok_or_else(needed)?.span()?;
        Ok(PageToken { created_ms, span, after: None })
    }
}

impl FragmentSelector {
    fn span(&self) -> Result<Span, ApiError> {
        let line = match self.fragment_selector_type.as_str() {
            "SERVER_TIMESTAMP" => TimeLine::Server,
            "PRODUCER_TIMESTAMP" => TimeLine::Producer,
            other => {
                return Err(ApiError::InvalidArgument(format!(
                    "FragmentSelectorType \"{other}\": SERVER_TIMESTAMP and PRODUCER_TIMESTAMP are known"
                )));
            }
        };
        let ms = |seconds: f64| (seconds * 1000.0).round() as i64;
        let range = &self.timestamp_range;
        let span = Span { line, first_ms: ms(range.start_timestamp), last_ms: ms(range.end_timestamp) };
        if span.first_ms > span.last_ms {
            return Err(ApiError::InvalidArgument("StartTimestamp comes after EndTimestamp".to_owned()));
        }
        Ok(span)
    }
}

/// The stored fragments of a span after a rank, in the order of their ranks, which is not that of time.
fn list(stream: &Stream, token: PageToken) -> Vec<(u64, FragmentNumber)> {
    let mut listed = stream.select(|fragment, media| {
        let rank = mix64(fragment.number.counter());
        let wanted = token.span.holds(fragment, media) && token.after.is_none_or(|after| rank > after);
        wanted.then_some((rank, fragment.number))
    });
    listed.sort_by_key(|&(rank, _)| rank);
    listed
}

fn describe(fragment: &Fragment, media: &Media) -> Value {
    let bytes: usize = fragment.archived(media).iter().map(Bytes::len).sum();
    json!({
        "FragmentNumber": fragment.number.to_string(),
        "FragmentSizeInBytes": bytes,
        "ProducerTimestamp": seconds(media.head.producer_ms),
        "ServerTimestamp": seconds(fragment.server_ms),
        "FragmentLengthInMilliseconds": media.length_ms(),
    })
}

pub(crate) async fn get_media_for_fragment_list(
    State(service): State<Service>,
    region: Region,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: GetMediaForFragmentList = read(&body)?;
    let stream = request.stream.find(&service.store, &region)?;
    check_numbers(&request.fragments)?;
    let place = stream.claim_archive_reader()?;
    let course = stream.armed().meet_connection();
    let ends = [service.stop, stream.readers_cut()];
    let bytes = disturbed(documents(stream, request.fragments, place), course, ends);
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("video/x-matroska"))];
    Ok((kind, Body::from_stream(bytes)).into_response())
}

fn check_numbers(numbers: &[String]) -> Result<(), ApiError> {
    if !(1..=MOST_FRAGMENTS).contains(&numbers.len()) {
        let count = numbers.len();
        let refused = format!("Fragments has {count} numbers: 1 to {MOST_FRAGMENTS} are possible");
        return Err(ApiError::InvalidArgument(refused));
    }
    let digits = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = |number: &&String| !(1..=LONGEST_NUMBER).contains(&number.len()) || !digits(number);
    match numbers.iter().find(wrong) {
        None => Ok(()),
        Some(number) => {
            let shown: String = number.chars().take(LONGEST_NUMBER).collect();
            let refused = format!("Fragments: \"{shown}\" is not 1 to {LONGEST_NUMBER} decimal digits");
            Err(ApiError::InvalidArgument(refused))
        }
    }
}

/// The fragments' documents in the order asked for, to the first that is not there. It holds its place to the end.
fn documents(
    stream: Arc<Stream>,
    numbers: Vec<String>,
    place: OwnedSemaphorePermit,
) -> impl ByteStream<Item = Piece> + Send + 'static {
    let pieces = numbers.into_iter().map(move |text| {
        let _held = &place;
        let number = text.parse().ok();
        let found = number.and_then(|number| stream.read_archived(number, cut_up));
        found.ok_or(text)
    });
    let mut missing = false;
    let until_missing =
        pieces.take_while(move |document| !std::mem::replace(&mut missing, document.is_err()));
    stream::iter(until_missing.flat_map(|document| document.unwrap_or_else(|text| vec![exception(&text)])))
}

fn cut_up(fragment: &Fragment, media: &Media) -> Vec<Piece> {
    let pieces = fragment.archived(media);
    let last = pieces.len() - 1;
    let piece = |(index, bytes)| Piece {
        bytes,
        fragment: Some(fragment.number),
        begins: index == 0,
        ends: index == last,
    };
    pieces.into_iter().enumerate().map(piece).collect()
}

fn exception(number: &str) -> Piece {
    let (id, message) = FRAGMENT_NOT_FOUND;
    Piece::outside(exception_document(number, id, message))
}
