//! The state that all operations share.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use tokio_util::sync::CancellationToken;

use crate::api::image_maker::ImageMaker;
use crate::hls::session::HlsSessions;
use crate::identifiers::region::Region;
use crate::store::streams::StreamStore;

/// The state that all operations share; clones are of the same state.
#[derive(Debug, Clone)]
pub(crate) struct ApiState {
    pub(crate) store: Arc<StreamStore>,
    /// Address that the server listens on.
    pub(crate) address: SocketAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Maximum number of fragments per second on one GetMedia connection.
    pub(crate) fragments_per_s: u32,
    /// Ends all answers when the server stops.
    pub(crate) stop: CancellationToken,
    pub(crate) hls: Arc<HlsSessions>,
    /// Decoder and encoder for GetImages, which does not exist without one.
    pub(crate) images: Option<Arc<dyn ImageMaker>>,
}

impl ApiState {
    /// Returns the URL by which this client reached the server.
    pub(crate) fn endpoint_for(&self, headers: &HeaderMap) -> String {
        // The address that the client used, and not ours: between them can be a published port of a container, or a tunnel.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        let Some(host) = host else { return format!("{}://{}", self.scheme, self.address) };
        // AWS's producer SDK in C sends Host without the port, whatever the port is.
        let port = host.port_u16().unwrap_or_else(|| self.address.port());
        format!("{}://{}:{port}", self.scheme, host.host())
    }

    /// Returns the region that a request is signed for, else the region of the local KVS.
    pub(crate) fn region_of(&self, headers: &HeaderMap) -> Region {
        Region::signed(headers).unwrap_or_else(|| self.store.region().clone())
    }
}

/// Extracts the region that a request is signed for, else the region of the local KVS.
impl FromRequestParts<ApiState> for Region {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        Ok(state.region_of(&parts.headers))
    }
}
