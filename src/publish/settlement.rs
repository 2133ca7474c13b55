//! How far each camera is delivered: the newest checkpoint all of whose events every sink has accepted. A sink that is best effort
//! is waited for so long and no longer: else one that never works would hold the position for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::media::CameraId;

/// Checkpoints remembered a camera while events wait; beyond it every other one is forgotten, so that the position moves in
/// larger steps.
const MOST_CHECKPOINTS: usize = 64;

/// Follows the sinks, where there is a table of positions to write; else it knows no camera.
#[derive(Debug)]
pub(super) struct Settlement {
    waits: Waits,
    cameras: Mutex<HashMap<CameraId, Line>>,
    /// Whether records of some camera are left out.
    leaves_out: AtomicBool,
}

/// For whom.
#[derive(Debug)]
struct Waits {
    required: BTreeSet<Arc<str>>,
    /// For a sink that is best effort, from the event on.
    patience: Duration,
}

#[derive(Debug, Default)]
struct Line {
    /// `seq` of the events that a sink has yet to accept, and the sink; since when.
    outstanding: BTreeMap<(u64, Arc<str>), Instant>,
    /// Those that are not delivered yet, oldest first.
    waiting: VecDeque<Checkpoint>,
    delivered: Option<Checkpoint>,
    /// Records after this `seq` are left to the process that took the camera over; `None`: it was not taken over.
    left_after: Option<u64>,
}

impl Settlement {
    /// Follows all sinks: those that are `required` until they accept, the others for `patience`.
    pub(super) fn new(required: impl IntoIterator<Item = Arc<str>>, patience: Duration) -> Self {
        let waits = Waits { required: required.into_iter().collect(), patience };
        Self { waits, cameras: Mutex::default(), leaves_out: AtomicBool::new(false) }
    }

    /// An event is on its way to `sinks`. Call it before its checkpoint is `committed`.
    pub(super) fn taken(&self, camera: &CameraId, seq: u64, sinks: impl IntoIterator<Item = Arc<str>>) {
        let now = Instant::now();
        let mut cameras = self.lock();
        let line = cameras.entry(camera.clone()).or_default();
        line.outstanding.extend(sinks.into_iter().map(|sink| ((seq, sink), now)));
    }

    /// The camera's newest checkpoint.
    pub(super) fn committed(&self, camera: &CameraId, checkpoint: Checkpoint) {
        let mut cameras = self.lock();
        let line = cameras.entry(camera.clone()).or_default();
        line.committed(checkpoint);
        line.advance(&self.waits);
    }

    /// A sink has accepted an event, or will never do.
    pub(super) fn settled(&self, camera: &CameraId, seq: u64, sink: &str) {
        if let Some(line) = self.lock().get_mut(camera) {
            line.outstanding.remove(&(seq, Arc::from(sink)));
            line.advance(&self.waits);
        }
    }

    /// The checkpoint up to which the camera is delivered, if it moved since this was last asked.
    pub(super) fn moved(&self, camera: &CameraId) -> Option<Checkpoint> {
        let mut cameras = self.lock();
        let line = cameras.get_mut(camera)?;
        line.advance(&self.waits);
        line.delivered.take()
    }

    /// Whether a sink has yet to accept an event of the camera.
    pub(super) fn waits(&self, camera: &CameraId) -> bool {
        self.lock().get(camera).is_some_and(|line| !line.outstanding.is_empty())
    }

    /// Another process took the camera over, and resumes after `seq` or before it.
    pub(super) fn leave_out(&self, camera: &CameraId, seq: u64) {
        self.lock().entry(camera.clone()).or_default().left_after = Some(seq);
        self.leaves_out.store(true, Ordering::Release);
    }

    /// Whether records of some camera are left out: without a lock, for each turn of a sink.
    pub(super) fn leaves_out(&self) -> bool {
        self.leaves_out.load(Ordering::Acquire)
    }

    /// Whether a record that waits for `sink` is left to the process that took its camera over. A required sink has every
    /// record up to where that one resumes, so whatever waits for it is left out.
    pub(super) fn is_left_out(&self, camera: &CameraId, seq: u64, sink: &str) -> bool {
        let left_after = self.lock().get(camera).and_then(|line| line.left_after);
        left_after.is_some_and(|after| seq > after || self.waits.required.contains(sink))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, Line>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits {
    fn on(&self, sink: &Arc<str>, since: Instant) -> bool {
        self.required.contains(sink) || since.elapsed() < self.patience
    }
}

impl Line {
    fn committed(&mut self, checkpoint: Checkpoint) {
        if self.waiting.back().is_some_and(|last| last.decide.seq() == checkpoint.decide.seq()) {
            self.waiting.pop_back();
        }
        self.waiting.push_back(checkpoint);
        if self.waiting.len() > MOST_CHECKPOINTS {
            let mut at = 0;
            self.waiting.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
    }

    /// Events of a checkpoint have a `seq` up to that of its state.
    fn advance(&mut self, waits: &Waits) {
        while let Some(first) = self.outstanding.first_entry()
            && !waits.on(&first.key().1, *first.get())
        {
            first.remove();
        }
        let open = self.outstanding.first_key_value().map_or(u64::MAX, |((seq, _), _)| *seq);
        while let Some(next) = self.waiting.front()
            && next.decide.seq() < open
        {
            self.delivered = self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide;
    use crate::media::{MediaMs, Position};

    fn checkpoint(position: u64, seq: u64) -> Checkpoint {
        let decide = serde_json::json!({ "version": 2, "seq": seq, "detectors": {} });
        let decide: decide::DecideState = serde_json::from_value(decide).unwrap();
        let position =
            Some(Position { fragment: position.to_string().into(), media: MediaMs(0), primer: None });
        Checkpoint { position, decide, ..Checkpoint::new("stream") }
    }

    const EVER: Duration = Duration::MAX;

    fn both() -> [Arc<str>; 2] {
        ["kds/a".into(), "local".into()]
    }

    fn position(settlement: &Settlement, camera: &CameraId) -> Option<String> {
        settlement
            .moved(camera)
            .and_then(|moved| moved.position)
            .map(|position| position.fragment.to_string())
    }

    #[test]
    fn the_position_moves_when_every_sink_has_all_events_up_to_it() {
        let (settlement, front) = (Settlement::new(both(), EVER), CameraId::new("front"));
        settlement.committed(&front, checkpoint(1, 0));
        assert_eq!(position(&settlement, &front).as_deref(), Some("1"), "no event, nothing to wait for");
        settlement.taken(&front, 1, both());
        settlement.committed(&front, checkpoint(2, 1));
        settlement.committed(&front, checkpoint(3, 1));
        settlement.taken(&front, 2, both());
        settlement.committed(&front, checkpoint(4, 2));
        assert_eq!(position(&settlement, &front), None);
        settlement.settled(&front, 1, "kds/a");
        settlement.settled(&front, 2, "kds/a");
        assert_eq!(position(&settlement, &front), None, "the local sink has none of them");
        settlement.settled(&front, 1, "local");
        assert_eq!(position(&settlement, &front).as_deref(), Some("3"));
        settlement.settled(&front, 2, "local");
        assert_eq!(position(&settlement, &front).as_deref(), Some("4"));
        assert_eq!(position(&settlement, &front), None, "told once");
    }

    #[test]
    fn a_sink_that_is_best_effort_is_waited_for_as_long_as_patience_lasts() {
        let front = CameraId::new("front");
        for (patience, wanted) in [(EVER, None), (Duration::ZERO, Some("1"))] {
            let settlement = Settlement::new(both(), patience);
            settlement.taken(&front, 1, both().into_iter().chain(["s3".into()]));
            settlement.committed(&front, checkpoint(1, 1));
            assert_eq!(position(&settlement, &front), None, "{patience:?}: required");
            both().iter().for_each(|sink| settlement.settled(&front, 1, sink));
            assert_eq!(position(&settlement, &front).as_deref(), wanted, "{patience:?}");
            settlement.settled(&front, 1, "s3");
            assert_eq!(position(&settlement, &front).is_some(), wanted.is_none(), "{patience:?}: accepted");
        }
    }

    #[test]
    fn of_a_camera_that_was_taken_over_only_best_effort_sinks_get_what_the_new_owner_has_behind_it() {
        let settlement = Settlement::new(both(), EVER);
        let (front, back) = (CameraId::new("front"), CameraId::new("back"));
        settlement.taken(&front, 8, both());
        assert!(settlement.waits(&front) && !settlement.waits(&back));
        assert!(!settlement.leaves_out() && !settlement.is_left_out(&front, 9, "kds/a"));
        settlement.leave_out(&front, 7);
        let left = |camera: &CameraId, seq, sink| settlement.is_left_out(camera, seq, sink);
        assert_eq!([6, 7, 8].map(|seq| left(&front, seq, "s3")), [false, false, true]);
        assert_eq!([6, 7, 8].map(|seq| left(&front, seq, "kds/a")), [true; 3]);
        assert!(settlement.leaves_out() && !left(&back, 8, "kds/a"));
    }

    #[test]
    fn one_camera_does_not_hold_another() {
        let settlement = Settlement::new(both(), EVER);
        let (front, back) = (CameraId::new("front"), CameraId::new("back"));
        settlement.taken(&front, 1, both());
        settlement.committed(&front, checkpoint(1, 1));
        settlement.committed(&back, checkpoint(5, 0));
        assert_eq!(position(&settlement, &front), None);
        assert_eq!(position(&settlement, &back).as_deref(), Some("5"));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_arrives_in_the_end() {
        let (settlement, front) = (Settlement::new(both(), EVER), CameraId::new("front"));
        for seq in 1..=1_000 {
            settlement.taken(&front, seq, both());
            settlement.committed(&front, checkpoint(seq, seq));
        }
        assert!(settlement.lock()[&front].waiting.len() <= MOST_CHECKPOINTS);
        for seq in 1..=1_000 {
            both().iter().for_each(|sink| settlement.settled(&front, seq, sink));
        }
        settlement.committed(&front, checkpoint(1_001, 1_000));
        assert_eq!(position(&settlement, &front).as_deref(), Some("1001"));
    }
}
