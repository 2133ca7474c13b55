//! What every operation sees.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use tokio_util::sync::CancellationToken;

use crate::api::image_maker::ImageMaker;
use crate::hls::session::Sessions;
use crate::identifiers::region::Region;
use crate::store::streams::Store;

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
}

/// The region of the request: that of its signature, else that of the local KVS.
impl FromRequestParts<Service> for Region {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Infallible> {
        Ok(service.region_of(&parts.headers))
    }
}
