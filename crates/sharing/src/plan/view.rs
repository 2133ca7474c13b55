//! The leader's picture of one camera.

use std::sync::Arc;

use crate::ids::WorkerId;
use crate::item::{CameraItem, ItemCall};
use crate::limits::{FORCE_MS, WARM_MS};
use crate::placement::ResourceAmounts;

/// The part of an item that the leader plans by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ItemSummary {
    pub(super) owner: Option<WorkerId>,
    pub(super) epoch: u64,
    pub(super) next: Option<WorkerId>,
    pub(super) ready: bool,
    pub(super) spec: Arc<str>,
    pub(super) checkpoint_version: Option<u32>,
    pub(super) strikes: u32,
}

/// A camera on its way to another worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OpenOffer {
    pub(super) to: WorkerId,
    pub(super) since_ms: u64,
    pub(super) read_due_ms: u64,
}

/// One camera, as the leader knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct CameraView {
    /// `None` until the item has been read.
    pub(super) item: Option<ItemSummary>,
    /// The time at which the item was first seen with its owner.
    pub(super) owner_seen_ms: u64,
    /// A call on the item is queued or under way.
    pub(super) is_busy: bool,
    /// The worker that the call in question is to make the owner or the next owner.
    pub(super) target: Option<WorkerId>,
    pub(super) offer: Option<OpenOffer>,
    /// The worker that did not become ready in time.
    pub(super) avoid: Option<WorkerId>,
    pub(super) quarantined_until_ms: Option<u64>,
    pub(super) removed_since_ms: Option<u64>,
    pub(super) is_being_read: bool,
    pub(super) cost: ResourceAmounts,
}

impl ItemSummary {
    fn of(item: &CameraItem) -> Self {
        let has_state = item.state.checkpoint_version > 0 || !item.state.checkpoint.is_empty();
        Self {
            owner: item.owner.clone(),
            epoch: item.epoch,
            next: item.next.clone(),
            ready: item.ready,
            spec: item.spec.clone(),
            checkpoint_version: has_state.then_some(item.state.checkpoint_version),
            strikes: item.strikes,
        }
    }
}

impl CameraView {
    /// Takes the item as an answer has brought it; returns `true` if that changes a plan.
    pub(super) fn update(&mut self, now_ms: u64, item: &CameraItem) -> bool {
        let summary = ItemSummary::of(item);
        if self.item.as_ref().is_some_and(|known| known.epoch > summary.epoch) {
            return false;
        }
        if self.offer.as_ref().map(|offer| &offer.to) != summary.next.as_ref() {
            let open = |to| OpenOffer { to, since_ms: now_ms, read_due_ms: now_ms };
            self.offer = summary.next.clone().map(open);
        }
        if self.item.as_ref().is_none_or(|known| known.owner != summary.owner) {
            self.owner_seen_ms = now_ms;
        }
        let is_changed = self.item.as_ref() != Some(&summary);
        self.item = Some(summary);
        is_changed
    }

    /// Returns the worker that has the camera or is to get it.
    pub(super) fn holder(&self) -> Option<&WorkerId> {
        let offered = self.offer.as_ref().map(|offer| &offer.to);
        let owner = self.item.as_ref().and_then(|item| item.owner.as_ref());
        self.target.as_ref().or(offered).or(owner)
    }

    /// Returns the call that ends an open offer, if the offer has taken too long or its worker is gone.
    pub(super) fn offer_end(&self, now_ms: u64, is_next_open: bool) -> Option<ItemCall> {
        let (item, offer) = (self.item.as_ref()?, self.offer.as_ref()?);
        let age_ms = now_ms.saturating_sub(offer.since_ms);
        let (epoch, next) = (item.epoch, offer.to.clone());
        if !is_next_open || (!item.ready && age_ms >= WARM_MS) {
            return Some(ItemCall::Withdraw { epoch, next });
        }
        let is_forced = item.ready && age_ms >= FORCE_MS;
        is_forced.then(|| self.grant(item, next))
    }

    fn grant(&self, item: &ItemSummary, to: WorkerId) -> ItemCall {
        item.grant_to(to, item.strikes)
    }
}

impl ItemSummary {
    /// Returns the grant of the camera, as the item is known, to a worker.
    pub(super) fn grant_to(&self, to: WorkerId, strikes: u32) -> ItemCall {
        let (from, epoch) = (self.owner.clone(), self.epoch);
        ItemCall::Grant(crate::item::ItemGrant { from, epoch, to, strikes })
    }
}
