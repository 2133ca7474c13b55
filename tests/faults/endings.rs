//! Connections that end every few seconds, one that stalls, a KVS that is gone, and one that is too slow.

use std::time::{Duration, Instant};

use kvs_sim::{Faults, Play, Sim, SimConfig};
use test_support::colours::{film, model};
use test_support::footage::{FILM_FRAGMENTS, LOCAL, StoredFootage, camera, camera_with, config, records_of};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::table::{KVS_GONE, Row, SLOW};
use super::watch::{events, figure, is_full, metric, metrics, reason_of, reasons, until};

/// The maximum time from a fault's limit to its reason in `/healthz`.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);

async fn stored(fragments_per_s: u32, films: u32) -> StoredFootage {
    let footage = StoredFootage::new(fragments_per_s);
    footage.store("front", films).await;
    footage
}

fn start(footage: &StoredFootage) -> Program {
    Program::start(kvs_infer_command!(), &config(LOCAL, &camera("front")), &footage.sim.endpoint(), None)
}

async fn events_of(footage: &StoredFootage, films: u32) -> (Vec<serde_json::Value>, f64, f64) {
    let program = start(footage);
    let all = u64::from(films) * FILM_FRAGMENTS;
    let read = || (program.camera("front")["fragments"].as_u64() >= Some(all)).then_some(());
    until("end of the footage", read).await;
    let scrape = metrics(&program);
    let complete = metric(&scrape, "kvs_infer_demux_fragments_total", &["result=\"complete\""]);
    let ended = metric(&scrape, "kvs_infer_source_disconnects_total", &["reason=\"ended\""]);
    let stopped = program.stop();
    assert!(stopped.status.success(), "{:#?}", stopped.log);
    (events(stopped.dir.path()), complete, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_every_five_seconds_cost_no_fragment_and_repeat_no_event() {
    let (films, faults, per_s) = if is_full() { (7, "end=5s", 2) } else { (3, "end=2s", 4) };
    let footage = stored(per_s, films).await;
    footage.stream("front").set_faults(faults.parse::<Faults>().unwrap());
    let (seen, complete, ends) = events_of(&footage, films).await;
    footage.stream("front").set_faults(Faults::default());
    let (expected, _, _) = events_of(&footage, films).await;
    assert!(ends >= 3.0, "{ends}");
    assert_eq!(complete, f64::from(films) * FILM_FRAGMENTS as f64, "each fragment once");
    assert_eq!(expected.len() as u64, records_of(films));
    assert_eq!(seen, expected, "the same events under the same ids");
    figure(&format!(
        "R3 {faults}: {complete} of {complete} fragments, none missing, none twice; {ends} connections ended; all {} events, none \
         under another id",
        seen.len()
    ));
    footage.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stalls_is_read_again_within_the_limit() {
    let footage = stored(4, 6).await;
    let program = start(&footage);
    let bytes = || metric(&metrics(&program), "kvs_infer_source_bytes_total", &[]);
    program.camera_when("front", |row| row["fragments"].as_u64() >= Some(4));
    footage.stream("front").set_faults("stall=4f,count=1".parse::<Faults>().unwrap());
    footage.stream("front").cut_readers();
    let (mut last, mut since) = (bytes(), Instant::now());
    let (silent, _) = until("end of the silence", || {
        let (now, silent) = (bytes(), since.elapsed());
        if now > last {
            (last, since) = (now, Instant::now());
            return (silent > Duration::from_secs(2)).then_some(silent);
        }
        None
    })
    .await;
    // Gaps are a quarter of a second, so the least limit counts: 4 s. What is above is the way to the next connection.
    let limit = Duration::from_secs(4);
    assert!(silent >= limit - Duration::from_millis(500) && silent <= limit + SHOWS_WITHIN / 2, "{silent:?}");
    assert!(metric(&metrics(&program), "kvs_infer_source_disconnects_total", &["reason=\"stalled\""]) >= 1.0);
    assert!(program.stop().status.success());
    figure(&format!("R4 a stalled connection is read again after {:.2} s (limit 4 s)", silent.as_secs_f64()));
    footage.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_that_has_expired_is_no_reason_to_wait() {
    let footage = stored(4, 6).await;
    let config = config(LOCAL, &camera("front")).replace("delay_seconds: 1", "delay_seconds: 300");
    let program = Program::start(kvs_infer_command!(), &config, &footage.sim.endpoint(), None);
    program.camera_when("front", |row| row["fragments"].as_u64() >= Some(4));
    let stream = footage.stream("front");
    stream.set_faults("expire=20,count=1".parse::<Faults>().unwrap());
    stream.cut_readers();
    let expired =
        || metric(&metrics(&program), "kvs_infer_source_disconnects_total", &["reason=\"error_record\""]);
    until("error record", || (expired() > 0.0).then_some(())).await;
    let read = program.camera("front")["fragments"].as_u64().unwrap();
    let (_, took) =
        until("next fragment", || (program.camera("front")["fragments"].as_u64() > Some(read)).then_some(()))
            .await;
    assert!(took <= SHOWS_WITHIN, "{took:?} of a wait of up to 300 s");
    assert!(program.stop().status.success());
    footage.sim.stop().await;
}

async fn shows(program: &Program, row: &Row, subject: &str) -> Duration {
    let (_, took) = until(&format!("reason of {subject}"), || {
        let reasons = reasons(program);
        reason_of(&reasons, subject).is_some_and(|shown| shown.contains(row.reason)).then_some(())
    })
    .await;
    let (name, label) = row.metric.trim_end_matches('}').split_once('{').unwrap();
    assert!(metric(&metrics(program), name, &[label]) > 0.0, "{}", row.metric);
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kvs_that_is_gone_shows_and_is_read_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let clip = film(folder.path(), 0);
    let kept = || SimConfig {
        data_dir: Some(folder.path().join("kvs")),
        fragments_per_s: 4,
        ..SimConfig::default()
    };
    let sim = Sim::start(kept()).unwrap();
    test_support::colours::store(&sim, "front-stream", &clip).await;
    let (endpoint, listen) = (sim.endpoint(), sim.address());
    let program = Program::start(kvs_infer_command!(), &config(LOCAL, &camera("front")), &endpoint, None);
    program.camera_when("front", |row| row["fragments"].as_u64() >= Some(2));
    sim.stop().await;
    let showed = shows(&program, &KVS_GONE, "camera front").await;
    assert!(showed <= SHOWS_WITHIN, "{showed:?}");
    let sim = Sim::start(SimConfig { listen, ..kept() }).unwrap();
    until("end of the reasons", || reasons(&program).is_empty().then_some(())).await;
    program.camera_when("front", |row| row["fragments"].as_u64() >= Some(FILM_FRAGMENTS));
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    assert_eq!(events(ended.dir.path()).len() as u64, records_of(1));
    figure(&format!("R11 KVS: 1 of 1 faults show and go away; it shows after {:.1} s", showed.as_secs_f64()));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_too_slow_for_a_live_camera_shows_and_what_is_skipped_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let clip = film(folder.path(), 0);
    let sim = Sim::start(SimConfig::default()).unwrap();
    let play = Play { stream: "front-stream".to_owned(), path: clip, looped: true };
    sim.play(play).await.unwrap();
    let more = format!("{LOCAL}service: {{ reconnect_delay_seconds: 1, max_behind_seconds: 5 }}\n");
    let cameras = camera_with("front", &model(), "NOW", "");
    let config = format!("{more}device: cpu\ncameras:\n{cameras}");
    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
    program.camera_when("front", |row| row["fragments"].as_u64() >= Some(2));
    let stream = sim.store().stream("front-stream").unwrap();
    stream.set_faults("drip=300".parse::<Faults>().unwrap());
    stream.cut_readers();
    let showed = shows(&program, &SLOW, "camera front").await;
    stream.set_faults(Faults::default());
    stream.cut_readers();
    until("end of the reasons", || reasons(&program).is_empty().then_some(())).await;
    let skipped = program.camera("front")["skipped_ms"].as_u64().unwrap();
    assert!(skipped > 0);
    assert!(program.stop().status.success());
    figure(&format!(
        "R11 slow: 1 of 1 faults show and go away; it shows after {:.1} s, {skipped} ms were skipped and counted",
        showed.as_secs_f64()
    ));
    sim.stop().await;
}
