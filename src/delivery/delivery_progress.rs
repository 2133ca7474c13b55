//! The position up to which each camera is delivered: its newest checkpoint all of whose events every sink has accepted. A best-effort
//! sink is waited for up to a limit: else one that never works would hold the position for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::owned_epochs::OwnedEpochs;
use crate::checkpoint::Checkpoint;
use crate::media::CameraId;

/// Limit on the checkpoints kept per camera while events wait; beyond it every other one is dropped, so that the position moves in
/// larger steps.
const MAX_CHECKPOINTS: usize = 64;
/// Limit on the records whose payloads are kept per camera, to be written ahead.
pub(super) const MAX_HELD: usize = 32;

/// The delivery progress of all cameras. Empty where there is no table of positions to write.
#[derive(Debug)]
pub(crate) struct DeliveryProgress {
    rules: WaitRules,
    cameras: Mutex<HashMap<CameraId, CameraProgress>>,
    /// `true` where records of some camera are left out.
    leaves_out: AtomicBool,
    /// The shared cameras of this worker; `None` in single mode.
    owned: Option<OwnedEpochs>,
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
    /// By `seq` and sink the events that the sink has yet to accept.
    outstanding: BTreeMap<(u64, Arc<str>), Outstanding>,
    /// By `seq` the payloads of those records: of [`MAX_HELD`] of them at most.
    payloads: BTreeMap<u64, Bytes>,
    /// The newest checkpoint.
    newest: Option<Checkpoint>,
    /// Checkpoints that are not delivered yet, oldest first.
    waiting: VecDeque<Checkpoint>,
    /// The newest delivered checkpoint, until it is fetched.
    delivered: Option<Checkpoint>,
    /// The process that took the camera over delivers the records after this `seq`; `None`: the camera was not taken over.
    left_after: Option<u64>,
}

/// An event that a sink has yet to accept.
#[derive(Clone, Debug, PartialEq)]
struct Outstanding {
    since: Instant,
    /// The outbox that has it for the sink; `None`: this one.
    holder: Option<Arc<str>>,
}

/// A record that sinks have yet to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnacceptedRecord {
    pub(crate) seq: u64,
    /// The outbox that has it; `None`: this one.
    pub(crate) holder: Option<Arc<str>>,
    pub(crate) payload: Bytes,
    /// The names of the sinks.
    pub(crate) sinks: Vec<Arc<str>>,
}

/// The records of a camera that sinks have yet to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unaccepted {
    /// All of them, in the order of their `seq`; empty: every sink has everything.
    All(Vec<UnacceptedRecord>),
    /// There are more than are kept in memory.
    TooMany,
}

impl DeliveryProgress {
    /// Returns progress that waits without limit for the sinks in `required`, and for `patience` for others.
    pub(crate) fn new(required: impl IntoIterator<Item = Arc<str>>, patience: Duration) -> Self {
        let rules = WaitRules { required: required.into_iter().collect(), patience };
        Self { rules, cameras: Mutex::default(), leaves_out: AtomicBool::new(false), owned: None }
    }

    /// Returns the progress of a worker that shares the cameras with others, and owns none so far.
    pub(crate) fn of_worker(self) -> Self {
        Self { leaves_out: AtomicBool::new(true), owned: Some(OwnedEpochs::default()), ..self }
    }

    /// Notes that this worker owns a shared camera.
    pub(super) fn own(&self, camera: &CameraId, epoch: u64) {
        if let Some(owned) = &self.owned {
            owned.insert(camera, epoch);
        }
    }

    /// Notes that another worker owns a shared camera, or none: its records no longer go to required sinks from here.
    pub(super) fn disown(&self, camera: &CameraId) {
        if let Some(owned) = &self.owned {
            owned.remove(camera);
        }
        self.lock().remove(camera);
    }

    /// Returns whether the owner of a shared camera delivers a record in place of this worker: this one does not own the camera, or
    /// under a later epoch, whose start gave it the record again. A record of single mode has no epoch, and no one else has it.
    pub(super) fn is_foreign(&self, camera: &CameraId, epoch: Option<u64>, sink: &str) -> bool {
        let Some((owned, epoch)) = self.owned.as_ref().zip(epoch) else { return false };
        self.rules.required.contains(sink) && owned.get(camera) != Some(epoch)
    }

    /// Returns whether every required sink has accepted the camera's records up to `seq`.
    pub(super) fn is_accepted(&self, camera: &CameraId, seq: u64) -> bool {
        let cameras = self.lock();
        let Some(progress) = cameras.get(camera) else { return true };
        let mut waiting = progress.outstanding.keys().take_while(|(of, _)| *of <= seq);
        !waiting.any(|(_, sink)| self.rules.required.contains(sink))
    }

    /// Adds an event on its way to `sinks`. To be called before its checkpoint is `committed`.
    pub(crate) fn taken(&self, camera: &CameraId, seq: u64, sinks: impl IntoIterator<Item = Arc<str>>) {
        self.outstanding(camera, seq, sinks, None);
    }

    /// Adds an event that another outbox has for `sinks`: this one takes it in once its pictures are made again.
    pub(crate) fn deferred(
        &self,
        camera: &CameraId,
        seq: u64,
        sinks: impl IntoIterator<Item = Arc<str>>,
        holder: &Arc<str>,
    ) {
        self.outstanding(camera, seq, sinks, Some(holder));
    }

    fn outstanding(
        &self,
        camera: &CameraId,
        seq: u64,
        sinks: impl IntoIterator<Item = Arc<str>>,
        holder: Option<&Arc<str>>,
    ) {
        // Not the time of the event: in catch-up it is hours ago, and the patience would be over at once.
        let outstanding = Outstanding { since: Instant::now(), holder: holder.cloned() };
        let mut cameras = self.lock();
        let progress = cameras.entry(camera.clone()).or_default();
        progress.outstanding.extend(sinks.into_iter().map(|sink| ((seq, sink), outstanding.clone())));
    }

    /// Records that this outbox has an adopted event on disk, for those of the sinks that have yet to accept it.
    pub(crate) fn held(&self, camera: &CameraId, seq: u64, sinks: &[Arc<str>]) {
        let mut cameras = self.lock();
        let Some(progress) = cameras.get_mut(camera) else { return };
        for sink in sinks {
            if let Some(outstanding) = progress.outstanding.get_mut(&(seq, Arc::clone(sink))) {
                outstanding.holder = None;
            }
        }
    }

    /// Keeps the payload of an event that sinks have yet to accept, if there is room.
    pub(crate) fn keep(&self, camera: &CameraId, seq: u64, payload: Bytes) {
        let mut cameras = self.lock();
        let progress = cameras.entry(camera.clone()).or_default();
        if progress.payloads.len() < MAX_HELD {
            progress.payloads.insert(seq, payload);
        }
    }

    /// Returns the camera's newest checkpoint, and the records up to it that sinks have yet to accept; `None`: no checkpoint was
    /// committed since the start.
    pub(crate) fn newest(&self, camera: &CameraId) -> Option<(Checkpoint, Unaccepted)> {
        let mut cameras = self.lock();
        let progress = cameras.get_mut(camera)?;
        progress.advance(&self.rules);
        let newest = progress.newest.clone()?;
        let unaccepted = progress.unaccepted(newest.decide.seq());
        Some((newest, unaccepted))
    }

    /// Returns the records up to `seq` that sinks have yet to accept.
    pub(crate) fn unaccepted(&self, camera: &CameraId, seq: u64) -> Unaccepted {
        let mut cameras = self.lock();
        let progress = cameras.entry(camera.clone()).or_default();
        progress.advance(&self.rules);
        progress.unaccepted(seq)
    }

    /// Adds the camera's newest checkpoint.
    pub(crate) fn committed(&self, camera: &CameraId, checkpoint: Checkpoint) {
        let mut cameras = self.lock();
        let progress = cameras.entry(camera.clone()).or_default();
        progress.newest = Some(checkpoint.clone());
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
    fn unaccepted(&self, up_to: u64) -> Unaccepted {
        // By the holder, too: of a record that was adopted, this outbox may have some sinks' part and another outbox the others'.
        let mut records = BTreeMap::<(u64, Option<Arc<str>>), Vec<Arc<str>>>::new();
        for ((seq, sink), Outstanding { holder, .. }) in &self.outstanding {
            if *seq <= up_to {
                records.entry((*seq, holder.clone())).or_default().push(Arc::clone(sink));
            }
        }
        let with_payload = records.into_iter().map(|((seq, holder), sinks)| {
            let payload = self.payloads.get(&seq)?.clone();
            Some(UnacceptedRecord { seq, holder, payload, sinks })
        });
        with_payload.collect::<Option<Vec<_>>>().map_or(Unaccepted::TooMany, Unaccepted::All)
    }

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

    /// Returns the `seq` of the oldest event if nothing holds it any more.
    fn expired(&self, rules: &WaitRules) -> Option<u64> {
        let ((oldest, _), _) = self.outstanding.first_key_value()?;
        let mut of_oldest = self.outstanding.iter().take_while(|((seq, _), _)| seq == oldest);
        let holds = of_oldest.any(|((_, sink), outstanding)| rules.holds(sink, outstanding.since));
        (!holds).then_some(*oldest)
    }

    /// Moves the delivered checkpoint past those without outstanding events. The events of a checkpoint have a `seq` up to that of its
    /// state.
    fn advance(&mut self, rules: &WaitRules) {
        // Best-effort sinks that were waited for long enough no longer hold the position. While another sink holds an event, they
        // wait along, so that a process that takes the camera over finds the event for all of them.
        while let Some(expired) = self.expired(rules) {
            self.outstanding.retain(|(seq, _), _| *seq != expired);
        }
        let outstanding = &self.outstanding;
        self.payloads.retain(|seq, _| {
            outstanding.range((*seq, Arc::from(""))..).next().is_some_and(|((next, _), _)| next == seq)
        });
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

    fn seqs(unaccepted: &Unaccepted) -> Option<Vec<(u64, usize)>> {
        match unaccepted {
            Unaccepted::All(records) => {
                Some(records.iter().map(|record| (record.seq, record.sinks.len())).collect())
            }
            Unaccepted::TooMany => None,
        }
    }

    #[test]
    fn the_newest_state_comes_with_the_records_up_to_it_that_a_sink_lacks() {
        let (progress, front) = (DeliveryProgress::new(both(), EVER), CameraId::new("front"));
        assert!(progress.newest(&front).is_none());
        let take = |seq: u64| {
            progress.taken(&front, seq, both());
            progress.keep(&front, seq, Bytes::from(format!("record {seq}")));
        };
        let newest = || {
            let (checkpoint, unaccepted) = progress.newest(&front).unwrap();
            (checkpoint.decide.seq(), seqs(&unaccepted).unwrap())
        };
        take(1);
        take(2);
        progress.committed(&front, checkpoint(1, 2));
        take(3);
        assert_eq!(newest(), (2, vec![(1, 2), (2, 2)]), "the commit of record 3 is under way");
        progress.settled(&front, 1, "local");
        both().iter().for_each(|sink| progress.settled(&front, 2, sink));
        assert_eq!(newest(), (2, vec![(1, 1)]));
        progress.committed(&front, checkpoint(2, 3));
        progress.settled(&front, 1, "kds/a");
        assert_eq!(newest(), (3, vec![(3, 2)]));
        both().iter().for_each(|sink| progress.settled(&front, 3, sink));
        assert_eq!(newest(), (3, vec![]));
        assert!(progress.lock()[&front].payloads.is_empty());
    }

    #[test]
    fn an_adopted_record_is_held_by_two_outboxes_until_its_pictures_are_made() {
        let (progress, front) = (DeliveryProgress::new(both(), EVER), CameraId::new("front"));
        let [kds, local] = both();
        progress.taken(&front, 1, [kds]);
        progress.deferred(&front, 1, [Arc::clone(&local)], &"before".into());
        progress.keep(&front, 1, Bytes::from_static(b"record"));
        let holders = || match progress.unaccepted(&front, 1) {
            Unaccepted::All(records) => records.into_iter().map(|record| record.holder).collect::<Vec<_>>(),
            Unaccepted::TooMany => panic!("its payload is kept"),
        };
        assert_eq!(holders(), [None, Some("before".into())]);
        progress.held(&front, 1, &[local]);
        assert_eq!(holders(), [None]);
    }

    #[test]
    fn payloads_are_bounded_and_those_that_are_missing_are_too_many() {
        let (progress, front) = (DeliveryProgress::new(both(), EVER), CameraId::new("front"));
        let last = MAX_HELD as u64 + 1;
        for seq in 1..=last {
            progress.taken(&front, seq, both());
            progress.keep(&front, seq, Bytes::from_static(b"record"));
        }
        assert_eq!(progress.lock()[&front].payloads.len(), MAX_HELD);
        assert_eq!(seqs(&progress.unaccepted(&front, last)), None);
        assert_eq!(seqs(&progress.unaccepted(&front, last - 1)).map(|records| records.len()), Some(MAX_HELD));
        both().iter().for_each(|sink| progress.settled(&front, last, sink));
        assert_eq!(seqs(&progress.unaccepted(&front, last)).map(|records| records.len()), Some(MAX_HELD));
    }
}
