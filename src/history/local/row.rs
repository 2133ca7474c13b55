//! The stored form of an incident: the fields that filters read, and apart from them its summary.
//!
//! A rare filter reads the fields of every incident, and the summaries of the few that match.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::history::IncidentSummary;
use crate::history::query::{FilterFields, comparable_text};
use crate::history::summary::IncidentDraft;
use crate::media::{ActivityCounts, Phase};

/// The fields of a stored incident.
#[derive(Debug)]
pub(super) struct IncidentRow<'a> {
    /// The number of its summary.
    pub(super) number: u64,
    last_ms: i64,
    camera: &'a str,
    label: &'a str,
    kind: &'a str,
    text: &'a str,
    zones: PackedTexts<'a>,
}

/// The texts of a stored summary: ids of the incident and its camera, type, label, zones, text, record with the picture.
type StoredTexts = (String, String, String, String, BTreeSet<String>, Option<String>, Option<String>);
/// The numbers of a stored summary: confidences of the object and of its text, start, last record, end, number of records, and of
/// the draft: `seq` of the newest record, confidence of that with the picture.
type StoredNumbers = (f32, Option<f32>, i64, i64, Option<i64>, u64, u64, Option<f32>);

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

/// Returns the stored fields of an incident.
pub(super) fn pack_fields(number: u64, summary: &IncidentSummary) -> Vec<u8> {
    let mut row = number.to_be_bytes().to_vec();
    row.extend(summary.last_ms.to_be_bytes());
    let text = summary.text.as_deref().map(comparable_text).unwrap_or_default();
    for field in [&summary.camera_id, &summary.label, &summary.kind, &text] {
        push_bytes(&mut row, field.as_bytes());
    }
    summary.zones.iter().for_each(|zone| push_bytes(&mut row, zone.as_bytes()));
    row
}

/// Returns the fields of a stored incident; `None`: they are damaged.
pub(super) fn unpack_fields(row: &[u8]) -> Option<IncidentRow<'_>> {
    let (number, rest) = row.split_first_chunk::<8>()?;
    let (last_ms, mut rest) = rest.split_first_chunk::<8>()?;
    let camera = take_text(&mut rest)?;
    let label = take_text(&mut rest)?;
    let kind = take_text(&mut rest)?;
    let text = take_text(&mut rest)?;
    let (number, last_ms) = (u64::from_be_bytes(*number), i64::from_be_bytes(*last_ms));
    Some(IncidentRow { number, last_ms, camera, label, kind, text, zones: PackedTexts(rest) })
}

/// Returns the stored form of a summary: a JSON array, less than half as long as an object with names.
pub(super) fn pack_draft(draft: &IncidentDraft) -> Result<Vec<u8>, serde_json::Error> {
    let IncidentDraft { summary, last_seq, picture_conf } = draft;
    let IncidentSummary { incident_id, camera_id, kind, label, zones, text, snapshot_event, .. } = summary;
    let texts = (incident_id, camera_id, kind, label, zones, text, snapshot_event);
    let IncidentSummary { conf, ocr_conf, start_ms, last_ms, end_ms, records, .. } = summary;
    let numbers = (conf, ocr_conf, start_ms, last_ms, end_ms, records, last_seq, picture_conf);
    serde_json::to_vec(&(texts, numbers, summary.phase, &summary.activity, &summary.clip))
}

/// Returns a stored summary.
pub(super) fn unpack_draft(json: &[u8]) -> Result<IncidentDraft, serde_json::Error> {
    type StoredDraft = (StoredTexts, StoredNumbers, Phase, Option<ActivityCounts>, Option<Value>);
    let (texts, numbers, phase, activity, clip): StoredDraft = serde_json::from_slice(json)?;
    let (incident_id, camera_id, kind, label, zones, text, snapshot_event) = texts;
    let (conf, ocr_conf, start_ms, last_ms, end_ms, records, last_seq, picture_conf) = numbers;
    let has_snapshot = snapshot_event.is_some();
    let summary = IncidentSummary {
        incident_id,
        camera_id,
        kind,
        label,
        zones,
        text,
        ocr_conf,
        conf,
        start_ms,
        last_ms,
        end_ms,
        phase,
        records,
        activity,
        has_snapshot,
        snapshot_event,
        clip,
    };
    Ok(IncidentDraft { summary, last_seq, picture_conf })
}

impl<'a> IncidentRow<'a> {
    /// Returns the fields that a filter reads.
    pub(super) fn fields(&self, start_ms: i64) -> FilterFields<'a, impl Iterator<Item = &'a str>> {
        let Self { last_ms, camera, label, kind, text, zones, .. } = self;
        FilterFields { camera, label, kind, text, zones: zones.clone(), start_ms, last_ms: *last_ms }
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
        let extras = json!({ "incident_id": "i", "phase": "start", "zones": ["b", "a"], "text": "AB-1", "snapshot": "s" });
        let payload =
            json!({ "type": "alpr", "label": "plate", "conf": 0.87, "ts_ms": -7, "extras": extras });
        let event = json!({ "event_id": "i", "camera_id": "gate", "seq": 3, "payload": payload });
        IncidentDraft::new(&serde_json::from_value(event).unwrap())
    }

    #[test]
    fn a_row_is_read_back() {
        assert_eq!(unpack_draft(&pack_draft(&draft()).unwrap()).unwrap(), draft());
        let packed = pack_fields(7, &draft().summary);
        let row = unpack_fields(&packed).unwrap();
        let fields = row.fields(-7);
        let texts = [fields.camera, fields.label, fields.kind, fields.text];
        assert_eq!(texts, ["gate", "plate", "alpr", "ab1"]);
        assert_eq!((row.number, fields.start_ms, fields.last_ms), (7, -7, -7));
        assert_eq!(fields.zones.collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_cut_row_is_damaged() {
        let fields = pack_fields(7, &draft().summary);
        for len in 0..40 {
            assert!(unpack_fields(&fields[..len]).is_none(), "{len} bytes");
        }
        let draft = pack_draft(&draft()).unwrap();
        assert!((0..draft.len()).all(|len| unpack_draft(&draft[..len]).is_err()));
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
