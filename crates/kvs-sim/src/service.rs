//! What every operation sees, and the table of operations.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

use crate::errors::ApiError;
use crate::hls_session::Sessions;
use crate::store::Store;
use crate::{archive, control, fault_control as faults, get_media, hls, put_media, refusals};

/// What every operation sees.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    /// Where it listens, for a client that sends no Host.
    pub(crate) endpoint: Arc<str>,
    pub(crate) scheme: &'static str,
    /// Fragments a second that one GetMedia connection gets at most.
    pub(crate) fragments_per_s: u32,
    pub(crate) stop: CancellationToken,
    pub(crate) hls: Arc<Sessions>,
}

impl Service {
    /// The address by which this client reached us.
    pub(crate) fn endpoint_for(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        host.map_or_else(|| self.endpoint.to_string(), |host| format!("{}://{host}", self.scheme))
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/createStream", post(control::create_stream))
            .route("/describeStream", post(control::describe_stream))
            .route("/listStreams", post(control::list_streams))
            .route("/deleteStream", post(control::delete_stream))
            .route("/getDataEndpoint", post(control::get_data_endpoint))
            .route("/getMedia", post(get_media::get_media))
            .route("/putMedia", post(put_media::put_media))
            .route("/listFragments", post(archive::list_fragments))
            .route("/getMediaForFragmentList", post(archive::get_media_for_fragment_list))
            .route("/sim/faults", get(faults::get_all).put(faults::put_all).delete(faults::delete_all))
            .route(
                "/sim/faults/{stream}",
                get(faults::get_one).put(faults::put_one).delete(faults::delete_one),
            )
            .merge(hls::router())
            .fallback(unknown_operation)
            .method_not_allowed_fallback(unknown_operation)
            .layer(middleware::from_fn_with_state(self.clone(), refusals::refuse))
            .layer(middleware::map_response(name_request))
            .with_state(self)
    }
}

async fn unknown_operation(method: Method, uri: Uri) -> ApiError {
    ApiError::UnknownOperation(format!("{method} {}", uri.path()))
}

async fn name_request(mut response: Response) -> Response {
    let id = format!("{:032x}", rand::random::<u128>());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}
