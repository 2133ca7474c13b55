//! A replay gives the records that `run` gives the same footage, and the same report each time.

use std::collections::BTreeMap;

use serde_json::Value;
use test_support::footage::{LOCAL, camera, config, records_of};
use test_support::kvs_infer_command;
use test_support::polling::until_blocking;
use test_support::program::Program;

use super::{footage, lines};

const CAMERAS: [&str; 3] = ["front", "back", "gate"];

/// Returns the records of each camera, in their order.
fn by_camera(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut cameras: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let event: Value = serde_json::from_str(line).unwrap();
        cameras.entry(event["camera_id"].as_str().unwrap().to_owned()).or_default().push(line.clone());
    }
    cameras
}

#[tokio::test(flavor = "multi_thread")]
async fn three_cameras_give_the_records_of_run_to_the_byte_and_the_same_report_each_time() {
    let (footage, place) = footage(&CAMERAS, 4).await;
    let config = config(LOCAL, &CAMERAS.map(camera).concat());
    let program = Program::start(kvs_infer_command!(), &config, &footage.sim.endpoint(), None);
    let events = program.dir().join("events/events.jsonl");
    let wanted = CAMERAS.len() as u64 * records_of(4);
    until_blocking("the records of run", || {
        let written = lines(&events).len() as u64;
        if written >= wanted { Ok(()) } else { Err(format!("{written} of {wanted}")) }
    });
    let ended = program.stop();
    let run = lines(&ended.dir.path().join("events/events.jsonl"));
    let compared = ended.dir.path().join("events").display().to_string();
    let replay = place.replay(&config, 36, "one", &["--compare", &compared], 0);
    assert_eq!(by_camera(&replay.events()), by_camera(&run));
    assert_eq!(replay.events().len() as u64, wanted);
    let again = place.replay(&config, 36, "two", &["--compare", &compared], 0);
    assert_eq!((replay.events(), replay.report()), (again.events(), again.report()));
    assert!(replay.changes().iter().all(|change| change.starts_with("same ")), "{:#?}", replay.changes());
    assert!(replay.stdout.contains("0 changed, 0 new, 0 gone, 36 the same"), "{}", replay.stdout);
    assert!(!replay.folder.join(".replay").exists(), "the outbox is removed");
    footage.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_span_gives_its_part_of_the_records() {
    let (footage, place) = footage(&["front", "back"], 2).await;
    let config = config(LOCAL, &["front", "back"].map(camera).concat());
    let whole = place.replay(&config, 18, "whole", &[], 0);
    let part = place.replay(&config, 9, "part", &["--camera", "back"], 0);
    assert_eq!(by_camera(&part.events()).keys().collect::<Vec<_>>(), ["back"]);
    let whole = by_camera(&whole.events()).remove("back").unwrap();
    assert_eq!(
        part.events(),
        whole[..part.events().len()],
        "a shorter replay ends earlier, and no different"
    );
    assert!(part.stdout.contains("incidents: 3"), "{}", part.stdout);
    footage.sim.stop().await;
}
