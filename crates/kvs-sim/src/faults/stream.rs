//! Applies the faults of a connection to the stream of its bytes.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream as ByteStream, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::faults::connection::{BodyPiece, ConnectionFaults, NextAction};

/// Returns the bytes of a connection after its faults. Each of `ends` ends them, even while a fault delays them.
pub(crate) fn apply_faults(
    pieces: impl ByteStream<Item = BodyPiece> + Send + 'static,
    faults: ConnectionFaults,
    ends: [CancellationToken; 2],
) -> impl ByteStream<Item = io::Result<Bytes>> + Send + 'static {
    let body = FaultyBody {
        pieces: Box::pin(pieces),
        faults,
        ends,
        pending: Bytes::new(),
        next: NextAction::Continue,
    };
    stream::unfold(body, |mut body| async {
        let bytes = body.next_bytes().await?;
        Some((bytes, body))
    })
}

struct FaultyBody {
    pieces: Pin<Box<dyn ByteStream<Item = BodyPiece> + Send>>,
    faults: ConnectionFaults,
    /// The server's stop and the cut of the stream's readers.
    ends: [CancellationToken; 2],
    /// Bytes that passed the faults and are not sent yet.
    pending: Bytes,
    /// The action once `pending` is sent.
    next: NextAction,
}

/// Parts per second in which a slow connection sends, so that it trickles instead of pausing for whole pieces.
const DRIPS_PER_S: u64 = 20;

impl FaultyBody {
    async fn next_bytes(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if !self.pending.is_empty() {
                return self.send().await.map(Ok);
            }
            match self.next {
                NextAction::End => return None,
                NextAction::Stall => {
                    self.wait_for_end().await;
                    return None;
                }
                NextAction::Break => return Some(Err(self.break_connection().await)),
                NextAction::Continue => self.read().await?,
            }
        }
    }

    /// Reads the next piece, unless the deadline of a fault comes first.
    async fn read(&mut self) -> Option<()> {
        let piece = match self.faults.deadline() {
            None => self.pieces.next().await?,
            Some((at, next)) => tokio::select! {
                biased;
                () = sleep_until(at) => {
                    self.next = next;
                    return Some(());
                }
                piece = self.pieces.next() => piece?,
            },
        };
        let result = self.faults.apply(&piece, Instant::now());
        (self.pending, self.next) = (result.bytes, result.next);
        Some(())
    }

    async fn send(&mut self) -> Option<Bytes> {
        let Some(bytes_per_s) = self.faults.bytes_per_s() else {
            return Some(std::mem::take(&mut self.pending));
        };
        let len = (bytes_per_s / DRIPS_PER_S).max(1).min(self.pending.len() as u64);
        let wait = Duration::from_secs(len) / u32::try_from(bytes_per_s).unwrap_or(u32::MAX);
        let [stop, cut] = &self.ends;
        tokio::select! {
            () = stop.cancelled() => None,
            () = cut.cancelled() => None,
            () = sleep(wait) => Some(self.pending.split_to(usize::try_from(len).unwrap_or(usize::MAX))),
        }
    }

    /// Keeps the connection open until it is ended from outside.
    async fn wait_for_end(&mut self) {
        let [stop, cut] = &self.ends;
        tokio::select! {
            () = stop.cancelled() => {}
            () = cut.cancelled() => {}
        }
    }

    /// Returns the error that makes the server close the connection without the last chunk.
    async fn break_connection(&mut self) -> io::Error {
        self.next = NextAction::End;
        // An error discards what hyper has not written yet. One turn of the scheduler lets it write the bytes before the break.
        tokio::task::yield_now().await;
        io::Error::new(io::ErrorKind::ConnectionAborted, "a fault broke the connection")
    }
}
