//! The faults, each with what is seen of it and what is lost: the tests and docs/operations.md read the same rows.

/// A fault of the local KVS or of a sink.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The fault, for people.
    pub(crate) fault: &'static str,
    /// The way to cause it; for a camera the faults of its stream as `kvs-infer sim` reads them.
    pub(crate) made: FaultCause,
    /// A part of the reason in `/healthz`; empty: there is none.
    pub(crate) reason: &'static str,
    /// The metric that moves, with the labels that say why.
    pub(crate) metric: &'static str,
    pub(crate) lost: Lost,
    pub(crate) ends: &'static str,
}

/// The way to cause a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FaultCause {
    /// By the local KVS, on the stream of the camera with this id.
    Stream { camera: &'static str, faults: &'static str },
    /// By a proxy before the service of a sink.
    Sink { sink: Sink, mishap: Mishap },
    /// By what it says.
    Otherwise(&'static str),
}

/// A sink by what it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sink {
    Kds,
    S3,
    DynamoDb,
    Sns,
}

/// The treatment of all requests by a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    Throttled,
    Failed,
    Unavailable,
    Partial,
    Reset,
    AnswerLost,
    Unreachable,
}

/// The loss that the fault causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nothing; and no record comes twice under other ids.
    Nothing,
    /// Nothing; a record may come twice under its id.
    NothingTwice,
    /// Returns the loss in words.
    Some(&'static str),
}

impl Lost {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NothingTwice => "nothing; records may come twice, under the same id",
            Self::Some(what) => what,
        }
    }
}

const NEXT: &str = "with the next whole fragment";
const LOSSES: &str = "15 s after the last of them";
const CALM: &str = "when less than a twentieth of a minute's frames is dropped";
const TAKEN: &str = "with the next call that is taken, 10 s at most";

const fn camera(
    fault: &'static str,
    (camera, faults): (&'static str, &'static str),
    reason: &'static str,
    metric: &'static str,
    lost: Lost,
    ends: &'static str,
) -> Row {
    Row { fault, made: FaultCause::Stream { camera, faults }, reason, metric, lost, ends }
}

/// The faults of a camera's stream.
pub(crate) const CAMERAS: [Row; 16] = [
    camera(
        "connections end early",
        ("ends", "end=1f"),
        "connections within 15 s: the connection ended",
        "kvs_infer_source_disconnects_total{reason=\"ended\"}",
        Lost::Nothing,
        LOSSES,
    ),
    camera(
        "connections fall silent",
        ("stalls", "stall=1f"),
        "connections within 15 s: no bytes for 4.0 s",
        "kvs_infer_source_disconnects_total{reason=\"stalled\"}",
        Lost::Nothing,
        LOSSES,
    ),
    camera(
        "connections trickle",
        ("trickles", "drip=2"),
        "no whole access unit for",
        "kvs_infer_source_disconnects_total{reason=\"too_slow\"}",
        Lost::Nothing,
        NEXT,
    ),
    camera(
        "connections end inside a block",
        ("cuts", "cut=0,after=1"),
        "connections within 15 s: the connection ended",
        "kvs_infer_source_disconnects_total{reason=\"ended\"}",
        Lost::Nothing,
        LOSSES,
    ),
    camera(
        "bytes are damaged",
        ("damages", "flip=0.05,seed=7,count=2"),
        "not GetMedia output",
        "kvs_infer_source_disconnects_total{reason=\"malformed\"}",
        Lost::Some("nothing before the third time; then the fragment"),
        NEXT,
    ),
    camera(
        "the service breaks off with an error",
        ("errors", "error=5000"),
        "with error 5000 (INTERNAL_ERROR)",
        "kvs_infer_source_disconnects_total{reason=\"error_record\"}",
        Lost::Nothing,
        NEXT,
    ),
    camera(
        "the next fragments have expired",
        ("expires", "expire=20,count=1"),
        SILENT,
        "kvs_infer_source_disconnects_total{reason=\"error_record\"}",
        Lost::Some("the footage that expired"),
        "at once: reading resumes with the oldest footage that is kept",
    ),
    camera(
        "fragments come again",
        ("repeats", "repeat=2,count=1"),
        "",
        "kvs_infer_demux_fragments_total{result=\"duplicate\"}",
        Lost::Nothing,
        "at once",
    ),
    camera(
        "timecodes jump back",
        ("jumps", "time-back=20s,count=2"),
        "",
        "kvs_infer_demux_fragments_total{result=\"complete\"}",
        Lost::Nothing,
        "at once",
    ),
    camera(
        "too many calls",
        ("throttles", "throttle"),
        "throttled by GetMedia",
        "kvs_infer_source_disconnects_total{reason=\"throttled\"}",
        Lost::Nothing,
        NEXT,
    ),
    camera(
        "too many readers",
        ("limits", "connection-limit"),
        "ConnectionLimitExceededException",
        "kvs_infer_source_disconnects_total{reason=\"throttled\"}",
        Lost::Nothing,
        NEXT,
    ),
    camera(
        "the data endpoint has moved",
        ("moves", "moved,count=2"),
        "has moved",
        "kvs_infer_source_disconnects_total{reason=\"endpoint_moved\"}",
        Lost::Nothing,
        NEXT,
    ),
    camera(
        "the role is not authorized to read",
        ("forbids", "unauthorized"),
        "grant kinesisvideo:",
        "kvs_infer_source_disconnects_total{reason=\"not_authorized\"}",
        Lost::Nothing,
        NEXT,
    ),
    camera(
        "the token has expired",
        ("outdates", "expired-token"),
        "ExpiredTokenException",
        "kvs_infer_source_disconnects_total{reason=\"signature_refused\"}",
        Lost::Nothing,
        NEXT,
    ),
    camera(
        "the service finds this host's clock wrong",
        ("misdates", "wrong-clock"),
        "set the clock of this host",
        "kvs_infer_source_disconnects_total{reason=\"signature_refused\"}",
        Lost::Nothing,
        NEXT,
    ),
    camera(
        "the stream is not there",
        ("misses", ""),
        "does not exist in this account and region",
        "kvs_infer_source_disconnects_total{reason=\"no_such_stream\"}",
        Lost::Nothing,
        NEXT,
    ),
];

const SILENT: &str = "";

const fn sink(fault: &'static str, (sink, mishap): (Sink, Mishap), reason: &'static str, lost: Lost) -> Row {
    let metric = match sink {
        Sink::Kds => "kvs_infer_delivery_failures_total{sink=\"kds/events\"}",
        Sink::S3 => "kvs_infer_delivery_failures_total{sink=\"s3\"}",
        Sink::Sns => "kvs_infer_delivery_failures_total{sink=\"sns/alerts\"}",
        Sink::DynamoDb => "kvs_infer_delivery_failures_total{sink=\"dynamodb/records\"}",
    };
    Row { fault, made: FaultCause::Sink { sink, mishap }, reason, metric, lost, ends: TAKEN }
}

/// The faults of sinks.
pub(crate) const SINKS: [Row; 25] = [
    sink("KDS throttles", (Sink::Kds, Mishap::Throttled), "add shards", Lost::Nothing),
    sink("KDS refuses some records", (Sink::Kds, Mishap::Partial), "add shards", Lost::Nothing),
    sink("KDS answers 500", (Sink::Kds, Mishap::Failed), "InternalFailure", Lost::Nothing),
    sink("KDS answers 503", (Sink::Kds, Mishap::Unavailable), "ServiceUnavailable", Lost::Nothing),
    sink("connections to KDS are reset", (Sink::Kds, Mishap::Reset), "unreachable", Lost::Nothing),
    sink("answers of KDS are lost", (Sink::Kds, Mishap::AnswerLost), "unreachable", Lost::NothingTwice),
    sink("KDS cannot be reached", (Sink::Kds, Mishap::Unreachable), "check the network", Lost::Nothing),
    sink("S3 throttles", (Sink::S3, Mishap::Throttled), "SlowDown", BEST_EFFORT),
    sink("S3 answers 500", (Sink::S3, Mishap::Failed), "InternalError", BEST_EFFORT),
    sink("S3 answers 503", (Sink::S3, Mishap::Unavailable), "ServiceUnavailable", BEST_EFFORT),
    sink("connections to S3 are reset", (Sink::S3, Mishap::Reset), "unreachable", BEST_EFFORT),
    sink("answers of S3 are lost", (Sink::S3, Mishap::AnswerLost), "unreachable", BEST_EFFORT),
    sink("S3 cannot be reached", (Sink::S3, Mishap::Unreachable), "check the network", BEST_EFFORT),
    sink("DynamoDB throttles", (Sink::DynamoDb, Mishap::Throttled), "raise its write capacity", BEST_EFFORT),
    sink("DynamoDB answers 500", (Sink::DynamoDb, Mishap::Failed), "InternalServerError", BEST_EFFORT),
    sink("DynamoDB answers 503", (Sink::DynamoDb, Mishap::Unavailable), "ServiceUnavailable", BEST_EFFORT),
    sink("connections to DynamoDB are reset", (Sink::DynamoDb, Mishap::Reset), "unreachable", BEST_EFFORT),
    sink("answers of DynamoDB are lost", (Sink::DynamoDb, Mishap::AnswerLost), "unreachable", BEST_EFFORT),
    sink(
        "DynamoDB cannot be reached",
        (Sink::DynamoDb, Mishap::Unreachable),
        "check the network",
        BEST_EFFORT,
    ),
    sink("SNS throttles", (Sink::Sns, Mishap::Throttled), "raise the quota of Publish", BEST_EFFORT),
    sink("SNS answers 500", (Sink::Sns, Mishap::Failed), "InternalError", BEST_EFFORT),
    sink("SNS answers 503", (Sink::Sns, Mishap::Unavailable), "ServiceUnavailable", BEST_EFFORT),
    sink("connections to SNS are reset", (Sink::Sns, Mishap::Reset), "unreachable", BEST_EFFORT),
    sink("answers of SNS are lost", (Sink::Sns, Mishap::AnswerLost), "unreachable", BEST_EFFORT),
    sink("SNS cannot be reached", (Sink::Sns, Mishap::Unreachable), "check the network", BEST_EFFORT),
];

const BEST_EFFORT: Lost = Lost::Some("nothing while its share of the outbox has room; then its oldest");

/// The faults of this host, and of the way to KVS as a whole.
pub(crate) const PLACES: [Row; 11] =
    [OUTBOX, FOLDER, CLOCK, KEYS, KVS_GONE, SLOW, TOO_MUCH, TOO_MANY, UNDECODABLE, NEVER_LOADS, RELOAD_HANGS];

pub(crate) const OUTBOX: Row = Row {
    fault: "the disk of `state.dir` is full",
    made: FaultCause::Otherwise("a limit on the size of files"),
    reason: "sink outbox has failed",
    metric: "kvs_infer_sink_up{sink=\"outbox\"}",
    lost: Lost::Nothing,
    ends: "with room on the disk; reading waits until then",
};

pub(crate) const FOLDER: Row = Row {
    fault: "`local_dir` cannot be written",
    made: FaultCause::Otherwise("a file where `snapshots/` should be"),
    reason: "sink local has failed",
    metric: "kvs_infer_delivery_failures_total{sink=\"local\"}",
    lost: Lost::Nothing,
    ends: "with the next line that is written, 10 s at most",
};

pub(crate) const CLOCK: Row = Row {
    fault: "this host's clock jumps by an hour",
    made: FaultCause::Otherwise("libfaketime, back and forth"),
    reason: SILENT,
    metric: "kvs_infer_demux_fragments_total{result=\"complete\"}",
    lost: Lost::Nothing,
    ends: "at once, where the service still takes its signatures",
};

pub(crate) const KEYS: Row = Row {
    fault: "credentials are rotated",
    made: FaultCause::Otherwise("a role's credentials that last seconds"),
    reason: SILENT,
    metric: "kvs_infer_delivered_total{sink=\"kds/events\"}",
    lost: Lost::Nothing,
    ends: "at once",
};

pub(crate) const KVS_GONE: Row = Row {
    fault: "KVS cannot be reached",
    made: FaultCause::Otherwise("the local KVS ends, and starts again"),
    reason: "cannot reach the service",
    metric: "kvs_infer_source_disconnects_total{reason=\"unreachable\"}",
    lost: Lost::Nothing,
    ends: NEXT,
};

pub(crate) const SLOW: Row = Row {
    fault: "a live camera's connection is too slow",
    made: FaultCause::Otherwise("`drip` of less than the footage needs"),
    reason: "behind the live edge",
    metric: "kvs_infer_source_disconnects_total{reason=\"too_far_behind\"}",
    lost: Lost::Some("the footage that is skipped, counted by `kvs_infer_source_skipped_seconds_total`"),
    ends: NEXT,
};

pub(crate) const TOO_MUCH: Row = Row {
    fault: "a model is too slow for its live cameras",
    made: FaultCause::Otherwise("a model with work three times as long"),
    reason: "is too slow for",
    metric: "kvs_infer_frames_dropped_total{reason=\"superseded\"}",
    lost: Lost::Some(
        "frames, each camera as many; events only of what is too short to be seen in the others",
    ),
    ends: CALM,
};

pub(crate) const TOO_MANY: Row = Row {
    fault: "live cameras send more than this host can decode",
    made: FaultCause::Otherwise("cameras of 720p on one core, twice what it can decode"),
    reason: "this host is too slow to decode",
    metric: "kvs_infer_frames_dropped_total{reason=\"late\"}",
    lost: Lost::Some("frames, up to the next key frame and each camera as many; events as in the row above"),
    ends: CALM,
};

pub(crate) const UNDECODABLE: Row = Row {
    fault: "no frame of a camera can be decoded",
    made: FaultCause::Otherwise("footage whose coded pictures are overwritten"),
    reason: "frames could not be decoded",
    metric: "kvs_infer_camera_up{camera=\"bad\"}",
    lost: Lost::Some("the frames"),
    ends: "with the next sound frame",
};

pub(crate) const NEVER_LOADS: Row = Row {
    fault: "a model is never loaded at the start",
    made: FaultCause::Otherwise("a model whose first inference does not end"),
    reason: "is not loaded after",
    metric: "kvs_infer_model_loading_seconds",
    lost: Lost::Some("nothing that KVS still keeps; cameras do not start, and `/healthz` answers 503"),
    ends: "with a restart, where the model loads then",
};

pub(crate) const RELOAD_HANGS: Row = Row {
    fault: "a model is never loaded for a new configuration",
    made: FaultCause::Otherwise("the same model, in a configuration that is to be taken over"),
    reason: "has not been applied for",
    metric: "kvs_infer_model_loading_seconds",
    lost: Lost::Some("nothing: what ran before runs on"),
    ends: "with a newer configuration; the thread that is left behind shows until a restart",
};
