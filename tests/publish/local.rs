//! The outbox and the local sink, through the public interface.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::event::{event, frame, offer, pending, state};
use futures_util::FutureExt;
use kvs_infer::delivery::{
    EventOutbox, FrameEvents, OfferError, OutboxSpec, ResumeRules, Route, SinkState, SinkStatus, StartError,
    UndeliveredRecords,
};
use kvs_infer::media::{CameraId, Event};
use kvs_infer::render::{SnapshotFormat, SnapshotSpec};
use kvs_infer::sinks::PublishSpec;

const SECOND: Duration = Duration::from_secs(1);

fn route() -> Arc<Route> {
    Arc::new(Route { kds_stream: None, snapshot: None, clip: None })
}

fn publish(folder: &Path) -> PublishSpec {
    PublishSpec { local_dir: Some(folder.join("events")), ..PublishSpec::default() }
}

/// With pictures in PNG.
fn publish_with_pictures(folder: &Path) -> PublishSpec {
    let png = SnapshotSpec { format: SnapshotFormat::Png, jpeg_quality: 90 };
    PublishSpec { snapshots: Some(png), ..publish(folder) }
}

fn spec(folder: &Path) -> OutboxSpec {
    spec_of(folder, &publish(folder))
}

fn spec_of(folder: &Path, publish: &PublishSpec) -> OutboxSpec {
    OutboxSpec {
        sinks: publish.sinks(vec![route()]),
        state: state(folder),
        dead_letter: folder.join("dead-letter.jsonl"),
        clients: None,
        sharing: None,
    }
}

fn written(folder: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(folder.join("events/events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn local(statuses: &[SinkStatus]) -> &SinkStatus {
    statuses.iter().find(|status| status.name == "local").unwrap()
}

#[tokio::test]
async fn events_are_written_in_order_and_flushed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = EventOutbox::start(spec(folder.path())).await.unwrap();
    let sent: Vec<Event> = (1..=50).map(|number| event("front", number)).collect();
    for event in &sent {
        assert_eq!(offer(&outbox, pending(event.clone(), &route())).await.unwrap(), *event);
    }
    assert_eq!(outbox.flush(10 * SECOND).await, []);
    assert_eq!(written(folder.path()), sent);
    let statuses = outbox.statuses();
    let status = local(&statuses);
    assert_eq!((status.required, &status.state), (true, &SinkState::Ok));
    assert_eq!((status.queued, status.queued_bytes, status.delivered, status.failed), (0, 0, 50, 0));
    assert_eq!(statuses[0].name, "outbox", "the disk");
}

#[tokio::test]
async fn a_snapshot_is_kept_where_the_record_says() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec_of(folder.path(), &publish_with_pictures(folder.path()));
    let outbox = EventOutbox::start(spec).await.unwrap();
    let offered = FrameEvents { frame: Some(frame("front")), ..pending(event("front", 1), &route()) };
    let record = offer(&outbox, offered).await.unwrap();
    let place = record.payload.extras.snapshot.clone().unwrap();
    assert_eq!(place, format!("snapshots/front/1700000000123-{}.png", &record.event_id[..12]));
    offer(&outbox, pending(event("front", 2), &route())).await.unwrap();
    assert_eq!(outbox.flush(10 * SECOND).await, []);
    let snapshots: Vec<_> = written(folder.path()).into_iter().map(|e| e.payload.extras.snapshot).collect();
    assert_eq!(snapshots, [Some(place.clone()), None], "no frame, no snapshot");
    let file = std::fs::File::open(folder.path().join("events").join(place)).unwrap();
    let picture = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
    assert_eq!(picture.info().size(), (320, 180));
}

/// The folder of the sink is made a file under it, as a full disk would: no line can be written.
#[tokio::test]
async fn undelivered_records_are_delivered_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let spec_with_pictures = spec_of(folder.path(), &publish_with_pictures(folder.path()));
    let outbox = EventOutbox::start(spec_with_pictures).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("events")).unwrap();
    std::fs::write(folder.path().join("events"), "in the way").unwrap();
    let offered = FrameEvents { frame: Some(frame("front")), ..pending(event("front", 1), &route()) };
    let record = offer(&outbox, offered).await.unwrap();
    outbox.until(|all| local(all).state != SinkState::Ok).await;
    let remains = outbox.flush(Duration::ZERO).await;
    assert_eq!(remains, [UndeliveredRecords { sink: "local".into(), required: true, count: 1 }]);
    std::fs::remove_file(folder.path().join("events")).unwrap();
    let outbox = EventOutbox::start(spec(folder.path())).await.unwrap();
    assert_eq!(outbox.flush(10 * SECOND).await, []);
    let snapshot = record.payload.extras.snapshot.clone().unwrap();
    assert!(folder.path().join("events").join(snapshot).exists(), "the picture was kept with it");
    assert_eq!(written(folder.path()), [record]);
}

#[tokio::test]
async fn a_full_share_makes_events_wait_and_a_cancelled_one_was_not_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path());
    spec.state.max_bytes = 10_000;
    let outbox = EventOutbox::start(spec).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("events")).unwrap();
    std::fs::write(folder.path().join("events"), "in the way").unwrap();
    let mut taken = 0;
    while offer(&outbox, pending(event("front", taken + 1), &route())).now_or_never().is_some() {
        taken += 1;
    }
    assert!((5..20).contains(&taken), "{taken} records of some 700 bytes in 10,000");
    std::fs::remove_file(folder.path().join("events")).unwrap();
    offer(&outbox, pending(event("front", taken + 1), &route())).await.unwrap();
    assert_eq!(outbox.flush(20 * SECOND).await, []);
    let seqs: Vec<u64> = written(folder.path()).iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=taken + 1).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_camera_goes_on_where_it_was_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let front = CameraId::new("front");
    for number in 0..3 {
        let outbox = EventOutbox::start(spec(folder.path())).await.unwrap();
        let seq = outbox
            .resume(&front, ResumeRules { reads_all: false, route: &route() })
            .await
            .unwrap()
            .map_or(0, |kept| kept.decide.seq());
        assert_eq!(seq, number);
        offer(&outbox, pending(event("front", number + 1), &route())).await.unwrap();
        outbox.flush(10 * SECOND).await;
    }
    assert_eq!(written(folder.path()).len(), 3);
}

#[tokio::test]
async fn after_a_flush_nothing_is_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = EventOutbox::start(spec(folder.path())).await.unwrap();
    outbox.flush(SECOND).await;
    let refused = offer(&outbox, pending(event("front", 1), &route())).await;
    assert!(matches!(refused, Err(OfferError::Stopped)));
}

#[tokio::test]
async fn a_stream_without_a_sink_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = EventOutbox::start(spec(folder.path())).await.unwrap();
    let other = Arc::new(Route { kds_stream: Some("other".into()), snapshot: None, clip: None });
    let error = offer(&outbox, pending(event("front", 1), &other)).await.unwrap_err();
    assert!(error.to_string().contains("no sink kds/other for camera front"), "{error}");
    outbox.flush(SECOND).await;
    assert_eq!(written(folder.path()), []);
}

#[tokio::test]
async fn unusable_folders_are_reported_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let bad_publish = PublishSpec { local_dir: Some(file.clone()), ..PublishSpec::default() };
    let bad_sink = spec_of(folder.path(), &bad_publish);
    let mut bad_state = spec(folder.path());
    bad_state.state.dir = file.clone();
    let Err(StartError::Sink { sink, why }) = EventOutbox::start(bad_sink).await else {
        panic!("it started")
    };
    assert_eq!(sink, "local");
    assert!(why.contains(&format!("the folder {} (publishers.local_dir)", file.display())), "{why}");
    let Err(error @ StartError::State(_)) = EventOutbox::start(bad_state).await else { panic!("it started") };
    assert!(error.to_string().contains(&format!("{}", file.display())), "{error}");
}

#[tokio::test]
async fn a_second_process_on_the_same_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = EventOutbox::start(spec(folder.path())).await.unwrap();
    let Err(error) = EventOutbox::start(spec(folder.path())).await else { panic!("it started") };
    assert!(error.to_string().contains("in use by another process"), "{error}");
    first.flush(SECOND).await;
    EventOutbox::start(spec(folder.path())).await.unwrap().flush(SECOND).await;
}
