//! A stream by the interface that its camera is read by.

use std::time::Duration;

use super::hls::{HlsMedia, HlsSource};
use super::kvs::{GetMediaSource, Media};
use super::{Kvs, SourceError, StartAt};

/// One stream, and how it is read.
#[derive(Debug)]
pub enum StreamSource {
    /// By GetMedia.
    GetMedia(GetMediaSource),
    /// By HLS.
    Hls(HlsSource),
}

/// An open connection or reading.
#[derive(Debug)]
pub enum Opened {
    /// Of GetMedia.
    GetMedia(Media),
    /// Of HLS.
    Hls(Box<HlsMedia>),
}

impl StreamSource {
    /// By GetMedia.
    #[must_use]
    pub fn get_media(kvs: &Kvs, stream: &str) -> Self {
        Self::GetMedia(kvs.stream(stream))
    }

    /// By HLS, with sessions that last so long.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn hls(kvs: &Kvs, stream: &str, lasts: Duration) -> Result<Self, SourceError> {
        HlsSource::new(kvs, stream, lasts).map(Self::Hls)
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        match self {
            Self::GetMedia(source) => source.stream(),
            Self::Hls(source) => source.stream(),
        }
    }

    /// Connects, to read from `start` on.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn open(&mut self, start: &StartAt) -> Result<Opened, SourceError> {
        match self {
            Self::GetMedia(source) => source.open(start).await.map(Opened::GetMedia),
            Self::Hls(source) => Ok(Opened::Hls(Box::new(source.open(start).await?))),
        }
    }

    /// Asks for the endpoint again before the next connection.
    pub fn forget_endpoint(&mut self) {
        if let Self::GetMedia(source) = self {
            source.forget_endpoint();
        }
    }
}
