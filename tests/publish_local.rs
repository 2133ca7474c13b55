//! The outbox and the local sink, through the public interface.
#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it fails on")]

#[path = "support/event.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kvs_infer::frame::Event;
use kvs_infer::publish::{
    Accepted, MemoryLedger, OfferError, Outbox, OutboxSpec, PublishSpec, Route, SinkState, StartError,
};
use support::{event, pending};

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
