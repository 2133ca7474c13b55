//! The end of a connection: its reason, its texts, and its meaning for the next connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::demux::DemuxError;
use crate::source::SourceError;

/// The reason for the end of a connection, or for its failure to open.
#[derive(Debug)]
pub(super) enum ConnectionEnd {
    /// The task is to stop, or decode takes no more packets.
    Stopped,
    /// The response ended without an error, as it does every 40 to 50 minutes.
    ResponseEnded,
    /// No bytes arrived for this long.
    Stalled(Duration),
    /// Bytes arrived without a whole access unit for this long.
    Trickles(Duration),
    /// A request failed, or the connection broke.
    Source(SourceError),
    /// The bytes cannot be demuxed.
    Malformed(DemuxError),
    /// Another fragment began before the trailing tags of this one.
    CutShort(Arc<str>),
    /// The service ended the stream with an error record.
    ErrorRecord { id: Option<u32>, code: Option<String> },
    /// The camera is live and this far behind, so that it jumps to NOW.
    TooFarBehind(Duration),
}

/// The way in which the previous connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndKind {
    /// It ended in a normal way, or there was none.
    Normal,
    /// It brought nothing: the camera does not send.
    Idle,
    /// It ended with an error.
    Failed,
}

impl ConnectionEnd {
    /// Returns the label of the end in metrics and logs.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::ResponseEnded => "ended",
            Self::Stalled(_) => "stalled",
            Self::Trickles(_) => "too_slow",
            Self::Source(error) => error.reason(),
            Self::Malformed(_) => "malformed",
            Self::CutShort(_) => "cut_short",
            Self::ErrorRecord { .. } => "error_record",
            Self::TooFarBehind(_) => "too_far_behind",
        }
    }
}

impl fmt::Display for ConnectionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "stopped"),
            Self::ResponseEnded => write!(f, "the connection ended"),
            Self::Stalled(limit) => write!(f, "no bytes for {:.1} s", limit.as_secs_f64()),
            Self::Trickles(incomplete) => write!(
                f,
                "bytes arrive, but no whole access unit for {} s; check the network to KVS and the proxies on the way",
                incomplete.as_secs()
            ),
            Self::Source(error) => error.fmt(f),
            Self::Malformed(error) => error.fmt(f),
            Self::CutShort(number) => write!(f, "fragment {number} ended without its trailing tags"),
            Self::ErrorRecord { id, code } => write!(
                f,
                "the service ended the stream with error {} ({})",
                id.map_or_else(|| "?".to_owned(), |id| id.to_string()),
                code.as_deref().unwrap_or("no name")
            ),
            Self::TooFarBehind(behind) => write!(f, "{} s behind the live edge", behind.as_secs()),
        }
    }
}

impl EndKind {
    /// Returns the kind of `end`; `has_bytes` says whether the connection brought any.
    pub(super) fn classify(end: &ConnectionEnd, has_bytes: bool) -> Self {
        match end {
            ConnectionEnd::Stalled(_) | ConnectionEnd::ResponseEnded if !has_bytes => Self::Idle,
            ConnectionEnd::Source(SourceError::NoFootage { .. }) => Self::Idle,
            ConnectionEnd::Stopped | ConnectionEnd::ResponseEnded | ConnectionEnd::Stalled(_) => Self::Normal,
            ConnectionEnd::Source(_)
            | ConnectionEnd::Malformed(_)
            | ConnectionEnd::CutShort(_)
            | ConnectionEnd::Trickles(_)
            | ConnectionEnd::ErrorRecord { .. }
            | ConnectionEnd::TooFarBehind(_) => Self::Failed,
        }
    }
}
