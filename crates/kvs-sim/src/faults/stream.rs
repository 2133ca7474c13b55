//! The faults of a connection round the stream of its pieces.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream as ByteStream, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::faults::connection::{Course, Piece, Then};

/// The bytes of a connection after its faults. Each of `ends` ends them, however slowly they come.
pub(crate) fn disturbed(
    pieces: impl ByteStream<Item = Piece> + Send + 'static,
    course: Course,
    ends: [CancellationToken; 2],
) -> impl ByteStream<Item = io::Result<Bytes>> + Send + 'static {
    let disturbed =
        Disturbed { pieces: Box::pin(pieces), course, ends, rest: Bytes::new(), then: Then::GoOn };
    stream::unfold(disturbed, |mut disturbed| async {
        let bytes = disturbed.next().await?;
        Some((bytes, disturbed))
    })
}

struct Disturbed {
    pieces: Pin<Box<dyn ByteStream<Item = Piece> + Send>>,
    course: Course,
    ends: [CancellationToken; 2],
    /// What waits to be sent.
    rest: Bytes,
    then: Then,
}

/// Pieces a second that a slow connection sends.
const DRIPS_PER_S: u64 = 20;

impl Disturbed {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if !self.rest.is_empty() {
                return self.send().await.map(Ok);
            }
            match self.then {
                Then::End => return None,
                Then::Stall => {
                    self.say_nothing().await;
                    return None;
                }
                Then::Break => return Some(Err(self.broken().await)),
                Then::GoOn => self.read().await?,
            }
        }
    }

    /// The next piece, or the time at which the connection ends or stalls.
    async fn read(&mut self) -> Option<()> {
        let piece = match self.course.deadline() {
            None => self.pieces.next().await?,
            Some((at, then)) => tokio::select! {
                biased;
                () = sleep_until(at) => {
                    self.then = then;
                    return Some(());
                }
                piece = self.pieces.next() => piece?,
            },
        };
        let passed = self.course.meet(&piece, Instant::now());
        (self.rest, self.then) = (passed.bytes, passed.then);
        Some(())
    }

    async fn send(&mut self) -> Option<Bytes> {
        let Some(bytes_per_s) = self.course.bytes_per_s() else {
            return Some(std::mem::take(&mut self.rest));
        };
        let len = (bytes_per_s / DRIPS_PER_S).max(1).min(self.rest.len() as u64);
        let wait = Duration::from_secs(len) / u32::try_from(bytes_per_s).unwrap_or(u32::MAX);
        let [stop, cut] = &self.ends;
        tokio::select! {
            () = stop.cancelled() => None,
            () = cut.cancelled() => None,
            () = sleep(wait) => Some(self.rest.split_to(usize::try_from(len).unwrap_or(usize::MAX))),
        }
    }

    /// Stays open until it is ended from outside.
    async fn say_nothing(&mut self) {
        let [stop, cut] = &self.ends;
        tokio::select! {
            () = stop.cancelled() => {}
            () = cut.cancelled() => {}
        }
    }

    /// What breaks the connection, once the server has sent what came before.
    async fn broken(&mut self) -> io::Error {
        self.then = Then::End;
        tokio::task::yield_now().await;
        io::Error::new(io::ErrorKind::ConnectionAborted, "a fault broke the connection")
    }
}
