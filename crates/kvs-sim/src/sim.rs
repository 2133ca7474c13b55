//! The server: its start, its players, its end.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum_server::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::api::image_maker::ImageMaker;
use crate::api::routes;
use crate::api::service::Service;
use crate::clock::Clock;
use crate::faults::parse::FaultPlan;
use crate::hls::session::Sessions;
use crate::identifiers::region::Region;
use crate::playback::player::{self, Play};
use crate::sim_error::SimError;
use crate::store::stream::{Delivery, StreamLimits};
use crate::store::streams::Store;
use crate::tls::{self, SelfSigned};

/// How a local KVS is to run.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Whether to speak https with a self-signed certificate, and then only that.
    pub tls: bool,
    /// When a reader at the live edge gets a block.
    pub delivery: Delivery,
    /// Where to keep streams and fragments over a restart.
    pub data_dir: Option<PathBuf>,
    /// Bytes of media that a stream keeps; the oldest fragments go first.
    pub stream_bytes: u64,
    /// GetMedia connections that a stream allows at once.
    pub readers: usize,
    /// Fragments a second that one GetMedia connection gets at most.
    pub fragments_per_s: u32,
    /// The time by which fragments are stamped.
    pub clock: Clock,
    /// What goes wrong, with the streams there are and those to come.
    pub faults: Vec<FaultPlan>,
    /// The region of streams that no request made, and of requests that are not signed.
    pub region: Region,
    /// Makes the images of GetImages, which is not there without it.
    pub images: Option<Arc<dyn ImageMaker>>,
    /// HLS sessions end after so long even where more is asked for, so that a test need not wait for the 5 minutes
    /// that a session lasts at least.
    pub longest_hls_session: Duration,
}

/// Media that a stream keeps unless told otherwise.
const STREAM_BYTES: u64 = 512 << 20;
/// Source: AWS, Kinesis Video Streams quotas of GetMedia, 2026.
const READERS: usize = 3;
/// Source: as above.
const FRAGMENTS_PER_S: u32 = 5;
/// Source: AWS, GetHLSStreamingSessionURL, Expires, 2026.
const LONGEST_HLS_SESSION: Duration = Duration::from_secs(43_200);
/// How long open connections may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(1);

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: false,
            delivery: Delivery::default(),
            data_dir: None,
            stream_bytes: STREAM_BYTES,
            readers: READERS,
            fragments_per_s: FRAGMENTS_PER_S,
            clock: Clock::system(),
            faults: Vec::new(),
            region: Region::default(),
            images: None,
            longest_hls_session: LONGEST_HLS_SESSION,
        }
    }
}

/// A running local KVS. Dropped, it ends by itself soon; [`stop`](Self::stop) waits for that.
#[derive(Debug)]
pub struct Sim {
    address: SocketAddr,
    scheme: &'static str,
    certificate_pem: Option<String>,
    store: Arc<Store>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    players: Mutex<Vec<JoinHandle<()>>>,
    _stop_on_drop: DropGuard,
}

impl Sim {
    /// Listens, and answers from now on. Needs a tokio runtime.
    ///
    /// Errors: the address is taken, the certificate or the folder cannot be made.
    pub fn start(config: SimConfig) -> Result<Self, SimError> {
        let limits = StreamLimits {
            stream_bytes: config.stream_bytes,
            readers: config.readers,
            delivery: config.delivery,
        };
        let store = Arc::new(Store::open(config.clock, limits, config.data_dir)?.in_region(config.region));
        store.plan_faults(config.faults);
        let failed = |source| SimError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let certificate = config.tls.then(|| tls::self_signed(address.ip())).transpose()?;
        let scheme = if config.tls { "https" } else { "http" };
        let stop = CancellationToken::new();
        let service = Service {
            store: Arc::clone(&store),
            address,
            scheme,
            fragments_per_s: config.fragments_per_s,
            stop: stop.clone(),
            hls: Arc::new(Sessions::new(config.longest_hls_session)),
            images: config.images,
        };
        let server = serve(listener, service, certificate.as_ref(), stop.clone()).map_err(failed)?;
        Ok(Self {
            address,
            scheme,
            certificate_pem: certificate.map(|made| made.certificate_pem),
            store,
            server,
            players: Mutex::new(Vec::new()),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Its URL, for `AWS_ENDPOINT_URL`: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With TLS: the certificate that clients are to trust.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// Its streams.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Starts to play a clip at real-time pace into a stream, which is made where there is none.
    ///
    /// Errors: the clip cannot be played, or something else writes to the stream.
    pub async fn play(&self, play: Play) -> Result<(), SimError> {
        let stream = self.store.stream_or_create(&play.stream)?;
        let player = player::start(stream, play, self.stop.clone()).await?;
        self.players.lock().unwrap_or_else(PoisonError::into_inner).push(player);
        Ok(())
    }

    /// Ends all connections and players, and waits for it: about a second at most.
    pub async fn stop(self) {
        self.stop.cancel();
        let players = std::mem::take(&mut *self.players.lock().unwrap_or_else(PoisonError::into_inner));
        for player in players {
            joined(player).await;
        }
        joined(self.server).await;
    }
}

async fn joined(task: JoinHandle<()>) {
    if let Err(stopped) = task.await {
        error!(error = %stopped, "a task of the local KVS panicked; this is a bug");
    }
}

fn serve(
    listener: TcpListener,
    service: Service,
    certificate: Option<&SelfSigned>,
    stop: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let handle = Handle::new();
    let router = routes::router(service).into_make_service();
    let ending = handle.clone();
    match certificate {
        Some(made) => {
            let server = axum_server::from_tcp_rustls(listener, made.config.clone())?.handle(handle);
            Ok(tokio::spawn(until_stopped(async move { server.serve(router).await }, ending, stop)))
        }
        None => {
            let server = axum_server::from_tcp(listener)?.handle(handle);
            Ok(tokio::spawn(until_stopped(async move { server.serve(router).await }, ending, stop)))
        }
    }
}

async fn until_stopped(
    serving: impl Future<Output = std::io::Result<()>>,
    handle: Handle<SocketAddr>,
    stop: CancellationToken,
) {
    let ending = async {
        stop.cancelled().await;
        handle.graceful_shutdown(Some(GRACE));
    };
    let (served, ()) = tokio::join!(serving, ending);
    if let Err(error) = served {
        error!(%error, "the local KVS cannot accept connections");
    }
}
