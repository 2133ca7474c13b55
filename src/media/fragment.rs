//! A fragment of a Kinesis video stream, and media time.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The `id` of a camera in the configuration. A clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CameraId(Arc<str>);

impl CameraId {
    /// Creates the id from its text.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// Media time: milliseconds since the Unix epoch by the clock named in [`TimeSource`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaMs(pub i64);

/// The clock of a media time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The camera's clock: the fragment's producer timestamp.
    Producer,
    /// The clock of Kinesis Video Streams, because the producer sent no timestamp or 0.
    Server,
}

/// A fragment as the AWS tags in front of its frames describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The fragment number: opaque decimal text, ordered by arrival ([`fragment_order`]).
    pub number: Arc<str>,
    /// Producer timestamp, ms since the epoch; `None` where absent or 0.
    pub producer_ms: Option<i64>,
    /// Server timestamp, ms since the epoch.
    pub server_ms: Option<i64>,
}

impl Fragment {
    /// Returns the media time at which the fragment starts, and the clock of that time.
    #[must_use]
    pub fn media_start(&self) -> (MediaMs, TimeSource) {
        match self.producer_ms {
            // The camera's clock is preferred: it is the same for GetMedia and HLS.
            Some(ms) => (MediaMs(ms), TimeSource::Producer),
            None => (MediaMs(self.server_ms.unwrap_or(0)), TimeSource::Server),
        }
    }

    /// Returns the time at which Kinesis Video Streams received the picture of time `media`, ms since the epoch.
    ///
    /// By the server's clock where it stamps fragments, else by the producer's.
    #[must_use]
    pub fn ingested_ms(&self, media: MediaMs) -> i64 {
        let (start, _) = self.media_start();
        // The producer's clock may be wrong, so only the offset within the fragment is taken from it.
        let from_start_ms = media.0.saturating_sub(start.0);
        self.server_ms.unwrap_or(start.0).saturating_add(from_start_ms)
    }
}

/// Compares two fragments of one stream by their numbers.
///
/// The numbers of a stream have equal length, so the order of the text is the order of arrival.
#[must_use]
pub fn fragment_order(a: &str, b: &str) -> Ordering {
    // A shorter number is the smaller one: no leading zeros, and AWS does not promise the length for ever.
    (a.len(), a).cmp(&(b.len(), b))
}

/// A position between two fragments of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The number of the fragment before the position.
    pub fragment: Arc<str>,
    /// The media time at which that fragment starts. HLS is requested by time.
    pub media: MediaMs,
    /// The number of the fragment before [`Self::fragment`], where that one has open GOPs.
    ///
    /// The next fragment may then refer to its pictures: reading starts after the primer, and the decoder is primed with the
    /// fragment that was read already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primer: Option<Arc<str>>,
}

impl Position {
    /// Returns the position after `fragment`, without a primer.
    #[must_use]
    pub fn after(fragment: &Fragment) -> Self {
        Self { fragment: Arc::clone(&fragment.number), media: fragment.media_start().0, primer: None }
    }

    /// Returns the number of the fragment after which reading starts: the primer, if there is one.
    #[must_use]
    pub fn read_after(&self) -> &Arc<str> {
        self.primer.as_ref().unwrap_or(&self.fragment)
    }
}
