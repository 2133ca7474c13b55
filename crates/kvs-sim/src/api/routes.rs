//! The routes of all operations.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};

use crate::api::archive::{fragment_media, get_clip, get_images, hls, list_fragments};
use crate::api::control::{retention, streams, tags};
use crate::api::media::{get_media, put_media};
use crate::api::state::ApiState;
use crate::api::{fault_middleware, faults, origin_guard};
use crate::error::ApiError;

/// Returns the router of all operations.
pub(crate) fn router(state: ApiState) -> Router {
    Router::new()
        // Paths and methods are those of AWS's service models: all operations are POST, and paths are case-sensitive.
        .route("/createStream", post(streams::create_stream))
        .route("/describeStream", post(streams::describe_stream))
        .route("/listStreams", post(streams::list_streams))
        .route("/deleteStream", post(streams::delete_stream))
        .route("/updateDataRetention", post(retention::update_data_retention))
        .route("/tagStream", post(tags::tag_stream))
        .route("/untagStream", post(tags::untag_stream))
        .route("/listTagsForStream", post(tags::list_tags))
        .route("/getDataEndpoint", post(streams::get_data_endpoint))
        .route("/getMedia", post(get_media::get_media))
        .route("/putMedia", post(put_media::put_media))
        .route("/listFragments", post(list_fragments::list_fragments))
        .route("/getMediaForFragmentList", post(fragment_media::get_media_for_fragment_list))
        .route("/getClip", post(get_clip::get_clip))
        .route("/getImages", post(get_images::get_images))
        .route("/sim/faults", get(faults::get_all).put(faults::put_all).delete(faults::delete_all))
        .route("/sim/faults/{stream}", get(faults::get_one).put(faults::put_one).delete(faults::delete_one))
        .merge(hls::router())
        .fallback(unknown_operation)
        .method_not_allowed_fallback(unknown_operation)
        // The last layer is the outermost: every answer gets its id, and a request of a foreign page meets no fault.
        .layer(middleware::from_fn_with_state(state.clone(), fault_middleware::inject_faults))
        .layer(middleware::from_fn_with_state(state.clone(), origin_guard::refuse_foreign_pages))
        .layer(middleware::map_response(add_request_id))
        .with_state(state)
}

async fn unknown_operation(method: Method, uri: Uri) -> ApiError {
    ApiError::unknown_operation(&method, &uri)
}

/// Adds the header by which the SDKs identify a request in their errors.
async fn add_request_id(mut response: Response) -> Response {
    let id = format!("{:032x}", rand::random::<u128>());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}
