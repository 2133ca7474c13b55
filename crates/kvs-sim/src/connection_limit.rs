//! A limit on the server's connections, so that idle clients cannot take all file descriptors of the process.

use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

/// An acceptor that closes connections beyond a limit. Clones share the limit.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimit {
    max_connections: usize,
    free: Arc<Semaphore>,
}

/// A connection that counts against the limit until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedConnection<I> {
    io: I,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self { max_connections, free: Arc::new(Semaphore::new(max_connections)) }
    }
}

impl<I, S> Accept<I, S> for ConnectionLimit {
    type Stream = CountedConnection<I>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, io: I, service: S) -> Self::Future {
        // Closing at once rather than waiting: a connection that waits here would hold a descriptor as well.
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            warn!(
                max_connections = self.max_connections,
                "connection closed: too many are open; close connections that are not in use"
            );
            return ready(Err(io::Error::other("too many connections")));
        };
        ready(Ok((CountedConnection { io, _permit: permit }, service)))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for CountedConnection<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for CountedConnection<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    // Forwarded, so that the head and the chunks of an answer still leave in one system call.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
