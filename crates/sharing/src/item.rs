//! The fenced item of a camera, and the conditional calls on it.
//!
//! The item is the truth about a camera: its owner, the state to resume from, and the records that are decided and not yet
//! accepted by a required sink. Every table (in memory, simulated, DynamoDB) must do to an item exactly what [`apply`] does.
//!
//! An item that does not exist equals [`CameraItem::default`]: a table compares a missing attribute as 0 or absent.
//!
//! | attribute | rises or changes with | protects |
//! | --- | --- | --- |
//! | `rev` | each write of owner, state or pending | against late copies of older calls (rule R) |
//! | `epoch` | each change of owner | consumers of records, and messages of former owners (rule F) |
//! | `next`, `ready` | offers; `rev` stays | nothing: they never make the owner's write fail |

use std::sync::Arc;

use crate::ids::WorkerId;
use crate::rules::SafetyRules;

/// A decided record that a required sink has not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PendingRecord {
    /// The record's number in the order of its camera, from 1, without gaps.
    pub seq: u64,
    /// The id under which consumers know the event.
    pub id: Arc<str>,
    /// The bytes to send, and all else that a successor needs to send them: opaque here.
    pub body: Arc<[u8]>,
}

impl PendingRecord {
    /// Returns the bytes that the record takes in the item: body, id and number.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.body.len() + self.id.len() + size_of::<u64>()
    }
}

/// The state from which an owner resumes a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CameraResumeState {
    /// The last complete fragment; empty before the first one.
    pub position: Arc<str>,
    /// The number of the last record that the state includes; 0 before the first one.
    pub seq: u64,
    /// The checkpoint: opaque here.
    pub checkpoint: Arc<[u8]>,
    /// The format of `checkpoint`. A worker that does not read it is not given the camera.
    pub checkpoint_version: u32,
}

/// The item of one camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CameraItem {
    /// The revision.
    pub rev: u64,
    /// The number of changes of owner.
    pub epoch: u64,
    /// The worker that owns the camera; `None` if it is free.
    pub owner: Option<WorkerId>,
    /// The worker that is about to get the camera.
    pub next: Option<WorkerId>,
    /// `true` once `next` can continue without a gap.
    pub ready: bool,
    /// The state to resume from.
    pub state: CameraResumeState,
    /// The records to send again after a takeover, in order. Bounded by [`MAX_PENDING_RECORDS`](crate::limits::MAX_PENDING_RECORDS) and
    /// [`MAX_COMMIT_RECORDS`](crate::limits::MAX_COMMIT_RECORDS).
    pub pending: Vec<PendingRecord>,
    /// The hash of the camera's settings with which the owner runs it.
    pub spec: Arc<str>,
    /// The number of owners in a row that died with the camera. The owner clears it after two minutes.
    pub strikes: u32,
}

/// A change of the owner by the leader, or by a single process for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ItemGrant {
    /// The owner that must be there; `None` if the camera must be free.
    pub from: Option<WorkerId>,
    /// The epoch that must be there.
    pub epoch: u64,
    /// The new owner.
    pub to: WorkerId,
    /// The new value of [`CameraItem::strikes`].
    pub strikes: u32,
}

/// The owner of an item after the owner's write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnerAfter {
    /// The writer stays the owner.
    Same,
    /// The worker that the item names as `next` becomes the owner.
    Next(WorkerId),
    /// The camera is free.
    Free,
}

/// A write of state and pending records by the owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerWrite {
    /// The writer, which must be the owner.
    pub owner: WorkerId,
    /// The epoch that must be there.
    pub epoch: u64,
    /// The revision that must be there.
    pub rev: u64,
    /// The new state.
    pub state: CameraResumeState,
    /// The new pending records.
    pub pending: Vec<PendingRecord>,
    /// The hash of the settings with which the owner runs the camera.
    pub spec: Arc<str>,
    /// `true` to set [`CameraItem::strikes`] to 0.
    pub clear_strikes: bool,
    /// The owner after the write.
    pub then: OwnerAfter,
}

/// A conditional call on the item of a camera.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ItemCall {
    /// Makes a worker the owner.
    Grant(ItemGrant),
    /// Writes state and pending records, and may end the ownership.
    Write(OwnerWrite),
    /// Names the next owner of an owned camera that has none.
    Offer {
        /// The owner that must be there.
        owner: WorkerId,
        /// The epoch that must be there.
        epoch: u64,
        /// The next owner.
        next: WorkerId,
    },
    /// Takes an offer back.
    Withdraw {
        /// The epoch that must be there.
        epoch: u64,
        /// The next owner that must be there.
        next: WorkerId,
    },
    /// Reports that the next owner can continue without a gap.
    Ready {
        /// The epoch that must be there.
        epoch: u64,
        /// The next owner that must be there.
        next: WorkerId,
    },
    /// Takes the camera from its owner.
    Free {
        /// The owner that must be there.
        owner: WorkerId,
        /// The epoch that must be there.
        epoch: u64,
        /// The new value of [`CameraItem::strikes`].
        strikes: u32,
    },
}

/// The condition of a call was not met, and nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the item is at revision {}, epoch {}, of {}: the call was for another state of it",
    .there.rev, .there.epoch, .there.owner.as_ref().map_or("no owner", WorkerId::as_str)
)]
pub struct ItemRefusal {
    /// The item as it is.
    pub there: Box<CameraItem>,
}

impl CameraItem {
    /// Returns the call that makes `to` the owner of the item as it is here.
    #[must_use]
    pub fn claim_for(&self, to: &WorkerId) -> ItemCall {
        let (from, strikes) = (self.owner.clone(), self.strikes);
        ItemCall::Grant(ItemGrant { from, epoch: self.epoch, to: to.clone(), strikes })
    }

    fn is_owned_by(&self, owner: &WorkerId, epoch: u64) -> bool {
        self.owner.as_ref() == Some(owner) && self.epoch == epoch
    }

    fn is_offered_to(&self, next: &WorkerId, epoch: u64) -> bool {
        self.owner.is_some() && self.next.as_ref() == Some(next) && self.epoch == epoch
    }

    fn change_owner(&mut self, to: Option<WorkerId>) {
        self.owner = to;
        self.epoch += 1;
        self.rev += 1;
        self.next = None;
        self.ready = false;
    }
}

impl OwnerWrite {
    /// Returns `true` if the item holds exactly this write: it was applied, and its answer was lost.
    ///
    /// `next` and `ready` are not compared: others may have changed them since.
    #[must_use]
    pub fn is_stored_in(&self, there: &CameraItem) -> bool {
        let is_owner_same = match &self.then {
            OwnerAfter::Same => there.is_owned_by(&self.owner, self.epoch),
            OwnerAfter::Next(to) => there.is_owned_by(to, self.epoch + 1),
            OwnerAfter::Free => there.owner.is_none() && there.epoch == self.epoch + 1,
        };
        is_owner_same
            && there.rev == self.rev + 1
            && there.state == self.state
            && there.pending == self.pending
            && there.spec == self.spec
    }
}

/// Applies a call to an item, and returns the item after it.
///
/// # Errors
///
/// Returns the item as it is if the condition of the call is not met.
pub fn apply(item: &CameraItem, call: &ItemCall) -> Result<CameraItem, ItemRefusal> {
    apply_with(SafetyRules::ALL, item, call)
}

pub(crate) fn apply_with(
    rules: SafetyRules,
    item: &CameraItem,
    call: &ItemCall,
) -> Result<CameraItem, ItemRefusal> {
    if !is_allowed(rules, item, call) {
        return Err(ItemRefusal { there: Box::new(item.clone()) });
    }
    let mut after = item.clone();
    match call {
        ItemCall::Grant(grant) => {
            after.strikes = grant.strikes;
            after.change_owner(Some(grant.to.clone()));
        }
        ItemCall::Write(write) => put(&mut after, write),
        ItemCall::Offer { next, .. } => (after.next, after.ready) = (Some(next.clone()), false),
        ItemCall::Withdraw { .. } => (after.next, after.ready) = (None, false),
        ItemCall::Ready { .. } => after.ready = true,
        ItemCall::Free { strikes, .. } => {
            after.strikes = *strikes;
            after.change_owner(None);
        }
    }
    Ok(after)
}

fn is_allowed(rules: SafetyRules, item: &CameraItem, call: &ItemCall) -> bool {
    match call {
        ItemCall::Grant(grant) => item.owner == grant.from && item.epoch == grant.epoch,
        ItemCall::Write(write) => {
            (!rules.epoch || item.is_owned_by(&write.owner, write.epoch))
                && (!rules.revision || item.rev == write.rev)
                && match &write.then {
                    OwnerAfter::Next(to) => item.next.as_ref() == Some(to),
                    OwnerAfter::Same | OwnerAfter::Free => true,
                }
        }
        ItemCall::Offer { owner, epoch, .. } => item.is_owned_by(owner, *epoch) && item.next.is_none(),
        ItemCall::Withdraw { epoch, next } | ItemCall::Ready { epoch, next } => {
            item.is_offered_to(next, *epoch)
        }
        ItemCall::Free { owner, epoch, .. } => item.is_owned_by(owner, *epoch),
    }
}

fn put(item: &mut CameraItem, write: &OwnerWrite) {
    item.state = write.state.clone();
    item.pending.clone_from(&write.pending);
    item.spec = write.spec.clone();
    if write.clear_strikes {
        item.strikes = 0;
    }
    match &write.then {
        OwnerAfter::Same => item.rev += 1,
        OwnerAfter::Next(to) => item.change_owner(Some(to.clone())),
        OwnerAfter::Free => item.change_owner(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str) -> WorkerId {
        WorkerId::new(name)
    }

    /// An item of `a`, epoch 1, revision 1.
    fn owned() -> CameraItem {
        apply(&CameraItem::default(), &CameraItem::default().claim_for(&worker("a"))).unwrap()
    }

    fn write(then: OwnerAfter) -> OwnerWrite {
        OwnerWrite {
            owner: worker("a"),
            epoch: 1,
            rev: 1,
            state: CameraResumeState { seq: 1, ..CameraResumeState::default() },
            pending: vec![PendingRecord { seq: 1, id: "e1".into(), body: [1, 2].into() }],
            spec: "s".into(),
            clear_strikes: true,
            then,
        }
    }

    fn offer(item: &CameraItem, next: &str) -> Result<CameraItem, ItemRefusal> {
        apply(item, &ItemCall::Offer { owner: worker("a"), epoch: 1, next: worker(next) })
    }

    #[test]
    fn a_missing_item_is_claimed_once() {
        let claim = CameraItem::default().claim_for(&worker("b"));
        assert_eq!(owned().epoch, 1);
        let refusal = apply(&owned(), &claim).unwrap_err();
        assert_eq!(refusal.there.owner, Some(worker("a")));
        assert_eq!(
            refusal.to_string(),
            "the item is at revision 1, epoch 1, of a: the call was for another state of it"
        );
    }

    #[test]
    fn a_write_raises_the_revision_and_a_second_copy_changes_nothing() {
        let call = ItemCall::Write(write(OwnerAfter::Same));
        let after = apply(&owned(), &call).unwrap();
        assert_eq!((after.rev, after.epoch, after.state.seq, after.pending.len()), (2, 1, 1, 1));
        let refusal = apply(&after, &call).unwrap_err();
        assert!(write(OwnerAfter::Same).is_stored_in(&refusal.there));
    }

    #[test]
    fn a_write_of_a_former_owner_is_refused() {
        let taken = apply(&owned(), &owned().claim_for(&worker("b"))).unwrap();
        let refusal = apply(&taken, &ItemCall::Write(write(OwnerAfter::Same))).unwrap_err();
        assert!(!write(OwnerAfter::Same).is_stored_in(&refusal.there));
    }

    #[test]
    fn an_offer_never_makes_the_owners_write_fail() {
        let offered = offer(&owned(), "b").unwrap();
        assert_eq!(offered.rev, 1);
        assert!(offer(&offered, "c").is_err(), "a second offer");
        let after = apply(&offered, &ItemCall::Write(write(OwnerAfter::Same))).unwrap();
        assert_eq!(after.next, Some(worker("b")));
    }

    #[test]
    fn the_final_write_needs_the_offer() {
        let last = ItemCall::Write(write(OwnerAfter::Next(worker("b"))));
        assert!(apply(&owned(), &last).is_err());
        let ready =
            apply(&offer(&owned(), "b").unwrap(), &ItemCall::Ready { epoch: 1, next: worker("b") }).unwrap();
        assert!(ready.ready);
        let after = apply(&ready, &last).unwrap();
        assert_eq!((after.owner.clone(), after.epoch, after.rev), (Some(worker("b")), 2, 2));
        assert_eq!((after.next.clone(), after.ready), (None, false));
        assert!(write(OwnerAfter::Next(worker("b"))).is_stored_in(&after));
    }

    #[test]
    fn an_offer_that_was_withdrawn_cannot_become_ready() {
        let next = worker("b");
        let offered = offer(&owned(), "b").unwrap();
        let withdrawn = apply(&offered, &ItemCall::Withdraw { epoch: 1, next: next.clone() }).unwrap();
        assert_eq!(withdrawn, owned());
        assert!(apply(&withdrawn, &ItemCall::Ready { epoch: 1, next }).is_err());
    }

    #[test]
    fn a_freed_camera_keeps_its_state_and_pending_records() {
        let written = apply(&owned(), &ItemCall::Write(write(OwnerAfter::Same))).unwrap();
        let free = apply(&written, &ItemCall::Free { owner: worker("a"), epoch: 1, strikes: 3 }).unwrap();
        assert_eq!((free.owner.clone(), free.epoch, free.strikes), (None, 2, 3));
        assert_eq!((free.state.seq, free.pending.len()), (1, 1));
        let own = apply(&owned(), &ItemCall::Write(write(OwnerAfter::Free))).unwrap();
        assert!(write(OwnerAfter::Free).is_stored_in(&own));
        assert_eq!(own.strikes, 0);
    }
}
