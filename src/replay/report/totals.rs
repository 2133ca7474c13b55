//! Totals of a comparison by camera, type, label and zone.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::replay::comparison::{ComparedIncident, IncidentChange};
use crate::replay::incident_facts::IncidentFacts;

/// The numbers of incidents of a camera, type, label and zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct TotalsRow {
    camera: String,
    #[serde(rename = "type")]
    kind: String,
    label: String,
    /// Empty for incidents outside all zones.
    zone: String,
    before: u64,
    now: u64,
    changed: u64,
    new: u64,
    gone: u64,
    same: u64,
}

/// Camera, type, label and zone.
type TotalsKey = (String, String, String, String);

/// Returns a row per camera, type, label and zone. An incident in several zones counts in each.
pub(super) fn totals_of(incidents: &[ComparedIncident]) -> Vec<TotalsRow> {
    let mut rows: BTreeMap<TotalsKey, TotalsRow> = BTreeMap::new();
    for incident in incidents {
        for key in incident.before.iter().flat_map(keys) {
            row(&mut rows, key).before += 1;
        }
        for key in incident.now.iter().flat_map(keys) {
            row(&mut rows, key).now += 1;
        }
        for key in incident.shown().into_iter().flat_map(keys) {
            let totals = row(&mut rows, key);
            match incident.change {
                IncidentChange::Changed => totals.changed += 1,
                IncidentChange::New => totals.new += 1,
                IncidentChange::Gone => totals.gone += 1,
                IncidentChange::Same => totals.same += 1,
            }
        }
    }
    rows.into_values().collect()
}

fn row(rows: &mut BTreeMap<TotalsKey, TotalsRow>, key: TotalsKey) -> &mut TotalsRow {
    rows.entry(key).or_insert_with_key(|(camera, kind, label, zone)| TotalsRow {
        camera: camera.clone(),
        kind: kind.clone(),
        label: label.clone(),
        zone: zone.clone(),
        ..TotalsRow::default()
    })
}

fn keys(facts: &IncidentFacts) -> Vec<TotalsKey> {
    let key =
        |zone: &str| (facts.camera_id.clone(), facts.kind.clone(), facts.label.clone(), zone.to_owned());
    if facts.zones.is_empty() { vec![key("")] } else { facts.zones.iter().map(|zone| key(zone)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Phase;
    use crate::replay::comparison::new_incident;
    use crate::replay::incident_facts::testing::{incident, record};

    #[test]
    fn an_incident_counts_in_each_of_its_zones() {
        let mut facts = incident(&[record("a", Phase::Start, 1_000)]);
        facts.zones = ["door".to_owned(), "yard".to_owned()].into();
        let mut changed = new_incident(facts.clone());
        changed.change = IncidentChange::Changed;
        let mut before = facts.clone();
        before.zones = ["door".to_owned()].into();
        changed.before = Some(before);
        facts.zones.clear();
        let outside = new_incident(facts);
        let rows = totals_of(&[changed, outside]);
        let figures: Vec<_> = rows
            .iter()
            .map(|row| (row.zone.as_str(), row.before, row.now, row.changed, row.new, row.gone + row.same))
            .collect();
        assert_eq!(figures, [("", 0, 1, 0, 1, 0), ("door", 1, 1, 1, 0, 0), ("yard", 0, 1, 1, 0, 0)]);
    }
}
