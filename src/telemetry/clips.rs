//! Logs and metrics of the clips that a sink stores.

use metrics::counter;

use super::{Metric, MetricKind};

const STORED: &str = "kvs_infer_clips_stored_total";
const GIVEN_UP: &str = "kvs_infer_clips_given_up_total";

/// The metrics of clips.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: STORED,
        kind: MetricKind::Counter,
        labels: &["camera"],
        help: "Clips of incidents that were stored.",
    },
    Metric {
        name: GIVEN_UP,
        kind: MetricKind::Counter,
        labels: &["camera", "reason"],
        help: "Clips of incidents that cannot be stored: retention_over, no_retention or no_footage (their footage is gone), \
               no_such_stream, no_video, format_changed (the codec or its parameters), too_large, unreadable, invalid (S3 never takes \
               the object).",
    },
];

/// A clip was stored.
pub(crate) struct ClipStored<'a> {
    /// The camera's id.
    pub(crate) camera: &'a str,
    /// The incident's id.
    pub(crate) incident: &'a str,
    /// Its size.
    pub(crate) bytes: u64,
}

impl ClipStored<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        let Self { camera, incident, bytes } = self;
        counter!(STORED, "camera" => camera.to_owned()).increment(1);
        tracing::debug!(stage = "publish", camera, incident_id = incident, bytes, "clip stored");
    }
}

/// A clip cannot be stored, and is not tried again.
pub(crate) struct ClipGivenUp<'a> {
    /// The camera's id.
    pub(crate) camera: &'a str,
    /// The incident's id.
    pub(crate) incident: &'a str,
    /// The label of the reason.
    pub(crate) reason: &'static str,
    /// The reason and its remedy, for a person.
    pub(crate) text: &'a str,
}

impl ClipGivenUp<'_> {
    /// Logs and counts it.
    pub(crate) fn emit(self) {
        let Self { camera, incident, reason, text } = self;
        counter!(GIVEN_UP, "camera" => camera.to_owned(), "reason" => reason).increment(1);
        tracing::warn!(stage = "publish", camera, incident_id = incident, reason, "clip given up: {text}");
    }
}
