//! `check --live` as a program: its findings where everything works, is missing, refused or unreachable, and that it leaves
//! no trace.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TimeToLiveSpecification,
};
use aws_sdk_s3::types::ServerSideEncryption;
use kvs_infer::base::epoch_ms;
use kvs_sim::{ClipPace, Fault, FaultKind, Faults, Limit, Operation, StreamSettings, append_clip};
use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::{FRAMES, camera, film, sim, store};
use test_support::fault_proxy::{FaultProxy, Mishap};
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::program::Program;

/// An address on which no server listens, because the port is reserved.
pub(super) const NOWHERE: &str = "http://127.0.0.1:1";

/// Output of `check --live --json`.
pub(super) struct LiveCheckOutput {
    pub(super) code: Option<i32>,
    /// Verdict and finding by probe.
    pub(super) answers: BTreeMap<String, (String, String)>,
    totals: Value,
    pub(super) stderr: String,
}

impl LiveCheckOutput {
    pub(super) fn assert(&self, probe: &str, verdict: &str, words: &str) {
        let Some((found, finding)) = self.answers.get(probe) else {
            panic!("{probe} did not run: {:#?} {}", self.answers, self.stderr)
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

/// Runs `check --live` in an empty folder against the servers. `variables` override the usual environment.
pub(super) fn live_check(config: &str, kvs: &str, aws: &str, variables: &[(&str, &str)]) -> LiveCheckOutput {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("cameras.yaml");
    std::fs::write(&file, config).unwrap();
    let output = kvs_infer_command!()
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
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no folder is created");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let totals = lines.pop().unwrap_or_default();
    let field = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let answers =
        lines.iter().map(|line| (field(line, "probe"), (field(line, "verdict"), field(line, "finding"))));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    LiveCheckOutput { code: output.status.code(), answers: answers.collect(), totals, stderr }
}

/// Creates a table. `key` has the names and types of its key, `index` the name of an index by camera.
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
async fn a_working_setup_passes_and_consumers_see_no_trace() {
    let (clips, sim, moto) = (tempfile::tempdir().unwrap(), sim(), Moto::start());
    let (kinesis, s3) = (moto.stream("events").await, moto.bucket("pictures").await);
    let dynamodb = tables(&moto).await;
    enable_ttl(&dynamodb).await;
    let (stream, clip) = (sim.store().stream_or_create("front-stream").unwrap(), film(clips.path(), 0));
    let playing = tokio::spawn(async move {
        loop {
            append_clip(&stream, &clip, ClipPace::Realtime, SystemTime::now()).await.unwrap();
        }
    });

    let output = live_check(&config(), &sim.endpoint(), &moto.url, &[]);
    playing.abort();
    output.assert("credentials", "ok", "arn:aws:");
    output.assert("credentials", "ok", "region us-east-1");
    output.assert("stream front-stream", "ok", "ACTIVE, keeps footage for");
    output.assert("stream front-stream footage", "ok", "footage comes: fragment ");
    output.assert("state", "ok", "MiB free");
    output.assert("local", "ok", "events can be written");
    output.assert("kds/events", "ok", "ACTIVE, open shards: 1");
    output.assert("kds/events write", "ok", "nothing was written");
    output.assert("stream front-stream archive", "ok", "");
    output.assert("s3 write", "ok", "s3://pictures/snapshots/.kvs-infer-check written, encrypted by AES256");
    output.assert("s3 read", "ok", "s3://pictures/snapshots/.kvs-infer-check read");
    output.assert("dynamodb/records", "ok", "key event_id (S), ts_ms (N)");
    output.assert("dynamodb/records write", "ok", "nothing was written");
    output.assert("positions/positions", "ok", "key camera_id (S)");
    output.assert("positions/positions write", "ok", "nothing was written");
    output.assert("clock", "ok", "AWS's");
    output.assert("open files", "ok", "are needed (cameras: 1)");
    output.assert("model yolov8.onnx", "ok", "3 classes, on cpu");
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.totals, serde_json::json!({ "ok": 17, "warn": 0, "fail": 0 }));

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
async fn the_table_of_workers_is_probed() {
    let moto = Moto::start();
    let dynamodb = tables(&moto).await;
    let shared = config().replace("device: cpu", "sharing: { table: workers }\ndevice: cpu");
    let output = live_check(&shared, NOWHERE, &moto.url, &[]);
    output.assert("sharing/workers", "fail", "create the table, or correct sharing.table");
    output.assert("sharing/workers write", "fail", "create the table, or correct sharing.table");
    table(&dynamodb, "workers", &POSITIONS_KEY, None).await;
    let output = live_check(&shared, NOWHERE, &moto.url, &[]);
    let words = "key camera_id (S); a table with the key pool (S), member (S) is needed";
    output.assert("sharing/workers", "fail", words);
    output.assert("sharing/workers write", "fail", "its key must be pool (S), member (S)");
    let key = [("pool", ScalarAttributeType::S), ("member", ScalarAttributeType::S)];
    table(&dynamodb, "others", &key, None).await;
    let output = live_check(&shared.replace("workers", "others"), NOWHERE, &moto.url, &[]);
    output.assert("sharing/others", "ok", "key pool (S), member (S)");
    output.assert("sharing/others write", "ok", "nothing was written");
    assert_eq!(dynamodb.scan().table_name("others").send().await.unwrap().count(), 0);
    let proxy = FaultProxy::start(&moto.url).await;
    proxy.rule(None, Mishap::Denied, None);
    let output = live_check(&shared.replace("workers", "others"), NOWHERE, &proxy.url, &[]);
    output.assert("sharing/others", "warn", "dynamodb:DescribeTable is not allowed");
    output.assert("sharing/others write", "fail", "allow dynamodb:UpdateItem on it");
    proxy.stop().await;
    let alone = live_check(&config(), NOWHERE, NOWHERE, &[]);
    assert!(!alone.answers.keys().any(|probe| probe.starts_with("sharing")));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_resources_are_reported_with_a_remedy() {
    let (sim, moto) = (sim(), Moto::start());
    let topic = "local_dir: events, sns_topic_arn: 'arn:aws:sns:us-east-1:123456789012:alerts'";
    let config = config().replace("local_dir: events", topic);
    let output = live_check(&config, &sim.endpoint(), &moto.url, &[]);
    output.assert("credentials", "ok", "arn:aws:");
    output.assert("sns/alerts", "fail", "create the topic, or correct publishers.sns_topic_arn");
    output.assert("stream front-stream", "fail", "create it, or correct kvs_stream_name");
    output.assert("stream front-stream footage", "fail", "create it, or correct kvs_stream_name");
    output.assert("kds/events", "fail", "create the stream, or correct publishers.kds_stream");
    output.assert("kds/events write", "fail", "create the stream, or correct publishers.kds_stream");
    output.assert("stream front-stream archive", "warn", "create it, or correct kvs_stream_name");
    output.assert("s3 write", "fail", "create the bucket, or correct publishers.s3_bucket");
    output.assert("s3 read", "warn", "(needed only for the pictures of the page); create the bucket");
    output.assert("dynamodb/records", "fail", "create the table, or correct publishers.ddb_table");
    output.assert("dynamodb/records write", "fail", "create the table, or correct publishers.ddb_table");
    output.assert("positions/positions", "fail", "create the table, or correct state.ddb_table");
    output.assert("positions/positions write", "fail", "create the table, or correct state.ddb_table");
    assert_eq!(output.code, Some(69), "{}", output.stderr);
    assert_eq!(output.totals, serde_json::json!({ "ok": 6, "warn": 2, "fail": 10 }));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_shape_and_a_silent_camera_are_reported() {
    let (sim, moto) = (sim(), Moto::start());
    sim.store().stream_or_create("front-stream").unwrap();
    moto.stream("events").await;
    moto.bucket("pictures").await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&moto.config());
    table(&dynamodb, "records", &RECORDS_KEY, None).await;
    table(&dynamodb, "positions", &[("camera", ScalarAttributeType::S)], None).await;

    let output = live_check(&config(), &sim.endpoint(), &moto.url, &[]);
    output.assert(
        "stream front-stream footage",
        "warn",
        "no footage came within 5 s, nor within the last 15 minutes",
    );
    output.assert("dynamodb/records", "warn", "no index camera_id-ts_ms-index");
    output.assert("dynamodb/records", "warn", "time to live is off");
    output.assert(
        "positions/positions",
        "fail",
        "key camera (S); a table with the key camera_id (S) is needed",
    );
    output.assert("positions/positions write", "fail", "its key must be camera_id (S)");
    assert_eq!(output.code, Some(69), "{}", output.stderr);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_reported_by_their_action() {
    let (sim, moto) = (sim(), Moto::start());
    moto.stream("events").await;
    moto.bucket("pictures").await;
    tables(&moto).await;
    let refused = Fault { on: Some(Operation::GetMedia), ..Fault::from(FaultKind::Unauthorized) };
    sim.store().stream_or_create("front-stream").unwrap().set_faults(refused);
    let proxy = FaultProxy::start(&moto.url).await;
    proxy.rule(None, Mishap::Denied, None);

    let output = live_check(&config(), &sim.endpoint(), &proxy.url, &[]);
    output.assert("credentials", "warn", "sts:GetCallerIdentity failed");
    output.assert("stream front-stream footage", "fail", "grant kinesisvideo:GetMedia to this role");
    output.assert("kds/events", "warn", "kinesis:DescribeStreamSummary is not allowed; only this check");
    output.assert("kds/events write", "fail", "allow kinesis:PutRecords on it");
    output.assert("s3 write", "fail", "allow s3:PutObject on it with this encryption");
    output.assert("s3 read", "warn", "s3:GetObject is not allowed, or snapshots/.kvs-infer-check is missing");
    output.assert("dynamodb/records", "warn", "dynamodb:DescribeTable is not allowed; only this check");
    output.assert("dynamodb/records write", "fail", "allow dynamodb:PutItem on it");
    output.assert("positions/positions", "warn", "dynamodb:DescribeTable is not allowed");
    output.assert("positions/positions write", "fail", "allow dynamodb:UpdateItem on it");
    assert_eq!(output.code, Some(69), "{}", output.stderr);
    proxy.stop().await;
    sim.stop().await;
}

/// Returns the configuration of a service that keeps its events in AWS only.
fn without_folder() -> String {
    config().replace(", local_dir: events", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_and_its_pictures_are_probed_where_they_are_read_from_aws() {
    let moto = Moto::start();
    let dynamodb = aws_sdk_dynamodb::Client::new(&moto.config());
    moto.bucket("pictures").await;
    table(&dynamodb, "records", &RECORDS_KEY, None).await;
    let output = live_check(&without_folder(), NOWHERE, &moto.url, &[]);
    output.assert(
        "dynamodb/records history",
        "warn",
        "(needed only for the history of incidents); add the index",
    );
    dynamodb.delete_table().table_name("records").send().await.unwrap();
    tables(&moto).await;
    let output = live_check(&without_folder(), NOWHERE, &moto.url, &[]);
    output.assert(
        "dynamodb/records history",
        "ok",
        "Query is allowed on the table and on its index camera_id-ts_ms-index",
    );
    output.assert("s3 read", "ok", "snapshots/.kvs-infer-check read");

    let proxy = FaultProxy::start(&moto.url).await;
    proxy.rule(None, Mishap::Denied, None);
    let output = live_check(&without_folder(), NOWHERE, &proxy.url, &[]);
    let words = "(needed only for the history of incidents); allow dynamodb:Query on it and on its index";
    output.assert("dynamodb/records history", "warn", words);
    proxy.stop().await;
    let with_folder = live_check(&config(), NOWHERE, NOWHERE, &[]);
    assert!(!with_folder.answers.contains_key("dynamodb/records history"), "it is read from the folder");
    let shared = config().replace("device: cpu", "sharing: { table: workers }\ndevice: cpu");
    let in_pool = live_check(&shared, NOWHERE, NOWHERE, &[]);
    in_pool.assert("dynamodb/records history", "warn", "check the network, and AWS_ENDPOINT_URL_DYNAMODB");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_footage_is_probed_and_a_stream_that_keeps_none_is_reported() {
    let (clips, sim) = (tempfile::tempdir().unwrap(), sim());
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    append_clip(&stream, &film(clips.path(), 0), ClipPace::Asap, SystemTime::now()).await.unwrap();
    // Without it, each check waits for new footage.
    let refused = |on| Fault { on: Some(on), ..Fault::from(FaultKind::Unauthorized) };
    for (on, verdict, words) in [
        (Operation::GetMedia, "ok", "stored footage can be read: fragment "),
        (Operation::ListFragments, "warn", "grant kinesisvideo:ListFragments to this role"),
        (
            Operation::GetMediaForFragmentList,
            "warn",
            "grant kinesisvideo:GetMediaForFragmentList to this role",
        ),
    ] {
        stream.set_faults(Faults(vec![refused(Operation::GetMedia), refused(on)]));
        let output = live_check(&config(), &sim.endpoint(), NOWHERE, &[]);
        output.assert("stream front-stream archive", verdict, words);
        if verdict == "warn" {
            let only_for = "(needed only for the video of incidents, clips and replay)";
            output.assert("stream front-stream archive", verdict, only_for);
        }
    }
    let volatile = sim.store().create("volatile-stream", StreamSettings::default()).unwrap();
    volatile.set_faults(refused(Operation::GetMedia));
    let config = config().replace("front-stream", "volatile-stream");
    let output = live_check(&config, &sim.endpoint(), NOWHERE, &[]);
    output.assert("stream volatile-stream archive", "warn", "no footage is stored");
    output.assert("stream volatile-stream archive", "warn", "raise its data retention");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_service_probes_itself_and_keeps_its_connections() {
    let (clips, sim, moto) = (tempfile::tempdir().unwrap(), sim(), Moto::start());
    moto.stream("events").await;
    moto.bucket("pictures").await;
    tables(&moto).await;
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let program = Program::start(kvs_infer_command!(), &config(), &sim.endpoint(), Some(&moto.url));
    program.camera_after("front", FRAMES);
    assert_eq!(program.get("/api/check"), (200, "null".to_owned()));
    assert_eq!(program.post("/api/check", "text/plain").0, 415);
    let before = epoch_ms();
    let (status, _, body) = program.post("/api/check", "application/json");
    assert_eq!(status, 200, "{body}");
    let report: Value = serde_json::from_str(&body).unwrap();
    assert!(report["at_ms"].as_i64() >= Some(before), "{body}");
    let lines: BTreeMap<&str, &Value> = report["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["probe"].as_str().unwrap(), line))
        .collect();
    for (probe, outcome, words) in [
        ("credentials", "ok", "arn:aws:"),
        ("stream front-stream", "ok", "ACTIVE"),
        ("stream front-stream archive", "ok", ""),
        ("state", "ok", "can be written"),
        ("kds/events write", "ok", "nothing was written"),
        ("s3 read", "ok", "read"),
        ("dynamodb/records", "warn", "time to live is off"),
        ("open files", "ok", "(cameras: 1)"),
    ] {
        let line = lines.get(probe).unwrap_or_else(|| panic!("{probe} did not run: {body}"));
        assert_eq!(line["outcome"], outcome, "{line}");
        assert!(line["text"].as_str().unwrap().contains(words), "{line}");
    }
    assert!(!lines.keys().any(|probe| probe.ends_with("footage") || probe.starts_with("model")), "{body}");

    let (status, head, again) = program.post("/api/check", "application/json");
    assert!(status == 429 && head.to_ascii_lowercase().contains("retry-after: "), "{head}");
    assert!(again.contains("at most every 30 s"), "{again}");
    assert_eq!(program.get("/api/check"), (200, body), "the last report is kept");
    let camera = program.camera("front");
    assert_eq!((&camera["reconnects"], &camera["frames"]["dropped"]), (&0.into(), &serde_json::json!({})));
    program.stop();
    sim.stop().await;
}

#[test]
fn unreachable_services_fail_and_unchecked_credentials_are_a_warning() {
    let output = live_check(&config(), NOWHERE, NOWHERE, &[]);
    output.assert("credentials", "warn", "sts:GetCallerIdentity failed");
    output.assert("clock", "warn", "STS sent no time");
    for probe in ["stream front-stream", "stream front-stream footage"] {
        output.assert(probe, "fail", "check the network, the region and AWS_ENDPOINT_URL");
    }
    output.assert("kds/events write", "fail", "check the network, and AWS_ENDPOINT_URL_KINESIS");
    output.assert("s3 write", "fail", "check the network, and AWS_ENDPOINT_URL_S3");
    output.assert("dynamodb/records write", "fail", "check the network, and AWS_ENDPOINT_URL_DYNAMODB");
    output.assert("model yolov8.onnx", "ok", "ms per inference");
    assert_eq!(output.code, Some(69), "{}", output.stderr);
}

#[test]
fn without_credentials_no_service_is_probed() {
    let no_credentials = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let output = live_check(&config(), NOWHERE, NOWHERE, &no_credentials);
    output.assert("credentials", "fail", "give the task a role, or set AWS_PROFILE");
    output.assert("kds/events write", "fail", "not probed: there are no credentials");
    output.assert("local", "ok", "can be written");
    assert_eq!(output.code, Some(69), "{}", output.stderr);
}

#[test]
fn a_class_that_the_model_lacks_is_a_mistake_of_the_configuration() {
    let local = format!(
        "publishers: {{ local_dir: events }}\nstate: {{ dir: state }}\ncameras:\n{}",
        camera("front")
    );
    let misspelt = local.replace("yolov8.onnx }", "yolov8.onnx, classes: [gren] }");
    let output = live_check(&misspelt, NOWHERE, NOWHERE, &[]);
    output.assert("model yolov8.onnx", "fail", "did you mean \"green\"?");
    assert_eq!(output.code, Some(78), "{}", output.stderr);
    let unwritable = local.replace("local_dir: events", "local_dir: /proc/events");
    let output = live_check(&unwritable, NOWHERE, NOWHERE, &[]);
    output.assert("local", "fail", "publishers.local_dir: /proc/events: /proc cannot be written");
    output.assert("model yolov8.onnx", "ok", "3 classes");
    assert_eq!(output.code, Some(69), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_camera_and_a_wrong_clock_are_reported() {
    let (clips, sim, moto) = (tempfile::tempdir().unwrap(), sim(), Moto::start());
    let stream = sim.store().stream_or_create("front-stream").unwrap();
    append_clip(&stream, &film(clips.path(), 0), ClipPace::Asap, SystemTime::now()).await.unwrap();
    let ahead = [("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"), ("FAKETIME", "+10m")];
    let output = live_check(&config(), &sim.endpoint(), &moto.url, &ahead);
    output.assert("clock", "fail", "s ahead of AWS's: AWS refuses requests signed with it; set it");
    output.assert("stream front-stream footage", "warn", "the last fragment came 60");
    stream.set_faults(Fault {
        on: Some(Operation::GetMedia),
        ..Fault::from(FaultKind::Stall(Limit::Bytes(12)))
    });
    let output = live_check(&config(), &sim.endpoint(), &moto.url, &ahead);
    output.assert(
        "stream front-stream footage",
        "warn",
        "no footage came within 5 s, the last fragment came 6",
    );
    sim.stop().await;
}

#[test]
fn a_required_gpu_that_is_missing_is_a_failure() {
    let on_cuda = config().replace("device: cpu", "device: cuda");
    let output = live_check(&on_cuda, NOWHERE, NOWHERE, &[]);
    output.assert("gpu", "fail", "no NVIDIA driver, and `device` requires CUDA; give the container its GPU");
    let output = live_check(&config().replace("device: cpu", "device: auto"), NOWHERE, NOWHERE, &[]);
    output.assert("gpu", "ok", "no NVIDIA driver: models run on the CPU");
}
