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
use crate::api::service::Service;
use crate::error::ApiError;

/// An IDLE acknowledgement after each such pause; after [`MOST_PAUSES`] the request is closed.
const PAUSE: Duration = Duration::from_secs(10);
const MOST_PAUSES: u32 = 3;
/// How long a refused producer may go on sending, so that it reads why before its connection is closed.
const LINGER: Duration = Duration::from_secs(1);

pub(crate) async fn put_media(
    State(service): State<Service>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let timecodes = timecodes(&parts.headers, service.store.clock().now_ms())?;
    let region = service.region_of(&parts.headers);
    let stream = StreamReference::of_headers(&parts.headers).find(&service.store, &region)?;
    let place = stream.claim_producer()?;
    let mut session = Session {
        ingest: Ingest::new(stream, timecodes),
        body: Some(body.into_data_stream()),
        refused: None,
        acks_wanted: text(&parts.headers, "x-amzn-fragment-acknowledgment-required") != Some("0"),
        pauses: 0,
        stop: service.stop.clone(),
        _place: place,
    };
    // The first bytes are read before the answer begins: "100 Continue" cannot be sent after it.
    session.read_on().await;
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
        Some("RELATIVE") => Ok(Timecodes::Relative { started_ms: started_ms(headers, now_ms)? }),
        other => Err(ApiError::InvalidArgument(format!(
            "x-amzn-fragment-timecode-type \"{}\": ABSOLUTE or RELATIVE is needed",
            other.unwrap_or("")
        ))),
    }
}

/// When the producer started: now, where it does not say.
fn started_ms(headers: &HeaderMap, now_ms: i64) -> Result<i64, ApiError> {
    let Some(seconds) = text(headers, "x-amzn-producer-start-timestamp") else { return Ok(now_ms) };
    let number = seconds.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let wrong = || {
        ApiError::InvalidArgument(format!(
            "x-amzn-producer-start-timestamp \"{seconds}\": seconds since 1970 are needed"
        ))
    };
    Ok((number.ok_or_else(wrong)? * 1000.0).round() as i64)
}

struct Session {
    ingest: Ingest,
    /// None once the request is over.
    body: Option<BodyDataStream>,
    /// The rest of a request that was refused.
    refused: Option<BodyDataStream>,
    acks_wanted: bool,
    pauses: u32,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Session {
    /// The next acknowledgement, or None when the request is over and all are sent.
    async fn next_ack(&mut self) -> Option<Bytes> {
        loop {
            match self.ingest.next_ack() {
                Some(ack) if self.acks_wanted => return Some(ack),
                Some(_) => {}
                None if self.body.is_none() => {
                    self.drain().await;
                    return None;
                }
                None => {
                    if let Some(idle) = self.read_on().await {
                        return Some(idle);
                    }
                }
            }
        }
    }

    /// Reads what comes next of the request. An IDLE acknowledgement, if nothing does for a while.
    async fn read_on(&mut self) -> Option<Bytes> {
        let body = self.body.as_mut()?;
        let stop = self.stop.clone();
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            next = timeout(PAUSE, body.next()) => Some(next),
        };
        match next {
            Some(Ok(Some(Ok(bytes)))) => {
                self.pauses = 0;
                if !self.ingest.push(&bytes).await {
                    self.refused = self.body.take();
                }
            }
            Some(Ok(None)) => {
                self.ingest.end().await;
                self.body = None;
            }
            Some(Ok(Some(Err(_)))) | None => {
                self.ingest.break_off();
                self.body = None;
            }
            Some(Err(_)) => return self.pause(),
        }
        None
    }

    /// Reads what a refused producer still sends: closing at once could take the last acknowledgement from it.
    async fn drain(&mut self) {
        let Some(mut rest) = self.refused.take() else { return };
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            _ = timeout(LINGER, async { while let Some(Ok(_)) = rest.next().await {} }) => {}
        }
    }

    fn pause(&mut self) -> Option<Bytes> {
        self.pauses += 1;
        if self.pauses > MOST_PAUSES {
            self.body = None;
            self.ingest.break_off();
            return None;
        }
        self.acks_wanted.then(acks::idle)
    }
}
