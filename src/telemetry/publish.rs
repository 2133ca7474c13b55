//! Logs and metrics of the stage `publish`: the outbox and its sinks.

use std::time::Duration;

use metrics::{counter, histogram};

use super::{Metric, MetricKind};
use crate::media::{CameraId, Event};

const EVENTS: &str = "kvs_infer_events_total";
const EVENT_DELIVERY_SECONDS: &str = "kvs_infer_event_delivery_seconds";
const DELIVERED: &str = "kvs_infer_delivered_total";
const DELIVERY_FAILURES: &str = "kvs_infer_delivery_failures_total";
const DELIVERY_RETRIES: &str = "kvs_infer_delivery_retries_total";
const DEAD_LETTERS: &str = "kvs_infer_dead_letters_total";
const SNAPSHOTS_FAILED: &str = "kvs_infer_snapshots_failed_total";
const SNAPSHOTS_OMITTED: &str = "kvs_infer_snapshots_omitted_total";
pub(super) const SINK_QUEUED: &str = "kvs_infer_sink_queued";
pub(super) const SINK_QUEUED_BYTES: &str = "kvs_infer_sink_queued_bytes";
pub(super) const SINK_OLDEST_SECONDS: &str = "kvs_infer_sink_oldest_seconds";
pub(super) const SINK_LOST: &str = "kvs_infer_sink_lost";
const TAKEN_OVER: &str = "kvs_infer_cameras_taken_over_total";
const WRITE_AHEADS: &str = "kvs_infer_write_aheads_total";
const OUTBOXES_SET_ASIDE: &str = "kvs_infer_outboxes_set_aside_total";

/// The metrics of publish.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: EVENTS,
        kind: MetricKind::Counter,
        labels: &["camera", "type"],
        help: "Events, each counted once however often its footage was read.",
    },
    Metric {
        name: EVENT_DELIVERY_SECONDS,
        kind: MetricKind::Histogram,
        labels: &["sink"],
        help: "From the arrival of the confirming frame to the sink's acceptance.",
    },
    Metric {
        name: DELIVERED,
        kind: MetricKind::Counter,
        labels: &["sink"],
        help: "Records or snapshots that a sink accepted.",
    },
    Metric {
        name: DELIVERY_FAILURES,
        kind: MetricKind::Counter,
        labels: &["sink", "reason"],
        help: "Attempts that a sink refused or that did not reach it.",
    },
    Metric {
        name: DELIVERY_RETRIES,
        kind: MetricKind::Counter,
        labels: &["sink"],
        help: "Records or snapshots that were tried again.",
    },
    Metric {
        name: DEAD_LETTERS,
        kind: MetricKind::Counter,
        labels: &["sink"],
        help: "Records that can never be valid and went to the dead-letter file.",
    },
    Metric {
        name: SNAPSHOTS_FAILED,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Snapshots that could not be encoded.",
    },
    Metric {
        name: SNAPSHOTS_OMITTED,
        kind: MetricKind::Counter,
        labels: &["camera", "reason"],
        help: "Events without all pictures of their own: limit (more than 16 in a frame: they name the picture of another), size (more than \
         16 MiB of pictures in a frame, or than a sink's share of state.max_bytes holds).",
    },
    Metric {
        name: SINK_QUEUED,
        kind: MetricKind::Gauge,
        labels: &["sink"],
        help: "Events that wait for a sink.",
    },
    Metric {
        name: SINK_QUEUED_BYTES,
        kind: MetricKind::Gauge,
        labels: &["sink"],
        help: "Bytes of the records and pictures that wait for a sink.",
    },
    Metric {
        name: SINK_OLDEST_SECONDS,
        kind: MetricKind::Gauge,
        labels: &["sink"],
        help: "How long the oldest event that waits for a sink has waited; 0 where none waits.",
    },
    Metric {
        name: SINK_LOST,
        kind: MetricKind::Gauge,
        labels: &["sink"],
        help: "Events since the start that a sink will never take: dead letters, and what its share had no room for.",
    },
    Metric {
        name: TAKEN_OVER,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Times that another process took the camera over; this one has stopped reading and publishing it.",
    },
    Metric {
        name: WRITE_AHEADS,
        kind: MetricKind::Counter,
        labels: &["camera", "outcome"],
        help: "Commits with events that were to be in the table of positions before they are published: written, or published without \
               because the table did not answer (table) or they were too many for an item (size).",
    },
    Metric {
        name: OUTBOXES_SET_ASIDE,
        kind: MetricKind::Counter,
        labels: &[],
        help: "Damaged outboxes that were set aside at the start for a new one.",
    },
];

/// A damaged outbox was set aside for a new one.
pub(crate) struct OutboxSetAside<'a> {
    /// The finding.
    pub(crate) why: &'a str,
    /// Its consequences.
    pub(crate) text: &'a str,
}

impl OutboxSetAside<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        // An error although the service starts: footage that KVS no longer keeps cannot make the events again.
        counter!(OUTBOXES_SET_ASIDE).increment(1);
        tracing::error!(stage = "publish", why = self.why, "{}", self.text);
    }
}

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
            stage = "publish",
            camera = camera_id,
            kind = payload.kind,
            label = payload.label,
            conf = payload.conf,
            ts_ms = payload.ts_ms,
            seq,
            event_id,
            "event"
        );
        counter!(EVENTS, "camera" => camera_id.clone(), "type" => payload.kind.clone()).increment(1);
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
        counter!(DELIVERED, "sink" => sink.clone()).increment(1);
        // From the arrival of the frame and not from the commit: waits and retries are a part of it.
        histogram!(EVENT_DELIVERY_SECONDS, "sink" => sink).record(self.since_arrival);
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
        // A code and never a text: each value of a label is a time series of its own.
        let reason = self.reason.to_owned();
        counter!(DELIVERY_FAILURES, "sink" => sink.clone(), "reason" => reason).increment(1);
        counter!(DELIVERY_RETRIES, "sink" => sink).increment(self.retries);
    }
}

/// A sink began to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SinkFailing<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// The error and its remedy.
    pub(crate) reason: &'a str,
}

impl SinkFailing<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        tracing::warn!(
            stage = "publish",
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
        tracing::info!(stage = "publish", sink = self.sink, "sink recovered");
    }
}

/// A record can never be valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadLettered<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// The record.
    pub(crate) event_id: &'a str,
    /// The error.
    pub(crate) reason: &'a str,
}

impl DeadLettered<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        // An error: the sink will never have this event, and only a person can remove the cause.
        let Self { sink, event_id, reason } = self;
        tracing::error!(
            stage = "publish",
            sink,
            event_id,
            reason,
            "record rejected permanently and written to the dead-letter file"
        );
        counter!(DEAD_LETTERS, "sink" => sink.to_owned()).increment(1);
    }
}

/// A dead letter could not be written: the record is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadLetterLost<'a> {
    /// The file.
    pub(crate) path: &'a std::path::Path,
    /// The record.
    pub(crate) event_id: &'a str,
    /// The error.
    pub(crate) error: &'a std::io::Error,
}

impl DeadLetterLost<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        // Not counted: the metric of dead letters says how many are in the file.
        let path = self.path.display();
        tracing::error!(stage = "publish", %path, event_id = self.event_id, error = %self.error, "dead letter not written; record lost");
    }
}

/// A snapshot could not be made; its event is delivered without one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotFailed<'a> {
    /// The event.
    pub(crate) event_id: &'a str,
    /// The error.
    pub(crate) error: &'a str,
}

impl SnapshotFailed<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        let Self { event_id, error } = self;
        tracing::warn!(stage = "publish", event_id, error, "snapshot failed; its event is sent without");
        counter!(SNAPSHOTS_FAILED).increment(1);
    }
}

/// Events of a frame go without all pictures of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotsLeftOut<'a> {
    /// The camera.
    pub(crate) camera: &'a str,
    /// `limit` or `size`.
    pub(crate) reason: &'static str,
    /// Their number.
    pub(crate) events: usize,
    /// Set where it is to be logged, too.
    pub(crate) warns: bool,
}

impl SnapshotsLeftOut<'_> {
    /// Counts them, and logs them where it is due.
    pub(crate) fn emit(self) {
        let Self { camera, reason, events, warns } = self;
        // Counted each time, and logged at intervals: a crowd would fill the log.
        counter!(SNAPSHOTS_OMITTED, "camera" => camera.to_owned(), "reason" => reason)
            .increment(events as u64);
        if warns {
            tracing::warn!(
                stage = "publish",
                camera,
                reason,
                events,
                "snapshots omitted: too many objects in a frame, no event is lost; see kvs_infer_snapshots_omitted_total"
            );
        }
    }
}

/// An entry of the outbox does not hold an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordUnreadable<'a> {
    /// The sink that it waited for.
    pub(crate) sink: &'a str,
    /// The error.
    pub(crate) error: &'a dyn std::error::Error,
}

impl RecordUnreadable<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        // The program wrote the entry itself, so no operator can correct it.
        tracing::error!(stage = "publish", sink = self.sink, error = %self.error, "unreadable outbox entry skipped; report this bug");
    }
}

/// Events of a sink that is no longer configured were dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeftoverDropped<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// The number of events.
    pub(crate) count: u64,
}

impl LeftoverDropped<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        // The only trace: a sink that is not configured has no metrics.
        let Self { sink, count } = self;
        tracing::warn!(stage = "publish", sink, count, "events dropped: their sink is no longer configured");
    }
}

/// The outbox could not write all that it had taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxCloseFailed<'a> {
    /// The error, with the number of lost records.
    pub(crate) error: &'a dyn std::error::Error,
}

impl OutboxCloseFailed<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        tracing::error!(stage = "publish", error = %self.error, "outbox close failed");
    }
}

/// The time to stop ran out before a sink was empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UndeliveredAtStop<'a> {
    /// The sink.
    pub(crate) sink: &'a str,
    /// `true` for a required sink.
    pub(crate) required: bool,
    /// Events that were left.
    pub(crate) count: u64,
}

impl UndeliveredAtStop<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        // A warning: nothing is lost, the next start delivers them.
        let Self { sink, required, count } = self;
        tracing::warn!(
            stage = "publish",
            sink,
            required,
            count,
            "events not delivered before the stop: they stay in the outbox for the next start"
        );
    }
}

/// Another process took a camera over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameraTakenOver<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraId,
    /// The other process.
    pub(crate) by: &'a str,
}

impl CameraTakenOver<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        // A warning: without a deployment it means that two services read the same camera.
        let Self { camera, by } = self;
        tracing::warn!(stage = "publish", %camera, reason = by, "camera taken over; usual during a rolling deployment");
        counter!(TAKEN_OVER, "camera" => camera.to_string()).increment(1);
    }
}

/// Records of a shared camera could not be taken in for the sinks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedSendFailed<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraId,
    /// The cause.
    pub(crate) error: &'a dyn std::error::Error,
}

impl SharedSendFailed<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        let Self { camera, error } = self;
        tracing::error!(stage = "publish", %camera, %error, "records not sent: tried again, they are in the table of positions");
    }
}

/// Waiting records were left to the process that took their camera over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordsLeft<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraId,
    /// Records, one for each sink that they waited for.
    pub(crate) records: u64,
}

impl RecordsLeft<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        let Self { camera, records } = self;
        tracing::info!(stage = "publish", %camera, records, "undelivered records left to the camera's new owner");
    }
}

/// Events and the state after them were to be written into the table of positions before they are published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteAheadDone<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraId,
    /// `written`, or the reason for which they are published without.
    pub(crate) outcome: &'static str,
}

impl WriteAheadDone<'_> {
    /// Counts it.
    pub(crate) fn emit(self) {
        let Self { camera, outcome } = self;
        counter!(WRITE_AHEADS, "camera" => camera.to_string(), "outcome" => outcome).increment(1);
    }
}

/// Records that a camera's last owner had not delivered were taken in from the table of positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordsAdopted<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraId,
    /// Records.
    pub(crate) records: usize,
    /// Records of which no sink that lacks them is configured any more.
    pub(crate) without_sink: usize,
}

impl RecordsAdopted<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        let Self { camera, records, without_sink } = self;
        if without_sink > 0 {
            tracing::warn!(
                stage = "publish",
                %camera,
                records = without_sink,
                "records of the camera's last owner dropped: their sinks are no longer configured"
            );
        }
        tracing::info!(
            stage = "publish",
            %camera,
            records,
            "undelivered records of the camera's last owner taken over from the table of positions"
        );
    }
}

/// Pictures of adopted records could not be made again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PicturesLost<'a> {
    /// The camera.
    pub(crate) camera: &'a CameraId,
    /// Records without their pictures.
    pub(crate) records: usize,
}

impl PicturesLost<'_> {
    /// Logs it.
    pub(crate) fn emit(self) {
        let Self { camera, records } = self;
        tracing::warn!(
            stage = "publish",
            %camera,
            records,
            "records of the camera's last owner are delivered without their pictures: their frames were not read again"
        );
    }
}
