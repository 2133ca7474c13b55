//! The description of faults; nothing here applies them.

use std::time::Duration;

/// The faults of a stream, in the order in which they were given.
///
/// As text: `KIND[=VALUE]` followed by its options, several in a row, such as `end=5s,count=2,flip=0.001,seed=7`.
/// As JSON: a list of objects such as `{"kind": "end", "value": "5s", "count": 2}`.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

/// A fault and its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The kind of the fault, with its value.
    pub kind: FaultKind,
    /// Number of connections, calls or fragments after which the fault is used up; None for no limit.
    pub count: Option<u64>,
    /// For faults of connections: number of whole fragments of a connection before the fault begins.
    pub after: u64,
    /// For faults of calls: applies to each call whose number is a multiple of this; 1 applies to all.
    pub every: u64,
    /// For faults of calls: the only operation that it applies to; None for the usual ones of the kind.
    pub on: Option<Operation>,
}

/// The effect of a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// A connection ends properly, although its answer is not complete.
    End(Limit),
    /// A connection breaks in the middle of its answer, which the client can see from the missing last chunk.
    Break(Limit),
    /// A connection stays open and sends nothing more.
    Stall(Limit),
    /// A connection ends inside a block: at this byte, or in the first block after it.
    Cut(u64),
    /// One bit of some bytes is inverted.
    Flip {
        /// Share of the bytes, from 0 to 1.
        share: f64,
        /// Seed of the damage: the same seed damages the same bytes, differently for each connection.
        seed: u64,
    },
    /// An error record takes the place of a fragment and ends the connection.
    ErrorTag(u32),
    /// A connection begins this many fragments before its place.
    Repeat(u64),
    /// A connection sends at most this many bytes per second.
    Drip(u64),
    /// ClientLimitExceededException.
    Throttle,
    /// ConnectionLimitExceededException.
    ConnectionLimit,
    /// InvalidEndpointException. Each answer of GetDataEndpoint uses it up by one; without a count one answer is enough.
    Moved,
    /// NotAuthorizedException.
    Unauthorized,
    /// ExpiredTokenException.
    ExpiredToken,
    /// InvalidSignatureException, as for a caller whose clock is wrong.
    WrongClock,
    /// The oldest complete fragments expire before a call: this many, or all but the newest.
    Expire(Option<u64>),
    /// New fragments get timecodes this long before their own.
    TimeBack(Duration),
}

/// The point of a connection at which a fault takes effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A time after the fault begins, by tokio's clock.
    Time(Duration),
    /// A number of bytes of the body.
    Bytes(u64),
    /// A number of whole fragments.
    Fragments(u64),
}

/// An operation whose calls can have faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `/getDataEndpoint`.
    GetDataEndpoint,
    /// `/getMedia`.
    GetMedia,
    /// `/listFragments`.
    ListFragments,
    /// `/getMediaForFragmentList`.
    GetMediaForFragmentList,
    /// `/getHLSStreamingSessionURL`.
    GetHlsStreamingSessionUrl,
    /// `/getClip`.
    GetClip,
    /// `/getImages`.
    GetImages,
}

/// The object that a fault acts on, which decides the options that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultTarget {
    Connection,
    Call,
    Fragment,
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self { kind, count: None, after: 0, every: 1, on: None }
    }
}

impl From<FaultKind> for Faults {
    fn from(kind: FaultKind) -> Self {
        Fault::from(kind).into()
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl Fault {
    /// Limits the fault to a number of connections, calls or fragments.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// Delays a fault of connections by a number of whole fragments.
    #[must_use]
    pub fn after(self, fragments: u64) -> Self {
        Self { after: fragments, ..self }
    }

    /// Returns whether the fault applies to calls of an operation.
    pub(crate) fn applies_to(&self, operation: Operation) -> bool {
        self.kind.target() == FaultTarget::Call
            && self.on.map_or_else(|| self.kind.applies_to(operation), |only| only == operation)
    }
}

impl FaultKind {
    pub(crate) fn target(self) -> FaultTarget {
        match self {
            Self::End(_) | Self::Break(_) | Self::Stall(_) | Self::Cut(_) => FaultTarget::Connection,
            Self::Flip { .. } | Self::ErrorTag(_) | Self::Repeat(_) | Self::Drip(_) => {
                FaultTarget::Connection
            }
            Self::Throttle | Self::ConnectionLimit | Self::Moved => FaultTarget::Call,
            Self::Unauthorized | Self::ExpiredToken | Self::WrongClock | Self::Expire(_) => FaultTarget::Call,
            Self::TimeBack(_) => FaultTarget::Fragment,
        }
    }

    /// Returns whether the fault applies to calls of an operation by default.
    fn applies_to(self, operation: Operation) -> bool {
        // GetDataEndpoint is of the control plane: it shares the caller's credentials with the others, and no limits.
        let credentials = matches!(self, Self::Unauthorized | Self::ExpiredToken | Self::WrongClock);
        credentials || operation != Operation::GetDataEndpoint
    }
}

impl Operation {
    pub(crate) const ALL: [Self; 7] = [
        Self::GetDataEndpoint,
        Self::GetMedia,
        Self::ListFragments,
        Self::GetMediaForFragmentList,
        Self::GetHlsStreamingSessionUrl,
        Self::GetClip,
        Self::GetImages,
    ];

    /// Returns the name in the operation's path: `getMedia` of `/getMedia`.
    pub fn name(self) -> &'static str {
        match self {
            Self::GetDataEndpoint => "getDataEndpoint",
            Self::GetMedia => "getMedia",
            Self::ListFragments => "listFragments",
            Self::GetMediaForFragmentList => "getMediaForFragmentList",
            Self::GetHlsStreamingSessionUrl => "getHLSStreamingSessionURL",
            Self::GetClip => "getClip",
            Self::GetImages => "getImages",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}
