//! One connection: its requests one after the other, each within its time.

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

use super::ends::Ends;
use super::guard::Known;
use super::patience::ImpatientStream;
use super::room::{Activity, Place};
use super::routes::{Site, failure, router, with_headers};

/// A client that has not sent its request's head by then is let go; also how long an idle connection is kept.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A client that has not sent its request's body by then is let go.
const BODY_TIME: Duration = Duration::from_secs(5);

/// An answer must have begun by then.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 16 * 1024;

/// Bytes of a request's body at most: only the sign-in has one.
const BODY_BYTES: usize = 4 * 1024;

/// A connection's longest life; a page that follows the events comes back by itself.
const CONNECTION_TIME: Duration = Duration::from_secs(600);

/// Maximum time for open requests after the server is asked to stop.
pub(super) const STOP_TIME: Duration = Duration::from_secs(1);

/// Serves one connection to its end, at most [`STOP_TIME`] beyond the server's.
pub(super) async fn serve(stream: TcpStream, ends: Ends, place: Place, site: Arc<Site>) {
    let mut stopped = site.stopped.clone();
    let place = Arc::new(place);
    let (seat, routes) = (Arc::clone(&place), TowerToHyperService::new(router(site)));
    let service = service_fn(move |request| answer(routes.clone(), Arc::clone(&seat), ends, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(ImpatientStream::new(stream)), service);
    tokio::pin!(connection);
    tokio::select! {
        // A connection that breaks is the client's affair.
        _ended = connection.as_mut() => return,
        () = place.taken_away() => return,
        _ = stopped.wait_for(|stop| *stop) => {}
        () = sleep(CONNECTION_TIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = timeout(STOP_TIME, connection).await;
}

type Routes = TowerToHyperService<axum::Router>;

/// Reads the request's body, small as it is, before anything looks at it; then answers.
async fn answer(
    routes: Routes,
    place: Arc<Place>,
    ends: Ends,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_TIME, to_bytes(Body::new(body), BODY_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return Ok(refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off").await);
        }
        Err(_) => return Ok(refused(StatusCode::REQUEST_TIMEOUT, "the body did not come within 5 s").await),
    };
    place.set(Activity::Answering, Instant::now());
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(ends);
    let response = match timeout(ANSWER_TIME, routes.call(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => {
            refused(StatusCode::SERVICE_UNAVAILABLE, "there was no answer within 20 s; ask again").await
        }
    };
    if response.extensions().get::<Known>().is_some() {
        place.know();
    }
    let kind = response.headers().get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        place.set(Activity::Following, Instant::now());
    }
    Ok(response.map(|body| Body::new(Watched { body, place })))
}

/// Says why, and closes the connection.
async fn refused(status: StatusCode, why: &str) -> Response {
    let mut response = with_headers((status, failure(why)).into_response()).await;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A body whose end is noted: the server waits for the client's next request then.
struct Watched {
    body: Body,
    place: Arc<Place>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.place.set(Activity::Waiting, Instant::now());
    }
}

impl hyper::body::Body for Watched {
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
