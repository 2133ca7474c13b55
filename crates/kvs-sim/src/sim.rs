//! The server of the local KVS: start, players, stop.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::api::image_maker::ImageMaker;
use crate::api::routes;
use crate::api::state::ApiState;
use crate::clock::Clock;
use crate::connection_limit::ConnectionLimit;
use crate::faults::parse::FaultPlan;
use crate::hls::session::HlsSessions;
use crate::identifiers::region::Region;
use crate::playback::player::{self, Play};
use crate::sim_error::SimError;
use crate::store::stream::{LiveDelivery, StreamLimits};
use crate::store::streams::StreamStore;
use crate::tls::{self, SelfSigned};

/// Configuration of a local KVS.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Address to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Speaks https with a self-signed certificate, and no http.
    pub tls: bool,
    /// Unit in which readers at the live edge get media.
    pub delivery: LiveDelivery,
    /// Folder that keeps streams and fragments over a restart; None keeps them in memory only.
    pub data_dir: Option<PathBuf>,
    /// Bytes of media that a stream keeps; the oldest fragments are evicted first.
    pub stream_bytes: u64,
    /// GetMedia connections that a stream allows at the same time.
    pub readers: usize,
    /// Maximum number of fragments per second on one GetMedia connection.
    pub fragments_per_s: u32,
    /// Clock by which fragments are stamped and expire.
    pub clock: Clock,
    /// Faults of all streams, including those that are created later.
    pub faults: Vec<FaultPlan>,
    /// Region of streams that no request created, and of requests that are not signed.
    pub region: Region,
    /// Decoder and encoder for GetImages, which does not exist without one.
    pub images: Option<Arc<dyn ImageMaker>>,
    /// Upper bound of the lifetime of HLS sessions, so that a test need not wait for the 5 minutes that a request can ask for
    /// at least.
    pub max_hls_session: Duration,
    /// Maximum number of open connections of all clients; those beyond it are closed.
    pub max_connections: usize,
}

/// Media that a stream keeps by default.
const STREAM_BYTES: u64 = 512 << 20;
/// Source: AWS, Kinesis Video Streams quotas of GetMedia, 2026.
const READERS: usize = 3;
/// Source: AWS, Kinesis Video Streams quotas of GetMedia, 2026.
const FRAGMENTS_PER_S: u32 = 5;
/// Source: AWS, GetHLSStreamingSessionURL, Expires, 2026.
const MAX_HLS_SESSION: Duration = Duration::from_secs(43_200);
/// Leaves descriptors for files under the usual limit of 1024 per process.
const MAX_CONNECTIONS: usize = 800;
/// Time for open connections to end when the server stops.
const GRACE: Duration = Duration::from_secs(1);

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: false,
            delivery: LiveDelivery::default(),
            data_dir: None,
            stream_bytes: STREAM_BYTES,
            readers: READERS,
            fragments_per_s: FRAGMENTS_PER_S,
            clock: Clock::system(),
            faults: Vec::new(),
            region: Region::default(),
            images: None,
            max_hls_session: MAX_HLS_SESSION,
            max_connections: MAX_CONNECTIONS,
        }
    }
}

/// A running local KVS.
///
/// Its tasks end in the background after a drop; [`stop`](Self::stop) waits for their end.
#[derive(Debug)]
pub struct Sim {
    address: SocketAddr,
    scheme: &'static str,
    certificate_pem: Option<String>,
    store: Arc<StreamStore>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    players: Mutex<Vec<JoinHandle<()>>>,
    _stop_on_drop: DropGuard,
}

impl Sim {
    /// Starts to listen and to answer. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is in use, the certificate cannot be made, or `data_dir` cannot be read or written.
    pub fn start(config: SimConfig) -> Result<Self, SimError> {
        let store = open_store(&config)?;
        let failed = move |source| SimError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(failed)?;
        // Port 0 is resolved here, before the certificate and the endpoints that name it.
        let address = listener.local_addr().map_err(failed)?;
        let certificate = config.tls.then(|| tls::self_signed(address.ip())).transpose()?;
        let stop = CancellationToken::new();
        let limit = ConnectionLimit::new(config.max_connections);
        let state = api_state(config, Arc::clone(&store), address, stop.clone());
        let scheme = state.scheme;
        let server = serve(listener, state, limit, certificate.as_ref(), stop.clone()).map_err(failed)?;
        Ok(Self {
            address,
            scheme,
            certificate_pem: certificate.map(|certificate| certificate.certificate_pem),
            store,
            server,
            players: Mutex::new(Vec::new()),
            // A test that fails drops the server without `stop`; its tasks must not outlive it.
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Returns the server's URL, for `AWS_ENDPOINT_URL`: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate that clients are to trust; None without TLS.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// Returns the store of all streams.
    pub fn store(&self) -> &Arc<StreamStore> {
        &self.store
    }

    /// Starts to play a clip at real-time pace into a stream, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// The clip cannot be played, or the stream has another producer.
    pub async fn play(&self, play: Play) -> Result<(), SimError> {
        let stream = self.store.stream_or_create(&play.stream)?;
        let player = player::start(stream, play, self.stop.clone()).await?;
        self.players.lock().unwrap_or_else(PoisonError::into_inner).push(player);
        Ok(())
    }

    /// Ends all connections and players, and waits for their end, which takes about a second at most.
    pub async fn stop(self) {
        self.stop.cancel();
        let players = std::mem::take(&mut *self.players.lock().unwrap_or_else(PoisonError::into_inner));
        for player in players {
            join(player).await;
        }
        join(self.server).await;
    }
}

/// Opens the store of all streams, and plans their faults.
fn open_store(config: &SimConfig) -> Result<Arc<StreamStore>, SimError> {
    let limits = StreamLimits {
        stream_bytes: config.stream_bytes,
        readers: config.readers,
        delivery: config.delivery,
    };
    let store = StreamStore::open(config.clock.clone(), limits, config.data_dir.clone())?;
    let store = store.in_region(config.region.clone());
    store.plan_faults(config.faults.clone());
    Ok(Arc::new(store))
}

/// Returns the state that all operations share.
fn api_state(
    config: SimConfig,
    store: Arc<StreamStore>,
    address: SocketAddr,
    stop: CancellationToken,
) -> ApiState {
    ApiState {
        store,
        address,
        scheme: if config.tls { "https" } else { "http" },
        fragments_per_s: config.fragments_per_s,
        stop,
        hls: Arc::new(HlsSessions::new(config.max_hls_session)),
        images: config.images,
    }
}

async fn join(task: JoinHandle<()>) {
    if let Err(panic) = task.await {
        error!(error = %panic, "a task of the local KVS panicked; this is a bug, report it with this message");
    }
}

fn serve(
    listener: TcpListener,
    state: ApiState,
    limit: ConnectionLimit,
    certificate: Option<&SelfSigned>,
    stop: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let handle = Handle::new();
    let server = axum_server::from_tcp(listener)?.handle(handle.clone());
    let router = routes::router(state).into_make_service();
    match certificate {
        Some(certificate) => {
            // The limit is inside the TLS acceptor, so that a client that never finishes its handshake counts, too.
            let tls = RustlsAcceptor::new(certificate.config.clone()).acceptor(limit);
            let serving = async move { server.acceptor(tls).serve(router).await };
            Ok(tokio::spawn(serve_until(serving, handle, stop)))
        }
        None => {
            let serving = async move { server.acceptor(limit).serve(router).await };
            Ok(tokio::spawn(serve_until(serving, handle, stop)))
        }
    }
}

async fn serve_until(
    serving: impl Future<Output = std::io::Result<()>>,
    handle: Handle<SocketAddr>,
    stop: CancellationToken,
) {
    let shutdown = async {
        stop.cancelled().await;
        handle.graceful_shutdown(Some(GRACE));
    };
    let (served, ()) = tokio::join!(serving, shutdown);
    if let Err(error) = served {
        error!(%error, "the local KVS cannot accept connections; restart it");
    }
}
