//! New owners for cameras whose owner is dead, and the quarantine of a camera that kills its owners.
//!
//! # Quarantine
//!
//! A camera whose footage kills its worker would kill one worker after the other. The item counts the owners in a row that died
//! with the camera ([`crate::CameraItem::strikes`]), so the count outlives every leader, the one that it killed included. No clock
//! is stored: the owner clears the count after two minutes of its own clock. At the third strike the camera stays free for
//! [`QUARANTINE_MS`] of the leader's clock, and then has one more try.
//!
//! The other cameras of the dead worker have a strike as well, and in a small pool they follow the culprit to the next victim. To
//! quarantine all of them would be worse than the fault, so of the cameras of one dead worker that have reached the limit only half
//! is quarantined, those with the most strikes first. If the culprit is in the other half, the next death halves that again.

use std::collections::BTreeMap;

use super::PoolDirector;
use super::view::CameraView;
use crate::ids::{CameraKey, WorkerId};
use crate::item::ItemCall;
use crate::limits::{MAX_STRIKES, QUARANTINE_MS};
use crate::placement::{CameraDemand, PlacementBoard};

/// A camera that needs another owner.
pub(super) struct Orphan {
    pub(super) camera: CameraKey,
    pub(super) demand: CameraDemand,
    pub(super) strikes: u32,
    pub(super) dead_owner: Option<WorkerId>,
}

impl PoolDirector {
    pub(super) fn grant_orphans(
        &mut self,
        now_ms: u64,
        mut orphans: Vec<Orphan>,
        board: &mut PlacementBoard,
    ) {
        for camera in quarantine(&orphans) {
            let Some(index) = orphans.iter().position(|orphan| orphan.camera == camera) else { continue };
            let orphan = orphans.swap_remove(index);
            self.free_quarantined(now_ms, &orphan);
        }
        self.grant_to_next_owners(&mut orphans, board);
        let demands: Vec<_> = orphans.iter().map(|orphan| &orphan.demand).collect();
        let placement = board.place(&demands);
        let mut placed: BTreeMap<_, _> = placement.placed.into_iter().collect();
        // Workers that do not keep up get them only if no other has room: late is better than blind.
        let left = demands.iter().filter(|demand| placement.unplaced.contains(&demand.camera)).copied();
        let left: Vec<_> = left.collect();
        if !left.is_empty() {
            let mut board = self.board_with_overloaded();
            for demand in &demands {
                placed.get(&demand.camera).into_iter().for_each(|worker| board.add(worker, demand));
            }
            placed.extend(board.place(&left).placed);
        }
        // The most important cameras first, since only some grants are under way at once.
        orphans.sort_by_key(|orphan| (orphan.demand.priority, orphan.camera.clone()));
        for orphan in &orphans {
            if let Some(worker) = placed.get(&orphan.camera) {
                self.queue_grant(orphan, worker.clone());
            }
        }
    }

    /// Grants cameras of a dead owner to the worker that was about to get them: it may have them warm.
    pub(super) fn grant_to_next_owners(&mut self, orphans: &mut Vec<Orphan>, board: &mut PlacementBoard) {
        let mut rest = Vec::new();
        for orphan in orphans.drain(..) {
            let offer = self.cameras.get(&orphan.camera).and_then(|view| view.offer.as_ref());
            let next = offer.map(|offer| offer.to.clone());
            // The board counts the camera for its next owner already.
            match next.filter(|next| board.rooms().get(next).is_some_and(|room| !room.is_closed)) {
                Some(next) => self.queue_grant(&orphan, next),
                None => rest.push(orphan),
            }
        }
        *orphans = rest;
    }

    pub(super) fn queue_grant(&mut self, orphan: &Orphan, to: WorkerId) {
        let item = self.cameras.get(&orphan.camera).and_then(|view| view.item.as_ref());
        if let Some(call) = item.map(|item| item.grant_to(to.clone(), orphan.strikes)) {
            self.queue_call(&orphan.camera, call, Some(to));
        }
    }

    pub(super) fn free_quarantined(&mut self, now_ms: u64, orphan: &Orphan) {
        let Some(view) = self.cameras.get_mut(&orphan.camera) else { return };
        view.quarantined_until_ms = Some(now_ms + QUARANTINE_MS);
        if let (Some(owner), Some(item)) = (orphan.dead_owner.clone(), &view.item) {
            let call = ItemCall::Free { owner, epoch: item.epoch, strikes: orphan.strikes };
            self.queue_call(&orphan.camera, call, None);
        }
    }
}

impl CameraView {
    /// Returns the strikes with which a free camera may be granted now; `None` while it is quarantined.
    pub(super) fn strikes_to_grant(&mut self, now_ms: u64) -> Option<u32> {
        let strikes = self.item.as_ref().map_or(0, |item| item.strikes);
        if strikes < MAX_STRIKES {
            return Some(strikes);
        }
        let until_ms = *self.quarantined_until_ms.get_or_insert(now_ms + QUARANTINE_MS);
        if now_ms < until_ms {
            return None;
        }
        self.quarantined_until_ms = None;
        Some(MAX_STRIKES - 1)
    }
}

/// Returns the cameras to quarantine: of each dead worker half of those that have reached the limit, most strikes first.
fn quarantine(orphans: &[Orphan]) -> Vec<CameraKey> {
    let mut suspects: BTreeMap<&WorkerId, Vec<&Orphan>> = BTreeMap::new();
    for orphan in orphans.iter().filter(|orphan| orphan.strikes >= MAX_STRIKES) {
        if let Some(dead) = &orphan.dead_owner {
            suspects.entry(dead).or_default().push(orphan);
        }
    }
    let mut cameras = Vec::new();
    for mut suspects in suspects.into_values() {
        suspects.sort_by_key(|orphan| (std::cmp::Reverse(orphan.strikes), orphan.camera.clone()));
        let half = suspects.len().div_ceil(2);
        cameras.extend(suspects.into_iter().take(half).map(|orphan| orphan.camera.clone()));
    }
    cameras
}
