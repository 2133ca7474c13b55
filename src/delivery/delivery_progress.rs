//! The position up to which each camera is delivered: its newest checkpoint all of whose events every sink has accepted. A best-effort
//! sink is waited for up to a limit: else one that never works would hold the position for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::media::CameraId;

/// Limit on the checkpoints kept per camera while events wait; beyond it every other one is dropped, so that the position moves in
/// larger steps.
const MAX_CHECKPOINTS: usize = 64;

/// The delivery progress of all cameras. Empty where there is no table of positions to write.
#[derive(Debug)]
pub(crate) struct DeliveryProgress {
    rules: WaitRules,
    cameras: Mutex<HashMap<CameraId, CameraProgress>>,
    /// `true` where records of some camera are left out.
    leaves_out: AtomicBool,
}

/// The sinks that hold a position, and for how long.
#[derive(Debug)]
struct WaitRules {
    required: BTreeSet<Arc<str>>,
    /// Limit on the wait for a best-effort sink, from the event on.
    patience: Duration,
}

#[derive(Debug, Default)]
struct CameraProgress {
    /// By `seq` and sink the events that the sink has yet to accept, with the time of their commit.
    outstanding: BTreeMap<(u64, Arc<str>), Instant>,
    /// Checkpoints that are not delivered yet, oldest first.
    waiting: VecDeque<Checkpoint>,
    /// The newest delivered checkpoint, until it is fetched.
    delivered: Option<Checkpoint>,
    /// The process that took the camera over delivers the records after this `seq`; `None`: the camera was not taken over.
    left_after: Option<u64>,
}

impl DeliveryProgress {
    /// Returns progress that waits without limit for the sinks in `required`, and for `patience` for others.
    pub(crate) fn new(required: impl IntoIterator<Item = Arc<str>>, patience: Duration) -> Self {
        let rules = WaitRules { required: required.into_iter().collect(), patience };
        Self { rules, cameras: Mutex::default(), leaves_out: AtomicBool::new(false) }
    }

    /// Adds an event on its way to `sinks`. To be called before its checkpoint is `committed`.
    pub(crate) fn taken(&self, camera: &CameraId, seq: u64, sinks: impl IntoIterator<Item = Arc<str>>) {
        // Not the time of the event: in catch-up it is hours ago, and the patience would be over at once.
        let now = Instant::now();
        let mut cameras = self.lock();
        let progress = cameras.entry(camera.clone()).or_default();
        progress.outstanding.extend(sinks.into_iter().map(|sink| ((seq, sink), now)));
    }

    /// Adds the camera's newest checkpoint.
    pub(crate) fn committed(&self, camera: &CameraId, checkpoint: Checkpoint) {
        let mut cameras = self.lock();
        let progress = cameras.entry(camera.clone()).or_default();
        progress.committed(checkpoint);
        progress.advance(&self.rules);
    }

    /// Records that a sink has accepted an event, or never will.
    pub(crate) fn settled(&self, camera: &CameraId, seq: u64, sink: &str) {
        if let Some(progress) = self.lock().get_mut(camera) {
            progress.outstanding.remove(&(seq, Arc::from(sink)));
            progress.advance(&self.rules);
        }
    }

    /// Returns the checkpoint up to which the camera is delivered, if it moved since the last call.
    pub(crate) fn moved(&self, camera: &CameraId) -> Option<Checkpoint> {
        let mut cameras = self.lock();
        let progress = cameras.get_mut(camera)?;
        progress.advance(&self.rules);
        progress.delivered.take()
    }

    /// Returns whether a sink has yet to accept an event of the camera.
    pub(crate) fn waits(&self, camera: &CameraId) -> bool {
        self.lock().get(camera).is_some_and(|progress| !progress.outstanding.is_empty())
    }

    /// Leaves the camera's records to a process that took it over and resumes at `seq` or before it.
    pub(crate) fn leave_out(&self, camera: &CameraId, seq: u64) {
        self.lock().entry(camera.clone()).or_default().left_after = Some(seq);
        // After the map: a sink that sees the flag finds the camera there.
        self.leaves_out.store(true, Ordering::Release);
    }

    /// Returns whether records of some camera are left out. Takes no lock, since each sink asks in each round.
    pub(crate) fn leaves_out(&self) -> bool {
        self.leaves_out.load(Ordering::Acquire)
    }

    /// Returns whether the process that took the camera over delivers a record that waits for `sink`. A required sink has every record
    /// up to the position at which that process resumes, so all that still wait for it are left out.
    pub(crate) fn is_left_out(&self, camera: &CameraId, seq: u64, sink: &str) -> bool {
        let left_after = self.lock().get(camera).and_then(|progress| progress.left_after);
        left_after.is_some_and(|after| seq > after || self.rules.required.contains(sink))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, CameraProgress>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitRules {
    fn holds(&self, sink: &Arc<str>, since: Instant) -> bool {
        self.required.contains(sink) || since.elapsed() < self.patience
    }
}

impl CameraProgress {
    fn committed(&mut self, checkpoint: Checkpoint) {
        // A later checkpoint with the same events replaces the earlier one.
        if self.waiting.back().is_some_and(|last| last.decide.seq() == checkpoint.decide.seq()) {
            self.waiting.pop_back();
        }
        self.waiting.push_back(checkpoint);
        if self.waiting.len() > MAX_CHECKPOINTS {
            // Every other one is dropped, not the oldest ones: the position then still moves before all events are accepted.
            let mut at = 0;
            self.waiting.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
    }

    /// Moves the delivered checkpoint past those without outstanding events. The events of a checkpoint have a `seq` up to that of its
    /// state.
    fn advance(&mut self, rules: &WaitRules) {
        // Best-effort sinks that were waited for long enough no longer hold the position.
        while let Some(first) = self.outstanding.first_entry()
            && !rules.holds(&first.key().1, *first.get())
        {
            first.remove();
        }
        // Checkpoints whose state has this `seq` or a later one contain an event that a sink lacks.
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

    fn position(progress: &DeliveryProgress, camera: &CameraId) -> Option<String> {
        progress.moved(camera).and_then(|moved| moved.position).map(|position| position.fragment.to_string())
    }

    #[test]
    fn the_position_moves_when_every_sink_has_all_events_up_to_it() {
        let (progress, front) = (DeliveryProgress::new(both(), EVER), CameraId::new("front"));
        progress.committed(&front, checkpoint(1, 0));
        assert_eq!(position(&progress, &front).as_deref(), Some("1"), "no event, nothing to wait for");
        progress.taken(&front, 1, both());
        progress.committed(&front, checkpoint(2, 1));
        progress.committed(&front, checkpoint(3, 1));
        progress.taken(&front, 2, both());
        progress.committed(&front, checkpoint(4, 2));
        assert_eq!(position(&progress, &front), None);
        progress.settled(&front, 1, "kds/a");
        progress.settled(&front, 2, "kds/a");
        assert_eq!(position(&progress, &front), None, "the local sink has none of them");
        progress.settled(&front, 1, "local");
        assert_eq!(position(&progress, &front).as_deref(), Some("3"));
        progress.settled(&front, 2, "local");
        assert_eq!(position(&progress, &front).as_deref(), Some("4"));
        assert_eq!(position(&progress, &front), None, "returned once");
    }

    #[test]
    fn a_best_effort_sink_holds_the_position_up_to_the_limit() {
        let front = CameraId::new("front");
        for (patience, wanted) in [(EVER, None), (Duration::ZERO, Some("1"))] {
            let progress = DeliveryProgress::new(both(), patience);
            progress.taken(&front, 1, both().into_iter().chain(["s3".into()]));
            progress.committed(&front, checkpoint(1, 1));
            assert_eq!(position(&progress, &front), None, "{patience:?}: required");
            both().iter().for_each(|sink| progress.settled(&front, 1, sink));
            assert_eq!(position(&progress, &front).as_deref(), wanted, "{patience:?}");
            progress.settled(&front, 1, "s3");
            assert_eq!(position(&progress, &front).is_some(), wanted.is_none(), "{patience:?}: accepted");
        }
    }

    #[test]
    fn after_a_takeover_only_best_effort_sinks_get_records_up_to_the_new_owners_position() {
        let progress = DeliveryProgress::new(both(), EVER);
        let (front, back) = (CameraId::new("front"), CameraId::new("back"));
        progress.taken(&front, 8, both());
        assert!(progress.waits(&front) && !progress.waits(&back));
        assert!(!progress.leaves_out() && !progress.is_left_out(&front, 9, "kds/a"));
        progress.leave_out(&front, 7);
        let left = |camera: &CameraId, seq, sink| progress.is_left_out(camera, seq, sink);
        assert_eq!([6, 7, 8].map(|seq| left(&front, seq, "s3")), [false, false, true]);
        assert_eq!([6, 7, 8].map(|seq| left(&front, seq, "kds/a")), [true; 3]);
        assert!(progress.leaves_out() && !left(&back, 8, "kds/a"));
    }

    #[test]
    fn one_camera_does_not_hold_another() {
        let progress = DeliveryProgress::new(both(), EVER);
        let (front, back) = (CameraId::new("front"), CameraId::new("back"));
        progress.taken(&front, 1, both());
        progress.committed(&front, checkpoint(1, 1));
        progress.committed(&back, checkpoint(5, 0));
        assert_eq!(position(&progress, &front), None);
        assert_eq!(position(&progress, &back).as_deref(), Some("5"));
    }

    #[test]
    fn kept_checkpoints_are_bounded_and_the_newest_is_delivered_in_the_end() {
        let (progress, front) = (DeliveryProgress::new(both(), EVER), CameraId::new("front"));
        for seq in 1..=1_000 {
            progress.taken(&front, seq, both());
            progress.committed(&front, checkpoint(seq, seq));
        }
        assert!(progress.lock()[&front].waiting.len() <= MAX_CHECKPOINTS);
        for seq in 1..=1_000 {
            both().iter().for_each(|sink| progress.settled(&front, seq, sink));
        }
        progress.committed(&front, checkpoint(1_001, 1_000));
        assert_eq!(position(&progress, &front).as_deref(), Some("1001"));
    }
}
