//! What the doctor asks of each sink, and of the places that are kept over a restart: one file a place.

mod bucket;
mod folder;
mod stream;
mod table;

use super::Clients;
use super::fault::Fault;
use super::outbox::OutboxSpec;
use super::start::{SinkName, wanted};
use crate::base::{Finding, Probe};

/// Where the doctor must name a camera, an event or a key: none of ours can have this name.
const NOBODY: &str = ".kvs-infer-check";
/// The remedy where nothing better is known.
const CORRECT_IT: &str = "correct what it names; the service would try again for ever";

/// The questions for all that [`super::Outbox::start`] would use with this spec.
#[must_use]
pub fn probes(spec: &OutboxSpec) -> Vec<Probe> {
    let mut probes = vec![folder::state(&spec.state)];
    for name in wanted(spec) {
        match (name, &spec.clients) {
            (SinkName::Local, _) => probes.extend(spec.publish.local_dir.as_deref().map(folder::local)),
            (name, Some(clients)) => probes.extend(of_sink(&name, spec, clients)),
            (_, None) => {}
        }
    }
    if let Some((table, clients)) = spec.state.ddb_table.as_ref().zip(spec.clients.as_ref()) {
        probes.extend(table::positions(&clients.dynamodb, table));
    }
    probes
}

fn of_sink(name: &SinkName, spec: &OutboxSpec, clients: &Clients) -> Vec<Probe> {
    let publish = &spec.publish;
    match name {
        SinkName::Local => Vec::new(),
        SinkName::Kinesis(stream) => stream::probes(&clients.kinesis, stream),
        SinkName::DynamoDb(table) => {
            let expires = publish.ddb.as_ref().is_some_and(|ddb| ddb.ttl_days.is_some());
            table::records(&clients.dynamodb, table, expires)
        }
        SinkName::S3 => publish.s3.iter().map(|s3| bucket::probe(&clients.s3, s3)).collect(),
    }
}

/// A description that describes nothing.
fn nothing_described() -> Fault {
    Fault::new("bad_response", "the answer describes nothing")
}

/// A fault that keeps the service from working.
fn failed(fault: &Fault, place: &str, remedy: Option<&str>) -> Finding {
    let advice = fault.advice(remedy, CORRECT_IT);
    Finding::fail(format!("{place}: {}: {}; {advice}", fault.code, fault.text))
}

/// A look that was refused, and that only the doctor takes; any other fault fails.
fn not_seen(fault: &Fault, place: &str, action: &str, remedy: Option<&str>) -> Finding {
    if fault.is_denied() {
        return Finding::warn(format!("{place}: {action} is not allowed; only this check asks for it"));
    }
    failed(fault, place, remedy)
}
