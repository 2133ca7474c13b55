//! The leader's planning: which worker should have which camera.
//!
//! The leader's picture of the cameras may be wrong at any time. Each of its calls names the owner and the epoch that it believes
//! in, and a refused call brings the item as it is, so that a mistake corrects itself.
//!
//! An owner without a row counts as dead only if the rows were read after the item. Rows that are older than the item do not have a
//! worker that has joined in between, and a new leader often holds such rows: it would take the cameras of a healthy worker away.
//!
//! | camera is | the leader |
//! | --- | --- |
//! | free, as all are, and the lead is new | waits [`FIRST_GRANTS_MS`] for workers that start at the same time |
//! | free, or its owner has no row | grants it to the worker with the lowest share after it, [`MAX_GRANTS`] at once |
//! | owned by a worker that drains, does not keep up or has an old configuration | offers it to another worker |
//! | offered, and the next owner is gone or not ready after [`WARM_MS`](crate::limits::WARM_MS) | withdraws the offer |
//! | offered, ready, and still with its owner after [`FORCE_MS`](crate::limits::FORCE_MS) | grants it to the next owner |
//! | out of the configuration for [`REMOVED_MS`] | frees it |

mod figures;
mod orphans;
mod picture;
mod reads;
mod rows;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::balance::{BalanceInput, BalanceWatch};
use crate::ids::{CameraKey, WorkerId};
use crate::item::{CameraItem, ItemCall};
use crate::limits::{
    FIRST_GRANTS_MS, LOADS_MS, MAX_BALANCE_MOVES, MAX_DRAIN_MOVES, MAX_GRANTS, OVERLOAD_MOVE_MS, REMOVED_MS,
};
use crate::members::{ConfigVersion, MemberPhase, MemberRow};
use crate::placement::{CameraDemand, PlacementBoard, ResourceAmounts};
use crate::table::{CameraLoads, TableAnswer, TableCall};
pub use figures::PoolFigures;
use orphans::Orphan;
use picture::{demand_of, is_fit};
use reads::{AUDIT_STEP_MS, BULK_RETRY_MS};
use rows::PlanRows;
use view::CameraView;

/// Interval between two updates of the plan rows while many grants are answered.
const PLAN_SYNC_MS: u64 = 50;
/// Delay before planning again after an item has changed, so that the end of a hand-over makes room for the next one.
const REPLAN_MS: u64 = 100;

/// A camera of the configuration, as far as planning needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolCamera {
    /// The hash of the camera's settings.
    pub spec: Arc<str>,
    /// The order in which cameras get the capacity if there is not enough: lower numbers first.
    pub priority: u32,
    /// The models that the camera needs.
    pub models: BTreeSet<Arc<str>>,
    /// Cameras of one group are spread over zones; empty for none.
    pub group: Arc<str>,
    /// The cost until it has been measured.
    pub cost: ResourceAmounts,
}

/// The configuration, as far as planning needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolConfig {
    /// The version, which orders the configurations of the workers.
    pub version: ConfigVersion,
    /// The cameras.
    pub cameras: BTreeMap<CameraKey, PoolCamera>,
}

/// The leader's state. Bounded by the number of cameras and members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolDirector {
    term: u64,
    /// The time before which nothing is granted while no camera has an owner.
    first_grants_ms: u64,
    generation: u64,
    config: Arc<PoolConfig>,
    cameras: BTreeMap<CameraKey, CameraView>,
    members: BTreeMap<WorkerId, MemberRow>,
    /// The time at which the members were asked for.
    members_asked_ms: u64,
    queue: VecDeque<(CameraKey, ItemCall)>,
    calls_under_way: usize,
    bulk_reads: usize,
    /// The time before which no read of many items is made again.
    bulk_retry_ms: u64,
    rows: PlanRows,
    /// The time of the last offer of a camera of each worker.
    overload_moves: BTreeMap<WorkerId, u64>,
    balance: BalanceWatch,
    plans_due_ms: Option<u64>,
    /// The time at which to plan again because an item has changed; more often than the members are read.
    replan_due_ms: Option<u64>,
    audit_due_ms: u64,
    audit_after: Option<CameraKey>,
    loads_due_ms: u64,
}

impl PoolDirector {
    pub(crate) fn new(now_ms: u64, term: u64, config: Arc<PoolConfig>, generation: u64) -> Self {
        let mut director = Self {
            term,
            first_grants_ms: now_ms + FIRST_GRANTS_MS,
            generation,
            config: Arc::default(),
            cameras: BTreeMap::new(),
            members: BTreeMap::new(),
            members_asked_ms: 0,
            queue: VecDeque::new(),
            calls_under_way: 0,
            bulk_reads: 0,
            bulk_retry_ms: 0,
            rows: PlanRows::default(),
            overload_moves: BTreeMap::new(),
            balance: BalanceWatch::default(),
            plans_due_ms: None,
            replan_due_ms: None,
            audit_due_ms: now_ms + AUDIT_STEP_MS,
            audit_after: None,
            loads_due_ms: now_ms,
        };
        director.set_config(config, generation);
        director
    }

    /// Takes the configuration. Cameras that are no longer in it stay known until they are free.
    pub(crate) fn set_config(&mut self, config: Arc<PoolConfig>, generation: u64) {
        self.generation = generation;
        self.config = config;
        for (camera, settings) in &self.config.cameras {
            let view = self.cameras.entry(camera.clone()).or_default();
            view.removed_since_ms = None;
            if view.cost == ResourceAmounts::default() {
                view.cost = settings.cost;
            }
        }
    }

    /// Returns `true` once every camera's item has been read.
    pub(crate) fn is_informed(&self) -> bool {
        self.cameras.values().all(|view| view.item.is_some())
    }

    fn is_without_owners(&self) -> bool {
        self.cameras.values().all(|view| view.holder().is_none())
    }

    /// Plans by the members as a read has returned them that was sent at `asked_ms`. Call it after each read of the members, and
    /// after an expulsion.
    pub(crate) fn plan(&mut self, now_ms: u64, members: &BTreeMap<WorkerId, MemberRow>, asked_ms: u64) {
        self.members.clone_from(members);
        self.members_asked_ms = asked_ms;
        self.overload_moves.retain(|worker, _| members.contains_key(worker));
        if !self.is_informed() || (now_ms < self.first_grants_ms && self.is_without_owners()) {
            return;
        }
        self.end_offers(now_ms);
        let (orphans, movers) = self.classify(now_ms);
        if !orphans.is_empty() || !movers.is_empty() || now_ms >= self.balance.next_check_ms() {
            let mut board = self.board();
            self.grant_orphans(now_ms, orphans, &mut board);
            self.offer_movers(now_ms, movers, &mut board);
            self.offer_for_balance(now_ms, &board);
        }
        self.plans_due_ms.get_or_insert(now_ms);
    }

    /// Returns the calls that are due.
    pub(crate) fn pump(&mut self, now_ms: u64) -> Vec<TableCall> {
        if self.replan_due_ms.take_if(|due| now_ms >= *due).is_some() {
            let members = std::mem::take(&mut self.members);
            self.plan(now_ms, &members, self.members_asked_ms);
        }
        let mut calls = self.read_unknown(now_ms);
        calls.extend(self.read_offers(now_ms));
        calls.extend(self.audit(now_ms));
        if now_ms >= self.loads_due_ms {
            self.loads_due_ms = now_ms + LOADS_MS;
            calls.push(TableCall::ReadLoads);
        }
        while self.calls_under_way < MAX_GRANTS {
            let Some((camera, call)) = self.queue.pop_front() else { break };
            self.calls_under_way += 1;
            calls.push(TableCall::Item { camera, call });
        }
        if self.plans_due_ms.is_some_and(|due| now_ms >= due) && self.is_informed() {
            self.plans_due_ms = None;
            calls.extend(self.rows.sync(self.term, &self.members, self.wanted_plans()));
        }
        calls
    }

    /// Returns the time at which [`PoolDirector::pump`] has more to do.
    pub(crate) fn wake_at(&self) -> u64 {
        let offers = self.cameras.values().filter_map(|view| view.offer.as_ref());
        let offers = offers.map(|offer| offer.read_due_ms).min();
        let unknown = (!self.is_informed() && self.bulk_reads == 0).then_some(self.bulk_retry_ms);
        [offers, unknown, self.replan_due_ms, self.plans_due_ms.filter(|_| self.is_informed())]
            .into_iter()
            .flatten()
            .fold(self.audit_due_ms.min(self.loads_due_ms), u64::min)
    }

    /// Replaces times by constants, so that a model's states stay few: offers began at 0, plans are due at 1, reads of offers at 2,
    /// and nothing that repeats is due.
    #[cfg(test)]
    pub(crate) fn settle(&mut self) {
        (self.audit_due_ms, self.loads_due_ms) = (u64::MAX, u64::MAX);
        (self.bulk_retry_ms, self.overload_moves) = (0, BTreeMap::new());
        self.balance = BalanceWatch::suspended();
        self.plans_due_ms = self.plans_due_ms.map(|_| 1);
        (self.replan_due_ms, self.members_asked_ms, self.first_grants_ms) = (None, 0, 0);
        for view in self.cameras.values_mut() {
            view.owner_seen_ms = 0;
            view.offer.iter_mut().for_each(|offer| (offer.since_ms, offer.read_due_ms) = (0, 2));
        }
    }

    /// Returns the number of a worker's last plan.
    #[cfg(test)]
    pub(crate) fn plan_number(&self, worker: &WorkerId) -> u64 {
        self.rows.number(worker)
    }

    /// Takes the answer to a call on an item.
    pub(crate) fn item_answered(&mut self, now_ms: u64, camera: &CameraKey, answer: &TableAnswer) {
        self.calls_under_way = self.calls_under_way.saturating_sub(1);
        let Some(view) = self.cameras.get_mut(camera) else { return };
        (view.is_busy, view.target) = (false, None);
        match answer {
            TableAnswer::ItemApplied(item) | TableAnswer::ItemRefused(item) => {
                view.update(now_ms, item);
                self.plans_due_ms.get_or_insert(now_ms + PLAN_SYNC_MS);
            }
            _ => {}
        }
    }

    /// Takes the answer to the read of one item.
    pub(crate) fn item_read(&mut self, now_ms: u64, camera: &CameraKey, answer: &TableAnswer) {
        let Some(view) = self.cameras.get_mut(camera) else { return };
        view.is_being_read = false;
        let TableAnswer::Item(item) = answer else { return };
        if view.update(now_ms, item) {
            self.plans_due_ms.get_or_insert(now_ms);
            self.replan_due_ms.get_or_insert(now_ms + REPLAN_MS);
        }
    }

    /// Takes the answer to a read of many items.
    pub(crate) fn items_read(&mut self, now_ms: u64, cameras: &[CameraKey], answer: &TableAnswer) {
        self.bulk_reads = self.bulk_reads.saturating_sub(1);
        for camera in cameras {
            if let Some(view) = self.cameras.get_mut(camera) {
                view.is_being_read = false;
            }
        }
        let TableAnswer::Items(items) = answer else {
            self.bulk_retry_ms = now_ms + BULK_RETRY_MS;
            return;
        };
        for (camera, item) in items {
            self.note_item(now_ms, camera, item);
        }
    }

    fn note_item(&mut self, now_ms: u64, camera: &CameraKey, item: &CameraItem) {
        let is_changed = self.cameras.get_mut(camera).is_some_and(|view| view.update(now_ms, item));
        if is_changed {
            self.plans_due_ms.get_or_insert(now_ms);
        }
    }

    /// Takes the measured loads.
    pub(crate) fn set_loads(&mut self, loads: &CameraLoads) {
        for (camera, cost) in loads {
            if let Some(view) = self.cameras.get_mut(camera) {
                view.cost = *cost;
            }
        }
    }

    /// Takes the answer to a plan's write.
    pub(crate) fn plan_written(
        &mut self,
        worker: &WorkerId,
        number: u64,
        answer: &TableAnswer,
    ) -> Option<TableCall> {
        self.rows.written(worker, number, answer)
    }

    /// Takes the answer to the call that points a worker to its plan. The plan may have changed meanwhile.
    pub(crate) fn plan_pointed(&mut self, now_ms: u64, worker: &WorkerId, number: u64, answer: &TableAnswer) {
        self.rows.pointed(worker, number, answer);
        if *answer == TableAnswer::Done {
            self.plans_due_ms.get_or_insert(now_ms);
        }
    }

    fn queue_call(&mut self, camera: &CameraKey, call: ItemCall, target: Option<WorkerId>) {
        if let Some(view) = self.cameras.get_mut(camera) {
            (view.is_busy, view.target) = (true, target);
            self.queue.push_back((camera.clone(), call));
        }
    }

    fn end_offers(&mut self, now_ms: u64) {
        let mut ends = Vec::new();
        for (camera, view) in self.cameras.iter_mut().filter(|(_, view)| !view.is_busy) {
            let Some(offer) = &view.offer else { continue };
            let is_open = self.members.get(&offer.to).is_some_and(|row| row.phase == MemberPhase::Ready);
            let Some(call) = view.offer_end(now_ms, is_open) else { continue };
            if matches!(call, ItemCall::Withdraw { .. }) {
                view.avoid = Some(offer.to.clone());
            }
            ends.push((camera.clone(), call));
        }
        for (camera, call) in ends {
            self.queue_call(&camera, call, None);
        }
    }

    /// Returns the cameras without an owner that lives, and those whose owner should give them away.
    fn classify(&mut self, now_ms: u64) -> (Vec<Orphan>, Vec<CameraKey>) {
        let (mut orphans, mut movers, mut frees, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (camera, view) in self.cameras.iter_mut().filter(|(_, view)| !view.is_busy) {
            let Some(item) = &view.item else { continue };
            let owner_row = item.owner.as_ref().and_then(|owner| self.members.get(owner));
            let is_owner_dead = owner_row.is_none() && self.members_asked_ms >= view.owner_seen_ms;
            let Some(settings) = self.config.cameras.get(camera) else {
                let removed_ms = *view.removed_since_ms.get_or_insert(now_ms);
                match &item.owner {
                    None => gone.push(camera.clone()),
                    Some(owner) if is_owner_dead || now_ms >= removed_ms + REMOVED_MS => {
                        let (owner, epoch, strikes) = (owner.clone(), item.epoch, item.strikes);
                        frees.push((camera.clone(), ItemCall::Free { owner, epoch, strikes }));
                    }
                    Some(_) => {}
                }
                continue;
            };
            let demand = demand_of(camera, settings, item, view.cost, self.generation);
            match (&item.owner, owner_row) {
                (None, _) => {
                    if let Some(strikes) = view.strikes_to_grant(now_ms) {
                        orphans.push(Orphan { camera: camera.clone(), demand, strikes, dead_owner: None });
                    }
                }
                (Some(owner), None) if is_owner_dead => {
                    let (dead_owner, strikes) = (Some(owner.clone()), item.strikes.saturating_add(1));
                    orphans.push(Orphan { camera: camera.clone(), demand, strikes, dead_owner });
                }
                (Some(_), Some(row)) if view.offer.is_none() && !is_fit(row, &demand) => {
                    movers.push(camera.clone());
                }
                (Some(_), _) => {}
            }
        }
        gone.iter().for_each(|camera| drop(self.cameras.remove(camera)));
        frees.into_iter().for_each(|(camera, call)| self.queue_call(&camera, call, None));
        (orphans, movers)
    }

    /// Returns the number of cameras that a worker may give away at once. One that does not keep up gives one, and sees first whether
    /// that helps: its load is measured over a minute.
    fn max_moves(&self, now_ms: u64, owner: &WorkerId) -> usize {
        let Some(row) = self.members.get(owner) else { return MAX_BALANCE_MOVES };
        let moved_ms = self.overload_moves.get(owner);
        match row.phase {
            MemberPhase::Draining => MAX_DRAIN_MOVES,
            _ if !row.is_overloaded => MAX_BALANCE_MOVES,
            _ => usize::from(moved_ms.is_none_or(|moved_ms| now_ms >= moved_ms + OVERLOAD_MOVE_MS)),
        }
    }

    fn offer_movers(&mut self, now_ms: u64, movers: Vec<CameraKey>, board: &mut PlacementBoard) {
        let mut moving = self.moving();
        for camera in movers {
            let Some((owner, demand)) = self.owner_and_demand(&camera) else { continue };
            let under_way = moving.entry(owner.clone()).or_default();
            if *under_way >= self.max_moves(now_ms, &owner) {
                continue;
            }
            if let Some(next) = self.choose_next(board, &owner, &demand) {
                *under_way += 1;
                self.overload_moves.insert(owner.clone(), now_ms);
                board.remove(&owner, &demand);
                board.add(&next, &demand);
                self.queue_offer(&camera, &owner, next);
            }
        }
    }

    /// Returns the next owner; one that was too slow before only if there is no other.
    fn choose_next(
        &self,
        board: &PlacementBoard,
        owner: &WorkerId,
        demand: &CameraDemand,
    ) -> Option<WorkerId> {
        let avoid = self.cameras.get(&demand.camera).and_then(|view| view.avoid.as_ref());
        board
            .choose_among(demand, |worker| worker != owner && Some(worker) != avoid)
            .or_else(|| board.choose_among(demand, |worker| worker != owner))
    }

    fn offer_for_balance(&mut self, now_ms: u64, board: &PlacementBoard) {
        if now_ms < self.balance.next_check_ms() {
            return;
        }
        let cameras = self.movable();
        let input =
            BalanceInput { board, cameras: &cameras, moving: self.moving(), total: self.cameras.len() };
        for step in self.balance.check(now_ms, &input) {
            self.queue_offer(&step.camera, &step.from, step.to);
        }
    }

    fn queue_offer(&mut self, camera: &CameraKey, owner: &WorkerId, next: WorkerId) {
        let Some(item) = self.cameras.get(camera).and_then(|view| view.item.as_ref()) else { return };
        let call = ItemCall::Offer { owner: owner.clone(), epoch: item.epoch, next: next.clone() };
        self.queue_call(camera, call, Some(next));
    }
}
