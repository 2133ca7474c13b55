//! Reads the records of events from JSON lines.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

use super::is_stdin;
use crate::eval::{Record, Truth};
use crate::media::Event;

/// Returns the incidents' records of the truth's label and of `camera`, without duplicates, in the order of the file.
///
/// Errors: the file cannot be read, a line is not an event, or the camera is unknown or missing.
pub(super) fn read(path: &Path, truth: &Truth, camera: Option<&str>) -> anyhow::Result<Vec<Record>> {
    let events = if is_stdin(path) {
        parse(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(|| {
            format!(
                "cannot open {}; give the events.jsonl of publishers.local_dir with --events",
                path.display()
            )
        })?;
        parse(BufReader::new(file))
    };
    let events = events.with_context(|| format!("in {}", path.display()))?;
    let events = of_camera(events, &truth.label, camera)?;
    Ok(events.iter().map(Record::from).collect())
}

fn parse(lines: impl BufRead) -> anyhow::Result<Vec<Event>> {
    let (mut events, mut seen) = (Vec::new(), HashSet::new());
    for (i, line) in lines.lines().enumerate() {
        let line = line.context("reading failed")?;
        if line.trim().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_str(&line).with_context(|| {
            format!("line {} is not an event: give lines as `kvs-infer events --json` prints them", i + 1)
        })?;
        // A record may be delivered twice. Two cameras on one stream have the same ids.
        if seen.insert((event.camera_id.clone(), event.event_id.clone())) {
            events.push(event);
        }
    }
    Ok(events)
}

fn of_camera(events: Vec<Event>, label: &str, camera: Option<&str>) -> anyhow::Result<Vec<Event>> {
    check_camera(&events, camera)?;
    let is_evaluated = |event: &Event| {
        let is_incident = event.payload.extras.activity.is_none();
        is_incident && event.payload.label == label && camera.is_none_or(|camera| event.camera_id == camera)
    };
    Ok(events.into_iter().filter(is_evaluated).collect())
}

/// Checks that the events are of one camera, or of the given one among others.
fn check_camera(events: &[Event], camera: Option<&str>) -> anyhow::Result<()> {
    let all: BTreeSet<String> = events.iter().map(|event| event.camera_id.clone()).collect();
    let names = all.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match camera {
        None if all.len() > 1 => {
            anyhow::bail!(
                "the events are from several cameras and the truth is about one; give one of {names} with --camera"
            )
        }
        Some(camera) if !events.is_empty() && !all.contains(camera) => {
            anyhow::bail!("no event is from camera {camera:?}; give one of {names} with --camera")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ActivityCounts;
    use crate::status::testing::event;

    #[test]
    fn a_record_counts_once_for_each_camera() {
        let first = event("incident");
        let second = Event { camera_id: "other".to_owned(), ..first.clone() };
        let lines = [&first, &second, &first].map(|event| serde_json::to_string(event).unwrap()).join("\n");
        assert_eq!(parse(lines.as_bytes()).unwrap(), [first, second]);
    }

    #[test]
    fn activities_are_not_incidents() {
        let mut summary = event("summary");
        let counts = ActivityCounts { incidents: 1, by_label: [("car".to_owned(), 1)].into(), peak: 1 };
        summary.payload.extras.activity = Some(counts);
        let label = summary.payload.label.clone();
        let kept = of_camera(vec![event("incident"), summary], &label, None).unwrap();
        let ids: Vec<_> = kept.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!(ids, ["incident"], "though the label is the same");
    }
}
