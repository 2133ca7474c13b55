//! GetMedia: an endless answer of one document a fragment.

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
use crate::api::request::body::read;
use crate::api::request::stream_reference::StreamReference;
use crate::api::service::Service;
use crate::error::ApiError;
use crate::error_record::error_document;
use crate::faults::connection::Piece;
use crate::faults::stream::disturbed;
use crate::identifiers::region::Region;
use crate::store::cursor::{Cursor, Seek, Step};
use crate::store::fragment::TimeLine;
use crate::store::stream::Stream;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetMedia {
    #[serde(flatten)]
    stream: StreamReference,
    start_selector: StartSelector,
}

/// Where a GetMedia connection begins, as its request says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartSelector {
    /// NOW, EARLIEST, FRAGMENT_NUMBER, SERVER_TIMESTAMP, PRODUCER_TIMESTAMP or CONTINUATION_TOKEN.
    pub start_selector_type: String,
    /// For FRAGMENT_NUMBER: the fragment before the first wanted.
    pub after_fragment_number: Option<String>,
    /// For the two timestamps: seconds since 1970.
    pub start_timestamp: Option<f64>,
    /// For CONTINUATION_TOKEN: the token after the last fragment read.
    pub continuation_token: Option<String>,
}

impl StartSelector {
    /// Errors: the type is not known, or what it needs is missing or malformed.
    fn seek(&self) -> Result<Start, ApiError> {
        match self.start_selector_type.as_str() {
            "NOW" => Ok(Start::At(Seek::Newest)),
            "EARLIEST" => Ok(Start::At(Seek::Earliest)),
            "FRAGMENT_NUMBER" => {
                let number = self.after_fragment_number.as_deref();
                after("AfterFragmentNumber", number, |c| c.is_ascii_digit(), "0-9")
            }
            "CONTINUATION_TOKEN" => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                after("ContinuationToken", self.continuation_token.as_deref(), allowed, "a-z A-Z 0-9 _ . -")
            }
            "SERVER_TIMESTAMP" => self.time(TimeLine::Server),
            "PRODUCER_TIMESTAMP" => self.time(TimeLine::Producer),
            other => Err(ApiError::InvalidArgument(format!(
                "StartSelectorType \"{other}\": NOW, EARLIEST, FRAGMENT_NUMBER, SERVER_TIMESTAMP, \
                 PRODUCER_TIMESTAMP and CONTINUATION_TOKEN are known"
            ))),
        }
    }

    fn time(&self, line: TimeLine) -> Result<Start, ApiError> {
        let missing = || ApiError::InvalidArgument("StartTimestamp is needed: seconds since 1970".to_owned());
        let seconds = self.start_timestamp.filter(|seconds| seconds.is_finite()).ok_or_else(missing)?;
        Ok(Start::At(Seek::Time { line, ms: (seconds * 1000.0).round() as i64 }))
    }
}

/// Where to begin: at a place, or after a fragment that must still be there.
enum Start {
    At(Seek),
    After(String),
}

/// Errors: there is no text, or not one of 1 to 128 characters that are `allowed`.
fn after(
    field: &str,
    text: Option<&str>,
    allowed: fn(char) -> bool,
    characters: &str,
) -> Result<Start, ApiError> {
    let missing = || ApiError::InvalidArgument(format!("{field} is needed with this StartSelectorType"));
    let text = text.ok_or_else(missing)?;
    if (1..=LONGEST_TEXT).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(Start::After(text.to_owned()));
    }
    let shown: String = text.chars().take(LONGEST_TEXT).collect();
    let refused =
        format!("{field} \"{shown}\": 1 to {LONGEST_TEXT} of the characters {characters} are needed");
    Err(ApiError::InvalidArgument(refused))
}

/// Source: the service model of kinesis-video-media, 2017-09-30, as of the patterns.
const LONGEST_TEXT: usize = 128;
const FRAGMENT_NOT_FOUND: (u32, &str) = (4000, "FRAGMENT_NOT_FOUND");

pub(crate) async fn get_media(
    State(service): State<Service>,
    region: Region,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: GetMedia = read(&body)?;
    let stream = request.stream.find(&service.store, &region)?;
    let chunks = open(&stream, &request.start_selector, service.fragments_per_s, service.stop)?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("video/x-matroska"))];
    Ok((kind, Body::from_stream(chunks)).into_response())
}

/// The body of a GetMedia answer, in pieces.
///
/// It waits for what comes and ends when `stop` does, by [`Stream::cut_readers`], when the stream is deleted, or
/// after an error document.
/// `fragments_per_s` limits how fast stored fragments are sent.
///
/// Errors: the selector is malformed, or the stream has all its readers. A piece is an error where a fault breaks the
/// connection.
pub fn open(
    stream: &Arc<Stream>,
    selector: &StartSelector,
    fragments_per_s: u32,
    stop: CancellationToken,
) -> Result<impl ByteStream<Item = io::Result<Bytes>> + Send + use<>, ApiError> {
    let start = selector.seek()?;
    let place = stream.claim_reader()?;
    let course = stream.armed().meet_connection();
    let session = Session::new(stream, &start, course.repeats(), fragments_per_s, stop, place);
    let ends = [session.stop.clone(), session.cut.clone()];
    let pieces = stream::unfold(session, |mut session| async {
        let piece = session.next().await?;
        Some((piece, session))
    });
    Ok(disturbed(pieces, course, ends))
}

/// One GetMedia connection.
struct Session {
    stream: Arc<Stream>,
    changed: watch::Receiver<()>,
    /// None once an error document is all that is left.
    cursor: Option<Cursor>,
    last_words: VecDeque<Bytes>,
    rate: FragmentRate,
    stop: CancellationToken,
    cut: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Session {
    fn new(
        stream: &Arc<Stream>,
        start: &Start,
        repeats: u64,
        fragments_per_s: u32,
        stop: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let mut last_words = VecDeque::new();
        let begin = |seek| Some(Cursor::new(stream.earlier(seek, repeats)));
        let cursor = match start {
            Start::At(seek) => begin(*seek),
            Start::After(text) => match text.parse().ok().filter(|&number| stream.knows(number)) {
                Some(number) => begin(Seek::After(number)),
                None => {
                    let (id, code) = FRAGMENT_NOT_FOUND;
                    last_words.push_back(error_document(text, id, code));
                    None
                }
            },
        };
        Self {
            changed: stream.watch(),
            stream: Arc::clone(stream),
            cursor,
            last_words,
            rate: FragmentRate::new(fragments_per_s),
            stop,
            cut: stream.readers_cut(),
            _place: place,
        }
    }

    /// What comes next, or None at the end of the connection.
    async fn next(&mut self) -> Option<Piece> {
        let (stop, cut) = (self.stop.clone(), self.cut.clone());
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = cut.cancelled() => None,
            piece = self.advance() => piece,
        }
    }

    async fn advance(&mut self) -> Option<Piece> {
        loop {
            let Some(cursor) = &mut self.cursor else {
                return self.last_words.pop_front().map(Piece::outside);
            };
            let begins = cursor.is_between_fragments();
            if let Some(free_at) = self.rate.free_at().filter(|_| begins) {
                sleep_until(free_at).await;
            }
            self.changed.mark_unchanged();
            match self.stream.step(cursor) {
                Step::End => return None,
                Step::Wait => self.changed.changed().await.ok()?,
                Step::Bytes(bytes) => {
                    if begins {
                        self.rate.sent(Instant::now());
                    }
                    let (fragment, ends) = (cursor.number(), cursor.is_between_fragments());
                    return Some(Piece { bytes, fragment, begins, ends });
                }
            }
        }
    }
}
