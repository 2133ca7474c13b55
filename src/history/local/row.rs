//! The stored form of an incident: the fields that filters read, and the summary as JSON.
//!
//! A rare filter reads the fields of every incident, and decodes the JSON of the few that match.

use crate::history::IncidentSummary;
use crate::history::query::{FilterFields, comparable_text};
use crate::history::summary::IncidentDraft;

/// A stored incident.
#[derive(Debug)]
pub(super) struct IncidentRow<'a> {
    last_ms: i64,
    camera: &'a str,
    label: &'a str,
    kind: &'a str,
    text: &'a str,
    zones: PackedTexts<'a>,
    json: &'a [u8],
}

/// Texts one after the other, each behind its length.
#[derive(Clone, Debug)]
struct PackedTexts<'a>(&'a [u8]);

/// Returns the key of an incident: keys are sorted by start and then by id.
pub(super) fn row_key(start_ms: i64, incident_id: &str) -> Vec<u8> {
    // With the sign bit inverted, the order of the bytes is that of the numbers.
    let start = (start_ms.cast_unsigned() ^ (1 << 63)).to_be_bytes();
    [&start[..], incident_id.as_bytes()].concat()
}

/// Returns the start and the id of a key.
pub(super) fn parse_key(key: &[u8]) -> Option<(i64, &str)> {
    let (start, id) = key.split_first_chunk::<8>()?;
    let start_ms = (u64::from_be_bytes(*start) ^ (1 << 63)).cast_signed();
    Some((start_ms, std::str::from_utf8(id).ok()?))
}

/// Returns the stored form of an incident.
pub(super) fn pack(draft: &IncidentDraft) -> Result<Vec<u8>, serde_json::Error> {
    let summary = &draft.summary;
    let mut row = summary.last_ms.to_be_bytes().to_vec();
    let text = summary.text.as_deref().map(comparable_text).unwrap_or_default();
    for field in [&summary.camera_id, &summary.label, &summary.kind, &text] {
        push_bytes(&mut row, field.as_bytes());
    }
    let mut zones = Vec::new();
    summary.zones.iter().for_each(|zone| push_bytes(&mut zones, zone.as_bytes()));
    push_bytes(&mut row, &zones);
    serde_json::to_writer(&mut row, draft)?;
    Ok(row)
}

/// Returns a stored incident; `None`: it is damaged.
pub(super) fn unpack(row: &[u8]) -> Option<IncidentRow<'_>> {
    let (last_ms, mut rest) = row.split_first_chunk::<8>()?;
    let camera = take_text(&mut rest)?;
    let label = take_text(&mut rest)?;
    let kind = take_text(&mut rest)?;
    let text = take_text(&mut rest)?;
    let zones = PackedTexts(take_bytes(&mut rest)?);
    Some(IncidentRow { last_ms: i64::from_be_bytes(*last_ms), camera, label, kind, text, zones, json: rest })
}

impl<'a> IncidentRow<'a> {
    /// Returns the fields that a filter reads.
    pub(super) fn fields(&self, start_ms: i64) -> FilterFields<'a, impl Iterator<Item = &'a str>> {
        let Self { last_ms, camera, label, kind, text, zones, .. } = self;
        FilterFields { camera, label, kind, text, zones: zones.clone(), start_ms, last_ms: *last_ms }
    }

    /// Returns the summary, to which records can be added.
    pub(super) fn draft(&self) -> Result<IncidentDraft, serde_json::Error> {
        serde_json::from_slice(self.json)
    }

    /// Returns the summary.
    pub(super) fn summary(&self) -> Result<IncidentSummary, serde_json::Error> {
        self.draft().map(|draft| draft.summary)
    }
}

impl<'a> Iterator for PackedTexts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        take_text(&mut self.0)
    }
}

fn push_bytes(row: &mut Vec<u8>, bytes: &[u8]) {
    // A line has at most 8 MiB, so no field of it has more.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    row.extend(len.to_be_bytes());
    row.extend(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    *rest = after;
    Some(bytes)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft() -> IncidentDraft {
        let extras = json!({ "incident_id": "i", "phase": "start", "zones": ["b", "a"], "text": "AB-1" });
        let payload =
            json!({ "type": "alpr", "label": "plate", "conf": 0.87, "ts_ms": -7, "extras": extras });
        let event = json!({ "event_id": "i", "camera_id": "gate", "seq": 3, "payload": payload });
        IncidentDraft::new(&serde_json::from_value(event).unwrap())
    }

    #[test]
    fn a_row_is_read_back() {
        let packed = pack(&draft()).unwrap();
        let row = unpack(&packed).unwrap();
        assert_eq!(row.draft().unwrap(), draft());
        let fields = row.fields(-7);
        let texts = [fields.camera, fields.label, fields.kind, fields.text];
        assert_eq!(texts, ["gate", "plate", "alpr", "ab1"]);
        assert_eq!((fields.start_ms, fields.last_ms), (-7, -7));
        assert_eq!(fields.zones.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_cut_row_is_damaged() {
        let packed = pack(&draft()).unwrap();
        for len in 0..40 {
            assert!(unpack(&packed[..len]).is_none_or(|row| row.draft().is_err()), "{len} bytes");
        }
    }

    #[test]
    fn keys_are_sorted_by_start_and_id() {
        let places = [(i64::MIN, "z"), (-1, "b"), (0, "a"), (0, "b"), (1, ""), (i64::MAX, "a")];
        let keys = places.map(|(start_ms, id)| row_key(start_ms, id));
        assert!(keys.is_sorted());
        assert_eq!(keys.each_ref().map(|key| parse_key(key).unwrap()), places);
        assert_eq!(parse_key(b"short"), None);
    }
}
