//! A pool as a line and two tables.

use std::fmt;

use crate::base::escaped;
use crate::sharing::{PoolCameraState, PoolCameraView, PoolView, PoolWorkerState, PoolWorkerView};

/// The line of the pool, the table of its workers, and that of the cameras.
pub(super) struct PoolTables<'a> {
    pub(super) view: &'a PoolView,
    /// The time, ms since 1970.
    pub(super) now_ms: i64,
}

impl fmt::Display for PoolTables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolView { pool, leader, term, generation, workers, cameras } = self.view;
        let leader = leader.as_deref().unwrap_or("none");
        writeln!(
            f,
            "pool {}: leader {}, term {term}, configuration {generation}\n",
            escaped(pool),
            escaped(leader)
        )?;
        let head = ["WORKER", "ZONE", "STATE", "LEADS", "CAMERAS", "LOAD", "CONFIG", "LAST BEAT"];
        write_table(f, head, workers.iter().map(|worker| self.worker_row(worker)))?;
        if workers.is_empty() {
            writeln!(f, "no worker is in the pool")?;
        }
        writeln!(f)?;
        let head = ["CAMERA", "WORKER", "STATE", "SINCE", "EPOCH", "COST", "WHY"];
        write_table(f, head, cameras.iter().map(|camera| self.camera_row(camera)))
    }
}

impl PoolTables<'_> {
    fn worker_row(&self, worker: &PoolWorkerView) -> [String; 8] {
        let state = worker_state(worker.state);
        let is_old = worker.generation < self.view.generation;
        let load = worker.load_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent} %"));
        [
            worker.id.clone(),
            or_dash(&worker.zone),
            state.to_owned(),
            if worker.leads { "yes" } else { "-" }.to_owned(),
            worker.cameras.to_string(),
            format!("{load}{}", if worker.overloaded { ", overloaded" } else { "" }),
            format!("{}{}", worker.generation, if is_old { ", older" } else { "" }),
            self.age(worker.beat_ms),
        ]
    }

    fn camera_row(&self, camera: &PoolCameraView) -> [String; 7] {
        let worker = camera.worker.as_deref().unwrap_or("-");
        let cost = camera.cost.map(|cost| match cost.gpu_milli {
            0 => format!("{} mCPU", cost.cpu_milli),
            gpu_milli => format!("{gpu_milli} mGPU, {} mCPU", cost.cpu_milli),
        });
        [
            camera.id.clone(),
            camera
                .next_worker
                .as_ref()
                .map_or_else(|| worker.to_owned(), |next| format!("{worker} > {next}")),
            camera_state(camera.state).to_owned(),
            self.age(camera.since_ms),
            camera.epoch.to_string(),
            cost.unwrap_or_else(|| "-".to_owned()),
            or_dash(camera.why.as_deref().unwrap_or_default()),
        ]
    }

    /// Formats the time since `at_ms` as an age, such as `3 min ago`.
    fn age(&self, at_ms: Option<i64>) -> String {
        let Some(at_ms) = at_ms else { return "-".to_owned() };
        // The clocks of two hosts differ: no age is below 0.
        let seconds = self.now_ms.saturating_sub(at_ms).max(0) / 1_000;
        match seconds {
            0..120 => format!("{seconds} s ago"),
            120..7_200 => format!("{} min ago", seconds / 60),
            7_200..172_800 => format!("{} h ago", seconds / 3_600),
            _ => format!("{} d ago", seconds / 86_400),
        }
    }
}

fn worker_state(state: PoolWorkerState) -> &'static str {
    match state {
        PoolWorkerState::Joining => "joining",
        PoolWorkerState::Ready => "ready",
        PoolWorkerState::Draining => "draining",
        PoolWorkerState::Silent => "silent",
    }
}

fn camera_state(state: PoolCameraState) -> &'static str {
    match state {
        PoolCameraState::Running => "running",
        PoolCameraState::Moving => "moving",
        PoolCameraState::Free => "free",
        PoolCameraState::Quarantined => "quarantined",
        PoolCameraState::Orphaned => "orphaned",
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Writes rows with aligned columns, and without characters that control a terminal.
fn write_table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> fmt::Result {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(rows.map(|row| row.map(|cell| escaped(&cell).into_owned())))
        .collect();
    // Widths count characters, not bytes: ids may have any letters.
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let padded: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(f, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::PoolCameraCost;

    fn view() -> PoolView {
        let worker = |id: &str, leads| PoolWorkerView {
            id: id.to_owned(),
            zone: String::new(),
            state: PoolWorkerState::Ready,
            leads,
            cameras: 1,
            load_percent: Some(45),
            overloaded: !leads,
            generation: if leads { 2 } else { 1 },
            beat_ms: Some(1_000_000),
        };
        let camera = |id: &str, worker: Option<&str>| PoolCameraView {
            id: id.to_owned(),
            worker: worker.map(str::to_owned),
            state: if worker.is_some() { PoolCameraState::Running } else { PoolCameraState::Free },
            next_worker: None,
            epoch: 7,
            since_ms: worker.map(|_| 1_000_000 - 7_200_000),
            cost: worker.map(|_| PoolCameraCost { gpu_milli: 0, cpu_milli: 210, memory_mib: 0 }),
            strikes: 0,
            why: worker.is_none().then(|| "no worker has room".to_owned()),
        };
        PoolView {
            pool: "north".to_owned(),
            leader: Some("host-a".to_owned()),
            term: 3,
            generation: 2,
            workers: vec![worker("host-a", true), worker("höst-b", false)],
            cameras: vec![
                camera("gate", Some("host-a")),
                PoolCameraView {
                    state: PoolCameraState::Moving,
                    next_worker: Some("höst-b".to_owned()),
                    why: Some("moves because its worker drains".to_owned()),
                    ..camera("hall\u{1b}[2J", Some("host-a"))
                },
                camera("yard", None),
            ],
        }
    }

    #[test]
    fn the_tables_are_aligned_and_safe_for_a_terminal() {
        let text = PoolTables { view: &view(), now_ms: 1_003_000 }.to_string();
        let expected = "\
pool north: leader host-a, term 3, configuration 2

WORKER  ZONE  STATE  LEADS  CAMERAS  LOAD              CONFIG    LAST BEAT
host-a  -     ready  yes    1        45 %              2         3 s ago
höst-b  -     ready  -      1        45 %, overloaded  1, older  3 s ago

CAMERA         WORKER           STATE    SINCE    EPOCH  COST      WHY
gate           host-a           running  2 h ago  7      210 mCPU  -
hall\\u{1b}[2J  host-a > höst-b  moving   2 h ago  7      210 mCPU  moves because its worker drains
yard           -                free     -        7      -         no worker has room
";
        assert_eq!(text, expected);
    }

    #[test]
    fn ages_by_table() {
        let view = view();
        let tables = PoolTables { view: &view, now_ms: 1_000_000_000 };
        for (age_ms, text) in [
            (-5_000, "0 s ago"),
            (0, "0 s ago"),
            (119_999, "119 s ago"),
            (120_000, "2 min ago"),
            (7_200_000, "2 h ago"),
            (172_800_000, "2 d ago"),
        ] {
            assert_eq!(tables.age(Some(1_000_000_000 - age_ms)), text, "{age_ms}");
        }
        assert_eq!(tables.age(None), "-");
    }

    #[test]
    fn a_pool_without_workers_says_so() {
        let view = PoolView { leader: None, workers: Vec::new(), ..view() };
        let text = PoolTables { view: &view, now_ms: 0 }.to_string();
        assert!(
            text.starts_with("pool north: leader none,") && text.contains("no worker is in the pool"),
            "{text}"
        );
    }
}
