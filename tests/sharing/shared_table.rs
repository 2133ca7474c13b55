//! The tables of a pool beside the table in memory, and their failures.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::sharing::{
    CameraItem, CameraKey, CameraLoads, MemberRow, MemoryTable, PlanEntry, PlanRow, PlanTask,
    ResourceAmounts, TableAnswer, TableCall, WorkerId,
};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, BillingMode, KeyType, ScalarAttributeType};
use kvs_infer::sharing::PoolTable;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::moto::{self, Moto};

use super::calls::{RandomCalls, cameras, workers};
use crate::publish::dynamodb::{attribute, key, tables};

/// Returns the tables of the pool `main` on a server, which has none yet.
pub(super) async fn pool_on(moto: &Moto) -> (PoolTable, Client) {
    let client = tables(moto).await;
    let members = client
        .create_table()
        .table_name("members")
        .attribute_definitions(attribute("pool", ScalarAttributeType::S))
        .attribute_definitions(attribute("member", ScalarAttributeType::S))
        .key_schema(key("pool", KeyType::Hash))
        .key_schema(key("member", KeyType::Range))
        .billing_mode(BillingMode::PayPerRequest);
    members.send().await.unwrap();
    (pool_at(&moto.url), client)
}

pub(super) fn pool_at(url: &str) -> PoolTable {
    PoolTable::new(&moto::config(url), "positions", "members", "main")
}

/// Returns an answer without all that a read of many items leaves out.
fn outlined(answer: TableAnswer) -> TableAnswer {
    let TableAnswer::Items(items) = answer else { return answer };
    let outline = |item: Arc<CameraItem>| {
        let mut outline = CameraItem { pending: Vec::new(), ..(*item).clone() };
        outline.state.checkpoint = [].into();
        outline.state.position = "".into();
        Arc::new(outline)
    };
    TableAnswer::Items(items.into_iter().map(|(camera, item)| (camera, outline(item))).collect())
}

fn kind_of(call: &TableCall) -> String {
    let text = match call {
        TableCall::Item { call, .. } => format!("{call:?}"),
        call => format!("{call:?}"),
    };
    text.split([' ', '(']).next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn each_call_is_answered_as_by_the_table_in_memory() {
    let moto = Moto::start();
    let (pool, _) = pool_on(&moto).await;
    let (mut memory, mut calls) = (MemoryTable::default(), RandomCalls::new(7));
    let mut seen: BTreeMap<String, [u32; 2]> = BTreeMap::new();
    for number in 0..1_500 {
        let call = calls.next(&memory);
        let expected = memory.apply(&call);
        let is_refused = matches!(expected, TableAnswer::Refused | TableAnswer::ItemRefused(_));
        seen.entry(kind_of(&call)).or_default()[usize::from(is_refused)] += 1;
        let found = pool.call(&call).await.unwrap();
        assert_eq!(outlined(found), outlined(expected), "call {number}: {call:?}");
    }
    let reads = ["ReadMembers", "ReadOwnRow", "ReadLeader", "ReadPlan", "ReadLoads", "ReadItem", "ReadItems"];
    for (kind, [met, refused]) in &seen {
        let is_never_refused = reads.contains(&kind.as_str()) || kind == "WriteLoads";
        assert!(*met >= 3 && (*refused >= 2 || is_never_refused), "{kind}: {met} met, {refused} refused");
    }
    assert_eq!(seen.len(), 7 + 11 + 6, "{seen:?}");
    let items = cameras().into_iter().map(|camera| TableCall::ReadItem { camera });
    let plans = workers().into_iter().map(|worker| TableCall::ReadPlan { worker });
    for call in items.chain(plans).chain([TableCall::ReadMembers, TableCall::ReadLoads]) {
        assert_eq!(pool.call(&call).await.unwrap(), memory.apply(&call), "{call:?}");
    }
}

#[tokio::test]
async fn members_are_read_by_pages_without_plans_and_loads_and_without_other_pools() {
    let moto = Moto::start();
    let (pool, client) = pool_on(&moto).await;
    let zone = "z".repeat(100_000);
    for number in 0..25 {
        let worker = WorkerId::new(&format!("01{number:02}"));
        let row = MemberRow { zone: zone.as_str().into(), ..MemberRow::default() };
        let plan = PlanRow::default();
        for call in [
            TableCall::Join { worker: worker.clone(), row },
            TableCall::WritePlan { worker: worker.clone(), plan },
            TableCall::WriteLoads { worker, loads: CameraLoads::new() },
        ] {
            assert_eq!(pool.call(&call).await.unwrap(), TableAnswer::Done);
        }
    }
    let other = PoolTable::new(&moto.config(), "positions", "members", "other");
    let call = TableCall::Join { worker: WorkerId::new("02"), row: MemberRow::default() };
    assert_eq!(other.call(&call).await.unwrap(), TableAnswer::Done);

    let TableAnswer::Members(members) = pool.call(&TableCall::ReadMembers).await.unwrap() else { panic!() };
    assert_eq!(members.workers.len(), 25);
    let counted = client
        .query()
        .table_name("members")
        .key_condition_expression("pool = :pool AND #member BETWEEN :start AND :end")
        .expression_attribute_names("#member", "member")
        .expression_attribute_values(":pool", AttributeValue::S("main".into()))
        .expression_attribute_values(":start", AttributeValue::S("config".into()))
        .expression_attribute_values(":end", AttributeValue::S("worker$".into()));
    let page = counted.send().await.unwrap();
    assert!(page.items().iter().all(|row| row["member"].as_s().unwrap().starts_with("worker#")));
    assert!(page.last_evaluated_key().is_some(), "more than a page");
}

#[tokio::test]
async fn a_worker_that_leaves_takes_its_plan_and_loads_along() {
    let moto = Moto::start();
    let (pool, client) = pool_on(&moto).await;
    let worker = WorkerId::new("01A");
    let task = PlanEntry { epoch: 1_234, task: PlanTask::Run };
    let cost = |number: u64| ResourceAmounts {
        gpu_milli: 37 * number % 211,
        cpu_milli: 120 + number,
        memory_mib: 90,
    };
    let camera = |number: u64| CameraKey::new(&format!("site-{}-camera-{number}", number % 7));
    let entries = (0..300).map(|number| (camera(number), task.clone())).collect();
    let loads: CameraLoads = (0..300).map(|number| (camera(number), cost(number))).collect();
    for call in [
        TableCall::Join { worker: worker.clone(), row: MemberRow::default() },
        TableCall::WritePlan {
            worker: worker.clone(),
            plan: PlanRow { term: 1, number: 2, cameras: entries },
        },
        TableCall::WriteLoads { worker: worker.clone(), loads: loads.clone() },
    ] {
        assert_eq!(pool.call(&call).await.unwrap(), TableAnswer::Done);
    }
    assert_eq!(pool.call(&TableCall::ReadLoads).await.unwrap(), TableAnswer::Loads(loads));
    let rows = client.scan().table_name("members").send().await.unwrap().items.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for row in &rows {
        let ttl: u64 = row["ttl"].as_n().unwrap().parse().unwrap();
        assert!((now + 86_000..=now + 86_400).contains(&ttl), "{row:?}");
        let packed = ["entries", "loads"].iter().filter_map(|name| row.get(*name)?.as_b().ok());
        for packed in packed {
            println!("{}: {} bytes for 300 cameras", row["member"].as_s().unwrap(), packed.as_ref().len());
            assert!(packed.as_ref().len() < 5_000);
        }
    }
    assert_eq!(rows.len(), 3);
    let expel = TableCall::Expel { worker, beat: 0 };
    assert_eq!(pool.call(&expel).await.unwrap(), TableAnswer::Done);
    assert_eq!(client.scan().table_name("members").send().await.unwrap().count, 0);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_a_failure_that_names_it() {
    let moto = Moto::start();
    let (pool, client) = pool_on(&moto).await;
    let text = |value: &str| AttributeValue::S(value.into());
    let keys = |row: &str| [("pool".to_owned(), text("main")), ("member".to_owned(), text(row))];
    for (row, name, value, call) in [
        ("leader", "term", text("x"), TableCall::ReadLeader),
        ("worker#01A", "state", text("asleep"), TableCall::ReadMembers),
        ("worker-plan#01A", "entries", text("x"), TableCall::ReadPlan { worker: WorkerId::new("01A") }),
        ("worker-loads#01A", "loads", AttributeValue::B(vec![1].into()), TableCall::ReadLoads),
    ] {
        let put = client.put_item().table_name("members").set_item(Some(keys(row).into()));
        put.item(name, value).send().await.unwrap();
        let failure = pool.call(&call).await.unwrap_err();
        assert!(
            failure.code == "unreadable" && failure.text.contains(&format!("{name} of row {row}")),
            "{failure:?}"
        );
        client.delete_item().table_name("members").set_key(Some(keys(row).into())).send().await.unwrap();
    }
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_a_failure_within_its_time() {
    // Connections wait in its queue: it accepts none.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let worker = WorkerId::new("01A");
    let calls = [
        TableCall::ReadMembers,
        TableCall::Expel { worker: worker.clone(), beat: 1 },
        TableCall::ReadItems { cameras: cameras().to_vec() },
        TableCall::Item { camera: CameraKey::new("door"), call: CameraItem::default().claim_for(&worker) },
    ];
    for (url, code) in [(&*silent, "timeout"), ("http://127.0.0.1:1", "unreachable")] {
        let pool = pool_at(url);
        for call in &calls {
            let began = Instant::now();
            let failure = pool.call(call).await.unwrap_err();
            assert!(began.elapsed() < Duration::from_millis(1_500), "{code}: {:?}", began.elapsed());
            assert_eq!(failure.code, code, "{call:?}: {failure:?}");
            let text = pool.explain(call, &failure);
            assert!(text.starts_with("table ") && text.contains("AWS_ENDPOINT_URL_DYNAMODB"), "{text}");
        }
    }
}

#[tokio::test]
async fn an_error_of_the_service_is_a_failure_after_one_try() {
    let moto = Moto::start();
    let (pool, _) = pool_on(&moto).await;
    let proxy = FaultProxy::start(&moto.url).await;
    let proxied = pool_at(&proxy.url);
    let join = TableCall::Join { worker: WorkerId::new("01A"), row: MemberRow::default() };
    proxy.rule(AwsService::DynamoDb, Mishap::Throttled, Some(1));
    let failure = proxied.call(&join).await.unwrap_err();
    assert_eq!(failure.code, "ProvisionedThroughputExceededException");
    assert_eq!(
        proxied.call(&join).await.unwrap(),
        TableAnswer::Done,
        "tried once, so only the first call failed"
    );
    proxy.rule(AwsService::DynamoDb, Mishap::AnswerLost, Some(1));
    let beat =
        TableCall::Beat { worker: WorkerId::new("01A"), row: MemberRow { beat: 5, ..MemberRow::default() } };
    proxied.call(&beat).await.unwrap_err();
    let TableAnswer::Members(members) = pool.call(&TableCall::ReadMembers).await.unwrap() else { panic!() };
    assert_eq!(members.workers[&WorkerId::new("01A")].beat, 5, "a failed call may have been applied");
    let missing = PoolTable::new(&moto.config(), "positions", "nowhere", "main");
    let failure = missing.call(&join).await.unwrap_err();
    assert_eq!(failure.code, "ResourceNotFoundException");
    assert!(missing.explain(&join, &failure).contains("correct sharing.table"));
}
