//! The states of workers and cameras by the rows of a pool, and the reasons for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sharing::limits::MAX_STRIKES;
use ::sharing::{
    CameraDemand, CameraItem, CameraKey, CameraLoads, MemberPhase, MemberRow, PlacementBoard,
    ResourceAmounts, WorkerId, WorkerRoom,
};

use super::{
    PoolCameraCost, PoolCameraState, PoolCameraView, PoolRows, PoolWorkerState, PoolWorkerView,
    SILENT_AFTER_MS,
};

/// Highest load that is shown, percent: without capacity it has no bound.
const MAX_LOAD_PERCENT: u32 = 1_000;

/// The rows of a pool at one time.
pub(super) struct PoolAssessment<'a> {
    rows: &'a PoolRows,
    now_ms: i64,
    /// The mean cost of the measured cameras.
    mean_cost: ResourceAmounts,
    /// The workers that take cameras, with their loads.
    board: PlacementBoard,
}

impl<'a> PoolAssessment<'a> {
    pub(super) fn new(rows: &'a PoolRows, now_ms: i64) -> Self {
        let mean_cost = mean_of(&rows.loads);
        let mut assessment = Self { rows, now_ms, mean_cost, board: PlacementBoard::default() };
        assessment.board = assessment.open_workers();
        assessment
    }

    /// Returns the worker that leads, if it lives.
    pub(super) fn leader(&self) -> Option<&'a WorkerId> {
        let leader = self.rows.members.members.leader.as_ref()?.worker.as_ref()?;
        self.living(leader).map(|_| leader)
    }

    pub(super) fn generation(&self) -> u64 {
        self.rows.members.members.config.as_ref().map_or(0, |row| row.generation)
    }

    /// Returns the workers, with their shares of these cameras.
    pub(super) fn workers(&self, cameras: &[CameraKey]) -> Vec<PoolWorkerView> {
        let mut owned: BTreeMap<&WorkerId, (usize, ResourceAmounts)> = BTreeMap::new();
        for camera in cameras {
            let Some(owner) = self.item(camera).and_then(|item| item.owner.as_ref()) else { continue };
            let (count, sum) = owned.entry(owner).or_default();
            *count += 1;
            *sum = sum.plus(self.rows.loads.get(camera).copied().unwrap_or(self.mean_cost));
        }
        let workers = self.rows.members.members.workers.iter();
        workers
            .map(|(worker, row)| {
                let (count, sum) = owned.get(worker).copied().unwrap_or_default();
                self.worker(worker, row, count, sum)
            })
            .collect()
    }

    fn worker(
        &self,
        worker: &WorkerId,
        row: &MemberRow,
        cameras: usize,
        load: ResourceAmounts,
    ) -> PoolWorkerView {
        let is_known = cameras == 0 || !self.rows.loads.is_empty();
        PoolWorkerView {
            id: worker.to_string(),
            zone: row.zone.to_string(),
            state: self.worker_state(worker, row),
            leads: self.leader() == Some(worker),
            cameras,
            load_percent: is_known.then(|| (load.share_of(row.capacity) / 10).min(MAX_LOAD_PERCENT)),
            overloaded: row.is_overloaded,
            generation: row.generation,
            beat_ms: self.rows.members.beats_ms.get(worker).copied(),
        }
    }

    fn worker_state(&self, worker: &WorkerId, row: &MemberRow) -> PoolWorkerState {
        match row.phase {
            _ if self.is_silent(worker) => PoolWorkerState::Silent,
            MemberPhase::Joining => PoolWorkerState::Joining,
            MemberPhase::Ready => PoolWorkerState::Ready,
            MemberPhase::Draining => PoolWorkerState::Draining,
        }
    }

    pub(super) fn camera(&self, camera: &CameraKey) -> PoolCameraView {
        let outline = self.rows.items.get(camera).cloned().unwrap_or_default();
        let item = &outline.item;
        let (state, why) = self.camera_state(camera, item);
        let cost = self.rows.loads.get(camera).map(|cost| {
            let ResourceAmounts { gpu_milli, cpu_milli, memory_mib } = *cost;
            PoolCameraCost { gpu_milli, cpu_milli, memory_mib }
        });
        PoolCameraView {
            id: camera.to_string(),
            worker: item.owner.as_ref().map(ToString::to_string),
            state,
            next_worker: item.next.as_ref().map(ToString::to_string),
            epoch: item.epoch,
            since_ms: outline.owner_since_ms,
            cost,
            strikes: item.strikes,
            why,
        }
    }

    fn camera_state(&self, camera: &CameraKey, item: &CameraItem) -> (PoolCameraState, Option<String>) {
        let Some(owner) = &item.owner else {
            if item.strikes >= MAX_STRIKES {
                let why = format!("quarantined: {} workers in a row ended while they had it", item.strikes);
                return (PoolCameraState::Quarantined, Some(why));
            }
            let why = self.obstacle(camera, item).unwrap_or("the leader is about to give it to a worker");
            return (PoolCameraState::Free, Some(why.to_owned()));
        };
        let Some(row) = self.living(owner) else {
            let why = match self.obstacle(camera, item) {
                None => "its worker is gone, another one takes it over".to_owned(),
                Some(obstacle) => format!("its worker is gone, and {obstacle}"),
            };
            return (PoolCameraState::Orphaned, Some(why));
        };
        match item.next {
            Some(_) => (PoolCameraState::Moving, Some(format!("moves because {}", self.cause_of_move(row)))),
            None => (PoolCameraState::Running, waits_to_move(row).map(str::to_owned)),
        }
    }

    fn cause_of_move(&self, row: &MemberRow) -> &'static str {
        if row.phase == MemberPhase::Draining {
            "its worker drains"
        } else if row.is_overloaded {
            "its worker does not keep up"
        } else if row.generation < self.generation() {
            "its worker has an older configuration"
        } else {
            "its worker carries more than the others"
        }
    }

    /// Returns the reason for which no worker can take a camera; `None`: one can.
    fn obstacle(&self, camera: &CameraKey, item: &CameraItem) -> Option<&'static str> {
        let demand = self.demand(camera, item);
        let (rooms, has_room) = (self.board.rooms(), self.board.choose(&demand).is_some());
        let any = |is_met: &dyn Fn(&WorkerRoom) -> bool| rooms.values().any(is_met);
        if rooms.is_empty() {
            Some("no worker is ready")
        } else if self.leader().is_none() {
            Some("no worker leads the pool")
        } else if has_room {
            None
        } else if !any(&|room| room.can_run(&CameraDemand { checkpoint_version: None, ..demand.clone() })) {
            Some("no worker has the newest configuration")
        } else if !any(&|room| room.can_run(&demand)) {
            Some("no worker reads the state that a newer version of the program has stored")
        } else {
            Some("no worker has room")
        }
    }

    /// Returns what a camera needs; one that was not measured counts as the mean of those that were.
    fn demand(&self, camera: &CameraKey, item: &CameraItem) -> CameraDemand {
        let version = item.state.checkpoint_version;
        CameraDemand {
            camera: camera.clone(),
            cost: self.rows.loads.get(camera).copied().unwrap_or(self.mean_cost),
            priority: 0,
            models: BTreeSet::new(),
            group: Arc::default(),
            checkpoint_version: (version > 0).then_some(version),
            // A camera that no worker has run yet goes only to those that know it.
            min_generation: if item.spec.is_empty() { self.generation() } else { 0 },
        }
    }

    /// Returns the ready workers, each with the load of its cameras and of those that it is about to get.
    fn open_workers(&self) -> PlacementBoard {
        let room = |row: &MemberRow| WorkerRoom {
            capacity: row.capacity,
            reads: row.reads.clone(),
            generation: row.generation,
            ..WorkerRoom::default()
        };
        let members = self.rows.members.members.workers.iter();
        let ready = members
            .filter(|(worker, row)| row.phase == MemberPhase::Ready && self.living(worker).is_some())
            .map(|(worker, row)| (worker.clone(), room(row)));
        let mut board = PlacementBoard::new(ready.collect());
        for (camera, outline) in &self.rows.items {
            if let Some(holder) = outline.item.next.as_ref().or(outline.item.owner.as_ref()) {
                board.add(holder, &self.demand(camera, &outline.item));
            }
        }
        board
    }

    fn item(&self, camera: &CameraKey) -> Option<&CameraItem> {
        self.rows.items.get(camera).map(|outline| &outline.item)
    }

    /// Returns the row of a worker that has one and beats.
    fn living(&self, worker: &WorkerId) -> Option<&'a MemberRow> {
        self.rows.members.members.workers.get(worker).filter(|_| !self.is_silent(worker))
    }

    fn is_silent(&self, worker: &WorkerId) -> bool {
        let beat_ms = self.rows.members.beats_ms.get(worker);
        beat_ms.is_some_and(|beat_ms| self.now_ms.saturating_sub(*beat_ms) > SILENT_AFTER_MS)
    }
}

/// Returns the reason for which a camera without a next owner should not stay where it is.
fn waits_to_move(row: &MemberRow) -> Option<&'static str> {
    if row.phase == MemberPhase::Draining {
        Some("waits to move, because its worker drains")
    } else if row.is_overloaded {
        Some("waits to move, because its worker does not keep up")
    } else {
        None
    }
}

fn mean_of(loads: &CameraLoads) -> ResourceAmounts {
    let sum = loads.values().fold(ResourceAmounts::default(), |sum, cost| sum.plus(*cost));
    let count = u64::try_from(loads.len()).unwrap_or(u64::MAX).max(1);
    ResourceAmounts {
        gpu_milli: sum.gpu_milli / count,
        cpu_milli: sum.cpu_milli / count,
        memory_mib: sum.memory_mib / count,
    }
}

#[cfg(test)]
mod tests {
    use ::sharing::{ConfigRow, LeaderRow};

    use super::*;
    use crate::sharing::PoolView;
    use crate::sharing::pool_table::{DatedMembers, ItemOutline};

    const NOW_MS: i64 = 1_000_000_000;

    fn cpu(cpu_milli: u64) -> ResourceAmounts {
        ResourceAmounts { cpu_milli, ..ResourceAmounts::default() }
    }

    fn ready() -> MemberRow {
        MemberRow { phase: MemberPhase::Ready, capacity: cpu(1_000), generation: 2, ..MemberRow::default() }
    }

    /// The pool of `a`, which leads, and `b`; both ready, with the newest configuration.
    fn pool() -> PoolRows {
        let workers = [("a", ready()), ("b", ready())].map(|(id, row)| (WorkerId::new(id), row));
        let beats_ms = ["a", "b"].map(|id| (WorkerId::new(id), NOW_MS - 1_000)).into();
        let leader = LeaderRow { worker: Some(WorkerId::new("a")), term: 5, beat: 1, deputies: Vec::new() };
        let config = ConfigRow { generation: 2, ..ConfigRow::default() };
        let members =
            ::sharing::PoolMembers { leader: Some(leader), config: Some(config), workers: workers.into() };
        PoolRows { members: DatedMembers { members, beats_ms }, ..PoolRows::default() }
    }

    fn row<'a>(rows: &'a mut PoolRows, worker: &str) -> &'a mut MemberRow {
        rows.members.members.workers.get_mut(&WorkerId::new(worker)).unwrap()
    }

    fn owned(owner: Option<&str>) -> CameraItem {
        CameraItem { owner: owner.map(WorkerId::new), epoch: 4, spec: "s".into(), ..CameraItem::default() }
    }

    fn gate(rows: &PoolRows) -> PoolCameraView {
        PoolAssessment::new(rows, NOW_MS).camera(&CameraKey::new("gate"))
    }

    /// A change of the rows of [`pool`], or of the item of a camera that `a` owns.
    type Change = fn(&mut PoolRows, &mut CameraItem);

    fn offer(_: &mut PoolRows, item: &mut CameraItem) {
        item.next = Some(WorkerId::new("b"));
    }

    fn free(_: &mut PoolRows, item: &mut CameraItem) {
        item.owner = None;
    }

    fn drain(rows: &mut PoolRows, _: &mut CameraItem) {
        row(rows, "a").phase = MemberPhase::Draining;
    }

    fn overload(rows: &mut PoolRows, _: &mut CameraItem) {
        row(rows, "a").is_overloaded = true;
    }

    fn overload_other(rows: &mut PoolRows, _: &mut CameraItem) {
        row(rows, "b").is_overloaded = true;
    }

    fn drain_other(rows: &mut PoolRows, _: &mut CameraItem) {
        row(rows, "b").phase = MemberPhase::Draining;
    }

    fn expel(rows: &mut PoolRows, _: &mut CameraItem) {
        rows.members.members.workers.remove(&WorkerId::new("a"));
    }

    fn expel_other(rows: &mut PoolRows, _: &mut CameraItem) {
        rows.members.members.workers.remove(&WorkerId::new("b"));
    }

    fn lead_by_other(rows: &mut PoolRows, _: &mut CameraItem) {
        rows.members.members.leader.as_mut().unwrap().worker = Some(WorkerId::new("b"));
    }

    fn resign(rows: &mut PoolRows, _: &mut CameraItem) {
        rows.members.members.leader.as_mut().unwrap().worker = None;
    }

    fn silence(rows: &mut PoolRows, _: &mut CameraItem) {
        rows.members.beats_ms.insert(WorkerId::new("a"), NOW_MS - SILENT_AFTER_MS - 1);
    }

    fn keep_old_config(rows: &mut PoolRows, _: &mut CameraItem) {
        row(rows, "a").generation = 1;
    }

    fn keep_old_configs(rows: &mut PoolRows, _: &mut CameraItem) {
        rows.members.members.workers.values_mut().for_each(|row| row.generation = 1);
    }

    fn clear(_: &mut PoolRows, item: &mut CameraItem) {
        *item = CameraItem::default();
    }

    fn write_by_newer_program(_: &mut PoolRows, item: &mut CameraItem) {
        item.state.checkpoint_version = 9;
    }

    fn cost_much(rows: &mut PoolRows, _: &mut CameraItem) {
        rows.loads.insert(CameraKey::new("gate"), cpu(1_201));
    }

    fn fill(rows: &mut PoolRows, _: &mut CameraItem) {
        for (camera, owner) in [("x", "a"), ("y", "b")] {
            rows.loads.insert(CameraKey::new(camera), cpu(900));
            rows.items.insert(CameraKey::new(camera), outline(owned(Some(owner))));
        }
    }

    fn strike(_: &mut PoolRows, item: &mut CameraItem) {
        item.strikes = 3;
    }

    fn outline(item: CameraItem) -> ItemOutline {
        ItemOutline { item, owner_since_ms: Some(7) }
    }

    fn assert_states(state: PoolCameraState, table: &[(&[Change], &str)]) {
        for (number, (changes, why)) in table.iter().enumerate() {
            let (mut rows, mut item) = (pool(), owned(Some("a")));
            changes.iter().for_each(|change| change(&mut rows, &mut item));
            rows.items.insert(CameraKey::new("gate"), outline(item));
            let camera = gate(&rows);
            let found = (camera.state, camera.why.as_deref().unwrap_or_default());
            assert_eq!(found, (state, *why), "row {number}");
        }
    }

    #[test]
    fn a_camera_runs_where_it_should_or_waits_to_move() {
        let table: [(&[Change], &str); 4] = [
            (&[], ""),
            (&[keep_old_config], ""),
            (&[drain], "waits to move, because its worker drains"),
            (&[overload], "waits to move, because its worker does not keep up"),
        ];
        assert_states(PoolCameraState::Running, &table);
    }

    #[test]
    fn a_camera_moves_for_a_reason() {
        let table: [(&[Change], &str); 5] = [
            (&[offer], "moves because its worker carries more than the others"),
            (&[offer, keep_old_config], "moves because its worker has an older configuration"),
            (&[offer, overload, keep_old_config], "moves because its worker does not keep up"),
            (&[offer, drain, overload], "moves because its worker drains"),
            (&[offer, drain, expel_other], "moves because its worker drains"),
        ];
        assert_states(PoolCameraState::Moving, &table);
    }

    #[test]
    fn a_camera_without_its_worker_is_taken_over_if_another_one_can() {
        let table: [(&[Change], &str); 7] = [
            (&[expel, lead_by_other], "its worker is gone, another one takes it over"),
            (&[silence, lead_by_other], "its worker is gone, another one takes it over"),
            (&[silence, lead_by_other, offer], "its worker is gone, another one takes it over"),
            (&[expel], "its worker is gone, and no worker leads the pool"),
            (&[expel, expel_other], "its worker is gone, and no worker is ready"),
            (&[expel, lead_by_other, cost_much], "its worker is gone, another one takes it over"),
            (&[expel, lead_by_other, fill, cost_much], "its worker is gone, and no worker has room"),
        ];
        assert_states(PoolCameraState::Orphaned, &table);
    }

    #[test]
    fn a_free_camera_waits_for_the_leader_or_has_an_obstacle() {
        let table: [(&[Change], &str); 10] = [
            (&[free], "the leader is about to give it to a worker"),
            (&[free, keep_old_configs], "the leader is about to give it to a worker"),
            (&[free, resign], "no worker leads the pool"),
            (&[free, silence], "no worker leads the pool"),
            (&[free, drain, drain_other], "no worker is ready"),
            (&[free, overload, overload_other], "the leader is about to give it to a worker"),
            (&[clear, keep_old_configs], "no worker has the newest configuration"),
            (
                &[free, write_by_newer_program],
                "no worker reads the state that a newer version of the program has stored",
            ),
            (&[free, cost_much], "the leader is about to give it to a worker"),
            (&[free, fill], "no worker has room"),
        ];
        assert_states(PoolCameraState::Free, &table);
    }

    #[test]
    fn a_camera_that_ended_its_workers_is_quarantined() {
        let why = "quarantined: 3 workers in a row ended while they had it";
        assert_states(PoolCameraState::Quarantined, &[(&[free, strike], why)]);
        assert_states(PoolCameraState::Running, &[(&[strike], "")]);
    }

    #[test]
    fn a_camera_without_an_item_is_free() {
        let camera = gate(&pool());
        assert_eq!(
            (camera.state, camera.epoch, camera.since_ms, camera.cost),
            (PoolCameraState::Free, 0, None, None)
        );
        assert_eq!(camera.why.as_deref(), Some("the leader is about to give it to a worker"));
    }

    #[test]
    fn the_load_is_the_dominant_share_of_the_workers_own_cameras() {
        let mut rows = pool();
        row(&mut rows, "a").capacity.gpu_milli = 500;
        row(&mut rows, "b").capacity = ResourceAmounts::default();
        row(&mut rows, "b").generation = 1;
        for (camera, owner, gpu_milli) in [("x", "a", 200), ("y", "a", 100), ("z", "b", 1), ("old", "a", 399)]
        {
            let cost = ResourceAmounts { gpu_milli, cpu_milli: 100, memory_mib: 0 };
            rows.loads.insert(CameraKey::new(camera), cost);
            let mut item = owned(Some(owner));
            item.next = (camera == "y").then(|| WorkerId::new("b"));
            rows.items.insert(CameraKey::new(camera), outline(item));
        }
        // `old` is not in the configuration.
        let view = PoolView::of("north", &["z", "y", "x"].map(CameraKey::new), &rows, NOW_MS);
        let workers: Vec<_> = view
            .workers
            .iter()
            .map(|worker| (&*worker.id, worker.cameras, worker.load_percent, worker.leads))
            .collect();
        assert_eq!(workers, [("a", 2, Some(60), true), ("b", 1, Some(1_000), false)]);
        let ids: Vec<_> = view.cameras.iter().map(|camera| &*camera.id).collect();
        assert_eq!(ids, ["x", "y", "z"]);
        assert_eq!((view.leader.as_deref(), view.term, view.generation), (Some("a"), 5, 2));
        assert_eq!(view.outdated().map(|worker| &*worker.id).collect::<Vec<_>>(), ["b"]);
        assert_eq!(view.unassigned().count(), 0);
        let load = |rows: &PoolRows, cameras: &[&str]| {
            let cameras: Vec<_> = cameras.iter().map(|camera| CameraKey::new(camera)).collect();
            PoolView::of("north", &cameras, rows, NOW_MS).workers[0].load_percent
        };
        // The others have 200, 1 and 399.
        rows.loads.remove(&CameraKey::new("y"));
        assert_eq!(load(&rows, &["x", "y"]), Some(80), "a camera that was not measured counts as the mean");
        rows.loads.clear();
        assert_eq!((load(&rows, &["x"]), load(&rows, &[])), (None, Some(0)));
    }

    #[test]
    fn a_worker_that_has_not_beaten_for_a_minute_is_silent_and_leads_no_more() {
        let mut rows = pool();
        for (age_ms, state, leads) in [
            (SILENT_AFTER_MS, PoolWorkerState::Ready, true),
            (SILENT_AFTER_MS + 1, PoolWorkerState::Silent, false),
            // The worker's clock is ahead.
            (-3_600_000, PoolWorkerState::Ready, true),
        ] {
            rows.members.beats_ms.insert(WorkerId::new("a"), NOW_MS - age_ms);
            let view = PoolView::of("north", &[], &rows, NOW_MS);
            assert_eq!((view.workers[0].state, view.workers[0].leads), (state, leads), "{age_ms}");
            assert_eq!(view.leader.is_some(), leads, "{age_ms}");
        }
        rows.members.beats_ms.clear();
        let view = PoolView::of("north", &[], &rows, NOW_MS);
        assert_eq!(view.workers[0].state, PoolWorkerState::Ready, "a row without the time of its beat");
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let mut rows = pool();
        rows.items.insert(CameraKey::new("gate"), outline(owned(Some("a"))));
        rows.loads.insert(CameraKey::new("gate"), cpu(100));
        let view = PoolView::of("north", &[CameraKey::new("gate")], &rows, NOW_MS);
        let json = serde_json::to_value(&view).unwrap();
        let expected = serde_json::json!({
            "pool": "north", "leader": "a", "term": 5, "generation": 2,
            "workers": [
                { "id": "a", "zone": "", "state": "ready", "leads": true, "cameras": 1, "load_percent": 10, "overloaded": false,
                  "generation": 2, "beat_ms": NOW_MS - 1_000 },
                { "id": "b", "zone": "", "state": "ready", "leads": false, "cameras": 0, "load_percent": 0, "overloaded": false,
                  "generation": 2, "beat_ms": NOW_MS - 1_000 },
            ],
            "cameras": [{
                "id": "gate", "worker": "a", "state": "running", "next_worker": null, "epoch": 4, "since_ms": 7,
                "cost": { "gpu_milli": 0, "cpu_milli": 100, "memory_mib": 0 }, "strikes": 0, "why": null,
            }],
        });
        assert_eq!(json, expected);
    }
}
