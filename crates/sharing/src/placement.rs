//! Placement of cameras on workers by dominant share.
//!
//! A camera costs several resources, and a worker has a capacity of each. The **share** of a worker is the highest fraction that
//! the sum of its cameras takes of any one resource (dominant share), in thousandths. Cameras are placed by falling share, each on
//! the worker with the lowest share after it. Workers within [`SHARE_TIE`] of the lowest count as equal; among them wins the one
//! that has the camera's models loaded, then the one whose zone has the fewest cameras of the same group.
//!
//! No worker is loaded beyond [`MAX_SHARE`], unless by one camera alone. If not every camera finds a place, the placement is made again by priority, so that
//! the most important cameras have one.
//!
//! All numbers are integers, so that the same input gives the same placement on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{CameraKey, WorkerId};
use crate::limits::{MAX_SHARE, SHARE_TIE};

/// Amounts of the resources of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResourceAmounts {
    /// Busy time of the inference threads of GPUs, thousandths of one GPU.
    pub gpu_milli: u64,
    /// Processor time, thousandths of one core.
    pub cpu_milli: u64,
    /// Memory, MiB.
    pub memory_mib: u64,
}

/// A camera that needs a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CameraDemand {
    /// The camera.
    pub camera: CameraKey,
    /// The resources that the camera takes.
    pub cost: ResourceAmounts,
    /// The order in which cameras get the capacity if there is not enough: lower numbers first.
    pub priority: u32,
    /// The models that the camera needs.
    pub models: BTreeSet<Arc<str>>,
    /// Cameras of one group are spread over zones; empty for none.
    pub group: Arc<str>,
    /// The format of the stored checkpoint, which the worker must read; `None` without one.
    pub checkpoint_version: Option<u32>,
    /// The generation of the configuration that the worker must have.
    pub min_generation: u64,
}

/// A worker that can take cameras.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkerRoom {
    /// The usable capacity: the measured one times the safety factor.
    pub capacity: ResourceAmounts,
    /// The resources that the worker's cameras take, those on their way included.
    pub load: ResourceAmounts,
    /// The loaded models.
    pub models: BTreeSet<Arc<str>>,
    /// The availability zone.
    pub zone: Arc<str>,
    /// The checkpoint formats that the worker reads.
    pub reads: BTreeSet<u32>,
    /// The generation of the worker's configuration.
    pub generation: u64,
    /// `true` if the worker is given no more cameras: it drains, or does not keep up.
    pub is_closed: bool,
}

/// Workers, and the number of cameras per zone and group. Bounded by the members and the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementBoard {
    rooms: BTreeMap<WorkerId, WorkerRoom>,
    siblings: BTreeMap<(Arc<str>, Arc<str>), u32>,
}

/// The result of a placement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraPlacement {
    /// The worker of each placed camera, in the order in which they were placed.
    pub placed: Vec<(CameraKey, WorkerId)>,
    /// The cameras for which no worker has room.
    pub unplaced: Vec<CameraKey>,
}

impl ResourceAmounts {
    /// Returns the sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            gpu_milli: self.gpu_milli.saturating_add(other.gpu_milli),
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
        }
    }

    /// Returns the difference, not below 0.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            gpu_milli: self.gpu_milli.saturating_sub(other.gpu_milli),
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
        }
    }

    /// Returns the dominant share of these amounts in a capacity, in thousandths.
    #[must_use]
    pub fn share_of(self, capacity: Self) -> u32 {
        let part = |used: u64, of: u64| match (used, of) {
            (0, _) => 0,
            (_, 0) => u32::MAX,
            (used, of) => u32::try_from(used.saturating_mul(1_000) / of).unwrap_or(u32::MAX),
        };
        part(self.gpu_milli, capacity.gpu_milli)
            .max(part(self.cpu_milli, capacity.cpu_milli))
            .max(part(self.memory_mib, capacity.memory_mib))
    }
}

impl WorkerRoom {
    /// Returns the dominant share of the worker's cameras, in thousandths.
    #[must_use]
    pub fn share(&self) -> u32 {
        self.load.share_of(self.capacity)
    }

    /// Returns the dominant share with one camera more.
    #[must_use]
    pub fn share_with(&self, cost: ResourceAmounts) -> u32 {
        self.load.plus(cost).share_of(self.capacity)
    }

    /// Returns `true` if the worker can run the camera, whatever its load.
    #[must_use]
    pub fn can_run(&self, demand: &CameraDemand) -> bool {
        demand.checkpoint_version.is_none_or(|version| self.reads.contains(&version))
            && self.generation >= demand.min_generation
    }

    fn admits(&self, demand: &CameraDemand) -> bool {
        // A camera that is too much for any worker has one to itself: late is better than never.
        let (share, is_empty) = (self.share_with(demand.cost), self.load == ResourceAmounts::default());
        let has_room = share <= MAX_SHARE || (is_empty && share < u32::MAX);
        !self.is_closed && self.can_run(demand) && has_room
    }
}

impl PlacementBoard {
    /// Creates the board of some workers, with their loads.
    #[must_use]
    pub fn new(rooms: BTreeMap<WorkerId, WorkerRoom>) -> Self {
        Self { rooms, siblings: BTreeMap::new() }
    }

    /// Returns the workers.
    #[must_use]
    pub fn rooms(&self) -> &BTreeMap<WorkerId, WorkerRoom> {
        &self.rooms
    }

    /// Adds a camera that a worker has or is to get.
    pub fn add(&mut self, worker: &WorkerId, demand: &CameraDemand) {
        let Some(room) = self.rooms.get_mut(worker) else { return };
        room.load = room.load.plus(demand.cost);
        room.models.extend(demand.models.iter().cloned());
        if !demand.group.is_empty() {
            *self.siblings.entry((room.zone.clone(), demand.group.clone())).or_default() += 1;
        }
    }

    /// Removes a camera that a worker is about to give away.
    pub fn remove(&mut self, worker: &WorkerId, demand: &CameraDemand) {
        let Some(room) = self.rooms.get_mut(worker) else { return };
        room.load = room.load.minus(demand.cost);
        if let Some(siblings) = self.siblings.get_mut(&(room.zone.clone(), demand.group.clone())) {
            *siblings = siblings.saturating_sub(1);
        }
    }

    /// Returns the worker for one camera; `None` if no worker has room.
    #[must_use]
    pub fn choose(&self, demand: &CameraDemand) -> Option<WorkerId> {
        self.choose_among(demand, |_| true)
    }

    /// Returns the worker for one camera among those that `is_candidate` accepts.
    pub(crate) fn choose_among(
        &self,
        demand: &CameraDemand,
        is_candidate: impl Fn(&WorkerId) -> bool,
    ) -> Option<WorkerId> {
        let open = || self.rooms.iter().filter(|(worker, room)| room.admits(demand) && is_candidate(worker));
        let lowest = open().map(|(_, room)| room.share_with(demand.cost)).min()?;
        open()
            .filter(|(_, room)| room.share_with(demand.cost) <= lowest.saturating_add(SHARE_TIE))
            .min_by_key(|(worker, room)| {
                let missing_models = demand.models.difference(&room.models).count();
                (
                    missing_models,
                    self.siblings_in(room, demand),
                    room.share_with(demand.cost),
                    (*worker).clone(),
                )
            })
            .map(|(worker, _)| worker.clone())
    }

    fn siblings_in(&self, room: &WorkerRoom, demand: &CameraDemand) -> u32 {
        self.siblings.get(&(room.zone.clone(), demand.group.clone())).copied().unwrap_or(0)
    }

    /// Places cameras by falling share, or by priority if not all have room, and adds them to the board.
    pub fn place(&mut self, demands: &[&CameraDemand]) -> CameraPlacement {
        let mut by_share = demands.to_vec();
        by_share.sort_by_key(|demand| (std::cmp::Reverse(self.typical_share(demand)), demand.camera.clone()));
        let mut trial = self.clone();
        let mut placement = trial.place_in_order(&by_share);
        if !placement.unplaced.is_empty() {
            // A stable sort: cameras of one priority stay in falling order of share.
            by_share.sort_by_key(|demand| demand.priority);
            trial = self.clone();
            placement = trial.place_in_order(&by_share);
        }
        *self = trial;
        placement
    }

    fn place_in_order(&mut self, demands: &[&CameraDemand]) -> CameraPlacement {
        let mut placement = CameraPlacement::default();
        for demand in demands {
            match self.choose(demand) {
                Some(worker) => {
                    self.add(&worker, demand);
                    placement.placed.push((demand.camera.clone(), worker));
                }
                None => placement.unplaced.push(demand.camera.clone()),
            }
        }
        placement
    }

    /// Returns the share of a camera in the capacity of all workers together, in millionths.
    fn typical_share(&self, demand: &CameraDemand) -> u32 {
        let total = self.rooms.values().fold(ResourceAmounts::default(), |sum, room| sum.plus(room.capacity));
        let scale = |amount: u64| amount.saturating_mul(1_000);
        let cost = ResourceAmounts {
            gpu_milli: scale(demand.cost.gpu_milli),
            cpu_milli: scale(demand.cost.cpu_milli),
            memory_mib: scale(demand.cost.memory_mib),
        };
        cost.share_of(total)
    }

    /// Returns the mean share of the workers, in thousandths; 0 without workers.
    #[must_use]
    pub fn mean_share(&self) -> u32 {
        let shares: u64 = self.rooms.values().map(|room| u64::from(room.share())).sum();
        let workers = u64::try_from(self.rooms.len()).unwrap_or(u64::MAX).max(1);
        u32::try_from(shares / workers).unwrap_or(u32::MAX)
    }

    /// Returns the highest share of a worker, in thousandths; 0 without workers.
    #[must_use]
    pub fn max_share(&self) -> u32 {
        self.rooms.values().map(WorkerRoom::share).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amounts(gpu_milli: u64, cpu_milli: u64, memory_mib: u64) -> ResourceAmounts {
        ResourceAmounts { gpu_milli, cpu_milli, memory_mib }
    }

    fn demand(name: &str, cost: ResourceAmounts, priority: u32) -> CameraDemand {
        CameraDemand {
            camera: CameraKey::new(name),
            cost,
            priority,
            models: BTreeSet::new(),
            group: "".into(),
            checkpoint_version: None,
            min_generation: 0,
        }
    }

    fn board(capacities: &[ResourceAmounts]) -> PlacementBoard {
        let rooms = capacities.iter().enumerate().map(|(number, capacity)| {
            (
                WorkerId::new(&format!("w{number}")),
                WorkerRoom { capacity: *capacity, ..WorkerRoom::default() },
            )
        });
        PlacementBoard::new(rooms.collect())
    }

    fn place(board: &mut PlacementBoard, demands: &[CameraDemand]) -> CameraPlacement {
        board.place(&demands.iter().collect::<Vec<_>>())
    }

    fn worker_of(placement: &CameraPlacement, camera: &str) -> String {
        let found = placement.placed.iter().find(|(key, _)| key.as_str() == camera);
        found.map_or_else(String::new, |(_, worker)| worker.to_string())
    }

    #[test]
    fn the_share_is_that_of_the_scarcest_resource() {
        let capacity = amounts(1_000, 4_000, 8_000);
        for (cost, share) in [
            (amounts(500, 400, 400), 500),
            (amounts(0, 3_000, 400), 750),
            (amounts(0, 0, 8_000), 1_000),
            (amounts(0, 0, 0), 0),
        ] {
            assert_eq!(cost.share_of(capacity), share);
        }
        assert_eq!(amounts(1, 0, 0).share_of(amounts(0, 1, 1)), u32::MAX, "no GPU at all");
    }

    #[test]
    fn among_equal_workers_the_loaded_model_wins_and_then_the_other_zone() {
        let mut board = board(&[amounts(1_000, 1_000, 1_000); 3]);
        let mut yard = demand("yard", amounts(100, 0, 0), 0);
        yard.models.insert("people".into());
        yard.group = "site".into();
        let zones = ["a", "a", "b"].map(Arc::<str>::from);
        for (room, zone) in board.rooms.values_mut().zip(zones) {
            room.zone = zone;
        }
        board.rooms.get_mut(&WorkerId::new("w1")).unwrap().models.insert("people".into());
        assert_eq!(board.choose(&yard), Some(WorkerId::new("w1")), "model");
        board.rooms.get_mut(&WorkerId::new("w2")).unwrap().models.insert("people".into());
        board.siblings.insert(("a".into(), "site".into()), 1);
        assert_eq!(board.choose(&yard), Some(WorkerId::new("w2")), "zone");
        board.rooms.get_mut(&WorkerId::new("w2")).unwrap().load = amounts(51, 0, 0);
        assert_eq!(board.choose(&yard), Some(WorkerId::new("w1")), "beyond the tie");
    }

    #[test]
    fn cameras_of_a_group_are_spread_over_zones() {
        let mut board = board(&[amounts(10_000, 0, 0); 2]);
        for (room, zone) in board.rooms.values_mut().zip(["a", "b"]) {
            room.zone = zone.into();
        }
        let mut demands = [demand("one", amounts(10, 0, 0), 0), demand("two", amounts(10, 0, 0), 0)];
        demands.iter_mut().for_each(|demand| demand.group = "site".into());
        let placement = place(&mut board, &demands);
        assert_ne!(worker_of(&placement, "one"), worker_of(&placement, "two"));
    }

    #[test]
    fn too_little_capacity_goes_to_the_cameras_of_high_priority() {
        let mut board = board(&[amounts(1_000, 0, 0)]);
        let demands = [
            demand("large", amounts(900, 0, 0), 5),
            demand("vault", amounts(500, 0, 0), 1),
            demand("door", amounts(500, 0, 0), 2),
        ];
        let placement = place(&mut board, &demands);
        assert_eq!(placement.unplaced, [CameraKey::new("large")]);
        assert_eq!(board.max_share(), 1_000);
    }

    #[test]
    fn a_worker_that_cannot_read_the_state_or_has_the_older_file_gets_nothing() {
        let mut board = board(&[amounts(1_000, 0, 0)]);
        let mut old_state = demand("door", amounts(1, 0, 0), 0);
        old_state.checkpoint_version = Some(3);
        assert_eq!(board.choose(&old_state), None);
        board.rooms.get_mut(&WorkerId::new("w0")).unwrap().reads.insert(3);
        assert!(board.choose(&old_state).is_some());
        old_state.min_generation = 7;
        assert_eq!(board.choose(&old_state), None);
    }

    fn any_amounts(range: std::ops::Range<u64>) -> impl Strategy<Value = ResourceAmounts> {
        (range.clone(), range.clone(), range).prop_map(|(gpu, cpu, memory)| amounts(gpu, cpu, memory))
    }

    fn any_demands(costs: std::ops::Range<u64>) -> impl Strategy<Value = Vec<CameraDemand>> {
        prop::collection::vec((any_amounts(costs), 0..4_u32), 1..60).prop_map(|cameras| {
            let cameras = cameras.into_iter().enumerate();
            cameras.map(|(number, (cost, priority))| demand(&format!("c{number}"), cost, priority)).collect()
        })
    }

    fn any_capacities(range: std::ops::Range<u64>) -> impl Strategy<Value = Vec<ResourceAmounts>> {
        prop::collection::vec(any_amounts(range), 1..8)
    }

    proptest! {
        #[test]
        fn no_worker_is_loaded_beyond_the_bound_and_no_camera_placed_twice(
            demands in any_demands(0..600), capacities in any_capacities(0..2_000)
        ) {
            let mut board = board(&capacities);
            let placement = place(&mut board, &demands);
            for (worker, room) in board.rooms() {
                let alone = placement.placed.iter().filter(|(_, to)| to == worker).count() == 1;
                prop_assert!(room.share() <= MAX_SHARE || (alone && room.share() < u32::MAX));
            }
            let placed = placement.placed.iter().map(|(camera, _)| camera.clone());
            let mut all: Vec<_> = placed.chain(placement.unplaced).collect();
            all.sort();
            let mut expected: Vec<_> = demands.iter().map(|demand| demand.camera.clone()).collect();
            expected.sort();
            prop_assert_eq!(all, expected);
        }

        #[test]
        fn the_same_input_gives_the_same_placement(
            demands in any_demands(0..600), capacities in any_capacities(1..2_000)
        ) {
            let mut shuffled = demands.clone();
            shuffled.reverse();
            prop_assert_eq!(place(&mut board(&capacities), &demands), place(&mut board(&capacities), &shuffled));
        }

        #[test]
        fn the_highest_share_is_near_the_mean_or_one_camera_above_it(
            demands in any_demands(1..400), capacities in any_capacities(4_000..40_000)
        ) {
            let mut board = board(&capacities);
            let placement = place(&mut board, &demands);
            prop_assume!(placement.unplaced.is_empty());
            // One camera's worth: the largest camera on the smallest worker; equal workers may differ by the tie on top.
            let largest = demands.iter().flat_map(|demand| {
                capacities.iter().map(|capacity| demand.cost.share_of(*capacity))
            }).max().unwrap();
            let above = board.max_share() - board.mean_share();
            prop_assert!(above <= 150.max(largest + SHARE_TIE), "{above} above the mean, largest camera {largest}");
        }

        #[test]
        fn a_less_important_camera_never_has_the_place_of_an_equal_one(
            costs in prop::collection::vec(0..4_u32, 1..40), capacity in 100..3_000_u64
        ) {
            let demands: Vec<_> = costs.iter().enumerate()
                .map(|(number, priority)| demand(&format!("c{number}"), amounts(100, 0, 0), *priority)).collect();
            let mut board = board(&[amounts(capacity, 0, 0)]);
            let placement = place(&mut board, &demands);
            let priority = |key: &CameraKey| {
                demands.iter().find(|demand| demand.camera == *key).map_or(0, |demand| demand.priority)
            };
            let worst_placed = placement.placed.iter().map(|(camera, _)| priority(camera)).max();
            let best_unplaced = placement.unplaced.iter().map(priority).min();
            if let (Some(placed), Some(unplaced)) = (worst_placed, best_unplaced) {
                prop_assert!(placed <= unplaced);
            }
        }
    }
}
