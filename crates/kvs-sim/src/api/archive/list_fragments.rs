//! ListFragments.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::archive::page_token::{FragmentSpan, PageToken};
use crate::api::request::body::{JsonResult, parse_body, seconds};
use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::{TIME_LINES, invalid, one_of};
use crate::api::state::ApiState;
use crate::error::ApiError;
use crate::faults::mix::mix64;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::identifiers::region::Region;
use crate::store::fragment::{FragmentMedia, StoredFragment};
use crate::store::stream::KvsStream;

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
    timestamp_range: SelectorRange,
}

/// The range of ListFragments, which has both ends, unlike those of HLS and GetClip.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SelectorRange {
    start_timestamp: f64,
    end_timestamp: f64,
}

/// Source: the service model of kinesis-video-archived-media, 2017-09-30.
const MAX_RESULTS: usize = 1000;
/// Fragments on a page by default; the documentation states no number.
const DEFAULT_RESULTS: usize = 100;

pub(crate) async fn list_fragments(State(state): State<ApiState>, region: Region, body: Bytes) -> JsonResult {
    let request: ListFragments = parse_body(&body)?;
    let stream = request.stream.find(&state.store, &region)?;
    let max_results = request.max_results()?;
    let token = request.token(&stream)?;
    let matching = matching_fragments(&stream, token);
    let page = &matching[..max_results.min(matching.len())];
    let last = page.last().filter(|_| matching.len() > max_results);
    let next = last.map(|&(rank, _)| PageToken { after: Some(rank), ..token }.to_string());
    // A fragment that expired since the line above is left out.
    let descriptions = page.iter().filter_map(|&(_, number)| stream.read_archived(number, describe));
    let descriptions: Vec<Value> = descriptions.collect();
    Ok(Json(json!({ "Fragments": descriptions, "NextToken": next })))
}

impl ListFragments {
    fn max_results(&self) -> Result<usize, ApiError> {
        match self.max_results {
            Some(max) if !(1..=MAX_RESULTS).contains(&max) => Err(ApiError::InvalidArgument(format!(
                "MaxResults {max} is out of range; use 1 to {MAX_RESULTS}"
            ))),
            max => Ok(max.unwrap_or(DEFAULT_RESULTS)),
        }
    }

    /// Returns the start of the page: that of `NextToken`, else the start of the selector.
    fn token(&self, stream: &KvsStream) -> Result<PageToken, ApiError> {
        let created_ms = stream.identity().created_ms;
        if let Some(text) = &self.next_token {
            // The token repeats the selector, so a FragmentSelector beside it is not needed and not compared.
            let token = PageToken::parse(text).filter(|token| token.created_ms == created_ms);
            return token
                .ok_or_else(|| invalid("NextToken was not returned for this stream; begin without it"));
        }
        let missing = || invalid("FragmentSelector or NextToken is needed");
        let span = self.fragment_selector.as_ref().ok_or_else(missing)?.span()?;
        Ok(PageToken { created_ms, span, after: None })
    }
}

impl FragmentSelector {
    fn span(&self) -> Result<FragmentSpan, ApiError> {
        let line = one_of("FragmentSelectorType", &self.fragment_selector_type, &TIME_LINES)?;
        let ms = |seconds: f64| (seconds * 1000.0).round() as i64;
        let range = &self.timestamp_range;
        let span =
            FragmentSpan { line, first_ms: ms(range.start_timestamp), last_ms: ms(range.end_timestamp) };
        if span.first_ms > span.last_ms {
            return Err(invalid("StartTimestamp is after EndTimestamp; exchange them"));
        }
        Ok(span)
    }
}

/// Returns the stored fragments of a span after a rank, in the order of their ranks.
///
/// AWS lists fragments in no particular order, so the rank is a hash: a client that relies on the order of time fails here,
/// too. A rank never changes, so pages stay consistent while fragments come and expire.
fn matching_fragments(stream: &KvsStream, token: PageToken) -> Vec<(u64, FragmentNumber)> {
    let mut matching = stream.select(|fragment, media| {
        let rank = mix64(fragment.number.counter());
        let wanted = token.span.contains(fragment, media) && token.after.is_none_or(|after| rank > after);
        wanted.then_some((rank, fragment.number))
    });
    matching.sort_by_key(|&(rank, _)| rank);
    matching
}

fn describe(fragment: &StoredFragment, media: &FragmentMedia) -> Value {
    // The size of the document that GetMediaForFragmentList sends, with headers and tags.
    let bytes: usize = fragment.archived_document(media).iter().map(Bytes::len).sum();
    json!({
        "FragmentNumber": fragment.number.to_string(),
        "FragmentSizeInBytes": bytes,
        "ProducerTimestamp": seconds(media.head.producer_ms),
        "ServerTimestamp": seconds(fragment.server_ms),
        "FragmentLengthInMilliseconds": media.length_ms(),
    })
}
