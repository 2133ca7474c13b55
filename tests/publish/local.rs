//! The outbox and the local sink, through the public interface.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::event::{event, frame, pending};
use futures_util::FutureExt;
use kvs_infer::decide::State;
use kvs_infer::decode::SamplerState;
use kvs_infer::frame::{CameraId, Event};
use kvs_infer::publish::{
    Accepted, Checkpoint, FragmentCommit, MemoryLedger, OfferError, Outbox, OutboxSpec, PendingEvent,
    PublishSpec, Route, SinkState, SnapshotFormat, SnapshotSpec, StartError,
};

const SECOND: Duration = Duration::from_secs(1);

fn route() -> Arc<Route> {
    Arc::new(Route { kds_stream: None, snapshot: None })
}

fn spec(folder: &Path) -> OutboxSpec {
    OutboxSpec {
        publish: PublishSpec {
            kds_stream: None,
            s3: None,
            local_dir: Some(folder.to_owned()),
            snapshots: None,
        },
        routes: vec![route()],
        dead_letter: folder.join("dead-letter.jsonl"),
        ledger: Box::new(MemoryLedger::default()),
        clients: None,
    }
}

fn written(folder: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn events_are_written_once_in_order_and_flushed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(spec(folder.path())).unwrap();
    let sent: Vec<Event> = (1..=50).map(|number| event("front", number)).collect();
    for event in &sent {
        let accepted = outbox.offer(pending(event.clone(), &route())).await.unwrap();
        assert_eq!(accepted, Accepted::New(Box::new(event.clone())));
    }
    let again = outbox.offer(pending(sent[7].clone(), &route())).await.unwrap();
    assert_eq!(again, Accepted::Known);
    assert_eq!(outbox.flush(10 * SECOND).await, []);
    assert_eq!(written(folder.path()), sent);
    let status = outbox.statuses().remove(0);
    assert_eq!((status.name.as_str(), status.required, status.state), ("local", true, SinkState::Ok));
    assert_eq!((status.queued, status.delivered, status.failed), (0, 50, 0));
}

#[tokio::test]
async fn a_snapshot_is_kept_where_the_record_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path());
    spec.publish.snapshots = Some(SnapshotSpec { format: SnapshotFormat::Png, jpeg_quality: 90 });
    let outbox = Outbox::start(spec).unwrap();
    let offered = PendingEvent { frame: Some(frame("front")), ..pending(event("front", 1), &route()) };
    let Accepted::New(record) = outbox.offer(offered).await.unwrap() else { panic!("not new") };
    let place = record.payload.extras.snapshot.clone().unwrap();
    assert_eq!(place, format!("snapshots/front/1700000000123-{}.png", &record.event_id[..12]));
    outbox.offer(pending(event("front", 2), &route())).await.unwrap();
    assert_eq!(outbox.flush(10 * SECOND).await, []);
    let snapshots: Vec<_> = written(folder.path()).into_iter().map(|e| e.payload.extras.snapshot).collect();
    assert_eq!(snapshots, [Some(place.clone()), None], "no frame, no snapshot");
    let file = std::fs::File::open(folder.path().join(place)).unwrap();
    let picture = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
    assert_eq!(picture.info().size(), (320, 180));
}

/// No task runs between the offers, so the queue fills: what was waited for and cancelled was not taken in.
#[tokio::test]
async fn a_full_queue_makes_offers_wait_and_a_cancelled_one_is_new_later() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(spec(folder.path())).unwrap();
    let at_once = |number| {
        let offered = outbox.offer(pending(event("front", number), &route()));
        tokio::task::unconstrained(offered).now_or_never().is_some()
    };
    let taken = (1..).take_while(|&number| at_once(number)).count() as u64;
    assert_eq!(taken, 1_000);
    let again = outbox.offer(pending(event("front", taken + 1), &route())).await.unwrap();
    assert!(matches!(again, Accepted::New(_)));
    assert_eq!(outbox.flush(10 * SECOND).await, []);
    assert_eq!(written(folder.path()).len() as u64, taken + 1);
}

#[tokio::test]
async fn a_fragment_that_is_read_again_gives_nothing_new() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(spec(folder.path())).unwrap();
    let front = CameraId::new("front");
    assert_eq!(outbox.resume(&front), None);
    for (position, expected) in [("1", true), ("1", false)] {
        let accepted = outbox.offer(pending(event("front", 1), &route())).await.unwrap();
        assert_eq!(matches!(accepted, Accepted::New(_)), expected);
        let (decide, sampler) = (State::default(), SamplerState::default());
        let checkpoint = Checkpoint { position: position.into(), decide, sampler };
        outbox.commit(FragmentCommit { camera: front.clone(), checkpoint: checkpoint.clone() });
        assert_eq!(outbox.resume(&front), Some(checkpoint));
    }
    outbox.flush(10 * SECOND).await;
    assert_eq!(written(folder.path()).len(), 1);
}

#[tokio::test]
async fn after_a_flush_nothing_is_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(spec(folder.path())).unwrap();
    outbox.flush(SECOND).await;
    let refused = outbox.offer(pending(event("front", 1), &route())).await;
    assert!(matches!(refused, Err(OfferError::Stopped)));
}

#[tokio::test]
async fn a_stream_without_a_sink_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(spec(folder.path())).unwrap();
    let other = Arc::new(Route { kds_stream: Some("other".into()), snapshot: None });
    let error = outbox.offer(pending(event("front", 1), &other)).await.unwrap_err();
    assert!(error.to_string().contains("\"other\" of camera front"), "{error}");
    outbox.flush(SECOND).await;
    assert_eq!(written(folder.path()), []);
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let Err(StartError::LocalDir { path, .. }) = Outbox::start(spec(&file)) else {
        panic!("it started");
    };
    assert_eq!(path, file);
}
