//! The listener, its thread, and their end.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::guard::Guard;
use super::picture::{Encode, Pictures};
use super::routes::{Site, router};
use crate::telemetry::board::Board;
use crate::telemetry::{AcceptFailed, Gpus, Listening};

/// Connections from elsewhere at a time; those of this host are not counted, so that the container's health check
/// is answered while strangers hold all of these.
const CONNECTIONS: usize = 256;

/// A client that has not sent its request's head by then is let go; also how long an idle connection is kept.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 16 * 1024;

/// A connection's longest life; a page that follows the events comes back by itself.
const CONNECTION_TIME: Duration = Duration::from_secs(600);

/// How long open requests may take once the server was told to stop.
const STOP_TIME: Duration = Duration::from_secs(1);

/// How often the metrics recorder folds what it gathered.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What the server is made of.
pub struct HttpSpec {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Who knows it may see the page; `None` or empty: only a listener on loopback shows it.
    pub token: Option<String>,
    /// What is shown.
    pub board: Board,
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
    let guard = Guard::new(addr.ip(), spec.token.as_deref());
    Listening { addr, access: guard.access() }.emit();
    let pictures = Pictures::new(spec.encode);
    Arc::new(Site {
        board: spec.board,
        prometheus: spec.prometheus,
        gpus: Gpus::open(),
        pictures,
        guard,
        stopped,
    })
}

async fn listen_until_stopped(listener: TcpListener, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return AcceptFailed { error: &error }.emit(),
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = upkeep.tick() => site.prometheus.run_upkeep(),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let local = peer.ip().to_canonical().is_loopback();
                    let place = Arc::clone(&room).try_acquire_owned().ok();
                    if local || place.is_some() {
                        connections.spawn(serve(stream, place, Arc::clone(&site)));
                    }
                }
                Err(error) => {
                    AcceptFailed { error: &error }.emit();
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection to its end, at most [`STOP_TIME`] beyond the server's.
async fn serve(stream: TcpStream, _place: Option<OwnedSemaphorePermit>, site: Arc<Site>) {
    let mut stopped = site.stopped.clone();
    let service = TowerToHyperService::new(router(site));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A connection that breaks is the client's affair.
        _ended = connection.as_mut() => return,
        _ = stopped.wait_for(|stop| *stop) => {}
        () = sleep(CONNECTION_TIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = timeout(STOP_TIME, connection).await;
}
