//! Moves of cameras from workers that are loaded far above the mean.
//!
//! Cameras stay where they are while the highest share is within [`BALANCE_BAND`] of the mean. Beyond it, three checks in a row
//! must agree before cameras move, and then only half of the difference moves, so that two rounds do not chase each other.

use std::collections::BTreeMap;

use crate::ids::{CameraKey, WorkerId};
use crate::limits::{BALANCE_BAND, BALANCE_CHECKS, BALANCE_MS, MAX_BALANCE_MOVES, SHARE_TIE};
use crate::placement::{CameraDemand, PlacementBoard};

/// A camera that moves from its owner to another worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CameraMove {
    /// The camera.
    pub camera: CameraKey,
    /// The owner.
    pub from: WorkerId,
    /// The next owner.
    pub to: WorkerId,
}

/// The state of the balance between checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct BalanceWatch {
    next_check_ms: u64,
    checks_over: u32,
    /// The start of the current minute, and the moves in it.
    minute: (u64, usize),
}

/// Cameras on workers, as the balance sees them.
pub(crate) struct BalanceInput<'a> {
    /// Workers and their loads; cameras on their way count for the worker that gets them.
    pub(crate) board: &'a PlacementBoard,
    /// The cameras that may move, by owner.
    pub(crate) cameras: &'a BTreeMap<WorkerId, Vec<CameraDemand>>,
    /// The number of cameras that each worker gives or takes at the moment.
    pub(crate) moving: BTreeMap<WorkerId, usize>,
    /// Number of cameras in the configuration.
    pub(crate) total: usize,
}

impl BalanceWatch {
    /// Creates a watch that never checks.
    #[cfg(test)]
    pub(crate) fn suspended() -> Self {
        Self { next_check_ms: u64::MAX, ..Self::default() }
    }

    /// Returns the time of the next check.
    pub(crate) fn next_check_ms(&self) -> u64 {
        self.next_check_ms
    }

    /// Checks the balance if a check is due, and returns the cameras that are to move now.
    pub(crate) fn check(&mut self, now_ms: u64, input: &BalanceInput<'_>) -> Vec<CameraMove> {
        if now_ms < self.next_check_ms {
            return Vec::new();
        }
        self.next_check_ms = now_ms + BALANCE_MS;
        let is_over = input.board.max_share() > input.board.mean_share().saturating_add(BALANCE_BAND);
        self.checks_over = if is_over { self.checks_over + 1 } else { 0 };
        if self.checks_over < BALANCE_CHECKS {
            return Vec::new();
        }
        self.checks_over = 0;
        let moves = plan_moves(input, self.budget(now_ms, input.total));
        self.minute.1 += moves.len();
        moves
    }

    /// Returns the number of cameras that may still move in this minute: 5 % of all, and one at least.
    fn budget(&mut self, now_ms: u64, total: usize) -> usize {
        if now_ms >= self.minute.0 + 60_000 {
            self.minute = (now_ms, 0);
        }
        (total / 20).max(1).saturating_sub(self.minute.1)
    }
}

/// Returns moves from workers above the band, at most `budget` of them.
pub(crate) fn plan_moves(input: &BalanceInput<'_>, budget: usize) -> Vec<CameraMove> {
    let mut board = input.board.clone();
    let mut moving = input.moving.clone();
    let mean = board.mean_share();
    let mut over: Vec<_> =
        board.rooms().iter().map(|(worker, room)| (room.share(), worker.clone())).collect();
    over.retain(|(share, _)| *share > mean.saturating_add(BALANCE_BAND));
    over.sort_by_key(|(share, _)| std::cmp::Reverse(*share));
    let mut moves = Vec::new();
    for (share, from) in over {
        let target = mean + (share - mean) / 2;
        let demands = by_falling_cost(&board, &from, input.cameras);
        let before = moves.len();
        for demand in &demands {
            if moves.len() >= budget || board.rooms().get(&from).is_none_or(|room| room.share() <= target) {
                break;
            }
            moves.extend(try_move(&mut board, &mut moving, &from, demand, Some(target)));
        }
        if moves.len() == before && before < budget {
            // Every camera is larger than half the difference: move the smallest one that lowers the maximum at all.
            let mut smallest_first = demands.iter().rev();
            moves.extend(
                smallest_first.find_map(|demand| try_move(&mut board, &mut moving, &from, demand, None)),
            );
        }
    }
    moves
}

fn by_falling_cost<'a>(
    board: &PlacementBoard,
    from: &WorkerId,
    cameras: &'a BTreeMap<WorkerId, Vec<CameraDemand>>,
) -> Vec<&'a CameraDemand> {
    let capacity = board.rooms().get(from).map(|room| room.capacity).unwrap_or_default();
    let mut demands: Vec<_> = cameras.get(from).into_iter().flatten().collect();
    demands.sort_by_key(|demand| (std::cmp::Reverse(demand.cost.share_of(capacity)), demand.camera.clone()));
    demands
}

/// Moves the camera on the board if both workers may move one more and the move lowers the higher of their shares.
///
/// With a target, the worker that gets the camera stays below it or below the one that gives it.
fn try_move(
    board: &mut PlacementBoard,
    moving: &mut BTreeMap<WorkerId, usize>,
    from: &WorkerId,
    demand: &CameraDemand,
    target: Option<u32>,
) -> Option<CameraMove> {
    let is_free = |worker: &WorkerId| moving.get(worker).copied().unwrap_or(0) < MAX_BALANCE_MOVES;
    if !is_free(from) {
        return None;
    }
    let mut after = board.clone();
    after.remove(from, demand);
    let to = after.choose_among(demand, |worker| worker != from && is_free(worker))?;
    let share =
        |board: &PlacementBoard, worker: &WorkerId| board.rooms().get(worker).map_or(0, |room| room.share());
    after.add(&to, demand);
    let limit = match target {
        Some(target) => target.max(share(&after, from)).min(share(board, from).saturating_sub(1)),
        None => share(board, from).saturating_sub(SHARE_TIE),
    };
    if share(&after, &to) > limit {
        return None;
    }
    *board = after;
    *moving.entry(from.clone()).or_default() += 1;
    *moving.entry(to.clone()).or_default() += 1;
    Some(CameraMove { camera: demand.camera.clone(), from: from.clone(), to })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::{ResourceAmounts, WorkerRoom};

    fn gpu(gpu_milli: u64) -> ResourceAmounts {
        ResourceAmounts { gpu_milli, ..ResourceAmounts::default() }
    }

    fn demand(name: &str, cost: ResourceAmounts) -> CameraDemand {
        CameraDemand {
            camera: CameraKey::new(name),
            cost,
            priority: 0,
            models: std::collections::BTreeSet::new(),
            group: "".into(),
            checkpoint_version: None,
            min_generation: 0,
        }
    }

    struct Fixture {
        board: PlacementBoard,
        cameras: BTreeMap<WorkerId, Vec<CameraDemand>>,
    }

    impl Fixture {
        /// Workers of these capacities, and cameras of these costs on the worker with the number beside it.
        fn new(capacities: &[u64], cameras: &[(usize, u64)]) -> Self {
            let id = |number: usize| WorkerId::new(&format!("w{number}"));
            let rooms = capacities.iter().enumerate().map(|(number, capacity)| {
                (id(number), WorkerRoom { capacity: gpu(*capacity), ..WorkerRoom::default() })
            });
            let mut fixture = Self { board: PlacementBoard::new(rooms.collect()), cameras: BTreeMap::new() };
            for (number, (worker, cost)) in cameras.iter().enumerate() {
                let demand = demand(&format!("c{number}"), gpu(*cost));
                let worker = id(worker % capacities.len());
                fixture.board.add(&worker, &demand);
                fixture.cameras.entry(worker).or_default().push(demand);
            }
            fixture
        }

        fn input(&self) -> BalanceInput<'_> {
            let total = self.cameras.values().map(Vec::len).sum();
            BalanceInput { board: &self.board, cameras: &self.cameras, moving: BTreeMap::new(), total }
        }

        fn carry_out(&mut self, moves: &[CameraMove]) {
            for step in moves {
                let from = self.cameras.get_mut(&step.from).unwrap();
                let index = from.iter().position(|demand| demand.camera == step.camera).unwrap();
                let demand = from.remove(index);
                self.board.remove(&step.from, &demand);
                self.board.add(&step.to, &demand);
                self.cameras.entry(step.to.clone()).or_default().push(demand);
            }
        }
    }

    #[test]
    fn cameras_move_only_after_three_checks_that_agree() {
        let fixture = Fixture::new(&[1_000, 1_000], &[(0, 100), (0, 100), (0, 100), (0, 100)]);
        let mut watch = BalanceWatch::default();
        let moves = [0, 5_000, 10_000, 20_000].map(|now| watch.check(now, &fixture.input()).len());
        assert_eq!(moves, [0, 0, 0, 1]);
    }

    #[test]
    fn one_check_within_the_band_starts_the_count_again() {
        let over = Fixture::new(&[1_000, 1_000], &[(0, 200), (0, 200)]);
        let level = Fixture::new(&[1_000, 1_000], &[(0, 200), (1, 200)]);
        let mut watch = BalanceWatch::default();
        let checks = [&over, &over, &level, &over, &over];
        for (number, fixture) in (0..).zip(checks) {
            assert!(watch.check(number * BALANCE_MS, &fixture.input()).is_empty());
        }
        assert_eq!(watch.check(5 * BALANCE_MS, &over.input()).len(), 1);
    }

    #[test]
    fn no_more_than_a_twentieth_of_the_cameras_moves_within_a_minute() {
        let cameras: Vec<_> = (0..40).map(|_| (0, 20)).collect();
        let fixture = Fixture::new(&[1_000, 1_000], &cameras);
        let mut watch = BalanceWatch::default();
        let moves: usize = (0..6).map(|check| watch.check(check * BALANCE_MS, &fixture.input()).len()).sum();
        assert_eq!(moves, 2);
    }

    proptest! {
        #[test]
        fn repeated_moves_end_with_the_highest_share_near_the_mean_or_one_camera_above_it(
            cameras in prop::collection::vec((0..6_usize, 1..400_u64), 1..50),
            capacities in prop::collection::vec(4_000..40_000_u64, 2..6),
        ) {
            let mut fixture = Fixture::new(&capacities, &cameras);
            for _ in 0..500 {
                let before = fixture.board.max_share();
                let moves = plan_moves(&fixture.input(), 8);
                let mut of_worker = BTreeMap::<_, usize>::new();
                for worker in moves.iter().flat_map(|step| [&step.from, &step.to]) {
                    *of_worker.entry(worker.clone()).or_default() += 1;
                }
                prop_assert!(of_worker.values().all(|moves| *moves <= MAX_BALANCE_MOVES));
                fixture.carry_out(&moves);
                prop_assert!(fixture.board.max_share() <= before);
                if moves.is_empty() {
                    break;
                }
            }
            prop_assert!(plan_moves(&fixture.input(), 8).is_empty(), "still moving after 500 rounds");
            let largest = cameras.iter().flat_map(|(_, cost)| {
                capacities.iter().map(|capacity| gpu(*cost).share_of(gpu(*capacity)))
            }).max().unwrap();
            let above = fixture.board.max_share() - fixture.board.mean_share();
            prop_assert!(above <= BALANCE_BAND.max(largest + SHARE_TIE), "{above} above the mean");
        }

        #[test]
        fn a_level_pool_stays_as_it_is(costs in prop::collection::vec(1..100_u64, 1..40)) {
            let cameras: Vec<_> = costs.iter().flat_map(|cost| [(0, *cost), (1, *cost)]).collect();
            let fixture = Fixture::new(&[5_000, 5_000], &cameras);
            let mut watch = BalanceWatch::default();
            for check in 0..10 {
                prop_assert!(watch.check(check * BALANCE_MS, &fixture.input()).is_empty());
            }
        }
    }
}
