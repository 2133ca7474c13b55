//! What can be made to go wrong with a stream, as a description; nothing happens here.
//!
//! One language for the command line, HTTP and tests: see [`Faults`]. `fault_words.rs` reads and writes it,
//! `armed.rs` counts what is left of it, `course.rs` and `disturbed.rs` do it to a connection, `refusals.rs` to a call.

use std::time::Duration;

/// The faults of a stream, in the order in which they were given.
///
/// As text: `KIND[=VALUE]` with its options after it, several in a row, such as `end=5s,count=2,flip=0.001,seed=7`.
/// As JSON: a list of objects such as `{"kind": "end", "value": "5s", "count": 2}`.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

/// One fault and its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many connections, calls or fragments it meets before it goes away; None: it stays.
    pub count: Option<u64>,
    /// Of a connection: it begins after so many whole fragments.
    pub after: u64,
    /// Of calls: it meets the last of so many, again and again; 1 meets each.
    pub every: u64,
    /// Of calls: only of this operation.
    pub on: Option<Operation>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// A connection ends as if all were well.
    End(Limit),
    /// A connection breaks in the middle of its answer: the client sees that more should have come.
    Break(Limit),
    /// A connection stays open and sends nothing more.
    Stall(Limit),
    /// A connection ends inside a block: at this byte, or in the first block after it.
    Cut(u64),
    /// One bit of some bytes is turned over.
    Flip {
        /// Of the bytes, 0 to 1.
        share: f64,
        /// The same seed and the same bytes give the same damage, another for each connection.
        seed: u64,
    },
    /// In place of a fragment an error record comes, and the end.
    ErrorTag(u32),
    /// A connection begins so many fragments too early.
    Repeat(u64),
    /// A connection sends so many bytes a second at most.
    Drip(u64),
    /// ClientLimitExceededException.
    Throttle,
    /// ConnectionLimitExceededException.
    ConnectionLimit,
    /// InvalidEndpointException; each GetDataEndpoint counts as one, and without a count one is enough.
    Moved,
    /// NotAuthorizedException.
    Unauthorized,
    /// ExpiredTokenException.
    ExpiredToken,
    /// InvalidSignatureException, as where the caller's clock is wrong.
    WrongClock,
    /// Before a call the oldest whole fragments expire: so many, or all but the newest.
    Expire(Option<u64>),
    /// New fragments get timecodes so far before their own.
    TimeBack(Duration),
}

/// How far a connection comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Time, by tokio's clock.
    Time(Duration),
    /// Bytes of the body.
    Bytes(u64),
    /// Whole fragments.
    Fragments(u64),
}

/// An operation whose calls can be met by a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// GetDataEndpoint.
    GetDataEndpoint,
    /// GetMedia.
    GetMedia,
    /// ListFragments.
    ListFragments,
    /// GetMediaForFragmentList.
    GetMediaForFragmentList,
    /// GetHLSStreamingSessionURL.
    GetHlsStreamingSessionUrl,
    /// GetClip.
    GetClip,
    /// GetImages.
    GetImages,
}

/// What a kind of fault acts upon, which says what options it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
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
    /// The fault, which goes away after it met so many connections, calls or fragments.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// The fault of a connection, which begins after so many whole fragments.
    #[must_use]
    pub fn after(self, fragments: u64) -> Self {
        Self { after: fragments, ..self }
    }

    /// Whether it meets calls of this operation.
    pub(crate) fn meets(&self, operation: Operation) -> bool {
        self.kind.target() == Target::Call
            && self.on.map_or_else(|| self.kind.meets(operation), |only| only == operation)
    }
}

impl FaultKind {
    pub(crate) fn target(self) -> Target {
        match self {
            Self::End(_) | Self::Break(_) | Self::Stall(_) | Self::Cut(_) => Target::Connection,
            Self::Flip { .. } | Self::ErrorTag(_) | Self::Repeat(_) | Self::Drip(_) => Target::Connection,
            Self::Throttle | Self::ConnectionLimit | Self::Moved => Target::Call,
            Self::Unauthorized | Self::ExpiredToken | Self::WrongClock | Self::Expire(_) => Target::Call,
            Self::TimeBack(_) => Target::Fragment,
        }
    }

    /// Of which operations it meets the calls where nothing else is said: those that bring media, for keys all.
    fn meets(self, operation: Operation) -> bool {
        let keys = matches!(self, Self::Unauthorized | Self::ExpiredToken | Self::WrongClock);
        keys || operation != Operation::GetDataEndpoint
    }
}

impl Operation {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::GetDataEndpoint,
        Self::GetMedia,
        Self::ListFragments,
        Self::GetMediaForFragmentList,
        Self::GetHlsStreamingSessionUrl,
        Self::GetClip,
        Self::GetImages,
    ];

    /// Its name as in its path: `getMedia` of `/getMedia`.
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

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}
