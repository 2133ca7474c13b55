//! What the doctor asks of each sink, and of the places that are kept over a restart: one file a place.

use super::Clients;
use super::event_outbox::OutboxSpec;
use super::start::{SinkName, wanted};
use crate::aws::AwsFailure;
use crate::base::{Finding, Probe};

/// Where the doctor must name a camera, an event or a key: none of ours can have this name.
pub(crate) const NOBODY: &str = ".kvs-infer-check";
/// The remedy where nothing better is known.
const CORRECT_IT: &str = "correct what it names; the service would try again for ever";

/// The questions for all that [`super::EventOutbox::start`] would use with this spec.
#[must_use]
pub fn probes(spec: &OutboxSpec) -> Vec<Probe> {
    let mut probes = vec![crate::sinks::local::probe::state(&spec.state)];
    for name in wanted(spec) {
        match (name, &spec.clients) {
            (SinkName::Local, _) => {
                probes.extend(spec.publish.local_dir.as_deref().map(crate::sinks::local::probe::local))
            }
            (name, Some(clients)) => probes.extend(of_sink(&name, spec, clients)),
            (_, None) => {}
        }
    }
    if let Some((table, clients)) = spec.state.ddb_table.as_ref().zip(spec.clients.as_ref()) {
        probes.extend(crate::sinks::dynamodb::probe::positions(&clients.dynamodb, table));
    }
    probes
}

fn of_sink(name: &SinkName, spec: &OutboxSpec, clients: &Clients) -> Vec<Probe> {
    let publish = &spec.publish;
    match name {
        SinkName::Local => Vec::new(),
        SinkName::Kinesis(stream) => crate::sinks::kinesis::probes(&clients.kinesis, stream),
        SinkName::DynamoDb(table) => {
            let expires = publish.ddb.as_ref().is_some_and(|ddb| ddb.ttl_days.is_some());
            crate::sinks::dynamodb::probe::records(&clients.dynamodb, table, expires)
        }
        SinkName::S3 => publish.s3.iter().map(|s3| crate::sinks::s3::probe::probe(&clients.s3, s3)).collect(),
    }
}

/// A description that describes nothing.
pub(crate) fn nothing_described() -> AwsFailure {
    AwsFailure::new("bad_response", "the answer describes nothing")
}

/// A fault that keeps the service from working.
pub(crate) fn failed(fault: &AwsFailure, place: &str, remedy: Option<&str>) -> Finding {
    let advice = fault.advice(remedy, CORRECT_IT);
    Finding::fail(format!("{place}: {}: {}; {advice}", fault.code, fault.text))
}

/// A look that was refused, and that only the doctor takes; any other fault fails.
pub(crate) fn not_seen(fault: &AwsFailure, place: &str, action: &str, remedy: Option<&str>) -> Finding {
    if fault.is_denied() {
        return Finding::warn(format!("{place}: {action} is not allowed; only this check asks for it"));
    }
    failed(fault, place, remedy)
}
