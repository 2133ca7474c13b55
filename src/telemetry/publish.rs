//! What publish tells.

use std::time::Duration;

use metrics::{counter, histogram};

use super::{Kind, Metric};
use crate::frame::Event;

/// The metrics of publish.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: "kvs_infer_events_total",
        kind: Kind::Counter,
        labels: &["camera", "type"],
        help: "Events, each counted once however often its footage was read.",
    },
    Metric {
        name: "kvs_infer_event_delivery_seconds",
        kind: Kind::Histogram,
        labels: &["sink"],
        help: "From the arrival of the confirming frame to the sink's acceptance.",
    },
    Metric {
        name: "kvs_infer_delivered_total",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Records or snapshots that a sink accepted.",
    },
    Metric {
        name: "kvs_infer_delivery_failures_total",
        kind: Kind::Counter,
        labels: &["sink", "reason"],
        help: "Attempts that a sink refused or that did not reach it.",
    },
    Metric {
        name: "kvs_infer_delivery_retries_total",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Records or snapshots that were tried again.",
    },
    Metric {
        name: "kvs_infer_dead_letters_total",
        kind: Kind::Counter,
        labels: &["sink"],
        help: "Records that can never be valid and went to the dead-letter file.",
    },
    Metric {
        name: "kvs_infer_snapshots_failed_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Snapshots that could not be encoded.",
    },
    Metric {
        name: "kvs_infer_sink_queued",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Events that wait for a sink.",
    },
    Metric {
        name: "kvs_infer_sink_queued_bytes",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Bytes of the records and pictures that wait for a sink.",
    },
    Metric {
        name: "kvs_infer_sink_oldest_seconds",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "How long the oldest event that waits for a sink has waited; 0 where none waits.",
    },
    Metric {
        name: "kvs_infer_sink_lost",
        kind: Kind::Gauge,
        labels: &["sink"],
        help: "Events since the start that a sink will never take: dead letters, and what its share had no room for.",
    },
];

/// A new event was accepted for delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventAccepted<'a> {
    /// The event.
    pub(crate) event: &'a Event,
}

impl EventAccepted<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        let Event { event_id, camera_id, seq, payload, .. } = self.event;
        tracing::info!(
            camera = camera_id,
            kind = payload.kind,
            label = payload.label,
            conf = payload.conf,
            ts_ms = payload.ts_ms,
            seq,
            event_id,
            "event"
        );
        counter!("kvs_infer_events_total", "camera" => camera_id.clone(), "type" => payload.kind.clone())
            .increment(1);
    }
}

/// A sink accepted a record or a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// Since the arrival of the frame.
    pub(crate) since_arrival: Duration,
}

impl Delivered<'_> {
    /// Counts it.
    pub(crate) fn emit(self) {
        let sink = self.sink.to_owned();
        counter!("kvs_infer_delivered_total", "sink" => sink.clone()).increment(1);
        histogram!("kvs_infer_event_delivery_seconds", "sink" => sink).record(self.since_arrival);
    }
}

/// An attempt failed and will be made again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptFailed<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// The error's code: one of few.
    pub(crate) reason: &'a str,
    /// Records or snapshots that will be tried again.
    pub(crate) retries: u64,
}

impl AttemptFailed<'_> {
    /// Counts it; the change of the sink's state is logged, not each attempt.
    pub(crate) fn emit(self) {
        let sink = self.sink.to_owned();
        let reason = self.reason.to_owned();
        counter!("kvs_infer_delivery_failures_total", "sink" => sink.clone(), "reason" => reason)
            .increment(1);
        counter!("kvs_infer_delivery_retries_total", "sink" => sink).increment(self.retries);
    }
}

/// A sink began to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SinkFailing<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// Why, and what to do.
    pub(crate) reason: &'a str,
}

impl SinkFailing<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        tracing::warn!(
            sink = self.sink,
            reason = self.reason,
            "sink failing; events wait and are tried again"
        );
    }
}

/// A sink works again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SinkRecovered<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
}

impl SinkRecovered<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        tracing::info!(sink = self.sink, "sink works again");
    }
}

/// A record can never be valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadLettered<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// The record.
    pub(crate) event_id: &'a str,
    /// Why.
    pub(crate) reason: &'a str,
}

impl DeadLettered<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        let Self { sink, event_id, reason } = self;
        tracing::error!(sink, event_id, reason, "record refused for good; it is in the dead-letter file");
        counter!("kvs_infer_dead_letters_total", "sink" => sink.to_owned()).increment(1);
    }
}

/// A dead letter could not be written: the record is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadLetterLost<'a> {
    /// The file.
    pub(crate) path: &'a std::path::Path,
    /// The record.
    pub(crate) event_id: &'a str,
    /// Why.
    pub(crate) error: &'a std::io::Error,
}

impl DeadLetterLost<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        let path = self.path.display();
        tracing::error!(%path, event_id = self.event_id, error = %self.error, "dead letter not written; record lost");
    }
}

/// A snapshot could not be made; its event goes without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotFailed<'a> {
    /// The event.
    pub(crate) event_id: &'a str,
    /// Why.
    pub(crate) error: &'a str,
}

impl SnapshotFailed<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        let Self { event_id, error } = self;
        tracing::warn!(stage = "publish", event_id, error, "no snapshot; the event goes without");
        counter!("kvs_infer_snapshots_failed_total").increment(1);
    }
}

/// An entry of the outbox is no event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable<'a> {
    /// The sink that it waited for.
    pub(crate) sink: &'a str,
    /// What is wrong.
    pub(crate) error: &'a dyn std::error::Error,
}

impl Unreadable<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        tracing::error!(stage = "publish", sink = self.sink, error = %self.error, "left out; report this bug");
    }
}

/// Events waited for a sink that is not configured any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forgotten<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// How many.
    pub(crate) count: u64,
}

impl Forgotten<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        let Self { sink, count } = self;
        tracing::warn!(
            stage = "publish",
            sink,
            count,
            "events waited for a sink that is no longer configured: forgotten"
        );
    }
}

/// The outbox could not write all that it had taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotClosed<'a> {
    /// How many, and why.
    pub(crate) error: &'a dyn std::error::Error,
}

impl NotClosed<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        tracing::error!(stage = "publish", error = %self.error, "the outbox did not end well");
    }
}

/// The time to stop ran out before a sink was empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undelivered<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// Whether it is a required one.
    pub(crate) required: bool,
    /// Events that were left.
    pub(crate) count: u64,
}

impl Undelivered<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        let Self { sink, required, count } = self;
        tracing::warn!(
            stage = "publish",
            sink,
            required,
            count,
            "stopped before these were delivered: they stay in the outbox for the next start"
        );
    }
}
