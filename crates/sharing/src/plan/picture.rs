//! Views of the leader's picture: the board for placement, the moves under way, the plans that the workers should have.

use std::collections::BTreeMap;

use super::view::ItemSummary;
use super::{PoolCamera, PoolDirector};
use crate::ids::{CameraKey, WorkerId};
use crate::members::{MemberPhase, MemberRow};
use crate::placement::{CameraDemand, PlacementBoard, ResourceAmounts, WorkerRoom};
use crate::table::{PlanEntry, PlanTask};

impl PoolDirector {
    pub(super) fn owner_and_demand(&self, camera: &CameraKey) -> Option<(WorkerId, CameraDemand)> {
        let (view, settings) = (self.cameras.get(camera)?, self.config.cameras.get(camera)?);
        let item = view.item.as_ref()?;
        let demand = demand_of(camera, settings, item, view.cost, self.generation);
        Some((item.owner.clone()?, demand))
    }

    /// Returns the workers and their loads, with cameras on their way at the worker that gets them.
    pub(super) fn board(&self) -> PlacementBoard {
        self.board_of(|row| row.phase == MemberPhase::Ready && !row.is_overloaded)
    }

    /// Returns the same board with the workers open that do not keep up.
    pub(super) fn board_with_overloaded(&self) -> PlacementBoard {
        self.board_of(|row| row.phase == MemberPhase::Ready)
    }

    fn board_of(&self, is_open: impl Fn(&MemberRow) -> bool) -> PlacementBoard {
        let room = |row: &MemberRow| WorkerRoom {
            capacity: row.capacity,
            load: ResourceAmounts::default(),
            models: row.models.clone(),
            zone: row.zone.clone(),
            reads: row.reads.clone(),
            generation: row.generation,
            is_closed: !is_open(row),
        };
        let members = self.members.iter().filter(|(_, row)| row.phase != MemberPhase::Joining);
        let mut board =
            PlacementBoard::new(members.map(|(worker, row)| (worker.clone(), room(row))).collect());
        for (camera, view) in &self.cameras {
            let settings = self.config.cameras.get(camera);
            if let (Some(settings), Some(item), Some(holder)) = (settings, &view.item, view.holder()) {
                board.add(holder, &demand_of(camera, settings, item, view.cost, self.generation));
            }
        }
        board
    }

    /// Returns the number of cameras that each worker gives or takes.
    pub(super) fn moving(&self) -> BTreeMap<WorkerId, usize> {
        let mut moving = BTreeMap::new();
        for view in self.cameras.values() {
            let owner = view.item.as_ref().and_then(|item| item.owner.as_ref());
            let next = view.offer.as_ref().map(|offer| &offer.to).or(view.target.as_ref());
            if let (Some(owner), Some(next)) = (owner, next) {
                for worker in [owner, next] {
                    *moving.entry(worker.clone()).or_default() += 1;
                }
            }
        }
        moving
    }

    pub(super) fn movable(&self) -> BTreeMap<WorkerId, Vec<CameraDemand>> {
        let mut cameras: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (camera, _) in self.cameras.iter().filter(|(_, view)| !view.is_busy && view.offer.is_none()) {
            if let Some((owner, demand)) = self.owner_and_demand(camera) {
                cameras.entry(owner).or_default().push(demand);
            }
        }
        cameras
    }

    pub(super) fn wanted_plans(&self) -> BTreeMap<WorkerId, BTreeMap<CameraKey, PlanEntry>> {
        let mut wanted: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (camera, view) in &self.cameras {
            let Some(item) = &view.item else { continue };
            let mut add = |worker: &WorkerId, task| {
                let entry = PlanEntry { epoch: item.epoch, task };
                wanted.entry(worker.clone()).or_default().insert(camera.clone(), entry);
            };
            if let Some(owner) = &item.owner {
                add(owner, if item.next.is_some() { PlanTask::Release } else { PlanTask::Run });
            }
            if let Some(next) = &item.next {
                add(next, PlanTask::Warm);
            }
        }
        wanted
    }
}

/// Returns `true` if the owner should keep the camera.
pub(super) fn is_fit(row: &MemberRow, demand: &CameraDemand) -> bool {
    let room = WorkerRoom { reads: row.reads.clone(), generation: row.generation, ..WorkerRoom::default() };
    row.phase != MemberPhase::Draining && !row.is_overloaded && room.can_run(demand)
}

pub(super) fn demand_of(
    camera: &CameraKey,
    settings: &PoolCamera,
    item: &ItemSummary,
    cost: ResourceAmounts,
    generation: u64,
) -> CameraDemand {
    CameraDemand {
        camera: camera.clone(),
        cost,
        priority: settings.priority,
        models: settings.models.clone(),
        group: settings.group.clone(),
        checkpoint_version: item.checkpoint_version,
        // A camera that is new or has changed goes only to workers that know it as it is now.
        min_generation: if item.spec == settings.spec { 0 } else { generation },
    }
}
