//! Figures of the pool, which only its leader knows.

use super::PoolDirector;
use crate::members::MemberPhase;
use crate::placement::ResourceAmounts;

/// Highest [`PoolFigures::load_percent`]: without any worker the load has no bound.
const MAX_LOAD_PERCENT: u32 = 1_000;

/// Figures of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// The cost of all cameras, also of those without an owner, per usable capacity of the ready workers, of the scarcest resource.
    /// Halves when the workers double, and may exceed 100; at most 1000.
    pub load_percent: u32,
    /// Number of ready workers.
    pub workers: usize,
    /// Number of cameras in the configuration.
    pub cameras: usize,
    /// Number of those without an owner that has a row: no worker has room, or all of them are gone, or the camera is quarantined.
    pub unassigned: usize,
    /// Number of those on their way to another worker.
    pub moving: usize,
}

impl PoolDirector {
    /// Returns the figures of the pool; `None` before every item has been read.
    pub(crate) fn figures(&self) -> Option<PoolFigures> {
        if !self.is_informed() {
            return None;
        }
        let ready = || self.members.values().filter(|row| row.phase == MemberPhase::Ready);
        let capacity = ready().fold(ResourceAmounts::default(), |sum, row| sum.plus(row.capacity));
        let configured =
            || self.cameras.iter().filter(|(camera, _)| self.config.cameras.contains_key(*camera));
        let demand = configured().fold(ResourceAmounts::default(), |sum, (_, view)| sum.plus(view.cost));
        let has_owner = |owner| self.members.contains_key(owner);
        let unassigned = configured().filter(|(_, view)| {
            let owner = view.item.as_ref().and_then(|item| item.owner.as_ref());
            !owner.is_some_and(has_owner)
        });
        Some(PoolFigures {
            load_percent: (demand.share_of(capacity) / 10).min(MAX_LOAD_PERCENT),
            workers: ready().count(),
            cameras: self.config.cameras.len(),
            unassigned: unassigned.count(),
            moving: configured().filter(|(_, view)| view.offer.is_some()).count(),
        })
    }
}
