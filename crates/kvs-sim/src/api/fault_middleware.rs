//! Faults that meet a call before its operation sees it.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::request::body::parse_body;
use crate::api::request::stream_reference::StreamReference;
use crate::api::state::ApiState;
use crate::error::ApiError;
use crate::faults::model::{FaultKind, Operation};
use crate::store::stream::KvsStream;

/// Bytes of a request's body at most. PutMedia, whose body is endless, is not among the operations with faults.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// Applies the faults of a call: answers in place of the operation, or expires footage before it.
pub(crate) async fn inject_faults(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let operation = request.uri().path().strip_prefix('/').and_then(Operation::from_name);
    match operation.filter(|_| request.method() == Method::POST) {
        Some(operation) => inject(&state, operation, request, next).await.into_response(),
        None => next.run(request).await,
    }
}

async fn inject(
    state: &ApiState,
    operation: Operation,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    // Faults belong to a stream, which only the body names. It is read here and handed to the operation again.
    let unreadable =
        |error: axum::Error| ApiError::InvalidArgument(format!("the request cannot be read: {error}"));
    let body = to_bytes(body, MAX_REQUEST_BYTES).await.map_err(unreadable)?;
    let region = state.region_of(&head.headers);
    let find_stream = |body: &Bytes| parse_body::<StreamReference>(body)?.find(&state.store, &region);
    // A request that names no stream is for the operation to refuse.
    let Ok(stream) = find_stream(&body) else {
        return Ok(next.run(Request::from_parts(head, Body::from(body))).await);
    };
    for fault in stream.active_faults().begin_call(operation) {
        let FaultKind::Expire(count) = fault else { return Err(error_of(fault, &stream)) };
        stream.expire_oldest(count).await;
    }
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    // Only an answer that gives the endpoint ends a fault `moved`.
    if operation == Operation::GetDataEndpoint && response.status().is_success() {
        stream.active_faults().endpoint_answered();
    }
    Ok(response)
}

/// Returns the error with which a fault answers a call.
fn error_of(fault: FaultKind, stream: &KvsStream) -> ApiError {
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
        other => ApiError::Internal(format!("the fault {other:?} does not answer calls")),
    }
}
