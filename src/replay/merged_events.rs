//! Merges the records of the cameras into one file, by time, and collects their incidents.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use super::incident_facts::{IncidentFacts, IncidentTable};
use super::output_folder::OutputFolder;
use crate::base::private_file;
use crate::media::Event;

/// The next record of a camera, ordered by time, camera and sequence number.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct MergeHead {
    ts_ms: i64,
    camera: usize,
    seq: u64,
    line: String,
}

/// Writes the records of all cameras into the folder's `events.jsonl` and returns their incidents.
///
/// The order depends on the records alone: the earliest of the cameras' next ones comes first.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn merge(folder: &OutputFolder, cameras: usize) -> io::Result<Vec<IncidentFacts>> {
    let mut parts: Vec<Option<BufReader<File>>> =
        (0..cameras).map(|camera| open(folder, camera)).collect::<io::Result<_>>()?;
    let events = private_file().create_new(true).write(true).open(folder.events())?;
    let (mut events, mut incidents) = (BufWriter::new(events), IncidentTable::default());
    let mut heads = BinaryHeap::new();
    for (camera, part) in parts.iter_mut().enumerate() {
        heads.extend(next_head(part, camera, &mut incidents)?.map(Reverse));
    }
    while let Some(Reverse(head)) = heads.pop() {
        events.write_all(head.line.as_bytes())?;
        heads.extend(next_head(&mut parts[head.camera], head.camera, &mut incidents)?.map(Reverse));
    }
    events.flush()?;
    Ok(incidents.into_incidents())
}

/// Opens the records of a camera; `None`: it has none.
fn open(folder: &OutputFolder, camera: usize) -> io::Result<Option<BufReader<File>>> {
    match File::open(folder.part(camera)) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the next record of a camera and adds it to its incident.
fn next_head(
    part: &mut Option<BufReader<File>>,
    camera: usize,
    incidents: &mut IncidentTable,
) -> io::Result<Option<MergeHead>> {
    let Some(part) = part else { return Ok(None) };
    let mut line = String::new();
    if part.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let event: Event = serde_json::from_str(&line)?;
    incidents.add(&event);
    Ok(Some(MergeHead { ts_ms: event.payload.ts_ms, camera, seq: event.seq, line }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Phase;
    use crate::replay::incident_facts::testing::record;

    fn write_part(folder: &OutputFolder, camera: usize, records: &[Event]) {
        let lines: Vec<String> = records.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        std::fs::write(folder.part(camera), lines.join("\n") + "\n").unwrap();
    }

    #[test]
    fn records_are_merged_by_time_and_each_camera_keeps_its_order() {
        let place = tempfile::tempdir().unwrap();
        let folder = OutputFolder::create(&place.path().join("out")).unwrap();
        // An end has the time of a sighting before another record of its camera.
        let front = [("a", 1_000), ("b", 5_000), ("c", 4_000)].map(|(id, ts)| record(id, Phase::Start, ts));
        let back = [("d", 1_000), ("e", 4_500)].map(|(id, ts)| record(id, Phase::Start, ts));
        write_part(&folder, 0, &front);
        write_part(&folder, 2, &back);
        let incidents = merge(&folder, 3).unwrap();
        assert_eq!(incidents.len(), 5);
        let events = std::fs::read_to_string(folder.events()).unwrap();
        let order: Vec<String> = events
            .lines()
            .map(|line| serde_json::from_str::<Event>(line).unwrap().payload.extras.incident_id)
            .collect();
        assert_eq!(order, ["a", "d", "e", "b", "c"]);
    }

    #[test]
    fn a_folder_with_a_result_is_not_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let folder = OutputFolder::create(place.path()).unwrap();
        assert!(OutputFolder::create(place.path()).unwrap_err().to_string().contains(".replay already"));
        assert!(merge(&folder, 1).unwrap().is_empty());
        folder.remove_work();
        let why = OutputFolder::create(place.path()).unwrap_err().to_string();
        assert!(why.contains("events.jsonl already: name a new folder with --out"), "{why}");
    }
}
