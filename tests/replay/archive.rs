//! The archive as it is: fragments that break off, expire or are throttled, gaps, missing streams, and a stop by Ctrl-C.

use std::process::Command;
use std::time::Duration;

use kvs_sim::{ClipPace, Clock, Sim, SimConfig, append_clip};
use test_support::colours::{camera, film};
use test_support::footage::{self, LOCAL, config};
use test_support::polling::until_blocking;

use super::{Workplace, an_hour_ago, footage, lines};

#[tokio::test(flavor = "multi_thread")]
async fn broken_and_throttled_calls_change_nothing() {
    let (footage, place) = footage(&["front"], 2).await;
    let config = config(LOCAL, &footage::camera("front"));
    let undisturbed = place.replay(&config, 18, "undisturbed", &[], 0);
    for (name, faults) in [
        ("cut", "cut=20000,count=2"),
        ("break", "break=5f,count=2"),
        ("end", "end=7f,count=1"),
        ("throttle", "throttle,on=getMediaForFragmentList,count=3,throttle,on=listFragments,count=3"),
        ("moved", "moved,count=2"),
    ] {
        let faults: kvs_sim::Faults = faults.parse().unwrap();
        footage.stream("front").set_faults(faults);
        let replay = place.replay(&config, 18, name, &[], 0);
        assert_eq!(replay.events(), undisturbed.events(), "{name}");
        assert_eq!(replay.report(), undisturbed.report(), "{name}");
    }
    footage.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_missing_streams_and_empty_ones_are_named_with_their_camera() {
    let clips = tempfile::tempdir().unwrap();
    let (from, clip) = (an_hour_ago(), film(clips.path(), 0));
    let sim = Sim::start(SimConfig::default()).unwrap();
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    for at_s in [0, 30] {
        append_clip(&stream, &clip, ClipPace::Asap, from + Duration::from_secs(at_s)).await.unwrap();
    }
    sim.store().stream_or_create("empty-stream").unwrap();
    let place = Workplace::new(&sim.endpoint(), from);
    let all = config(LOCAL, &["front", "empty", "missing"].map(camera).concat());
    let replay = place.replay(&all, 39, "all", &[], 1);
    let data = replay.data();
    let gaps = data["cameras"][0]["coverage"]["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "{gaps:#?}");
    let length_ms = gaps[0]["to_ms"].as_i64().unwrap() - gaps[0]["from_ms"].as_i64().unwrap();
    assert!((20_900..22_200).contains(&length_ms), "{length_ms}");
    for words in [
        "camera front: no footage from",
        "camera empty: no footage",
        "camera missing: stream \"missing-stream\" does not exist",
    ] {
        assert!(replay.stderr.contains(words), "{words}: {}", replay.stderr);
    }
    let fault = data["cameras"][2]["coverage"]["fault"].as_str().unwrap();
    assert!(fault.contains("does not exist"), "{fault}");
    place.replay(&all, 39, "none", &["--camera", "missing"], 69);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_that_expired_is_explained_by_the_retention() {
    let clips = tempfile::tempdir().unwrap();
    let (from, clip) = (an_hour_ago(), film(clips.path(), 0));
    let sim = Sim::start(SimConfig::default()).unwrap();
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    append_clip(&stream, &clip, ClipPace::Asap, from).await.unwrap();
    let place = Workplace::new(&sim.endpoint(), from - Duration::from_secs(30 * 3_600));
    let config = config(LOCAL, &camera("front"));
    let replay = place.replay(&config, 10, "gone", &[], 69);
    assert!(
        replay.stderr.contains("camera front: ") && replay.stderr.contains("keeps 24 h"),
        "{}",
        replay.stderr
    );
    assert!(replay.report().contains("keeps 24 h"));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_a_report_of_what_was_done() {
    let (footage, place) = footage(&["front"], 60).await;
    // Slow enough to be interrupted: the footage has some 5 KB per second.
    footage.stream("front").set_faults("drip=60000".parse::<kvs_sim::Faults>().unwrap());
    let config = config(LOCAL, &footage::camera("front"));
    let child = place.command(&config, 540, "stopped", &[]).spawn().unwrap();
    let part = place.path("stopped/.replay/parts/0.jsonl");
    until_blocking("the first records", || if lines(&part).is_empty() { Err("none") } else { Ok(()) });
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let replay = place.result(child, "stopped", 1);
    assert!(replay.stderr.contains("camera front: stopped: replayed only"), "{}", replay.stderr);
    let data = replay.data();
    let camera = &data["cameras"][0];
    assert_eq!((&camera["coverage"]["stopped"], &camera["is_complete"]), (&true.into(), &false.into()));
    let done_ms = camera["done_ms"].as_i64().unwrap();
    assert!(done_ms > data["from_ms"].as_i64().unwrap() && done_ms < data["to_ms"].as_i64().unwrap());
    // What is there is what a whole replay has up to then.
    footage.stream("front").set_faults(kvs_sim::Faults::default());
    let whole = place.replay(&config, 540, "whole", &[], 0);
    let (done, all) = (replay.events(), whole.events());
    assert!(!done.is_empty() && done.len() < all.len());
    assert_eq!(done, all[..done.len()]);
    footage.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_rejected_before_anything_is_read() {
    let place = Workplace::new("http://127.0.0.1:9", an_hour_ago());
    let config = config(LOCAL, &camera("front"));
    for (more, words, code) in [
        (&["--camera", "frnt"][..], "did you mean \"front\"?", 64),
        (&["--compare", "table"], "the configuration has no publishers.ddb_table", 64),
        (&["--compare", "nowhere"], "--compare nowhere: No such file or directory", 69),
    ] {
        let replay = place.replay(&config, 10, "out", more, code);
        assert!(replay.stderr.contains(words), "{words}: {}", replay.stderr);
    }
    std::fs::write(place.path("out/events.jsonl"), "").unwrap();
    let replay = place.replay(&config, 10, "out", &[], 64);
    assert!(replay.stderr.contains("out has events.jsonl already"), "{}", replay.stderr);
}

/// The local KVS has a clock, so that footage can be stored in order without waiting.
#[tokio::test(flavor = "multi_thread")]
async fn more_fragments_than_a_call_takes_are_read_in_several() {
    let from = an_hour_ago();
    let clock = Clock::standing_at(kvs_sim::epoch_ms(from));
    let sim = Sim::start(SimConfig { clock: clock.clone(), ..SimConfig::default() }).unwrap();
    let clips = tempfile::tempdir().unwrap();
    let clip = film(clips.path(), 0);
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    for film in 0..125_u32 {
        clock.advance(Duration::from_secs(9));
        append_clip(&stream, &clip, ClipPace::Asap, from + Duration::from_secs(9) * film).await.unwrap();
    }
    let place = Workplace::new(&sim.endpoint(), from);
    let replay = place.replay(&config(LOCAL, &footage::camera("front")), 1_125, "many", &[], 0);
    assert_eq!(replay.data()["cameras"][0]["coverage"]["fragments"], 1_125);
    assert_eq!(replay.events().len() as u64, footage::records_of(125));
    sim.stop().await;
}
