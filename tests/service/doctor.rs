//! `check --live`: what it finds where all is well, where things are missing, refused or out of reach, and that it leaves no trace.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::SystemTime;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TimeToLiveSpecification,
};
use aws_sdk_s3::types::ServerSideEncryption;
use kvs_sim::{Fault, FaultKind, Limit, Operation, Pace, append_clip};
use serde_json::Value;
use tempfile::TempDir;

use super::colours::{camera, film, sim};
use super::fault_proxy::{FaultProxy, Mishap};
use super::moto::{Moto, records};

/// Nothing listens there: the port is reserved.
pub(super) const NOWHERE: &str = "http://127.0.0.1:1";

/// What it said.
pub(super) struct Told {
    pub(super) code: Option<i32>,
    /// Verdict and finding by probe.
    pub(super) answers: BTreeMap<String, (String, String)>,
    sum: Value,
    pub(super) stderr: String,
}

impl Told {
    pub(super) fn assert(&self, probe: &str, verdict: &str, words: &str) {
        let Some((found, finding)) = self.answers.get(probe) else {
            panic!("{probe} was not asked: {:#?} {}", self.answers, self.stderr)
        };
        assert!(found == verdict && finding.contains(words), "{probe}: {found}: {finding}");
    }
}

pub(super) fn config() -> String {
    let publishers = "publishers: { kds_stream: events, s3_bucket: pictures, ddb_table: records, ddb_ttl_days: 30, \
                      local_dir: events }\n";
    let state = "state: { dir: state, max_bytes: 16MiB, ddb_table: positions }\n";
    format!("{publishers}{state}device: cpu\ncameras:\n{}", camera("front"))
}

/// Runs it in an empty folder against the servers; `variables` stand in place of what is usual.
pub(super) fn ask(config: &str, kvs: &str, aws: &str, variables: &[(&str, &str)]) -> Told {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("cameras.yaml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kvs-infer"))
        .args(["check", "--live", "--json", "--config"])
        .arg(&file)
        .current_dir(dir.path())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", dir.path().join("none"))
        .env("AWS_SHARED_CREDENTIALS_FILE", dir.path().join("none"))
        .env("AWS_ENDPOINT_URL", aws)
        .env("AWS_ENDPOINT_URL_KINESIS_VIDEO", kvs)
        .env_remove("AWS_CA_BUNDLE")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no folder is made");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = lines.pop().unwrap_or_default();
    let field = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let answers =
        lines.iter().map(|line| (field(line, "probe"), (field(line, "verdict"), field(line, "finding"))));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Told { code: output.status.code(), answers: answers.collect(), sum, stderr }
}

/// Makes a table; `key` are the names of its key with their types, `index` those of an index by camera.
pub(super) async fn table(
    dynamodb: &aws_sdk_dynamodb::Client,
    name: &str,
    key: &[(&str, ScalarAttributeType)],
    index: Option<&str>,
) {
    let schema = |names: &[&str]| -> Vec<KeySchemaElement> {
        let kinds = [KeyType::Hash, KeyType::Range];
        let elements = names.iter().zip(kinds);
        elements
            .map(|(name, kind)| {
                KeySchemaElement::builder().attribute_name(*name).key_type(kind).build().unwrap()
            })
            .collect()
    };
    let names: Vec<&str> = key.iter().map(|(name, _)| *name).collect();
    let camera = ("camera_id", ScalarAttributeType::S);
    let attributes = key.iter().chain(index.is_some().then_some(&camera));
    let attributes = attributes.map(|(name, kind)| {
        AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone()).build().unwrap()
    });
    let indexes = index.map(|index| {
        let all = Projection::builder().projection_type(ProjectionType::All).build();
        let schema = Some(schema(&["camera_id", "ts_ms"]));
        vec![
            GlobalSecondaryIndex::builder()
                .index_name(index)
                .set_key_schema(schema)
                .projection(all)
                .build()
                .unwrap(),
        ]
    });
    let call = dynamodb.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    let call =
        call.set_key_schema(Some(schema(&names))).set_attribute_definitions(Some(attributes.collect()));
    call.set_global_secondary_indexes(indexes).send().await.unwrap();
}

pub(super) const RECORDS_KEY: [(&str, ScalarAttributeType); 2] =
    [("event_id", ScalarAttributeType::S), ("ts_ms", ScalarAttributeType::N)];
const POSITIONS_KEY: [(&str, ScalarAttributeType); 1] = [("camera_id", ScalarAttributeType::S)];

async fn tables(moto: &Moto) -> aws_sdk_dynamodb::Client {
    let dynamodb = aws_sdk_dynamodb::Client::new(&moto.config());
    table(&dynamodb, "records", &RECORDS_KEY, Some("camera_id-ts_ms-index")).await;
    table(&dynamodb, "positions", &POSITIONS_KEY, None).await;
    dynamodb
}

async fn enable_ttl(dynamodb: &aws_sdk_dynamodb::Client) {
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build().unwrap();
    let call = dynamodb.update_time_to_live().table_name("records").time_to_live_specification(ttl);
    call.send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_it_says_so_and_leaves_nothing_that_a_consumer_sees() {
    let (clips, sim, moto) = (tempfile::tempdir().unwrap(), sim(), Moto::start());
    let (kinesis, s3) = (moto.stream("events").await, moto.bucket("pictures").await);
    let dynamodb = tables(&moto).await;
    enable_ttl(&dynamodb).await;
    let (stream, clip) = (sim.store().stream_or_create("front-stream").unwrap(), film(clips.path(), 0));
    let playing = tokio::spawn(async move {
        loop {
            append_clip(&stream, &clip, Pace::Realtime, SystemTime::now()).await.unwrap();
        }
    });

    let told = ask(&config(), &sim.endpoint(), &moto.url, &[]);
    playing.abort();
    told.assert("credentials", "ok", "arn:aws:");
    told.assert("credentials", "ok", "region us-east-1");
    told.assert("stream front-stream", "ok", "ACTIVE, keeps footage for");
    told.assert("stream front-stream footage", "ok", "footage comes: fragment ");
    told.assert("state", "ok", "MiB free");
    told.assert("local", "ok", "events can be written");
    told.assert("kds/events", "ok", "ACTIVE, open shards: 1");
    told.assert("kds/events write", "ok", "nothing was written");
    told.assert("s3 write", "ok", "s3://pictures/snapshots/.kvs-infer-check written, encrypted by AES256");
    told.assert("dynamodb/records", "ok", "key event_id (S), ts_ms (N)");
    told.assert("dynamodb/records write", "ok", "nothing was written");
    told.assert("positions/positions", "ok", "key camera_id (S)");
    told.assert("positions/positions write", "ok", "nothing was written");
    told.assert("clock", "ok", "AWS's");
    told.assert("open files", "ok", "are enough (cameras: 1)");
    told.assert("model yolov8.onnx", "ok", "3 classes, on cpu");
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert_eq!(told.sum, serde_json::json!({ "ok": 15, "warn": 0, "fail": 0 }));

    assert_eq!(records(&kinesis, "events").await, []);
    for table in ["records", "positions"] {
        assert_eq!(dynamodb.scan().table_name(table).send().await.unwrap().count(), 0, "{table}");
    }
    let objects = s3.list_objects_v2().bucket("pictures").send().await.unwrap();
    let keys: Vec<_> = objects.contents().iter().map(|object| object.key().unwrap()).collect();
    assert_eq!(keys, ["snapshots/.kvs-infer-check"]);
    let object = s3.get_object().bucket("pictures").key(keys[0]).send().await.unwrap();
    assert_eq!(object.server_side_encryption, Some(ServerSideEncryption::Aes256));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_with_its_remedy() {
    let (sim, moto) = (sim(), Moto::start());
    let topic = "local_dir: events, sns_topic_arn: 'arn:aws:sns:us-east-1:123456789012:alerts'";
    let config = config().replace("local_dir: events", topic);
    let told = ask(&config, &sim.endpoint(), &moto.url, &[]);
    told.assert("credentials", "ok", "arn:aws:");
    told.assert("sns/alerts", "fail", "create the topic, or correct publishers.sns_topic_arn");
    told.assert("stream front-stream", "fail", "create it, or correct kvs_stream_name");
    told.assert("stream front-stream footage", "fail", "create it, or correct kvs_stream_name");
    told.assert("kds/events", "fail", "create the stream, or correct publishers.kds_stream");
    told.assert("kds/events write", "fail", "create the stream, or correct publishers.kds_stream");
    told.assert("s3 write", "fail", "create the bucket, or correct publishers.s3_bucket");
    told.assert("dynamodb/records", "fail", "create the table, or correct publishers.ddb_table");
    told.assert("dynamodb/records write", "fail", "create the table, or correct publishers.ddb_table");
    told.assert("positions/positions", "fail", "create the table, or correct state.ddb_table");
    told.assert("positions/positions write", "fail", "create the table, or correct state.ddb_table");
    assert_eq!(told.code, Some(69), "{}", told.stderr);
    assert_eq!(told.sum, serde_json::json!({ "ok": 6, "warn": 0, "fail": 10 }));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_shape_and_a_silent_camera_are_told() {
    let (sim, moto) = (sim(), Moto::start());
    sim.store().stream_or_create("front-stream").unwrap();
    moto.stream("events").await;
    moto.bucket("pictures").await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&moto.config());
    table(&dynamodb, "records", &RECORDS_KEY, None).await;
    table(&dynamodb, "positions", &[("camera", ScalarAttributeType::S)], None).await;

    let told = ask(&config(), &sim.endpoint(), &moto.url, &[]);
    told.assert(
        "stream front-stream footage",
        "warn",
        "no footage came within 5 s, nor within the last 15 minutes",
    );
    told.assert("dynamodb/records", "warn", "no index camera_id-ts_ms-index");
    told.assert("dynamodb/records", "warn", "time to live is off");
    told.assert(
        "positions/positions",
        "fail",
        "key camera (S); a table with the key camera_id (S) is needed",
    );
    told.assert("positions/positions write", "fail", "its key must be camera_id (S)");
    assert_eq!(told.code, Some(69), "{}", told.stderr);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_may_not_do_is_told_by_its_action() {
    let (sim, moto) = (sim(), Moto::start());
    moto.stream("events").await;
    moto.bucket("pictures").await;
    tables(&moto).await;
    let refused = Fault { on: Some(Operation::GetMedia), ..Fault::from(FaultKind::Unauthorized) };
    sim.store().stream_or_create("front-stream").unwrap().set_faults(refused);
    let proxy = FaultProxy::start(&moto.url).await;
    proxy.rule(None, Mishap::Denied, None);

    let told = ask(&config(), &sim.endpoint(), &proxy.url, &[]);
    told.assert("credentials", "warn", "sts:GetCallerIdentity failed");
    told.assert("stream front-stream footage", "fail", "grant kinesisvideo:GetMedia to this role");
    told.assert("kds/events", "warn", "kinesis:DescribeStreamSummary is not allowed; only this check");
    told.assert("kds/events write", "fail", "allow kinesis:PutRecords on it");
    told.assert("s3 write", "fail", "allow s3:PutObject on it with this encryption");
    told.assert("dynamodb/records", "warn", "dynamodb:DescribeTable is not allowed; only this check");
    told.assert("dynamodb/records write", "fail", "allow dynamodb:PutItem on it");
    told.assert("positions/positions", "warn", "dynamodb:DescribeTable is not allowed");
    told.assert("positions/positions write", "fail", "allow dynamodb:UpdateItem on it");
    assert_eq!(told.code, Some(69), "{}", told.stderr);
    proxy.stop().await;
    sim.stop().await;
}

#[test]
fn what_is_out_of_reach_is_told_and_credentials_that_nobody_checked_are_no_failure() {
    let told = ask(&config(), NOWHERE, NOWHERE, &[]);
    told.assert("credentials", "warn", "sts:GetCallerIdentity failed");
    told.assert("clock", "warn", "STS told no time");
    for probe in ["stream front-stream", "stream front-stream footage"] {
        told.assert(probe, "fail", "check the network, the region and AWS_ENDPOINT_URL");
    }
    told.assert("kds/events write", "fail", "check the network, and AWS_ENDPOINT_URL_KINESIS");
    told.assert("s3 write", "fail", "check the network, and AWS_ENDPOINT_URL_S3");
    told.assert("dynamodb/records write", "fail", "check the network, and AWS_ENDPOINT_URL_DYNAMODB");
    told.assert("model yolov8.onnx", "ok", "ms an inference");
    assert_eq!(told.code, Some(69), "{}", told.stderr);
}

#[test]
fn without_credentials_no_service_is_asked() {
    let nobody = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let told = ask(&config(), NOWHERE, NOWHERE, &nobody);
    told.assert("credentials", "fail", "give the task a role, or set AWS_PROFILE");
    told.assert("kds/events write", "fail", "not asked: there are no credentials");
    told.assert("local", "ok", "can be written");
    assert_eq!(told.code, Some(69), "{}", told.stderr);
}

#[test]
fn a_class_that_the_model_does_not_know_is_a_mistake_of_the_configuration() {
    let local = format!(
        "publishers: {{ local_dir: events }}\nstate: {{ dir: state }}\ncameras:\n{}",
        camera("front")
    );
    let misspelt = local.replace("yolov8.onnx }", "yolov8.onnx, classes: [gren] }");
    let told = ask(&misspelt, NOWHERE, NOWHERE, &[]);
    told.assert("model yolov8.onnx", "fail", "did you mean \"green\"?");
    assert_eq!(told.code, Some(78), "{}", told.stderr);
    let unwritable = local.replace("local_dir: events", "local_dir: /proc/events");
    let told = ask(&unwritable, NOWHERE, NOWHERE, &[]);
    told.assert("local", "fail", "publishers.local_dir: /proc/events: /proc cannot be written");
    told.assert("model yolov8.onnx", "ok", "3 classes");
    assert_eq!(told.code, Some(69), "{}", told.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_fell_silent_and_a_clock_that_is_off_are_told() {
    let (clips, sim, moto) = (tempfile::tempdir().unwrap(), sim(), Moto::start());
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    append_clip(&stream, &film(clips.path(), 0), Pace::Asap, SystemTime::now()).await.unwrap();
    let ahead = [("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"), ("FAKETIME", "+10m")];
    let told = ask(&config(), &sim.endpoint(), &moto.url, &ahead);
    told.assert("clock", "fail", "s ahead of AWS's: AWS refuses what is signed by it; set it");
    told.assert("stream front-stream footage", "warn", "the last fragment came 60");
    stream.set_faults(Fault {
        on: Some(Operation::GetMedia),
        ..Fault::from(FaultKind::Stall(Limit::Bytes(12)))
    });
    let told = ask(&config(), &sim.endpoint(), &moto.url, &ahead);
    told.assert(
        "stream front-stream footage",
        "warn",
        "no footage came within 5 s, the last fragment came 6",
    );
    sim.stop().await;
}

#[test]
fn a_gpu_that_is_asked_for_and_not_there_is_told() {
    let asked = config().replace("device: cpu", "device: cuda");
    let told = ask(&asked, NOWHERE, NOWHERE, &[]);
    told.assert(
        "gpu",
        "fail",
        "no NVIDIA driver here, and `device` asks for CUDA; give the container its GPU",
    );
    let told = ask(&config().replace("device: cpu", "device: auto"), NOWHERE, NOWHERE, &[]);
    told.assert("gpu", "ok", "no NVIDIA driver here: models run on the CPU");
}
