//! The HTTP server: its listener and its thread.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::{STOP_TIMEOUT, serve};
use super::endpoints::Endpoints;
use super::guard::Guard;
use super::picture::{Encode, Pictures};
use super::pool_reads::{PoolReads, ReadPool};
use super::probe_runs::{ProbeRuns, RunProbes};
use super::site::{ClipSources, Site};
use super::slots::{ConnectionLimits, ConnectionSlots};
use super::token::AccessToken;
use super::warning_limit::WarningLimit;
use crate::config::RunningShapes;
use crate::history::IncidentHistory;
use crate::status::StatusBoard;
use crate::telemetry::{
    AcceptFailed, AcceptsFailed, ConnectionRefused, ConnectionsRefused, Gpus, Listening, ShortToken,
};

/// The delay after a failed `accept`.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The interval at which the metrics recorder aggregates its samples.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The inputs of the server.
pub struct HttpSpec {
    /// The address to listen on; port 0 takes a free one.
    pub addr: SocketAddr,
    /// The token that opens the page; `None`: only a listener on loopback serves it.
    pub token: Option<AccessToken>,
    /// The status board to serve.
    pub board: StatusBoard,
    /// The recorder that renders `/metrics`.
    pub prometheus: PrometheusHandle,
    /// The encoder of live pictures.
    pub encode: Encode,
    /// The reader of the pool; `None` without `sharing`.
    pub pool: Option<ReadPool>,
    /// The incidents of the past; `None` where no store keeps them.
    pub history: Option<IncidentHistory>,
    /// The zones and masks of the running configuration.
    pub shapes: RunningShapes,
    /// The clips of the cameras; `None` in a process that reads none.
    pub clips: Option<ClipSources>,
    /// The probes of the service; `None`: it runs none.
    pub probes: Option<RunProbes>,
}

/// An error of starting the server.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error(
        "HTTP cannot listen on {addr}: {source}; stop the other program there, or set HTTP_HOST and HTTP_PORT"
    )]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The thread or its runtime cannot be created.
    #[error("HTTP cannot start its thread: {0}")]
    Thread(std::io::Error),
}

/// A running server. [`HttpServer::stop`] ends it, and so does its drop.
pub struct HttpServer {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens, and serves from a thread named `http`.
    ///
    /// # Errors
    /// The address is taken or not one of this host, or the thread cannot be created.
    pub fn start(spec: HttpSpec) -> Result<Self, HttpError> {
        let listen = |source| HttpError::Listen { addr: spec.addr, source };
        let listener = TcpListener::bind(spec.addr).map_err(listen)?;
        // Bound before the thread starts, so that a taken port is an error of the caller.
        listener.set_nonblocking(true).map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let runtime = new_runtime().map_err(HttpError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let site = site_of(spec, addr, stopped.clone());
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                runtime.block_on(listen_until_stopped(listener, site, stopped));
                // An encoding of a picture cannot be interrupted.
                runtime.shutdown_timeout(STOP_TIMEOUT / 2);
            })
            .map_err(HttpError::Thread)?;
        Ok(Self { addr, stop, thread: Some(thread) })
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts no more connections, ends the event streams, gives open requests a second, and joins the thread: within 2 s.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged a panic of the thread; there is nothing left to stop.
            let _ended = thread.join();
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.end();
    }
}

fn new_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().thread_name("http-picture").build()
}

fn site_of(spec: HttpSpec, addr: SocketAddr, stopped: watch::Receiver<bool>) -> Arc<Site> {
    let guard = Guard::new(addr.ip(), spec.token.as_ref());
    Listening { addr, access: guard.access() }.emit();
    if let Some(characters) = spec.token.as_ref().and_then(AccessToken::too_short) {
        ShortToken { characters }.emit();
    }
    let pictures = Pictures::new(spec.encode);
    Arc::new(Site {
        board: spec.board,
        prometheus: spec.prometheus,
        gpus: Gpus::open(),
        scrapes: tokio::sync::Mutex::default(),
        pictures,
        pool: PoolReads::new(spec.pool),
        history: spec.history,
        shapes: spec.shapes,
        clips: spec.clips,
        probes: ProbeRuns::new(spec.probes),
        guard,
        stopped,
    })
}

async fn listen_until_stopped(listener: TcpListener, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return AcceptsFailed { count: 1, error: &error }.emit(),
    };
    let mut acceptor = Acceptor::new(site);
    let mut connections = JoinSet::new();
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = upkeep.tick() => acceptor.upkeep(),
            // A `JoinSet` keeps an ended task until it is joined.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => acceptor.admit(stream, peer, &mut connections),
                Err(error) => acceptor.fail(&error).await,
            },
        }
    }
    // Closed first, so that a successor can bind while open requests end.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The admission of new connections.
struct Acceptor {
    slots: Arc<ConnectionSlots>,
    site: Arc<Site>,
    refused: WarningLimit,
    failed: WarningLimit,
}

impl Acceptor {
    fn new(site: Arc<Site>) -> Self {
        Self {
            slots: ConnectionSlots::new(ConnectionLimits::of_this_process()),
            site,
            refused: WarningLimit::default(),
            failed: WarningLimit::default(),
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        let (Ok(local), now) = (stream.local_addr(), Instant::now()) else { return };
        let endpoints = Endpoints::new(peer, local);
        if let Some(slot) = self.slots.admit(endpoints, now) {
            connections.spawn(serve(stream, endpoints, slot, Arc::clone(&self.site)));
            return;
        }
        ConnectionRefused.emit();
        if let Some(count) = self.refused.count(now) {
            ConnectionsRefused { count, peer: endpoints.peer }.emit();
        }
    }

    /// Handles a failed `accept`, as a rule for want of file descriptors: closing a waiting connection frees one.
    async fn fail(&mut self, error: &std::io::Error) {
        let now = Instant::now();
        AcceptFailed.emit();
        if let Some(count) = self.failed.count(now) {
            AcceptsFailed { count, error }.emit();
        }
        self.slots.shrink(now);
        // The next call would fail at once: without a pause the loop would take a core.
        sleep(ACCEPT_RETRY).await;
    }

    fn upkeep(&self) {
        self.site.prometheus.run_upkeep();
        self.site.guard.report();
    }
}
