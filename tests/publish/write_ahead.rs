//! The write-ahead in the table of positions, against moto: what is left of a lost host, and who delivers it.

use std::sync::Arc;
use std::time::Instant;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::FutureExt;
use kvs_infer::checkpoint::Checkpoint;
use kvs_infer::delivery::{CameraCommit, ResumeError, ResumeRules, Route, StateSpec};
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::moto::records;

use super::dynamodb::status;
use super::event::{self, event, pending, state};
use super::positions::{
    SECOND, delivered, folders, front, item, offer, outbox, position, resume, resumed, route, routed, seqs,
    services, with_state,
};

/// Returns the ids of the records in the stream `events`, in their order.
async fn ids(kinesis: &aws_sdk_kinesis::Client) -> Vec<String> {
    let records = records(kinesis, "events").await.into_iter();
    records
        .map(|(_, json)| serde_json::from_str::<kvs_infer::media::Event>(&json).unwrap().event_id)
        .collect()
}

#[tokio::test]
async fn the_records_of_a_lost_host_are_delivered_under_their_ids_and_the_state_goes_on_after_them() {
    let (moto, dynamodb, kinesis) = services().await;
    let (folders, proxy) = (folders(), FaultProxy::start(&moto.url).await);
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    let lost = outbox(folders[0].path(), &proxy.url).await;
    assert_eq!(resumed(&lost).await, None);
    offer(&lost, 1..=3).await;
    assert!(item(&dynamodb).await.contains_key("ahead"));

    // The next host dies, too, before it could deliver anything.
    for number in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let next = outbox(folder.path(), &proxy.url).await;
        assert_eq!(resumed(&next).await, Some(3), "host {number}");
    }
    let last = outbox(folders[1].path(), &moto.url).await;
    assert_eq!(resumed(&last).await, Some(3));
    offer(&last, 4..=4).await;
    assert_eq!(last.flush(30 * SECOND).await, []);
    let expected: Vec<String> = (1..=4).map(|number| event("front", number).event_id).collect();
    assert_eq!(ids(&kinesis).await, expected);
    let item = item(&dynamodb).await;
    assert!(position(&item) == Some(4) && !item.contains_key("ahead"), "{item:?}");
    let again = outbox(folders[1].path(), &moto.url).await;
    assert_eq!(resumed(&again).await, Some(4));
    assert_eq!(again.flush(30 * SECOND).await, []);
    assert_eq!(ids(&kinesis).await.len(), 4, "nothing comes again");
}

#[tokio::test]
async fn a_write_ahead_is_no_sign_of_a_full_outbox() {
    let (moto, dynamodb, _) = services().await;
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox(folder.path(), &moto.url).await;
    resumed(&outbox).await;
    let packed = outbox.pack(pending(event("front", 1), &route())).await.unwrap();
    let mut is_full = false;
    let commit = CameraCommit {
        camera: front(),
        epoch: None,
        checkpoint: event::checkpoint(Some(1), 1),
        events: packed.events,
    };
    outbox.commit(commit, || is_full = true).await.unwrap();
    assert!(!is_full && item(&dynamodb).await.contains_key("ahead"));
    outbox.flush(30 * SECOND).await;
}

#[tokio::test]
async fn a_camera_waits_for_room_for_what_its_last_owner_left() {
    let (moto, _, kinesis) = services().await;
    let (folders, proxy) = (folders(), FaultProxy::start(&moto.url).await);
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    let lost = outbox(folders[0].path(), &proxy.url).await;
    resumed(&lost).await;
    offer(&lost, 1..=3).await;

    let ddb_table = Some("positions".to_owned());
    let small = StateSpec { max_bytes: 20_000, ddb_table, ..state(folders[1].path()) };
    let next = with_state(folders[1].path(), &proxy.url, small, &route()).await;
    let mut number = 1;
    // Of a camera that was not claimed, which has nothing to wait for but room.
    while event::offer(&next, pending(event("back", number), &route())).now_or_never().is_some() {
        number += 1;
    }
    let refused = resume(&next).await.unwrap_err();
    assert!(matches!(refused, ResumeError::NoRoom { .. }) && refused.is_temporary(), "{refused}");
    proxy.clear();
    delivered(&next).await;
    assert_eq!(resumed(&next).await, Some(3));
    assert_eq!(next.flush(30 * SECOND).await, []);
    let expected = (1..=3).map(|number| event("front", number).event_id);
    let found = ids(&kinesis).await;
    assert!(expected.into_iter().all(|id| found.contains(&id)), "{found:?}");
}

/// A position exists only after the first fragment.
#[tokio::test]
async fn events_of_a_cameras_first_fragment_keep_their_numbers() {
    let (moto, _, kinesis) = services().await;
    let folders = folders();
    let lost = outbox(folders[0].path(), &moto.url).await;
    assert_eq!(resumed(&lost).await, None);
    let packed = lost.pack(pending(event("front", 1), &route())).await.unwrap();
    let commit = CameraCommit {
        camera: front(),
        epoch: None,
        checkpoint: event::checkpoint(None, 1),
        events: packed.events,
    };
    lost.commit(commit, || ()).await.unwrap();
    delivered(&lost).await;
    assert_eq!(resumed(&lost).await, Some(1), "asked for again, the item is written");
    let next = outbox(folders[1].path(), &moto.url).await;
    assert_eq!(resumed(&next).await, Some(1), "the state after the event is still in the table");
    assert_eq!(next.flush(30 * SECOND).await, []);
    assert_eq!(seqs(&kinesis).await, [1]);
}

#[tokio::test]
async fn a_camera_that_got_another_stream_keeps_its_numbers() {
    let (moto, _, kinesis) = services().await;
    let (folders, proxy) = (folders(), FaultProxy::start(&moto.url).await);
    let lost = outbox(folders[0].path(), &proxy.url).await;
    resumed(&lost).await;
    offer(&lost, 1..=1).await;
    delivered(&lost).await;
    resumed(&lost).await;
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    let packed = lost.pack(pending(event("front", 2), &route())).await.unwrap();
    let checkpoint = Checkpoint { stream: "another".into(), ..event::checkpoint(None, 2) };
    lost.commit(CameraCommit { camera: front(), epoch: None, checkpoint, events: packed.events }, || ())
        .await
        .unwrap();
    let next = outbox(folders[1].path(), &moto.url).await;
    let resumed = resume(&next).await.unwrap().unwrap();
    assert_eq!((&*resumed.stream, resumed.position, resumed.decide.seq()), ("another", None, 2));
    assert_eq!(next.flush(30 * SECOND).await, []);
    assert_eq!(seqs(&kinesis).await, [1, 2]);
}

#[tokio::test]
async fn a_record_whose_sink_is_gone_goes_where_the_camera_is_routed_to() {
    let (moto, _, kinesis) = services().await;
    moto.stream("others").await;
    let (folders, proxy) = (folders(), FaultProxy::start(&moto.url).await);
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    let lost = outbox(folders[0].path(), &proxy.url).await;
    resumed(&lost).await;
    offer(&lost, 1..=1).await;
    let others = Arc::new(Route { kds_stream: Some("others".into()), snapshot: None, clip: None });
    let next = routed(folders[1].path(), &moto.url, Some("positions".into()), &others).await;
    let resumed = next.resume(&front(), ResumeRules { reads_all: false, route: &others }).await.unwrap();
    assert_eq!(resumed.map(|at| at.decide.seq()), Some(1));
    assert_eq!(next.flush(30 * SECOND).await, []);
    assert_eq!((records(&kinesis, "others").await.len(), seqs(&kinesis).await), (1, vec![]));
}

#[tokio::test]
async fn a_crash_between_the_table_and_the_disk_loses_nothing() {
    let (moto, _, kinesis) = services().await;
    let (folder, proxy) = (tempfile::tempdir().unwrap(), FaultProxy::start(&moto.url).await);
    let copy = tempfile::tempdir().unwrap();
    {
        let before = outbox(folder.path(), &moto.url).await;
        resumed(&before).await;
        offer(&before, 1..=1).await;
        assert_eq!(before.flush(30 * SECOND).await, []);
    }
    // The disk as it was before the commit, and the table as it was after it.
    let files = std::fs::read_dir(folder.path().join("state")).unwrap().map(Result::unwrap);
    std::fs::create_dir(copy.path().join("state")).unwrap();
    for file in files.filter(|file| file.file_type().unwrap().is_file()) {
        std::fs::copy(file.path(), copy.path().join("state").join(file.file_name())).unwrap();
    }
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    let killed = outbox(folder.path(), &proxy.url).await;
    assert_eq!(resumed(&killed).await, Some(1));
    offer(&killed, 2..=3).await;
    let restarted = outbox(copy.path(), &moto.url).await;
    assert_eq!(resumed(&restarted).await, Some(3), "the outbox has the same id, and lacks two records");
    assert_eq!(restarted.flush(30 * SECOND).await, []);
    assert_eq!(seqs(&kinesis).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_table_that_hangs_holds_up_one_event_and_no_other() {
    let (moto, dynamodb, kinesis) = services().await;
    let (folder, proxy) = (tempfile::tempdir().unwrap(), FaultProxy::start(&moto.url).await);
    let outbox = outbox(folder.path(), &proxy.url).await;
    resumed(&outbox).await;
    proxy.rule(AwsService::DynamoDb, Mishap::Delay(60 * SECOND), None);
    let asked = Instant::now();
    offer(&outbox, 1..=20).await;
    assert!(asked.elapsed() < 5 * SECOND, "{:?}", asked.elapsed());
    outbox.until(|all| status(all, "kds/events").queued == 0).await;
    assert_eq!(seqs(&kinesis).await, (1..=20).collect::<Vec<_>>(), "published without the table");
    assert!(!item(&dynamodb).await.contains_key("ahead"));
    proxy.clear();
    assert_eq!(outbox.flush(30 * SECOND).await, []);
    assert_eq!(position(&item(&dynamodb).await), Some(20));
}

#[tokio::test]
async fn more_records_than_an_item_is_to_hold_are_published_without_it() {
    let (moto, _, kinesis) = services().await;
    let (folders, proxy) = (folders(), FaultProxy::start(&moto.url).await);
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    let lost = outbox(folders[0].path(), &proxy.url).await;
    resumed(&lost).await;
    offer(&lost, 1..=40).await;
    let next = outbox(folders[1].path(), &moto.url).await;
    assert_eq!(resumed(&next).await, Some(32), "the last state whose records are all in the table");
    assert_eq!(next.flush(30 * SECOND).await, []);
    assert_eq!(seqs(&kinesis).await, (1..=32).collect::<Vec<_>>(), "the camera makes the rest again");
}

#[tokio::test]
async fn a_version_without_write_ahead_takes_over_and_gives_back() {
    let (moto, dynamodb, kinesis) = services().await;
    let (folders, proxy) = (folders(), FaultProxy::start(&moto.url).await);
    let new = outbox(folders[0].path(), &proxy.url).await;
    resumed(&new).await;
    offer(&new, 1..=1).await;
    delivered(&new).await;
    resumed(&new).await;
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    offer(&new, 2..=3).await;
    let left = item(&dynamodb).await;
    assert!(left.contains_key("ahead") && position(&left) == Some(1), "an earlier version resumes after 1");
    // That version claims the item, raises its rev, and leaves what it does not know.
    let claim =
        dynamodb.update_item().table_name("positions").key("camera_id", AttributeValue::S("front".into()));
    let claim = claim.update_expression("SET epoch = epoch + :one, rev = rev + :one, #owner = :owner");
    let claim = claim.expression_attribute_names("#owner", "owner");
    let claim = claim.expression_attribute_values(":one", AttributeValue::N("1".into()));
    claim.expression_attribute_values(":owner", AttributeValue::S("before".into())).send().await.unwrap();
    let next = outbox(folders[1].path(), &moto.url).await;
    assert_eq!(resumed(&next).await, Some(1), "what that version did is not known, so nothing is adopted");
    assert!(!item(&dynamodb).await.contains_key("ahead"));
    assert_eq!(next.flush(30 * SECOND).await, []);
    assert_eq!(seqs(&kinesis).await, [1]);
}
