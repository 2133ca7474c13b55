//! All faults of a camera's stream at once, each on a stream of its own, beside one that has none.

use std::time::{Duration, Instant};

use kvs_sim::Faults;
use serde_json::Value;
use test_support::footage::{FILM_FRAGMENTS, LOCAL, StoredFootage, camera, config};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::table::{CAMERAS, FaultCause, Row};
use super::watch::{events, figure, metric, metrics, of_camera, reason_of, reasons, until};

/// Films in each stream.
const FILMS: u32 = 5;
const FRAMES_A_FRAGMENT: u64 = 10;
/// The maximum time from a fault's limit to its reason in `/healthz`.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);
/// A camera without a fault, beside the others.
const GOOD: &str = "good";

fn id(row: &Row) -> (&'static str, &'static str) {
    match row.made {
        FaultCause::Stream { camera, faults } => (camera, faults),
        _ => panic!("{}: not of a stream", row.fault),
    }
}

fn ids() -> impl Iterator<Item = &'static str> {
    CAMERAS.iter().map(|row| id(row).0).chain([GOOD])
}

/// The time that must have passed before a fault can show: silence is one only after 4 s, and twice; bytes without a whole access unit are one
/// after 30 s.
fn limit(row: &Row) -> Duration {
    Duration::from_secs(match id(row).0 {
        "stalls" => 8,
        "trickles" => 30,
        _ => 0,
    })
}

/// Footage in every stream but the one that is missing at first; timecodes jump where it is made.
async fn stored() -> StoredFootage {
    let footage = StoredFootage::new(5);
    for row in CAMERAS.iter().filter(|row| id(row).0 == "jumps") {
        let stream = footage.sim.store().stream_or_create("jumps-stream").unwrap();
        stream.set_faults(id(row).1.parse::<Faults>().unwrap());
    }
    for camera in ids().filter(|camera| *camera != "misses") {
        footage.store(camera, FILMS).await;
    }
    footage
}

fn start(footage: &StoredFootage) -> Program {
    let cameras: String = ids().map(camera).collect();
    Program::start(kvs_infer_command!(), &config(LOCAL, &cameras), &footage.sim.endpoint(), None)
}

/// Media time of the last frame of each camera, and all events, without any fault.
fn without_faults(footage: &StoredFootage) -> (Value, Vec<Value>) {
    let program = start(footage);
    let all = u64::from(FILMS) * FILM_FRAGMENTS;
    for camera in ids().filter(|camera| *camera != "misses") {
        program.camera_after(camera, all * FRAMES_A_FRAGMENT);
    }
    let last = program.camera(GOOD)["last_frame_ts_ms"].take();
    (last, events(program.stop().dir.path()))
}

/// Returns the parts of an event that do not depend on the fragments of its stream.
fn comparable(event: &Value) -> Value {
    let payload = &event["payload"];
    serde_json::json!([event["seq"], payload["label"], payload["ts_ms"]])
}

fn assert_same(camera: &str, seen: &[Value], expected: &[Value]) {
    let (own, good) = (of_camera(seen, camera), of_camera(expected, GOOD));
    match camera {
        "expires" => assert!(own.len() < good.len() && !own.is_empty(), "something was to expire: {own:#?}"),
        "misses" => {
            let all = |events: Vec<&Value>| events.into_iter().map(comparable).collect::<Vec<_>>();
            assert_eq!(all(own), all(good), "{camera}");
        }
        _ => assert_eq!(own, of_camera(expected, camera), "{camera}"),
    }
}

/// Waits until each fault shows, and takes it away then; gives how long it took, after its limit.
async fn each_shows(
    program: &Program,
    footage: &StoredFootage,
    began: Instant,
) -> Vec<(&'static str, Duration)> {
    let mut waiting: Vec<&Row> = CAMERAS.iter().collect();
    let mut shown = Vec::new();
    let all = until("end of the wait for the faults to show", || {
        let (reasons, scrape) = (reasons(program), metrics(program));
        waiting.retain(|row| {
            let (camera, _) = id(row);
            if !shows(row, &reasons, &scrape) {
                assert!(
                    began.elapsed() < limit(row) + 3 * SHOWS_WITHIN,
                    "{camera} does not show: {reasons:#?}"
                );
                return true;
            }
            shown.push((camera, began.elapsed().saturating_sub(limit(row))));
            if camera != "misses" {
                footage.stream(camera).set_faults(Faults::default());
            }
            false
        });
        waiting.is_empty().then_some(())
    });
    all.await;
    shown
}

fn shows(row: &Row, reasons: &[String], scrape: &str) -> bool {
    let (camera, _) = id(row);
    let shown = reason_of(reasons, &format!("camera {camera}"));
    let (name, why) = row.metric.trim_end_matches('}').split_once('{').unwrap();
    let moved = metric(scrape, name, &[&format!("camera=\"{camera}\""), why]) > 0.0;
    moved
        && if row.reason.is_empty() {
            shown.is_none()
        } else {
            shown.is_some_and(|shown| shown.contains(row.reason))
        }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_camera_shows_and_goes_away_and_changes_no_event() {
    let footage = stored().await;
    let (last, expected) = without_faults(&footage);
    let program = start(&footage);
    for camera in ids().filter(|camera| *camera != "misses") {
        program.camera_when(camera, |row| row["fragments"].as_u64() >= Some(4));
    }
    let began = Instant::now();
    for (camera, faults) in CAMERAS.iter().map(id).filter(|(_, faults)| !faults.is_empty()) {
        let stream = footage.stream(camera);
        if camera != "jumps" {
            stream.set_faults(faults.parse::<Faults>().unwrap());
            stream.cut_readers();
        }
    }
    let shown = each_shows(&program, &footage, began).await;
    footage.store("misses", FILMS).await;
    let gone = until("end of all reasons", || {
        let reasons = reasons(&program);
        reasons.is_empty().then_some(())
    });
    let (_, went) = gone.await;
    for camera in ids() {
        program.camera_when(camera, |row| row["last_frame_ts_ms"] == last);
    }
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let seen = events(ended.dir.path());
    ids().for_each(|camera| assert_same(camera, &seen, &expected));
    let slowest = shown.iter().max_by_key(|(_, after)| *after).unwrap();
    assert!(slowest.1 <= SHOWS_WITHIN, "{shown:?}");
    figure(&format!(
        "R11 cameras: {} of {} faults show and go away; the slowest showed {:.1} s after its limit ({}), the last reason went \
         {:.1} s later",
        shown.len(),
        CAMERAS.len(),
        slowest.1.as_secs_f64(),
        slowest.0,
        went.as_secs_f64()
    ));
    footage.sim.stop().await;
}
