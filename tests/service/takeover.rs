//! Two processes on one camera with a table of positions: the one that was replaced reads and publishes nothing more.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use serde_json::Value;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::footage::{StoredFootage, camera, config, records_of};
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::polling;
use test_support::program::Program;

const FRAGMENTS_PER_S: u32 = 20;
const POSITIONS: &str = "publishers: { kds_stream: events, local_dir: events }\nsnapshots: { enabled: false }\n\
                         state: { dir: state, ddb_table: positions }\n";
/// A tick of the positions comes so late at most without being a sign that the process stood still.
const NOTICED_AFTER: Duration = Duration::from_secs(13);

type Item = HashMap<String, AttributeValue>;

/// The services that two processes share.
struct Shared {
    moto: Moto,
    kinesis: aws_sdk_kinesis::Client,
    dynamodb: Client,
}

impl Shared {
    async fn start() -> Self {
        let moto = Moto::start();
        let kinesis = moto.stream("events").await;
        let dynamodb = Client::new(&moto.config());
        let (name, kind) = ("camera_id", ScalarAttributeType::S);
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
        let key = KeySchemaElement::builder().attribute_name(name).key_type(KeyType::Hash).build();
        let table = dynamodb.create_table().table_name("positions").billing_mode(BillingMode::PayPerRequest);
        let table = table.attribute_definitions(attribute.unwrap()).key_schema(key.unwrap());
        table.send().await.unwrap();
        Self { moto, kinesis, dynamodb }
    }

    async fn item(&self) -> Option<Item> {
        let key = AttributeValue::S("front".into());
        let got =
            self.dynamodb.get_item().table_name("positions").key("camera_id", key).consistent_read(true);
        got.send().await.unwrap().item
    }

    async fn until_position(&self) {
        polling::until("a position in the table", async || match self.item().await {
            Some(item) if item.contains_key("position") => Ok(()),
            item => Err(format!("{item:?}")),
        })
        .await;
    }

    /// The ids by `seq`, once there are so many records.
    async fn until_records(&self, count: u64) -> BTreeMap<u64, Vec<String>> {
        polling::until(&format!("records of {count} numbers"), async || {
            let ids = self.ids().await;
            if ids.len() as u64 >= count { Ok(ids) } else { Err(format!("{ids:#?}")) }
        })
        .await
    }

    async fn ids(&self) -> BTreeMap<u64, Vec<String>> {
        let mut ids = BTreeMap::<u64, Vec<String>>::new();
        for (_, json) in records(&self.kinesis, "events").await {
            let record: Value = serde_json::from_str(&json).unwrap();
            let id = record["event_id"].as_str().unwrap().to_owned();
            ids.entry(record["seq"].as_u64().unwrap()).or_default().push(id);
        }
        ids
    }
}

fn signal(program: &Program, name: &str) {
    let sent = Command::new("kill").args([name, &program.pid().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Returns the number of calls to KDS that a process made.
fn puts(proxy: &FaultProxy) -> usize {
    proxy.seen().iter().filter(|seen| seen.operation == "PutRecords").count()
}

fn sink(program: &Program, name: &str) -> Value {
    let sinks = program.overview()["sinks"].take();
    sinks.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    polling::until(what, async || if met() { Ok(()) } else { Err("not so") }).await;
}

/// Waits until the process says that `front` is not its own any more; nothing of it is a reason to restart.
async fn until_taken_over(program: &Program) {
    let said =
        |body: &str| body.contains("camera front has been down") && body.contains("it was taken over by");
    until("a takeover on /healthz", || {
        let (status, body) = program.get("/healthz");
        assert_eq!(status, 200, "{body}");
        said(&body) && body.contains("\"degraded\"")
    })
    .await;
}

/// A process that has reported the first film and written its position.
struct Owner {
    footage: StoredFootage,
    aws: Shared,
    /// Between the process and AWS.
    proxy: FaultProxy,
    config: String,
    kvs: String,
    process: Program,
}

impl Owner {
    async fn start() -> Self {
        let (footage, aws) = (StoredFootage::new(FRAGMENTS_PER_S), Shared::start().await);
        footage.store("front", 1).await;
        let proxy = FaultProxy::start(&aws.moto.url).await;
        let (config, kvs) = (config(POSITIONS, &camera("front")), footage.sim.endpoint());
        let process = Program::start(kvs_infer_command!(), &config, &kvs, Some(&proxy.url));
        aws.until_records(records_of(1)).await;
        aws.until_position().await;
        Self { footage, aws, proxy, config, kvs, process }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_and_replaced_publishes_nothing_when_it_continues() {
    let Owner { footage, aws, proxy, config, kvs, process: old } = Owner::start().await;

    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    footage.store_films("front", 1..2).await;
    let waiting = records_of(2) - records_of(1);
    until("records that wait", || sink(&old, "kds/events")["queued"] == waiting).await;
    signal(&old, "-STOP");
    let new = Program::start(kvs_infer_command!(), &config, &kvs, Some(&aws.moto.url));
    aws.until_records(records_of(2)).await;
    signal(&old, "-CONT");
    until_taken_over(&old).await;

    let (before, read) = (puts(&proxy), old.camera("front")["frames"]["read"].clone());
    proxy.clear();
    footage.store_films("front", 2..3).await;
    let delivered = aws.until_records(records_of(3)).await;
    assert_eq!(delivered.keys().copied().collect::<Vec<_>>(), (1..=records_of(3)).collect::<Vec<_>>());
    for (seq, ids) in &delivered {
        let first = ids.len() == 1 || *seq <= records_of(1) && ids.iter().all(|id| *id == ids[0]);
        assert!(first, "{seq} came twice, or under two ids: {delivered:#?}");
    }
    until("that nothing waits", || sink(&old, "kds/events")["queued"] == 0).await;
    assert_eq!(puts(&proxy), before, "the process that was replaced sent something");
    assert_eq!(old.camera("front")["frames"]["read"], read, "the process that was replaced read on");
    let (_, metrics) = old.get("/metrics");
    assert!(metrics.contains("kvs_infer_cameras_taken_over_total{camera=\"front\"} 1"), "{metrics}");
    let ended = old.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let warned = ended.log.iter().filter(|line| line.contains("camera taken over")).count();
    assert_eq!(warned, 1, "{:#?}", ended.log);

    let again = Program::start_in(kvs_infer_command!(), ended.dir, &config, &kvs, Some(&proxy.url));
    footage.store_films("front", 3..4).await;
    // With the first footage: of a camera that sends nothing there is nothing to write, nor to publish.
    until_taken_over(&new).await;
    let delivered = aws.until_records(records_of(4)).await;
    assert_eq!(delivered.len() as u64, records_of(4));
    assert!(again.stop().status.success());
    assert!(new.stop().status.success());
    proxy.stop().await;
    footage.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_asks_at_once_whether_it_was_replaced() {
    let Owner { footage, aws, proxy, config, kvs, process: old } = Owner::start().await;
    signal(&old, "-STOP");
    let stopped = Instant::now();
    let new = Program::start(kvs_infer_command!(), &config, &kvs, Some(&aws.moto.url));
    // The stop itself must last: nothing else could be waited for.
    until("a stop that is long enough to be noticed", || stopped.elapsed() > NOTICED_AFTER).await;
    let before = puts(&proxy);
    signal(&old, "-CONT");
    until_taken_over(&old).await;
    assert_eq!(puts(&proxy), before, "nothing waited, and nothing was read");
    assert!(old.stop().status.success());
    assert!(new.stop().status.success());
    proxy.stop().await;
    footage.sim.stop().await;
}

/// The process that follows has no footage in which it could find the events again: it has them from the table.
#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_lost_host_come_under_their_ids_without_its_footage() {
    let Owner { footage, aws, proxy, config, process: lost, .. } = Owner::start().await;
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    footage.store_films("front", 1..3).await;
    let waiting = records_of(3) - records_of(1);
    let has_all = || sink(&lost, "kds/events")["queued"] == waiting && sink(&lost, "local")["queued"] == 0;
    until("records that wait, and are in the local file", has_all).await;
    let local = std::fs::read_to_string(lost.dir().join("events/events.jsonl")).unwrap();
    let made: BTreeMap<u64, Vec<String>> = local.lines().map(seq_and_id).collect();
    signal(&lost, "-KILL");
    lost.wait(Instant::now());

    let empty = StoredFootage::new(FRAGMENTS_PER_S);
    empty.sim.store().stream_or_create("front-stream").unwrap();
    let next = Program::start(kvs_infer_command!(), &config, &empty.sim.endpoint(), Some(&aws.moto.url));
    let delivered = aws.until_records(records_of(3)).await;
    let first: BTreeMap<u64, Vec<String>> =
        delivered.into_iter().map(|(seq, ids)| (seq, ids[..1].to_vec())).collect();
    assert_eq!(first, made);
    assert!(next.stop().status.success());
    proxy.stop().await;
    footage.sim.stop().await;
    empty.sim.stop().await;
}

fn seq_and_id(line: &str) -> (u64, Vec<String>) {
    let event: Value = serde_json::from_str(line).unwrap();
    (event["seq"].as_u64().unwrap(), vec![event["event_id"].as_str().unwrap().to_owned()])
}

/// Records that waited in a damaged outbox are made again, under the same ids, from the delivered position in the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_outbox_is_set_aside_and_what_it_held_is_made_again() {
    let Owner { footage, aws, proxy, config, kvs, process: first } = Owner::start().await;
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    footage.store_films("front", 1..2).await;
    let waiting = records_of(2) - records_of(1);
    until("records that wait", || sink(&first, "kds/events")["queued"] == waiting).await;
    let ended = first.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    proxy.clear();
    let file = ended.dir.path().join("state/outbox.redb");
    let damaged = vec![0; std::fs::metadata(&file).unwrap().len() as usize];
    std::fs::write(&file, &damaged).unwrap();

    let state = ended.dir.path().join("state");
    let second = Program::start_in(kvs_infer_command!(), ended.dir, &config, &kvs, Some(&proxy.url));
    let (status, health) = second.get("/healthz");
    assert_eq!(status, 200, "{health}");
    assert!(health.contains("was set aside as") && health.contains("table positions"), "{health}");
    second.metric_when("kvs_infer_outboxes_set_aside_total", 1);
    let delivered = aws.until_records(records_of(2)).await;
    assert!(
        delivered.values().all(|ids| ids.iter().all(|id| *id == ids[0])),
        "one id for each: {delivered:#?}"
    );
    let aside: Vec<_> = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path()).collect();
    let aside =
        aside.into_iter().find(|path| path.to_string_lossy().contains("outbox.redb.damaged-")).unwrap();
    assert_eq!(std::fs::read(&aside).unwrap(), damaged);
    std::fs::remove_file(aside).unwrap();
    until("end of the reason", || !second.get("/healthz").1.contains("was set aside")).await;
    let ended = second.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    proxy.stop().await;
    footage.sim.stop().await;
}

/// Bytes of an item as DynamoDB counts them: names and values. Source: "DynamoDB item sizes and formats", 2026-11.
fn bytes(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        AttributeValue::B(blob) => blob.as_ref().len(),
        other => panic!("{other:?}"),
    };
    item.iter().map(|(name, held)| name.len() + value(held)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_camera_with_the_motion_gate_writes_one_unit() {
    let (footage, aws) = (StoredFootage::new(FRAGMENTS_PER_S), Shared::start().await);
    footage.store("front", 2).await;
    let gated = camera("front").replace("    pipeline:", "    motion: { enabled: true }\n    pipeline:");
    let program = Program::start(
        kvs_infer_command!(),
        &config(POSITIONS, &gated),
        &footage.sim.endpoint(),
        Some(&aws.moto.url),
    );
    until("frames that the gate passes over", || {
        program.camera("front")["frames"]["skipped"].as_u64() > Some(0)
    })
    .await;
    aws.until_position().await;
    assert!(program.stop().status.success());
    let item = aws.item().await.unwrap();
    assert!(item["checkpoint"].is_b());
    assert!(bytes(&item) <= 1024, "{} bytes: {item:#?}", bytes(&item));
    println!("an item with the state of a gated camera: {} bytes", bytes(&item));
    footage.sim.stop().await;
}
