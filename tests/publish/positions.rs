//! The table of positions through the real SDK, against moto: who owns a camera, and what a process does that owns it no more.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use kvs_infer::checkpoint::Checkpoint;
use kvs_infer::delivery::{
    CameraCommit, Clients, EventOutbox, OfferError, OutboxSpec, ResumeError, ResumeRules, Route, SinkState,
    StateSpec,
};
use kvs_infer::media::CameraId;
use kvs_infer::sinks::PublishSpec;
use tempfile::TempDir;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::moto::{self, Moto, records};
use tokio_util::sync::CancellationToken;

use super::dynamodb::{status, tables};
use super::event::{self, event, pending, state};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
const NOWHERE: &str = "http://127.0.0.1:1";
const TABLE: &str = "positions/positions";

pub(crate) fn front() -> CameraId {
    CameraId::new("front")
}

pub(crate) fn route() -> Arc<Route> {
    Arc::new(Route { kds_stream: Some("events".into()), snapshot: None, clip: None })
}

/// An outbox with a local sink, records in the stream `events`, and positions in `positions`.
pub(crate) async fn outbox(folder: &Path, url: &str) -> EventOutbox {
    started(folder, url, Some("positions".into())).await
}

async fn started(folder: &Path, url: &str, ddb_table: Option<String>) -> EventOutbox {
    routed(folder, url, ddb_table, &route()).await
}

pub(crate) async fn routed(
    folder: &Path,
    url: &str,
    ddb_table: Option<String>,
    route: &Arc<Route>,
) -> EventOutbox {
    with_state(folder, url, StateSpec { ddb_table, ..state(folder) }, route).await
}

pub(crate) async fn with_state(
    folder: &Path,
    url: &str,
    state: StateSpec,
    route: &Arc<Route>,
) -> EventOutbox {
    let publish = PublishSpec { local_dir: Some(folder.join("events")), ..PublishSpec::default() };
    let (dead_letter, clients) =
        (folder.join("dead-letter.jsonl"), Some(Clients::new(&moto::config(url), true)));
    EventOutbox::start(OutboxSpec {
        sinks: publish.sinks(vec![Arc::clone(route)]),
        state,
        dead_letter,
        clients,
        sharing: None,
    })
    .await
    .unwrap()
}

pub(crate) async fn offer(outbox: &EventOutbox, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        event::offer(outbox, pending(event("front", number), &route())).await.unwrap();
    }
}

pub(crate) async fn resume(outbox: &EventOutbox) -> Result<Option<Checkpoint>, ResumeError> {
    outbox.resume(&front(), ResumeRules { reads_all: false, route: &route() }).await
}

/// Returns the `seq` of the state at which the camera resumes.
pub(crate) async fn resumed(outbox: &EventOutbox) -> Option<u64> {
    resume(outbox).await.unwrap().map(|at| at.decide.seq())
}

/// Waits until every sink has all that was offered.
pub(crate) async fn delivered(outbox: &EventOutbox) {
    outbox.until(|all| all.iter().all(|sink| sink.queued == 0)).await;
}

type Item = std::collections::HashMap<String, AttributeValue>;

pub(crate) async fn item(client: &Client) -> Item {
    let key = AttributeValue::S("front".into());
    let got =
        client.get_item().table_name("positions").key("camera_id", key).consistent_read(true).send().await;
    got.unwrap().item.unwrap()
}

fn number(item: &Item, name: &str) -> u64 {
    item.get(name).map_or(0, |value| value.as_n().unwrap().parse().unwrap())
}

pub(crate) fn position(item: &Item) -> Option<u64> {
    item.get("position").map(|position| position.as_s().unwrap().parse().unwrap())
}

pub(crate) async fn seqs(kinesis: &aws_sdk_kinesis::Client) -> Vec<u64> {
    let records = records(kinesis, "events").await.into_iter();
    records.map(|(_, json)| serde_json::from_str::<kvs_infer::media::Event>(&json).unwrap().seq).collect()
}

/// moto with the table and the stream, and what reads them.
pub(crate) async fn services() -> (Moto, Client, aws_sdk_kinesis::Client) {
    let moto = Moto::start();
    let (dynamodb, kinesis) = (tables(&moto).await, moto.stream("events").await);
    (moto, dynamodb, kinesis)
}

pub(crate) fn folders() -> [TempDir; 2] {
    [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]
}

#[tokio::test]
async fn a_host_without_the_disk_goes_on_where_all_was_delivered() {
    let (moto, dynamodb, _) = services().await;
    for (folder, expected) in folders().iter().zip([None, Some(5)]) {
        let outbox = outbox(folder.path(), &moto.url).await;
        assert_eq!(resumed(&outbox).await, expected);
        offer(&outbox, 1..=5).await;
        assert_eq!(outbox.flush(30 * SECOND).await, []);
    }
    let item = item(&dynamodb).await;
    assert_eq!((number(&item, "epoch"), position(&item)), (2, Some(5)));
}

#[tokio::test]
async fn a_process_that_was_replaced_publishes_nothing_more_and_its_successor_makes_all_of_it() {
    let (moto, dynamodb, kinesis) = services().await;
    let (folders, proxy) = (folders(), FaultProxy::start(&moto.url).await);
    let old = outbox(folders[0].path(), &proxy.url).await;
    assert_eq!(resumed(&old).await, None);
    let stop = CancellationToken::new();
    old.attach(&front(), stop.clone(), false);
    offer(&old, 1..=1).await;
    delivered(&old).await;
    assert_eq!(resumed(&old).await, Some(1));
    assert_eq!(position(&item(&dynamodb).await), Some(1), "asked for again, it is written at once");

    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    offer(&old, 2..=3).await;
    let new = outbox(folders[1].path(), &moto.url).await;
    assert_eq!(
        resumed(&new).await,
        Some(3),
        "the records that wait and the state after them are in the table"
    );
    let refused = resume(&old).await.unwrap_err();
    assert!(matches!(refused, ResumeError::TakenOver { .. }) && stop.is_cancelled(), "{refused}");
    let by = item(&dynamodb).await["owner"].as_s().unwrap().clone();
    assert_eq!(old.taken_over(&front()).map(|taken| (taken.owner, taken.epoch)), Some((by.clone(), 2)));
    assert!(
        refused.to_string().contains(&by) && refused.to_string().contains("end one of the two"),
        "{refused}"
    );
    let refused = event::offer(&old, pending(event("front", 4), &route())).await.unwrap_err();
    assert!(matches!(refused, OfferError::TakenOver { .. }), "{refused}");
    assert!(resume(&old).await.is_err(), "it does not claim the camera back by itself");
    assert_eq!(number(&item(&dynamodb).await, "epoch"), 2);

    proxy.clear();
    assert_eq!(old.flush(30 * SECOND).await, [], "what waited is the successor's");
    delivered(&new).await;
    assert_eq!(seqs(&kinesis).await, [1, 2, 3], "each from one of the two");
    offer(&new, 4..=4).await;
    assert_eq!(new.flush(30 * SECOND).await, []);
    assert_eq!(seqs(&kinesis).await, [1, 2, 3, 4]);
    assert_eq!(position(&item(&dynamodb).await), Some(4));

    let alone = started(folders[0].path(), NOWHERE, None).await;
    assert_eq!(resumed(&alone).await, Some(1), "its own state goes back with the records that it gave up");
    assert_eq!(alone.flush(Duration::ZERO).await, []);
    let again = outbox(folders[0].path(), &moto.url).await;
    assert_eq!(
        resumed(&again).await,
        Some(4),
        "a restart takes the camera back, where the other one left it"
    );
    again.flush(Duration::ZERO).await;
}

#[tokio::test]
async fn what_no_successor_makes_again_is_delivered_all_the_same() {
    for (name, starts_at_now, written) in
        [("it starts at NOW", true, true), ("nothing was written yet", false, false)]
    {
        let (moto, _, kinesis) = services().await;
        let (folders, proxy) = (folders(), FaultProxy::start(&moto.url).await);
        let old = outbox(folders[0].path(), &proxy.url).await;
        assert_eq!(resumed(&old).await, None);
        old.attach(&front(), CancellationToken::new(), starts_at_now);
        if written {
            offer(&old, 1..=1).await;
            delivered(&old).await;
            resumed(&old).await;
        }
        proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
        offer(&old, 2..=3).await;
        let new = outbox(folders[1].path(), &moto.url).await;
        resumed(&new).await;
        assert!(resume(&old).await.is_err());
        proxy.clear();
        assert_eq!(old.flush(30 * SECOND).await, [], "{name}");
        // The successor finds them in the table, too.
        assert_eq!(new.flush(30 * SECOND).await, [], "{name}");
        let found: BTreeSet<u64> = seqs(&kinesis).await.into_iter().collect();
        assert_eq!(found, if written { [1, 2, 3].into() } else { [2, 3].into() }, "{name}");
    }
}

#[tokio::test]
async fn a_process_that_started_without_the_table_gives_way_to_events_that_are_in_it() {
    let (moto, _, _) = services().await;
    let (folders, mut proxy) = (folders(), FaultProxy::start(&moto.url).await);
    let before = outbox(folders[0].path(), &moto.url).await;
    resumed(&before).await;
    offer(&before, 1..=1).await;
    assert_eq!(before.flush(30 * SECOND).await, []);
    let theirs = outbox(folders[1].path(), &moto.url).await;
    assert_eq!(resumed(&theirs).await, Some(1));
    // In the same fragment: its position is not beyond.
    let packed = theirs.pack(pending(event("front", 2), &route())).await.unwrap();
    let commit = CameraCommit {
        camera: front(),
        epoch: None,
        checkpoint: event::checkpoint(Some(1), 2),
        events: packed.events,
    };
    theirs.commit(commit, || ()).await.unwrap();

    proxy.go_away().await;
    let late = outbox(folders[0].path(), &proxy.url).await;
    assert_eq!(resumed(&late).await, Some(1), "its own state is enough to start");
    proxy.come_back().await;
    let refused = resume(&late).await.unwrap_err();
    assert!(matches!(refused, ResumeError::TakenOver { .. }), "{refused}");
    assert_eq!(resumed(&theirs).await, Some(2));
    late.flush(Duration::ZERO).await;
    theirs.flush(30 * SECOND).await;
}

#[tokio::test]
async fn a_late_copy_of_a_write_moves_nothing_back() {
    let (moto, dynamodb, _) = services().await;
    let (folder, proxy) = (tempfile::tempdir().unwrap(), FaultProxy::start(&moto.url).await);
    let outbox = outbox(folder.path(), &proxy.url).await;
    resumed(&outbox).await;
    offer(&outbox, 1..=1).await;
    delivered(&outbox).await;
    proxy.rule(AwsService::DynamoDb, Mishap::Repeated(SECOND), Some(1));
    resumed(&outbox).await;
    assert_eq!(position(&item(&dynamodb).await), Some(1));
    offer(&outbox, 2..=2).await;
    delivered(&outbox).await;
    resumed(&outbox).await;
    let copied = |seen: &[test_support::fault_proxy::Seen]| {
        let repeated = Some(Mishap::Repeated(SECOND));
        let updates = seen.iter().filter(|seen| seen.operation == "UpdateItem");
        let from_it_on: Vec<_> = updates.skip_while(|seen| seen.mishap != repeated).collect();
        // The write, the one after it, and the copy.
        from_it_on.len() >= 3
    };
    proxy.until(copied).await;
    assert_eq!(position(&item(&dynamodb).await), Some(2));
    outbox.flush(Duration::ZERO).await;
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_no_takeover() {
    let (moto, dynamodb, _) = services().await;
    let (folder, proxy) = (tempfile::tempdir().unwrap(), FaultProxy::start(&moto.url).await);
    let outbox = outbox(folder.path(), &proxy.url).await;
    resumed(&outbox).await;
    for seq in 1..=3 {
        offer(&outbox, seq..=seq).await;
        delivered(&outbox).await;
        proxy.rule(AwsService::DynamoDb, Mishap::AnswerLost, Some(1));
        assert_eq!(resumed(&outbox).await, Some(seq));
        assert_ne!(status(&outbox.statuses(), TABLE).state, SinkState::Ok, "{seq}: it does not know of it");
    }
    assert_eq!(outbox.taken_over(&front()), None);
    assert_eq!(outbox.flush(30 * SECOND).await, []);
    let item = item(&dynamodb).await;
    assert_eq!((number(&item, "epoch"), position(&item)), (1, Some(3)));
    assert_eq!(status(&outbox.statuses(), TABLE).state, SinkState::Ok);
}

#[tokio::test]
async fn a_process_that_started_without_the_table_gives_way_to_one_that_worked_since() {
    for (name, other, owner, expected) in
        [("the other one claimed and did nothing", vec![], 0, Some(9)), ("it worked", vec![2, 3], 1, None)]
    {
        let (moto, _, kinesis) = services().await;
        let (folders, mut proxy) = (folders(), FaultProxy::start(&moto.url).await);
        let before = outbox(folders[0].path(), &moto.url).await;
        resumed(&before).await;
        offer(&before, 1..=1).await;
        assert_eq!(before.flush(30 * SECOND).await, [], "{name}");
        let theirs = outbox(folders[1].path(), &moto.url).await;
        assert_eq!(resumed(&theirs).await, Some(1), "{name}");
        offer(&theirs, other).await;
        delivered(&theirs).await;
        resumed(&theirs).await;

        proxy.go_away().await;
        let late = outbox(folders[0].path(), &proxy.url).await;
        assert_eq!(resumed(&late).await, Some(1), "{name}: its own state is enough to start");
        offer(&late, [9]).await;
        proxy.come_back().await;
        let claimed = resume(&late).await.ok().flatten().map(|at| at.decide.seq());
        assert_eq!(claimed, expected, "{name}");
        let kept = resume([&late, &theirs][owner]).await;
        assert!(kept.is_ok(), "{name}: one of the two has it");
        let lost = resume([&theirs, &late][owner]).await;
        assert!(matches!(lost, Err(ResumeError::TakenOver { .. })), "{name}: and the other has not");
        assert_eq!(late.flush(30 * SECOND).await, [], "{name}");
        assert!(seqs(&kinesis).await.contains(&9), "{name}: what was made without the table is delivered");
        theirs.flush(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn an_item_of_an_earlier_version_is_taken_over_and_written_again() {
    let (moto, dynamodb, _) = services().await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number_of = |number: u64| AttributeValue::N(number.to_string());
    let kept = r#"{"version":1,"checkpoint":{"stream":"stream","position":{"fragment":"00000000000000000000000000000000000000000000007","media":0},"seen":null,"decide":{"version":2,"seq":7,"detectors":{}},"sampler":{"next":null}}}"#;
    let put = dynamodb.put_item().table_name("positions").item("camera_id", text("front"));
    let put = put.item("epoch", number_of(4)).item("owner", text("before")).item("checkpoint", text(kept));
    put.item("position", text(&format!("{:047}", 7))).item("updated_at", number_of(5)).send().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox(folder.path(), &moto.url).await;
    assert_eq!(resumed(&outbox).await, Some(7));
    assert_eq!(item(&dynamodb).await["checkpoint"], text(kept), "a claim leaves it as it is");
    offer(&outbox, 8..=8).await;
    assert_eq!(outbox.flush(30 * SECOND).await, []);
    let item = item(&dynamodb).await;
    assert_eq!((number(&item, "epoch"), position(&item)), (5, Some(8)));
    assert!(number(&item, "rev") >= 2 && item["checkpoint"].is_b(), "{item:?}");
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_left_to_its_owner() {
    let (moto, dynamodb, _) = services().await;
    let newer = AttributeValue::S(r#"{"version":99,"checkpoint":{}}"#.to_owned());
    let put =
        dynamodb.put_item().table_name("positions").item("camera_id", AttributeValue::S("front".into()));
    let put = put.item("epoch", AttributeValue::N("4".into())).item("checkpoint", newer);
    put.send().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox(folder.path(), &moto.url).await;
    let refused = resume(&outbox).await.unwrap_err();
    assert!(refused.to_string().contains("version 99"), "{refused}");
    assert_eq!(number(&item(&dynamodb).await, "epoch"), 4);
    outbox.flush(Duration::ZERO).await;
}

#[tokio::test]
async fn an_item_that_was_deleted_is_claimed_again() {
    let (moto, dynamodb, _) = services().await;
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox(folder.path(), &moto.url).await;
    resumed(&outbox).await;
    let key = AttributeValue::S("front".into());
    dynamodb.delete_item().table_name("positions").key("camera_id", key).send().await.unwrap();
    offer(&outbox, 1..=1).await;
    delivered(&outbox).await;
    assert_eq!(resumed(&outbox).await, Some(1));
    assert_eq!(outbox.flush(30 * SECOND).await, []);
    assert_eq!(position(&item(&dynamodb).await), Some(1));
}

#[tokio::test]
async fn a_table_that_hangs_holds_a_start_up_for_a_second() {
    let (moto, _, _) = services().await;
    let (folder, proxy) = (tempfile::tempdir().unwrap(), FaultProxy::start(&moto.url).await);
    proxy.rule(AwsService::DynamoDb, Mishap::Delay(60 * SECOND), None);
    let outbox = outbox(folder.path(), &proxy.url).await;
    let asked = Instant::now();
    let refused = resume(&outbox).await.unwrap_err();
    assert!(asked.elapsed() < 5 * SECOND, "{:?}", asked.elapsed());
    assert!(refused.to_string().contains("timeout"), "{refused}");
    outbox.flush(Duration::ZERO).await;
}

#[tokio::test]
async fn without_the_table_a_camera_starts_only_where_its_own_position_is_known() {
    let (moto, _, kinesis) = services().await;
    let folder = tempfile::tempdir().unwrap();
    let unknown = outbox(folder.path(), NOWHERE).await;
    let refused = resume(&unknown).await.unwrap_err();
    assert!(matches!(refused, ResumeError::Unknown { .. }), "{refused}");
    assert!(refused.to_string().contains("AWS_ENDPOINT_URL_DYNAMODB"), "{refused}");
    offer(&unknown, 1..=1).await;
    unknown.flush(SECOND).await;
    let known = outbox(folder.path(), NOWHERE).await;
    assert_eq!(resumed(&known).await, Some(1));
    known.flush(Duration::ZERO).await;
    let cured = outbox(folder.path(), &moto.url).await;
    assert_eq!(resumed(&cured).await, Some(1));
    assert_eq!(cured.flush(30 * SECOND).await, []);
    assert_eq!(seqs(&kinesis).await, [1], "the record that waited is put");
}
