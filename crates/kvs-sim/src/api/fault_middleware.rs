//! Faults that meet a call before its operation sees it.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::request::body::read;
use crate::api::request::stream_reference::StreamReference;
use crate::api::service::Service;
use crate::error::ApiError;
use crate::faults::model::{FaultKind, Operation};
use crate::store::stream::Stream;

/// Bytes of a request that names a stream; PutMedia names it in its head and is not read here.
const MOST_REQUEST_BYTES: usize = 2 << 20;

/// Answers in place of the operation where a fault of the stream says so.
pub(crate) async fn refuse(State(service): State<Service>, request: Request, next: Next) -> Response {
    let operation = request.uri().path().strip_prefix('/').and_then(Operation::named);
    match operation.filter(|_| request.method() == Method::POST) {
        Some(operation) => meet(&service, operation, request, next).await.into_response(),
        None => next.run(request).await,
    }
}

async fn meet(
    service: &Service,
    operation: Operation,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let unread = |error: axum::Error| ApiError::InvalidArgument(format!("the request: {error}"));
    let body = to_bytes(body, MOST_REQUEST_BYTES).await.map_err(unread)?;
    let region = service.region_of(&head.headers);
    let named = |body: &Bytes| read::<StreamReference>(body)?.find(&service.store, &region);
    // A request that names no stream is for the operation to refuse.
    let Ok(stream) = named(&body) else {
        return Ok(next.run(Request::from_parts(head, Body::from(body))).await);
    };
    for fault in stream.armed().meet_call(operation) {
        let FaultKind::Expire(most) = fault else { return Err(refusal(fault, &stream)) };
        stream.expire_oldest(most).await;
    }
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    if operation == Operation::GetDataEndpoint && response.status().is_success() {
        stream.armed().endpoint_told();
    }
    Ok(response)
}

fn refusal(fault: FaultKind, stream: &Stream) -> ApiError {
    let (stream, limit) = (stream.identity().name.clone(), stream.reader_limit());
    match fault {
        FaultKind::Throttle => ApiError::ClientLimitExceeded { stream },
        FaultKind::ConnectionLimit => {
            ApiError::ConnectionLimitExceeded { stream, operation: "GetMedia", limit }
        }
        FaultKind::Moved => ApiError::InvalidEndpoint { stream },
        FaultKind::Unauthorized => ApiError::NotAuthorized { stream },
        FaultKind::ExpiredToken => ApiError::ExpiredToken,
        FaultKind::WrongClock => ApiError::WrongClock,
        other => ApiError::Internal(format!("{other:?} refuses no call")),
    }
}
