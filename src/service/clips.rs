//! The clips that HTTP serves: the cameras of the configuration, and the incidents of the running service.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aws_config::SdkConfig;
use futures_util::FutureExt;

use crate::clips::{ClipCamera, ClipLibrary, ClipMaker, FindIncident, IncidentSightings};
use crate::config::{CameraSpec, Settings};
use crate::history::{IncidentDetail, IncidentHistory};
use crate::media::{Event, Phase};
use crate::source::Kvs;
use crate::status::StatusBoard;

/// The folder of the clips that clients watch, in that of the outbox.
const WATCHED_FOLDER: &str = "watched-clips";

/// Returns the clips of the cameras, on the current runtime. Nothing is called yet.
pub(super) fn clip_library(
    settings: &Settings,
    aws: &SdkConfig,
    state_dir: &Path,
    incidents: FindIncident,
) -> Arc<ClipLibrary> {
    let maker = ClipMaker::new(Kvs::new(aws), state_dir.join(WATCHED_FOLDER));
    let clips = &settings.publish.clips;
    let library = ClipLibrary::new(maker, clips.rules, clips.ignore_masks, incidents);
    library.set_cameras(clip_cameras(&settings.cameras));
    Arc::new(library)
}

/// Returns the cameras whose footage clips are made of, by id.
pub(super) fn clip_cameras(cameras: &[CameraSpec]) -> BTreeMap<String, ClipCamera> {
    let of =
        |camera: &CameraSpec| ClipCamera { stream: camera.stream.clone(), has_masks: camera.masks.is_some() };
    cameras.iter().map(|camera| (camera.id.to_string(), of(camera))).collect()
}

/// Returns the function that finds an incident in the history, or else among the last events of the service, which a sink might not
/// have yet.
pub(super) fn find_incident(history: Option<IncidentHistory>, board: &StatusBoard) -> FindIncident {
    let board = board.clone();
    Arc::new(move |incident: String| {
        let (history, recent) = (history.clone(), sightings(&board.events(), &incident));
        let find = async move {
            let Some(history) = history else { return Ok(recent) };
            match (history.incident(&incident).await, recent) {
                (Ok(Some(found)), _) => Ok(sightings(&events_of(&found), &incident)),
                (Ok(None), recent) | (Err(_), recent @ Some(_)) => Ok(recent),
                (Err(error), None) => Err(error.to_string()),
            }
        };
        find.boxed()
    })
}

/// Returns the records of an incident that this version reads.
fn events_of(incident: &IncidentDetail) -> Vec<Arc<Event>> {
    incident
        .records
        .iter()
        .filter_map(|record| serde_json::from_str(record.get()).ok())
        .map(Arc::new)
        .collect()
}

/// Returns the sightings of an incident by its records; `None`: there are none.
fn sightings(events: &[Arc<Event>], incident: &str) -> Option<IncidentSightings> {
    let of_it = || events.iter().filter(|event| event.payload.extras.incident_id == incident);
    // The time of an update is a sighting, the last before it, so its duration reaches back to the first.
    let first_ms = of_it().map(|event| match event.payload.extras.phase {
        Phase::Update => event.payload.ts_ms - event.payload.extras.duration_ms.unwrap_or(0),
        Phase::Start | Phase::End => event.payload.ts_ms,
    });
    let first_ms = first_ms.min()?;
    // The time of an end is later than the last sighting.
    let last_ms = of_it().map(|event| match event.payload.extras.phase {
        Phase::End => first_ms + event.payload.extras.duration_ms.unwrap_or(0),
        Phase::Start | Phase::Update => event.payload.ts_ms,
    });
    let camera_id = of_it().next()?.camera_id.clone();
    let clip = of_it().filter_map(|event| event.payload.extras.clip.clone()).next_back();
    Some(IncidentSightings { camera_id, first_ms, last_ms: last_ms.max()?, clip })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::testing::event;

    fn record(incident: &str, phase: Phase, ts_ms: i64, duration_ms: Option<i64>) -> Arc<Event> {
        let mut event = event("e");
        event.payload.ts_ms = ts_ms;
        event.payload.extras.incident_id = incident.to_owned();
        (event.payload.extras.phase, event.payload.extras.duration_ms) = (phase, duration_ms);
        Arc::new(event)
    }

    #[test]
    fn the_sightings_of_an_incident_follow_from_its_records() {
        let start = record("i", Phase::Start, 1_000, None);
        let update = record("i", Phase::Update, 5_000, Some(4_200));
        let end = record("i", Phase::End, 9_000, Some(5_000));
        let other = record("other", Phase::Start, 100, None);
        for (name, events, expected) in [
            ("open", vec![other.clone(), start.clone()], Some((1_000, 1_000))),
            ("open, with an update", vec![start.clone(), update.clone()], Some((800, 5_000))),
            ("ended", vec![start, update, end, other.clone()], Some((800, 5_800))),
            ("unknown", vec![other], None),
        ] {
            let found = sightings(&events, "i").map(|found| (found.first_ms, found.last_ms));
            assert_eq!(found, expected, "{name}");
        }
    }
}
