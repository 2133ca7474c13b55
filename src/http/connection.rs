//! One connection: its requests one after the other, each with its timeouts.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::endpoints::Endpoints;
use super::reply::{error_body, with_headers};
use super::routes::router;
use super::sign_in::TokenShown;
use super::site::Site;
use super::slots::{ConnectionActivity, ConnectionSlot};
use super::write_timeout::WriteTimeoutStream;

/// The timeout of a request's head, and of an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout of a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of the start of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum size of a request's head, bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Maximum size of a request's body, bytes: that of the sign-in.
const MAX_BODY_BYTES: usize = 4 * 1024;

/// Maximum size of a drawing in the zone editor, bytes: about 4,000 corners. All 320 connections with one have 20 MiB.
const MAX_DRAWING_BYTES: usize = 64 * 1024;

/// Maximum age of a connection; a page that follows the events reconnects by itself.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(600);

/// The time for open requests to end after the server is asked to stop.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves one connection to its end, at the latest [`STOP_TIMEOUT`] after the server is asked to stop.
pub(super) async fn serve(stream: TcpStream, endpoints: Endpoints, slot: ConnectionSlot, site: Arc<Site>) {
    let mut stopped = site.stopped.clone();
    let slot = Arc::new(slot);
    let (shared_slot, routes) = (Arc::clone(&slot), TowerToHyperService::new(router(site)));
    let service =
        service_fn(move |request| answer(routes.clone(), Arc::clone(&shared_slot), endpoints, request));
    let connection = http1::Builder::new()
        // hyper panics where a header timeout is set and no timer.
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(WriteTimeoutStream::new(stream)), service);
    tokio::pin!(connection);
    tokio::select! {
        // A broken connection is the client's business: there is nothing to log.
        _ended = connection.as_mut() => return,
        () = slot.closed() => return,
        _ = stopped.wait_for(|stop| *stop) => {}
        () = sleep(MAX_CONNECTION_AGE) => {}
    }
    // The request that is being answered still gets its answer.
    connection.as_mut().graceful_shutdown();
    let _ended = timeout(STOP_TIMEOUT, connection).await;
}

type Routes = TowerToHyperService<axum::Router>;

/// Reads the whole body of the request, which is small, and then answers.
async fn answer(
    routes: Routes,
    slot: Arc<ConnectionSlot>,
    endpoints: Endpoints,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    // Read before the routes: a slow body must count as a waiting connection and not as a slow answer.
    let body = match read_body(body, max_body_bytes(parts.uri.path())).await {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal),
    };
    slot.set(ConnectionActivity::Answering, Instant::now());
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(endpoints);
    let response = match timeout(ANSWER_TIMEOUT, routes.call(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => refused(StatusCode::SERVICE_UNAVAILABLE, "no answer within 20 s; try again").await,
    };
    record_answer(&slot, &response);
    Ok(response.map(|body| Body::new(TrackedBody { body, slot })))
}

fn max_body_bytes(path: &str) -> usize {
    if path.ends_with("/zones") { MAX_DRAWING_BYTES } else { MAX_BODY_BYTES }
}

/// Returns the whole body, or the answer that refuses the request.
async fn read_body(body: Incoming, max_bytes: usize) -> Result<Bytes, Response> {
    match timeout(BODY_TIMEOUT, to_bytes(Body::new(body), max_bytes)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large or incomplete").await)
        }
        Err(_) => {
            Err(refused(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive within 5 s").await)
        }
    }
}

/// Records a shown token and the start of an event stream.
fn record_answer(slot: &ConnectionSlot, response: &Response) {
    if response.extensions().get::<TokenShown>().is_some() {
        slot.set_has_token();
    }
    // An event stream is an answer that never ends, and must not count as one that takes long.
    let kind = response.headers().get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        slot.set(ConnectionActivity::Following, Instant::now());
    }
}

/// Returns an answer with the reason, after which the connection is closed: the rest of the body may still be on its way.
async fn refused(status: StatusCode, why: &str) -> Response {
    let mut response = with_headers((status, error_body(why)).into_response()).await;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A response body whose end marks the connection as waiting for its next request.
struct TrackedBody {
    body: Body,
    slot: Arc<ConnectionSlot>,
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.slot.set(ConnectionActivity::Waiting, Instant::now());
    }
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
