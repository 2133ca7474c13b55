//! Records that a stop leaves undelivered.

use super::status::SinkGauge;
use crate::telemetry::publish as telemetry;

/// Records that a sink had not delivered when the time to stop ran out. They are in the outbox, and delivered after the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndeliveredRecords {
    /// The sink.
    pub sink: String,
    /// `true` for a required sink.
    pub required: bool,
    /// Records or snapshots.
    pub count: u64,
}

impl UndeliveredRecords {
    /// Reports what remains for a sink; `None`: nothing.
    pub(crate) fn of(gauge: &SinkGauge, count: u64) -> Option<Self> {
        (count > 0).then(|| {
            let (sink, required) = (gauge.name(), gauge.is_required());
            telemetry::Undelivered { sink, required, count }.emit();
            Self { sink: sink.to_owned(), required, count }
        })
    }
}
