//! What every operation sees, and the table of operations.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

use crate::errors::ApiError;
use crate::hls_session::Sessions;
use crate::image_maker::ImageMaker;
use crate::region::Region;
use crate::store::Store;
use crate::{
    archive, control, fault_control as faults, get_clip, get_images, get_media, hls, put_media, refusals,
    retention, tags,
};

/// What every operation sees.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) scheme: &'static str,
    /// Fragments a second that one GetMedia connection gets at most.
    pub(crate) fragments_per_s: u32,
    pub(crate) stop: CancellationToken,
    pub(crate) hls: Arc<Sessions>,
    /// Makes the images of GetImages, which is not there without it.
    pub(crate) images: Option<Arc<dyn ImageMaker>>,
}

impl Service {
    /// The address by which this client reached us.
    ///
    /// AWS's producer SDK in C sends Host without the port, whatever the port is: then it is the one we listen on.
    pub(crate) fn endpoint_for(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        let Some(host) = host else { return format!("{}://{}", self.scheme, self.address) };
        let port = host.port_u16().unwrap_or_else(|| self.address.port());
        format!("{}://{}:{port}", self.scheme, host.host())
    }

    /// The region that a request is signed for, else the local KVS's own.
    pub(crate) fn region_of(&self, headers: &HeaderMap) -> Region {
        Region::signed(headers).unwrap_or_else(|| self.store.region().clone())
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/createStream", post(control::create_stream))
            .route("/describeStream", post(control::describe_stream))
            .route("/listStreams", post(control::list_streams))
            .route("/deleteStream", post(control::delete_stream))
            .route("/updateDataRetention", post(retention::update_data_retention))
            .route("/tagStream", post(tags::tag_stream))
            .route("/untagStream", post(tags::untag_stream))
            .route("/listTagsForStream", post(tags::list_tags))
            .route("/getDataEndpoint", post(control::get_data_endpoint))
            .route("/getMedia", post(get_media::get_media))
            .route("/putMedia", post(put_media::put_media))
            .route("/listFragments", post(archive::list_fragments))
            .route("/getMediaForFragmentList", post(archive::get_media_for_fragment_list))
            .route("/getClip", post(get_clip::get_clip))
            .route("/getImages", post(get_images::get_images))
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

pub(crate) async fn unknown_operation(method: Method, uri: Uri) -> ApiError {
    ApiError::UnknownOperation(format!("{method} {}", uri.path()))
}

async fn name_request(mut response: Response) -> Response {
    let id = format!("{:032x}", rand::random::<u128>());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}
