//! `cluster` and `/api/cluster`: the pool as an operator sees it, from a machine beside it and from a worker of it.

use std::process::Output;

use ::sharing::{
    CameraItem, CameraKey, MemberPhase, MemberRow, ResourceAmounts, TableAnswer, TableCall, WorkerId,
};
use aws_sdk_dynamodb::types::ScalarAttributeType;
use kvs_infer::sharing::PoolTable;
use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::{camera, sim};
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::kvs_infer_command;
use test_support::moto::Moto;
use test_support::polling::until_blocking;
use test_support::program::Program;

use super::live_check::{NOWHERE, live_check, table};

/// A configuration whose model is not on this machine.
const CONFIG: &str = "publishers: { kds_stream: events }
state: { dir: state, ddb_table: positions }
sharing: { table: workers, pool: north }
cameras:
  - id: gate
    kvs_stream_name: gate
    pipeline: [{ type: objects, objects: { yolo_weights: /nowhere/street.onnx } }]
  - id: yard
    kvs_stream_name: yard
    pipeline: [{ type: objects, objects: { yolo_weights: /nowhere/street.onnx } }]
";

pub(super) async fn tables(moto: &Moto) -> aws_sdk_dynamodb::Client {
    let dynamodb = aws_sdk_dynamodb::Client::new(&moto.config());
    table(&dynamodb, "positions", &[("camera_id", ScalarAttributeType::S)], None).await;
    let key = [("pool", ScalarAttributeType::S), ("member", ScalarAttributeType::S)];
    table(&dynamodb, "workers", &key, None).await;
    dynamodb
}

fn cluster(config: &str, aws: &str, options: &[&str]) -> Output {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("cameras.yaml");
    std::fs::write(&file, config).unwrap();
    kvs_infer_command!()
        .args(["cluster", "--config"])
        .arg(&file)
        .args(options)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", aws)
        .output()
        .unwrap()
}

fn refused(config: &str, aws: &str) -> (Option<i32>, String) {
    let output = cluster(config, aws, &[]);
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Makes `a` the only worker of the pool, which leads and has `gate`.
async fn pool_of_one(moto: &Moto) -> PoolTable {
    let pool = PoolTable::new(&moto.config(), "positions", "workers", "north");
    let worker = WorkerId::new("a");
    let capacity = ResourceAmounts { cpu_milli: 1_000, ..ResourceAmounts::default() };
    let row = MemberRow { phase: MemberPhase::Ready, capacity, ..MemberRow::default() };
    let claim = CameraItem::default().claim_for(&worker);
    for call in [
        TableCall::Join { worker: worker.clone(), row },
        TableCall::Lead { worker: worker.clone(), seen: None },
        TableCall::Item { camera: CameraKey::new("gate"), call: claim },
    ] {
        let answer = pool.call(&call).await.unwrap();
        assert!(matches!(answer, TableAnswer::Done | TableAnswer::ItemApplied(_)), "{answer:?}");
    }
    pool
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_is_printed_on_a_machine_without_models() {
    let moto = Moto::start();
    tables(&moto).await;
    let _pool = pool_of_one(&moto).await;
    let output = cluster(CONFIG, &moto.url, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(text.lines().next(), Some("pool north: leader a, term 1, configuration 0"), "{text}");
    assert_eq!(words[2][..4], ["WORKER", "ZONE", "STATE", "LEADS"], "{text}");
    assert_eq!(words[3][..5], ["a", "-", "ready", "yes", "1"], "{text}");
    assert_eq!(words[6][..3], ["gate", "a", "running"], "{text}");
    assert_eq!(words[7][..3], ["yard", "-", "free"], "{text}");
    assert!(text.ends_with("the leader is about to give it to a worker\n"), "{text}");

    let output = cluster(CONFIG, &moto.url, &["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["leader"].as_str(), json["cameras"][0]["state"].as_str()), (Some("a"), Some("running")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_cannot_be_read_is_an_error_with_a_remedy() {
    let moto = Moto::start();
    let (code, text) = refused(CONFIG, &moto.url);
    assert!(
        code == Some(69) && text.contains("create the table, or correct sharing.table"),
        "{code:?} {text}"
    );
    tables(&moto).await;
    let proxy = FaultProxy::start(&moto.url).await;
    proxy.rule(AwsService::DynamoDb, Mishap::Denied, None);
    let (code, text) = refused(CONFIG, &proxy.url);
    assert!(code == Some(69) && text.contains("allow dynamodb:Query on it"), "{code:?} {text}");
    proxy.stop().await;
    let (code, text) = refused(CONFIG, NOWHERE);
    assert!(code == Some(69) && text.contains("AWS_ENDPOINT_URL_DYNAMODB"), "{code:?} {text}");
    let alone = CONFIG.replace("sharing: { table: workers, pool: north }\n", "");
    let (code, text) = refused(&alone, NOWHERE);
    assert!(code == Some(78) && text.contains("the configuration has no `sharing`"), "{code:?} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_check_shows_the_pool() {
    let moto = Moto::start();
    let dynamodb = tables(&moto).await;
    let shared = format!(
        "publishers: {{ kds_stream: events }}\nstate: {{ dir: state, ddb_table: positions }}\n\
         sharing: {{ table: workers, pool: north }}\ndevice: cpu\ncameras:\n{}{}",
        camera("gate"),
        camera("yard")
    );
    let check = || live_check(&shared, NOWHERE, &moto.url, &[]);
    check().assert("sharing/workers pool", "ok", "pool north has no workers yet");
    let pool = pool_of_one(&moto).await;
    check().assert("sharing/workers pool", "warn", "workers: 1, a leads; cameras without a worker: 1 (yard)");
    let claim = CameraItem::default().claim_for(&WorkerId::new("a"));
    pool.call(&TableCall::Item { camera: CameraKey::new("yard"), call: claim }).await.unwrap();
    check().assert("sharing/workers pool", "ok", "pool north: workers: 1, a leads");
    let version = ::sharing::ConfigVersion { modified_ms: 1, digest: "d".into() };
    pool.call(&TableCall::RaiseConfig { generation: 0, version }).await.unwrap();
    check().assert("sharing/workers pool", "warn", "workers with an older configuration: 1 (a)");
    dynamodb.delete_table().table_name("workers").send().await.unwrap();
    check().assert("sharing/workers pool", "fail", "create the table, or correct sharing.table");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_shows_its_pool() {
    let (moto, sim) = (Moto::start(), sim());
    let dynamodb = tables(&moto).await;
    let _kinesis = moto.stream("events").await;
    let shared = format!(
        "publishers: {{ kds_stream: events }}\nsnapshots: {{ enabled: false }}\nstate: {{ dir: state, ddb_table: positions }}\n\
         sharing: {{ table: workers, pool: north }}\ndevice: cpu\ncameras:\n{}",
        camera("gate")
    );
    let program = Program::start(kvs_infer_command!(), &shared, &sim.endpoint(), Some(&moto.url));
    let pool: Value = until_blocking("the camera runs on the worker", || {
        let (status, text) = program.get("/api/cluster");
        let pool: Value = serde_json::from_str(&text).unwrap();
        if status == 200 && pool["cameras"][0]["state"] == "running" { Ok(pool) } else { Err(text) }
    });
    let worker = &pool["workers"][0];
    assert_eq!(
        (&pool["pool"], &pool["leader"], &worker["leads"]),
        (&"north".into(), &worker["id"], &true.into())
    );
    assert_eq!(pool["cameras"][0]["worker"], worker["id"]);
    assert_eq!(program.overview()["worker"], worker["id"]);
    dynamodb.delete_table().table_name("positions").send().await.unwrap();
    let error = until_blocking("the lost table is reported", || match program.get("/api/cluster") {
        (503, text) => Ok(text),
        (status, text) => Err(format!("{status} {text}")),
    });
    assert!(error.contains("table positions: "), "{error}");
    assert_eq!(program.get("/api/cameras").0, 200);
    program.stop();
    sim.stop().await;
}
