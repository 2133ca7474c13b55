//! Thousands of connections: memory stays as it is.

use std::time::Instant;

use kvs_sim::Faults;
use test_support::colours::model;
use test_support::footage::{FILM_FRAGMENTS, LOCAL, StoredFootage, camera_with, config};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::watch::{figure, is_full, is_soak, metric, metrics, until_within};

/// Of memory after the warm-up, bytes.
const FLAT: f64 = 5e6;
const STREAMS: u32 = 20;
/// Connections of a camera that may follow each other at once; then there is one per second.
const BURST: f64 = 10.0;
/// Lines of one kind that a camera logs per minute.
const LINES: u64 = 10;

fn connections() -> u32 {
    match (is_soak(), is_full()) {
        (true, _) => 10_000,
        (_, true) => 2_000,
        _ => 300,
    }
}

async fn memory_after(program: &Program, connections: f64) -> (f64, f64) {
    let patience = std::time::Duration::from_secs(900);
    let (scrape, _) = until_within(patience, &format!("{connections} connections"), || {
        let scrape = metrics(program);
        let made = metric(&scrape, "kvs_infer_source_connections_total", &[]);
        (made >= connections).then_some((made, metric(&scrape, "kvs_infer_resident_memory_bytes", &[])))
    })
    .await;
    scrape
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_connections() {
    let wanted = connections();
    let warm_up = wanted / 3;
    let films = (wanted + warm_up).div_ceil(STREAMS * u32::try_from(FILM_FRAGMENTS).unwrap()) + 2;
    let footage = StoredFootage::new(1_000);
    let ids: Vec<String> = (0..STREAMS).map(|stream| format!("camera-{stream}")).collect();
    for camera in &ids {
        footage.store(camera, films).await;
        footage.stream(camera).set_faults("end=1f".parse::<Faults>().unwrap());
    }
    let slow = |camera: &String| camera_with(camera, &model(), "EARLIEST", "    fps_target: 1\n");
    let cameras: String = ids.iter().map(slow).collect();
    let began = Instant::now();
    let program =
        Program::start(kvs_infer_command!(), &config(LOCAL, &cameras), &footage.sim.endpoint(), None);
    let (first, before) = memory_after(&program, f64::from(warm_up)).await;
    let (last, after) = memory_after(&program, f64::from(warm_up + wanted)).await;
    assert!(after - before <= FLAT, "{before} bytes after {first} connections, {after} after {last}");
    let took = began.elapsed();
    let most = f64::from(STREAMS) * (BURST + took.as_secs_f64() + 1.0);
    assert!(last <= most, "{last} connections within {took:?}, of at most {most}");
    let ended = program.stop();
    assert!(ended.status.success());
    let lines = ended.log.iter().filter(|line| line.contains("\"message\":\"reading\"")).count() as u64;
    let most = u64::from(STREAMS) * LINES * (began.elapsed().as_secs() / 60 + 1);
    assert!(lines <= most, "{lines} lines about {last} connections, of at most {most}");
    figure(&format!(
        "R6 {} reconnects of {STREAMS} streams: resident memory {:+.1} MB, from {:.1} MB (5 MB may be)",
        last - first,
        (after - before) / 1e6,
        before / 1e6
    ));
    footage.sim.stop().await;
}
