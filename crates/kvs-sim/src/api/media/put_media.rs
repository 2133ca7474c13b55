//! PutMedia: the request is read while its acknowledgements are sent.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::media::acks;
use crate::api::media::ingest::{Ingest, Timecodes};
use crate::api::request::stream_reference::StreamReference;
use crate::api::state::ApiState;
use crate::error::ApiError;

/// Each pause of this length is acknowledged by IDLE; after [`MAX_PAUSES`] in a row the request ends.
const PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSES: u32 = 3;
/// Time for which a refused producer can continue to send before its connection is closed.
const LINGER: Duration = Duration::from_secs(1);

pub(crate) async fn put_media(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let timecodes = timecodes(&parts.headers, state.store.clock().now_ms())?;
    let region = state.region_of(&parts.headers);
    let stream = StreamReference::from_headers(&parts.headers).find(&state.store, &region)?;
    let permit = stream.claim_producer()?;
    let mut session = PutMediaSession {
        ingest: Ingest::new(stream, timecodes),
        body: Some(body.into_data_stream()),
        refused: None,
        // The SDKs send 1; only 0 turns acknowledgements off.
        acks_wanted: text(&parts.headers, "x-amzn-fragment-acknowledgment-required") != Some("0"),
        pauses: 0,
        stop: state.stop.clone(),
        _permit: permit,
    };
    // The first bytes are read before the answer begins, since "100 Continue" (RFC 9110, 10.1.1) cannot be sent after it.
    session.read_body().await;
    let acks = stream::unfold(session, |mut session| async {
        let ack = session.next_ack().await?;
        Some((Ok::<_, Infallible>(ack), session))
    });
    Ok(Body::from_stream(acks).into_response())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn timecodes(headers: &HeaderMap, now_ms: i64) -> Result<Timecodes, ApiError> {
    match text(headers, "x-amzn-fragment-timecode-type") {
        Some("ABSOLUTE") => Ok(Timecodes::Absolute),
        Some("RELATIVE") => Ok(Timecodes::Relative { started_ms: producer_start_ms(headers, now_ms)? }),
        other => Err(ApiError::InvalidArgument(format!(
            "x-amzn-fragment-timecode-type \"{}\" is not known; use ABSOLUTE or RELATIVE",
            other.unwrap_or("")
        ))),
    }
}

/// Returns the producer's start, which is now if the request does not state it.
fn producer_start_ms(headers: &HeaderMap, now_ms: i64) -> Result<i64, ApiError> {
    let Some(seconds) = text(headers, "x-amzn-producer-start-timestamp") else { return Ok(now_ms) };
    let number = seconds.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let invalid = || {
        ApiError::InvalidArgument(format!(
            "x-amzn-producer-start-timestamp \"{seconds}\" is not valid; seconds since 1970 are needed"
        ))
    };
    Ok((number.ok_or_else(invalid)? * 1000.0).round() as i64)
}

struct PutMediaSession {
    ingest: Ingest,
    /// None once the request is over.
    body: Option<BodyDataStream>,
    /// The rest of a request that was refused.
    refused: Option<BodyDataStream>,
    acks_wanted: bool,
    /// Pauses in a row.
    pauses: u32,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl PutMediaSession {
    /// Returns the next acknowledgement; None when the request is over and all are sent.
    async fn next_ack(&mut self) -> Option<Bytes> {
        loop {
            match self.ingest.next_ack() {
                Some(ack) if self.acks_wanted => return Some(ack),
                Some(_) => {}
                None if self.body.is_none() => {
                    self.drain_refused().await;
                    return None;
                }
                None => {
                    if let Some(idle) = self.read_body().await {
                        return Some(idle);
                    }
                }
            }
        }
    }

    /// Reads the next bytes of the request. Returns an IDLE acknowledgement if none come for a while.
    async fn read_body(&mut self) -> Option<Bytes> {
        let body = self.body.as_mut()?;
        let stop = self.stop.clone();
        let next = tokio::select! {
            // The stop comes first: a producer whose bytes are always ready cannot delay the end of the server.
            biased;
            () = stop.cancelled() => None,
            next = timeout(PAUSE, body.next()) => Some(next),
        };
        match next {
            Some(Ok(Some(Ok(bytes)))) => self.push(&bytes).await,
            Some(Ok(None)) => {
                self.ingest.end().await;
                self.body = None;
            }
            // The connection broke, or the server stops.
            Some(Ok(Some(Err(_)))) | None => self.abort(),
            Some(Err(_timeout)) => return self.pause(),
        }
        None
    }

    async fn push(&mut self, bytes: &[u8]) {
        self.pauses = 0;
        // The error is acknowledged next; what the producer still sends is read in `drain_refused`.
        if !self.ingest.push(bytes).await {
            self.refused = self.body.take();
        }
    }

    fn abort(&mut self) {
        self.ingest.abort();
        self.body = None;
    }

    /// Reads and discards the rest of a refused request.
    ///
    /// Closing a socket with unread bytes sends a reset, which can take the last acknowledgement from the producer.
    async fn drain_refused(&mut self) {
        let Some(mut rest) = self.refused.take() else { return };
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            _ = timeout(LINGER, async { while let Some(Ok(_)) = rest.next().await {} }) => {}
        }
    }

    fn pause(&mut self) -> Option<Bytes> {
        self.pauses += 1;
        if self.pauses > MAX_PAUSES {
            self.abort();
            return None;
        }
        self.acks_wanted.then(acks::idle)
    }
}
