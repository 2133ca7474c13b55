//! The sink of clips: stored at the end of an incident, in S3 and in the local folder, without delay of any event.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::types::ServerSideEncryption;
use kvs_sim::{Faults, Sim};
use serde_json::Value;
use test_support::colours::{self, model, sim};
use test_support::footage::camera_with;
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::polling::{until, until_within};
use test_support::program::Program;

use super::checksums;

/// Ended incidents of a film: the third object is in view at its end.
const ENDED: usize = 2;
const PATIENCE: Duration = Duration::from_secs(120);

fn config(clips: &str) -> String {
    format!(
        "publishers: {{ kds_stream: events, s3_bucket: pictures, local_dir: events }}\n{clips}device: cpu\ncameras:\n{}",
        camera_with("front", &model(), "EARLIEST", "")
    )
}

const BOTH: &str = "clips: { to_s3: true, to_local: true, before_seconds: 1, after_seconds: 1 }\n";

/// Starts moto with the stream and the bucket, and a local KVS with a film.
async fn servers(folder: &Path) -> (Moto, aws_sdk_kinesis::Client, aws_sdk_s3::Client, Sim) {
    let (moto, sim) = (Moto::start(), sim());
    let (kinesis, s3) = (moto.stream("events").await, moto.bucket("pictures").await);
    colours::store(&sim, "front-stream", &colours::film(folder, 2)).await;
    (moto, kinesis, s3, sim)
}

/// Starts the program over footage that cannot be listed, and waits for the end records, whose clips wait.
async fn start_stuck(folder: &Path) -> (Moto, aws_sdk_s3::Client, Sim, Program) {
    let (moto, kinesis, s3, sim) = servers(folder).await;
    let stream = sim.store().stream("front-stream").unwrap();
    stream.set_faults("unauthorized,on=listFragments".parse::<Faults>().unwrap());
    let program = Program::start(kvs_infer_command!(), &config(BOTH), &sim.endpoint(), Some(&moto.url));
    ends(&kinesis, ENDED).await;
    (moto, s3, sim, program)
}

async fn clips_in(s3: &aws_sdk_s3::Client) -> Vec<String> {
    let listed = s3.list_objects_v2().bucket("pictures").send().await.unwrap();
    let keys = listed.contents().iter().filter_map(|object| object.key());
    keys.filter(|key| key.ends_with(".mp4")).map(str::to_owned).collect()
}

/// Returns the end records in the data stream, once there are this many.
async fn ends(kinesis: &aws_sdk_kinesis::Client, count: usize) -> Vec<Value> {
    until("the end records", async || {
        let records = records(kinesis, "events").await;
        let records = records.iter().map(|(_, json)| serde_json::from_str::<Value>(json).unwrap());
        let ends: Vec<Value> =
            records.filter(|record| record["payload"]["extras"]["phase"] == "end").collect();
        if ends.len() == count { Ok(ends) } else { Err(format!("{} ends", ends.len())) }
    })
    .await
}

fn sink(program: &Program) -> Value {
    let overview = program.overview();
    overview["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == "clips").unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_stored_at_the_end_of_its_incident_where_the_event_says() {
    let folder = tempfile::tempdir().unwrap();
    let (moto, kinesis, s3, sim) = servers(folder.path()).await;
    let program = Program::start(kvs_infer_command!(), &config(BOTH), &sim.endpoint(), Some(&moto.url));
    let ends = ends(&kinesis, ENDED).await;
    until_within(PATIENCE, "clips", async || {
        let clips = clips_in(&s3).await;
        if clips.len() == ENDED { Ok(()) } else { Err(format!("{clips:?}")) }
    })
    .await;
    let source = checksums(&folder.path().join("colours-2.mp4"));
    for end in &ends {
        let extras = &end["payload"]["extras"];
        let incident = extras["incident_id"].as_str().unwrap();
        let url = extras["clip"].as_str().unwrap();
        let key = url.strip_prefix("s3://pictures/").unwrap();
        assert!(
            key.starts_with("snapshots/front/") && key.ends_with(&format!("-{}.mp4", &incident[..12])),
            "{key}"
        );
        let object = s3.get_object().bucket("pictures").key(key).send().await.unwrap();
        assert_eq!(object.server_side_encryption(), Some(&ServerSideEncryption::Aes256));
        assert_eq!(object.content_type(), Some("video/mp4"));
        assert_eq!(object.metadata().unwrap()["incident_id"], incident);
        let bytes = object.body.collect().await.unwrap().into_bytes();
        let name = key.rsplit('/').next().unwrap();
        let local = program.dir().join("events/clips/front").join(name);
        let copy = until("the local copy", async || std::fs::read(&local)).await;
        assert!(copy == bytes, "{name}: the same file");
        let frames = checksums(&local);
        // Two seconds in view, one before and one after, from a keyframe on.
        assert!((35..=52).contains(&frames.len()), "{} frames", frames.len());
        assert!(
            source.windows(frames.len()).any(|part| part == frames),
            "its frames are those of the source"
        );
    }
    let starts = records(&kinesis, "events").await.into_iter().filter(|(_, json)| json.contains("\"start\""));
    assert!(starts.into_iter().all(|(_, json)| !json.contains("\"clip\"")), "only ends name a clip");
    program.metric_when("kvs_infer_clips_stored_total{camera=\"front\"}", ENDED);
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_while_the_clips_are_stuck_and_the_clips_follow() {
    let folder = tempfile::tempdir().unwrap();
    let (_moto, s3, sim, program) = start_stuck(folder.path()).await;
    until("a sink that fails", async || {
        let clips = sink(&program);
        let text = clips.to_string();
        let waits = clips["queued"] == ENDED && text.contains("grant kinesisvideo:ListFragments");
        if waits { Ok(()) } else { Err(text) }
    })
    .await;
    assert_eq!(clips_in(&s3).await, [""; 0]);
    sim.store().stream("front-stream").unwrap().set_faults(Faults::default());
    until_within(PATIENCE, "clips", async || {
        let clips = clips_in(&s3).await;
        if clips.len() == ENDED { Ok(()) } else { Err(format!("{clips:?}")) }
    })
    .await;
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_whose_footage_is_gone_is_given_up_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (_moto, s3, sim, program) = start_stuck(folder.path()).await;
    sim.store().delete("front-stream", None).await.unwrap();
    let given_up = "kvs_infer_clips_given_up_total{camera=\"front\",reason=\"no_such_stream\"}";
    until_within(PATIENCE, given_up, async || {
        let (_, metrics) = program.get("/metrics");
        let line = format!("{given_up} {ENDED}");
        if metrics.lines().any(|found| found == line) { Ok(()) } else { Err(metrics) }
    })
    .await;
    assert_eq!(sink(&program)["queued"], 0);
    assert_eq!(clips_in(&s3).await, [""; 0]);
    let ended = program.stop();
    assert!(ended.log.iter().any(|line| line.contains("clip given up")), "{:?}", ended.log);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clips_need_a_place_and_cameras_with_masks_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let (moto, kinesis, s3, sim) = servers(folder.path()).await;
    let masks = "    masks: [{ points: [[0, 100], [20, 100], [20, 120]] }]\n";
    let masked = config(BOTH).replace("    pipeline:", &format!("{masks}    pipeline:"));
    let program = Program::start(kvs_infer_command!(), &masked, &sim.endpoint(), Some(&moto.url));
    let ends = ends(&kinesis, ENDED).await;
    assert!(ends.iter().all(|end| end["payload"]["extras"].get("clip").is_none()), "{ends:?}");
    let overview = program.overview();
    let names: Vec<&str> =
        overview["sinks"].as_array().unwrap().iter().map(|sink| sink["name"].as_str().unwrap()).collect();
    assert!(!names.contains(&"clips"), "{names:?}");
    assert!(program.stop().status.success());
    assert_eq!(clips_in(&s3).await, [""; 0]);
    sim.stop().await;
}
