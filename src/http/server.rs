//! The listener, its thread, and their end.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::{STOP_TIME, serve};
use super::ends::Ends;
use super::guard::Guard;
use super::picture::{Encode, Pictures};
use super::ration::Ration;
use super::room::{Limits, Room};
use super::routes::Site;
use super::token::AccessToken;
use crate::status::StatusBoard;
use crate::telemetry::{
    AcceptFailed, AcceptsFailed, ConnectionRefused, ConnectionsRefused, Gpus, Listening, ShortToken,
};

/// The wait after a failed attempt to accept a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How often the metrics recorder folds what it gathered.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What the server is made of.
pub struct HttpSpec {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// The token that opens the page; `None`: only a listener on loopback shows it.
    pub token: Option<AccessToken>,
    /// What is shown.
    pub board: StatusBoard,
    /// What `/metrics` renders.
    pub prometheus: PrometheusHandle,
    /// How a live picture becomes a JPEG.
    pub encode: Encode,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error(
        "HTTP cannot listen on {addr}: {source}; is another program there? HTTP_HOST and HTTP_PORT move it"
    )]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system gave no thread or runtime.
    #[error("HTTP cannot start its thread: {0}")]
    Thread(std::io::Error),
}

/// A running server. Shutdown: [`HttpServer::stop`], or drop, which does the same.
pub struct HttpServer {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens, and answers from a thread named `http`.
    ///
    /// # Errors
    /// The address is taken or not ours, or the system gives no thread.
    pub fn start(spec: HttpSpec) -> Result<Self, HttpError> {
        let listen = |source| HttpError::Listen { addr: spec.addr, source };
        let listener = TcpListener::bind(spec.addr).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("http-picture")
            .build()
            .map_err(HttpError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let site = site_of(spec, addr, stopped.clone());
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                runtime.block_on(listen_until_stopped(listener, site, stopped));
                runtime.shutdown_timeout(STOP_TIME / 2);
            })
            .map_err(HttpError::Thread)?;
        Ok(Self { addr, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts no more, ends the event streams, gives open requests a second, and joins the thread: within 2 s.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was logged by the panic hook; there is nothing left to stop.
            let _ended = thread.join();
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.end();
    }
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
        last_scrape: tokio::sync::Mutex::default(),
        pictures,
        guard,
        stopped,
    })
}

async fn listen_until_stopped(listener: TcpListener, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return AcceptsFailed { count: 1, error: &error }.emit(),
    };
    let mut door = Door {
        room: Room::new(Limits::of_this_process()),
        site,
        no_room: Ration::default(),
        failed: Ration::default(),
    };
    let mut connections = JoinSet::new();
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = upkeep.tick() => door.upkeep(),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => door.admit(stream, peer, &mut connections),
                Err(error) => door.fail(&error).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection that came in.
struct Door {
    room: Arc<Room>,
    site: Arc<Site>,
    no_room: Ration,
    failed: Ration,
}

impl Door {
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        let (Ok(local), now) = (stream.local_addr(), Instant::now()) else { return };
        let ends = Ends::new(peer, local);
        if let Some(place) = self.room.admit(ends, now) {
            connections.spawn(serve(stream, ends, place, Arc::clone(&self.site)));
            return;
        }
        ConnectionRefused.emit();
        if let Some(count) = self.no_room.count(now) {
            ConnectionsRefused { count, peer: ends.peer }.emit();
        }
    }

    /// The system gives no connection, as a rule for want of descriptors: one that waits is closed for its own.
    async fn fail(&mut self, error: &std::io::Error) {
        let now = Instant::now();
        AcceptFailed.emit();
        if let Some(count) = self.failed.count(now) {
            AcceptsFailed { count, error }.emit();
        }
        self.room.shrink(now);
        sleep(ACCEPT_AGAIN).await;
    }

    fn upkeep(&self) {
        self.site.prometheus.run_upkeep();
        self.site.guard.report();
    }
}
