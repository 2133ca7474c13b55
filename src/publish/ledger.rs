//! What is known of a camera's way: its position, its state, and the events that were taken in.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::decide;
use crate::decode::SamplerState;
use crate::frame::CameraId;

/// Ids remembered a camera while a fragment is open; the oldest go.
const MOST_IDS: usize = 16_384;
/// Ids remembered a camera after a commit.
const RECENT_IDS: usize = 1_024;

/// Where to go on with a camera, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The number of the last complete fragment.
    pub position: Arc<str>,
    /// What decide remembers after it.
    pub decide: decide::State,
    /// What the sampler remembers after it.
    pub sampler: SamplerState,
}

/// The end of a complete fragment, all of whose events were offered.
#[derive(Clone, Debug, PartialEq)]
pub struct FragmentCommit {
    /// The camera.
    pub camera: CameraId,
    /// Where to go on.
    pub checkpoint: Checkpoint,
}

/// Keeps positions and tells new events from known ones.
///
/// Events are taken in before the commit of their fragment, so that they are delivered at once. That is safe because ids
/// are deterministic: when the process or the connection dies inside a fragment, the camera resumes at the last commit,
/// reads the fragment again from the state of that commit, and makes the same events with the same ids, of which those
/// that are known already are dropped.
///
/// Invariant: an id that was taken in since the camera's last commit is known.
pub trait Ledger: Send + Sync {
    /// Whether the event was taken in already.
    fn knows(&self, camera: &CameraId, event_id: &str) -> bool;
    /// Takes an event in; `false` where it was known.
    fn admit(&self, camera: &CameraId, event_id: &str) -> bool;
    /// Moves the camera's position; state and position move together or not at all.
    fn commit(&self, commit: FragmentCommit);
    /// Where to go on with the camera; `None` before its first commit.
    fn resume(&self, camera: &CameraId) -> Option<Checkpoint>;
}

/// A ledger that lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    cameras: Mutex<HashMap<CameraId, Account>>,
}

#[derive(Debug, Default)]
struct Account {
    checkpoint: Option<Checkpoint>,
    known: HashSet<Arc<str>>,
    by_age: VecDeque<Arc<str>>,
}

impl MemoryLedger {
    fn with<T>(&self, camera: &CameraId, act: impl FnOnce(&mut Account) -> T) -> T {
        let mut cameras = self.cameras.lock().unwrap_or_else(PoisonError::into_inner);
        act(cameras.entry(camera.clone()).or_default())
    }
}

impl Ledger for MemoryLedger {
    fn knows(&self, camera: &CameraId, event_id: &str) -> bool {
        self.with(camera, |account| account.known.contains(event_id))
    }

    fn admit(&self, camera: &CameraId, event_id: &str) -> bool {
        self.with(camera, |account| account.admit(event_id))
    }

    fn commit(&self, commit: FragmentCommit) {
        self.with(&commit.camera, |account| {
            account.checkpoint = Some(commit.checkpoint);
            account.forget_beyond(RECENT_IDS);
        });
    }

    fn resume(&self, camera: &CameraId) -> Option<Checkpoint> {
        self.with(camera, |account| account.checkpoint.clone())
    }
}

impl Account {
    fn admit(&mut self, event_id: &str) -> bool {
        if self.known.contains(event_id) {
            return false;
        }
        let event_id: Arc<str> = event_id.into();
        self.known.insert(Arc::clone(&event_id));
        self.by_age.push_back(event_id);
        self.forget_beyond(MOST_IDS);
        true
    }

    fn forget_beyond(&mut self, most: usize) {
        while self.by_age.len() > most {
            if let Some(oldest) = self.by_age.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(camera: &CameraId, position: &str) -> FragmentCommit {
        let checkpoint = Checkpoint {
            position: position.into(),
            decide: decide::State::default(),
            sampler: SamplerState::default(),
        };
        FragmentCommit { camera: camera.clone(), checkpoint }
    }

    #[test]
    fn an_event_is_taken_in_once_a_camera() {
        let (ledger, front, back) = (MemoryLedger::default(), CameraId::new("front"), CameraId::new("back"));
        assert!(!ledger.knows(&front, "a"));
        assert!(ledger.admit(&front, "a"));
        assert!(!ledger.admit(&front, "a"));
        assert!(ledger.knows(&front, "a"));
        assert!(ledger.admit(&back, "a"));
        ledger.commit(commit(&front, "1"));
        assert!(!ledger.admit(&front, "a"), "a commit does not make it new");
    }

    #[test]
    fn the_last_commit_is_where_to_go_on() {
        let (ledger, front) = (MemoryLedger::default(), CameraId::new("front"));
        assert_eq!(ledger.resume(&front), None);
        for position in ["1", "2"] {
            ledger.commit(commit(&front, position));
        }
        assert_eq!(ledger.resume(&front), Some(commit(&front, "2").checkpoint));
        assert_eq!(ledger.resume(&CameraId::new("back")), None);
    }

    #[test]
    fn memory_is_bounded_and_the_recent_stay() {
        let (ledger, front) = (MemoryLedger::default(), CameraId::new("front"));
        for i in 0..MOST_IDS + 10 {
            assert!(ledger.admit(&front, &i.to_string()));
        }
        assert!(!ledger.knows(&front, "9") && ledger.knows(&front, "10"));
        ledger.commit(commit(&front, "1"));
        let kept = |i: usize| ledger.knows(&front, &i.to_string());
        assert!(kept(MOST_IDS + 9) && kept(MOST_IDS + 10 - RECENT_IDS) && !kept(MOST_IDS + 9 - RECENT_IDS));
    }
}
