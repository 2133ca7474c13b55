//! The list of the questions of `check --live` about the outbox, its sinks and the table of positions.

use super::positions;
use super::probe::state_folder;
use super::spec::OutboxSpec;
use crate::base::{Probe, ProbeOccasion};

/// Returns the questions about everything that [`EventOutbox::start`](super::EventOutbox::start) would use with this spec.
#[must_use]
pub fn probes(spec: &OutboxSpec, occasion: ProbeOccasion) -> Vec<Probe> {
    let mut probes = vec![state_folder(&spec.state, occasion)];
    probes.extend(spec.sinks.all().iter().flat_map(|sink| sink.probes(spec.clients.as_ref())));
    if let Some((table, clients)) = spec.state.ddb_table.as_ref().zip(spec.clients.as_ref()) {
        probes.extend(positions::probes(clients, table));
    }
    probes
}
