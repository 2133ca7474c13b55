//! GetMedia: an endless answer of one Matroska document per fragment.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream as ByteStream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::media::fragment_rate::FragmentRate;
use crate::api::request::body::parse_body;
use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::{invalid, millis};
use crate::api::state::ApiState;
use crate::error::ApiError;
use crate::error_record::error_document;
use crate::faults::connection::BodyPiece;
use crate::faults::stream::apply_faults;
use crate::identifiers::region::Region;
use crate::store::cursor::{ReadStep, Seek, StreamCursor};
use crate::store::fragment::TimeLine;
use crate::store::stream::KvsStream;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetMedia {
    #[serde(flatten)]
    stream: StreamReference,
    start_selector: StartSelector,
}

/// The start of a GetMedia connection, as its request states it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartSelector {
    /// NOW, EARLIEST, FRAGMENT_NUMBER, SERVER_TIMESTAMP, PRODUCER_TIMESTAMP or CONTINUATION_TOKEN.
    pub start_selector_type: String,
    /// For FRAGMENT_NUMBER: the fragment before the first one wanted.
    pub after_fragment_number: Option<String>,
    /// For the two timestamps: seconds since 1970.
    pub start_timestamp: Option<f64>,
    /// For CONTINUATION_TOKEN: the token after the last fragment that was read.
    pub continuation_token: Option<String>,
}

/// The start of a connection after its selector is checked.
enum MediaStart {
    At(Seek),
    /// After a fragment, which must still exist: its number or token as the request has it.
    After(String),
}

/// Source: the service model of kinesis-video-media, 2017-09-30, as for the patterns below.
const MAX_TEXT_LEN: usize = 128;
/// Source: AWS, GetMedia, error codes, 2026.
const FRAGMENT_NOT_FOUND: (u32, &str) = (4000, "FRAGMENT_NOT_FOUND");

impl StartSelector {
    /// Fails if the type is unknown, or if the value that it needs is missing or malformed.
    fn parse(&self) -> Result<MediaStart, ApiError> {
        match self.start_selector_type.as_str() {
            "NOW" => Ok(MediaStart::At(Seek::Newest)),
            "EARLIEST" => Ok(MediaStart::At(Seek::Earliest)),
            "FRAGMENT_NUMBER" => self.parse_number(),
            "CONTINUATION_TOKEN" => self.parse_token(),
            "SERVER_TIMESTAMP" => self.parse_time(TimeLine::Server),
            "PRODUCER_TIMESTAMP" => self.parse_time(TimeLine::Producer),
            other => Err(ApiError::InvalidArgument(format!(
                "StartSelectorType \"{other}\" is not known; use NOW, EARLIEST, FRAGMENT_NUMBER, SERVER_TIMESTAMP, \
                 PRODUCER_TIMESTAMP or CONTINUATION_TOKEN"
            ))),
        }
    }

    fn parse_number(&self) -> Result<MediaStart, ApiError> {
        let number = self.after_fragment_number.as_deref();
        parse_after("AfterFragmentNumber", number, |c| c.is_ascii_digit(), "0-9")
    }

    fn parse_token(&self) -> Result<MediaStart, ApiError> {
        // Our token is the fragment number; the pattern of AWS's tokens allows more characters.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let token = self.continuation_token.as_deref();
        parse_after("ContinuationToken", token, allowed, "a-z A-Z 0-9 _ . -")
    }

    fn parse_time(&self, line: TimeLine) -> Result<MediaStart, ApiError> {
        let ms = self.start_timestamp.and_then(millis);
        let ms = ms.ok_or_else(|| invalid("StartTimestamp is needed: seconds since 1970"))?;
        Ok(MediaStart::At(Seek::Time { line, ms }))
    }
}

/// Fails if there is no text, or not one of 1 to 128 characters that are `allowed`.
fn parse_after(
    field: &str,
    text: Option<&str>,
    allowed: fn(char) -> bool,
    characters: &str,
) -> Result<MediaStart, ApiError> {
    let missing = || ApiError::InvalidArgument(format!("{field} is needed with this StartSelectorType"));
    let text = text.ok_or_else(missing)?;
    if (1..=MAX_TEXT_LEN).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(MediaStart::After(text.to_owned()));
    }
    let shown: String = text.chars().take(MAX_TEXT_LEN).collect();
    let message = format!(
        "{field} \"{shown}\" is not valid; 1 to {MAX_TEXT_LEN} of the characters {characters} are needed"
    );
    Err(ApiError::InvalidArgument(message))
}

pub(crate) async fn get_media(
    State(state): State<ApiState>,
    region: Region,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: GetMedia = parse_body(&body)?;
    let stream = request.stream.find(&state.store, &region)?;
    let chunks = open_media(&stream, &request.start_selector, state.fragments_per_s, state.stop)?;
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("video/x-matroska"))];
    Ok((content_type, Body::from_stream(chunks)).into_response())
}

/// Opens a GetMedia connection and returns the body of its answer in pieces. A piece is an error where a fault breaks the
/// connection.
///
/// The body waits for new media. It ends when `stop` is cancelled, by [`KvsStream::cut_readers`], when the stream is deleted,
/// or after an error document. `fragments_per_s` limits how fast stored fragments are sent.
///
/// # Errors
///
/// The selector is malformed, or the stream has its maximum number of readers.
pub fn open_media(
    stream: &Arc<KvsStream>,
    selector: &StartSelector,
    fragments_per_s: u32,
    stop: CancellationToken,
) -> Result<impl ByteStream<Item = io::Result<Bytes>> + Send + use<>, ApiError> {
    let start = selector.parse()?;
    // A connection that is refused uses up no fault, so the permit comes first.
    let permit = stream.claim_reader()?;
    let faults = stream.active_faults().begin_connection();
    let start = start_cursor(stream, &start, faults.repeats());
    let session = GetMediaSession::new(stream, start, fragments_per_s, stop, permit);
    let ends = [session.stop.clone(), session.cut.clone()];
    let pieces = stream::unfold(session, |mut session| async {
        let piece = session.next().await?;
        Some((piece, session))
    });
    Ok(apply_faults(pieces, faults, ends))
}

/// Returns the cursor at the start of a connection, or the error document to send if its fragment does not exist.
fn start_cursor(stream: &KvsStream, start: &MediaStart, repeats: u64) -> Result<StreamCursor, Bytes> {
    let seek = match start {
        MediaStart::At(seek) => *seek,
        MediaStart::After(text) => {
            let number = text.parse().ok().filter(|&number| stream.has_fragment(number));
            // As on AWS the answer is a 200 all the same; the error is in its body.
            let (id, code) = FRAGMENT_NOT_FOUND;
            Seek::After(number.ok_or_else(|| error_document(text, id, code))?)
        }
    };
    Ok(StreamCursor::new(stream.seek_earlier(seek, repeats)))
}

/// A GetMedia connection.
struct GetMediaSession {
    stream: Arc<KvsStream>,
    changed: watch::Receiver<()>,
    /// None if only error documents remain to be sent.
    cursor: Option<StreamCursor>,
    error_documents: VecDeque<Bytes>,
    rate: FragmentRate,
    stop: CancellationToken,
    cut: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl GetMediaSession {
    fn new(
        stream: &Arc<KvsStream>,
        start: Result<StreamCursor, Bytes>,
        fragments_per_s: u32,
        stop: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (cursor, error_document) =
            start.map_or_else(|document| (None, Some(document)), |at| (Some(at), None));
        Self {
            changed: stream.watch(),
            stream: Arc::clone(stream),
            cursor,
            error_documents: error_document.into_iter().collect(),
            rate: FragmentRate::new(fragments_per_s),
            stop,
            cut: stream.readers_cut(),
            _permit: permit,
        }
    }

    /// Returns the next piece; None at the end of the connection.
    async fn next(&mut self) -> Option<BodyPiece> {
        let (stop, cut) = (self.stop.clone(), self.cut.clone());
        tokio::select! {
            // In this order, since a stream full of stored fragments is always ready.
            biased;
            () = stop.cancelled() => None,
            () = cut.cancelled() => None,
            piece = self.read() => piece,
        }
    }

    async fn read(&mut self) -> Option<BodyPiece> {
        loop {
            let Some(cursor) = &mut self.cursor else {
                return self.error_documents.pop_front().map(BodyPiece::outside);
            };
            let begins = cursor.is_between_fragments();
            if let Some(free_at) = self.rate.free_at().filter(|_| begins) {
                sleep_until(free_at).await;
            }
            // Marked before the step: a change between the step and the wait then ends the wait at once.
            self.changed.mark_unchanged();
            match self.stream.step(cursor) {
                ReadStep::End => return None,
                ReadStep::Wait => self.changed.changed().await.ok()?,
                ReadStep::Bytes(bytes) => {
                    if begins {
                        self.rate.record_start(Instant::now());
                    }
                    // The step has moved the cursor: between fragments it is after the last byte of one.
                    let (fragment, ends) = (cursor.number(), cursor.is_between_fragments());
                    return Some(BodyPiece { bytes, fragment, begins, ends });
                }
            }
        }
    }
}
