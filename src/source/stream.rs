//! A stream behind the interface by which its camera reads it: GetMedia or HLS.

use std::time::Duration;

use super::hls::{HlsConnection, HlsSource};
use super::kvs::{GetMediaConnection, GetMediaSource};
use super::{Kvs, SourceError, StartAt};

/// A stream, and the interface that reads it.
#[derive(Debug)]
pub enum StreamSource {
    /// Reads by GetMedia.
    GetMedia(GetMediaSource),
    /// Reads by HLS.
    Hls(HlsSource),
}

/// An open connection to a stream.
#[derive(Debug)]
pub enum StreamConnection {
    /// The response body of a GetMedia request.
    GetMedia(GetMediaConnection),
    /// A series of HLS sessions.
    Hls(Box<HlsConnection>),
}

impl StreamSource {
    /// Creates a source that reads `stream` by GetMedia.
    #[must_use]
    pub fn get_media(kvs: &Kvs, stream: &str) -> Self {
        Self::GetMedia(kvs.stream(stream))
    }

    /// Creates a source that reads `stream` by HLS and renews its session after `session_life`.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn hls(kvs: &Kvs, stream: &str, session_life: Duration) -> Result<Self, SourceError> {
        HlsSource::new(kvs, stream, session_life).map(Self::Hls)
    }

    /// Returns the stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        match self {
            Self::GetMedia(source) => source.stream(),
            Self::Hls(source) => source.stream(),
        }
    }

    /// Opens a connection that reads from `start`.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn open(&mut self, start: &StartAt) -> Result<StreamConnection, SourceError> {
        match self {
            Self::GetMedia(source) => source.open(start).await.map(StreamConnection::GetMedia),
            Self::Hls(source) => Ok(StreamConnection::Hls(Box::new(source.open(start).await?))),
        }
    }

    /// Discards the known data endpoint: the next connection requests it again.
    pub fn forget_endpoint(&mut self) {
        // HLS requests its endpoint with each session, so it has none to discard.
        if let Self::GetMedia(source) = self {
            source.forget_endpoint();
        }
    }
}
