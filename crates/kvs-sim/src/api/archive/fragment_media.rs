//! GetMediaForFragmentList: the media of stored fragments, in the order asked for.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream as ByteStream};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::api::request::body::parse_body;
use crate::api::request::stream_reference::StreamReference;
use crate::api::state::ApiState;
use crate::error::ApiError;
use crate::error_record::exception_document;
use crate::faults::connection::BodyPiece;
use crate::faults::stream::apply_faults;
use crate::identifiers::region::Region;
use crate::store::fragment::{FragmentMedia, StoredFragment};
use crate::store::stream::KvsStream;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetMediaForFragmentList {
    #[serde(flatten)]
    stream: StreamReference,
    fragments: Vec<String>,
}

// Source of both limits: the service model of kinesis-video-archived-media, 2017-09-30.
const MAX_FRAGMENTS: usize = 1000;
const MAX_NUMBER_LEN: usize = 128;
const FRAGMENT_NOT_FOUND: (u32, &str) = (4000, "the fragment is not there, or no longer");

pub(crate) async fn get_media_for_fragment_list(
    State(state): State<ApiState>,
    region: Region,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: GetMediaForFragmentList = parse_body(&body)?;
    let stream = request.stream.find(&state.store, &region)?;
    check_numbers(&request.fragments)?;
    let permit = stream.claim_archive_reader()?;
    let faults = stream.active_faults().begin_connection();
    let ends = [state.stop, stream.readers_cut()];
    let bytes = apply_faults(documents(stream, request.fragments, permit), faults, ends);
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("video/x-matroska"))];
    Ok((content_type, Body::from_stream(bytes)).into_response())
}

fn check_numbers(numbers: &[String]) -> Result<(), ApiError> {
    if !(1..=MAX_FRAGMENTS).contains(&numbers.len()) {
        let count = numbers.len();
        let message = format!("Fragments has {count} numbers; give 1 to {MAX_FRAGMENTS}");
        return Err(ApiError::InvalidArgument(message));
    }
    let digits = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
    let malformed = |number: &&String| !(1..=MAX_NUMBER_LEN).contains(&number.len()) || !digits(number);
    match numbers.iter().find(malformed) {
        None => Ok(()),
        Some(number) => {
            let shown: String = number.chars().take(MAX_NUMBER_LEN).collect();
            let message = format!("Fragments: \"{shown}\" is not 1 to {MAX_NUMBER_LEN} decimal digits");
            Err(ApiError::InvalidArgument(message))
        }
    }
}

/// Returns the fragments' documents in the order asked for, up to the first that does not exist, which an exception replaces.
fn documents(
    stream: Arc<KvsStream>,
    numbers: Vec<String>,
    permit: OwnedSemaphorePermit,
) -> impl ByteStream<Item = BodyPiece> + Send + 'static {
    // Each document is read when its turn comes, so that a long answer holds one fragment in memory.
    let documents = numbers.into_iter().map(move |text| {
        // Moved in: the connection counts until its last document is sent.
        let _held = &permit;
        let number = text.parse().ok();
        let document = number.and_then(|number| stream.read_archived(number, pieces_of));
        document.ok_or(text)
    });
    let mut missing = false;
    let until_missing =
        documents.take_while(move |document| !std::mem::replace(&mut missing, document.is_err()));
    stream::iter(until_missing.flat_map(|document| document.unwrap_or_else(|text| vec![exception(&text)])))
}

fn pieces_of(fragment: &StoredFragment, media: &FragmentMedia) -> Vec<BodyPiece> {
    let parts = fragment.archived_document(media);
    let last = parts.len() - 1;
    let piece = |(index, bytes)| BodyPiece {
        bytes,
        fragment: Some(fragment.number),
        begins: index == 0,
        ends: index == last,
    };
    parts.into_iter().enumerate().map(piece).collect()
}

fn exception(number: &str) -> BodyPiece {
    let (id, message) = FRAGMENT_NOT_FOUND;
    BodyPiece::outside(exception_document(number, id, message))
}
