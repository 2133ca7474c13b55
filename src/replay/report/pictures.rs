//! The pictures of a report: small copies, each once, up to a total size.

use std::collections::HashMap;

use serde::Serialize;

use super::base64;
use crate::replay::comparison::ComparedIncident;
use crate::replay::earlier::SnapshotStore;
use crate::replay::incident_facts::IncidentFacts;
use crate::replay::thumbnail::thumbnail;

/// Limit on the JPEG files of a report, bytes. Base64 makes a third more of it.
const MAX_BYTES: usize = 24 << 20;

/// The pictures of an incident, as indices of the report's pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct IncidentPictures {
    now_picture: Option<usize>,
    before_picture: Option<usize>,
}

/// The pictures of a report.
#[derive(Debug, Default)]
pub(super) struct PictureAlbum {
    /// JPEG files as Base64.
    pictures: Vec<String>,
    /// The index of each picture that was read; `None` if it cannot be shown.
    by_place: HashMap<(RunSide, String), Option<usize>>,
    bytes: usize,
    left_out: u64,
}

/// One of the two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RunSide {
    Now,
    Before,
}

impl PictureAlbum {
    /// Returns the pictures of each incident. Where there is no room for all, those of differences come first, by time.
    pub(super) async fn of_incidents(
        &mut self,
        incidents: &[&ComparedIncident],
        now: &mut SnapshotStore,
        before: &mut SnapshotStore,
    ) -> Vec<IncidentPictures> {
        let mut order: Vec<usize> = (0..incidents.len()).collect();
        order.sort_by_key(|index| (incidents[*index].change, *index));
        let mut pictures = vec![IncidentPictures::default(); incidents.len()];
        for index in order {
            let incident = incidents[index];
            let now_picture = self.add(RunSide::Now, incident.now.as_ref(), now).await;
            let before_picture = self.add(RunSide::Before, incident.before.as_ref(), before).await;
            pictures[index] = IncidentPictures { now_picture, before_picture };
        }
        pictures
    }

    /// Returns the JPEG files as Base64.
    pub(super) fn pictures(&self) -> &[String] {
        &self.pictures
    }

    /// Returns the number of pictures for which there was no room.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    async fn add(
        &mut self,
        side: RunSide,
        facts: Option<&IncidentFacts>,
        store: &mut SnapshotStore,
    ) -> Option<usize> {
        let place = facts?.snapshot.clone()?;
        let key = (side, place);
        if let Some(known) = self.by_place.get(&key) {
            return *known;
        }
        if self.bytes >= MAX_BYTES {
            self.left_out += 1;
            return None;
        }
        let file = store.read(&key.1).await;
        let small = match file {
            // Takes milliseconds, which the async threads must not wait for. The panic hook has logged a panic.
            Some(file) => tokio::task::spawn_blocking(move || thumbnail(&file)).await.ok().flatten(),
            None => None,
        };
        let index = small.map(|small| self.keep(&small));
        self.by_place.insert(key, index);
        index
    }

    fn keep(&mut self, picture: &[u8]) -> usize {
        self.bytes += picture.len();
        self.pictures.push(base64::encode(picture));
        self.pictures.len() - 1
    }
}
