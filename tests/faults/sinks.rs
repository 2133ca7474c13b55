//! Each fault of KDS, S3, DynamoDB and SNS, one kind after the other, while events come.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use serde_json::Value;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap as Happening};
use test_support::footage::{StoredFootage, camera, config};
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::program::Program;

use super::table::{FaultCause, Mishap, Row, SINKS, Sink};
use super::watch::{
    events, figure, metric, metrics, of_camera, reason_of, reasons, sink, until, until_within,
};

const FILMS: u32 = 40;
/// The maximum time from an event to the reason in `/healthz`, and from the end of the fault to the end of the reason.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);
pub(crate) const PUBLISHERS: &str = "publishers: { kds_stream: events, s3_bucket: pictures, ddb_table: records, local_dir: events, \
     sns_topic_arn: 'arn:aws:sns:us-east-1:123456789012:alerts' }\n";
const CAMERAS: [&str; 2] = ["front", "back"];

impl Sink {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kds => "kds/events",
            Self::S3 => "s3",
            Self::DynamoDb => "dynamodb/records",
            Self::Sns => "sns/alerts",
        }
    }

    fn service(self) -> AwsService {
        match self {
            Self::Kds => AwsService::Kinesis,
            Self::S3 => AwsService::S3,
            Self::DynamoDb => AwsService::DynamoDb,
            Self::Sns => AwsService::Sns,
        }
    }
}

/// The services, a stream, a bucket and a table, behind a proxy.
pub(crate) struct Aws {
    _moto: Moto,
    pub(crate) proxy: FaultProxy,
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    s3: aws_sdk_s3::Client,
    dynamodb: aws_sdk_dynamodb::Client,
}

impl Aws {
    pub(crate) async fn start() -> Self {
        let moto = Moto::start();
        let (kinesis, s3) = (moto.stream("events").await, moto.bucket("pictures").await);
        let dynamodb = aws_sdk_dynamodb::Client::new(&moto.config());
        let key =
            |name: &str, of: KeyType| KeySchemaElement::builder().attribute_name(name).key_type(of).build();
        let attribute = |name: &str, of: ScalarAttributeType| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(of).build()
        };
        let table = dynamodb.create_table().table_name("records").billing_mode(BillingMode::PayPerRequest);
        let table = table
            .key_schema(key("event_id", KeyType::Hash).unwrap())
            .key_schema(key("ts_ms", KeyType::Range).unwrap());
        let table = table
            .attribute_definitions(attribute("event_id", ScalarAttributeType::S).unwrap())
            .attribute_definitions(attribute("ts_ms", ScalarAttributeType::N).unwrap());
        table.send().await.unwrap();
        let sns = aws_sdk_sns::Client::new(&moto.config());
        sns.create_topic().name("alerts").send().await.unwrap();
        let proxy = FaultProxy::start(&moto.url).await;
        Self { _moto: moto, proxy, kinesis, s3, dynamodb }
    }

    /// The keys of all pictures.
    pub(crate) async fn pictures(&self) -> BTreeSet<String> {
        let mut pages = self.s3.list_objects_v2().bucket("pictures").into_paginator().send();
        let mut keys = BTreeSet::new();
        while let Some(page) = pages.next().await {
            keys.extend(page.unwrap().contents().iter().map(|object| object.key().unwrap().to_owned()));
        }
        keys
    }

    async fn items(&self) -> BTreeSet<String> {
        let mut pages = self.dynamodb.scan().table_name("records").into_paginator().items().send();
        let mut ids = BTreeSet::new();
        while let Some(item) = pages.next().await {
            ids.insert(item.unwrap()["event_id"].as_s().unwrap().clone());
        }
        ids
    }
}

/// All records came, in the order of each camera; none twice but where that may be.
pub(crate) fn assert_delivered(records: &[Value], events: &[Value], cameras: &[&str], twice: bool) {
    for camera in cameras {
        let expected: Vec<_> =
            of_camera(events, camera).into_iter().map(|event| &event["event_id"]).collect();
        let mut shown: Vec<_> =
            of_camera(records, camera).into_iter().map(|event| &event["event_id"]).collect();
        if twice {
            shown.dedup();
        }
        assert_eq!(shown, expected, "{camera}");
        let order: Vec<_> =
            of_camera(events, camera).iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(order, (1..=order.len() as u64).collect::<Vec<_>>(), "{camera}");
    }
}

pub(crate) async fn delivered(aws: &Aws) -> Vec<Value> {
    let records = records(&aws.kinesis, "events").await;
    records.iter().map(|(_, json)| serde_json::from_str(json).unwrap()).collect()
}

fn of(row: &Row) -> (Sink, Mishap) {
    match row.made {
        FaultCause::Sink { sink, mishap } => (sink, mishap),
        _ => panic!("{}: not of a sink", row.fault),
    }
}

async fn begin(proxy: &mut FaultProxy, mishap: Mishap, sinks: &[Sink]) {
    let happening = match mishap {
        Mishap::Throttled => Happening::Throttled,
        Mishap::Failed => Happening::Failed,
        Mishap::Unavailable => Happening::Unavailable,
        Mishap::Partial => Happening::Partial { every: 2 },
        Mishap::Reset => Happening::Reset,
        Mishap::AnswerLost => Happening::AnswerLost,
        Mishap::Unreachable => return proxy.go_away().await,
    };
    sinks.iter().for_each(|sink| proxy.rule(sink.service(), happening, None));
}

async fn end(proxy: &mut FaultProxy, mishap: Mishap) {
    match mishap {
        Mishap::Unreachable => proxy.come_back().await,
        _ => proxy.clear(),
    }
}

fn failures(program: &Program, row: &Row) -> f64 {
    let (name, label) = row.metric.trim_end_matches('}').split_once('{').unwrap();
    metric(&metrics(program), name, &[label])
}

/// One kind of fault at all sinks that it can have: how long until the last one showed.
async fn round(program: &Program, proxy: &mut FaultProxy, mishap: Mishap) -> (usize, Duration) {
    let rows: Vec<&Row> = SINKS.iter().filter(|row| of(row).1 == mishap).collect();
    let sinks: Vec<Sink> = rows.iter().map(|row| of(row).0).collect();
    let before: Vec<f64> = rows.iter().map(|row| failures(program, row)).collect();
    let made = program.camera(CAMERAS[0])["events"].clone();
    begin(proxy, mishap, &sinks).await;
    program.camera_when(CAMERAS[0], |row| row["events"] != made);
    let began = Instant::now();
    let mut missing: Vec<(&Row, f64)> = rows.iter().copied().zip(before).collect();
    let mut seen = Vec::new();
    until_within(3 * SHOWS_WITHIN, &format!("reason for {mishap:?} at {sinks:?}"), || {
        seen = reasons(program);
        missing.retain(|(row, before)| {
            let shown = reason_of(&seen, &format!("sink {}", of(row).0.name()));
            !(shown.is_some_and(|shown| shown.contains(row.reason)) && failures(program, row) > *before)
        });
        missing.is_empty().then_some(())
    })
    .await;
    let showed = began.elapsed();
    end(proxy, mishap).await;
    until("end of the reasons of sinks", || reasons(program).is_empty().then_some(())).await;
    (rows.len(), showed)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_sink_shows_and_goes_away_and_loses_nothing() {
    let footage = StoredFootage::new(4);
    for camera in CAMERAS {
        footage.store(camera, FILMS).await;
    }
    let mut aws = Aws::start().await;
    let cameras: String = CAMERAS.map(camera).concat();
    let program = Program::start(
        kvs_infer_command!(),
        &config(PUBLISHERS, &cameras),
        &footage.sim.endpoint(),
        Some(&aws.proxy.url),
    );
    let (mut count, mut slowest) = (0, Duration::ZERO);
    let kinds = [
        Mishap::Throttled,
        Mishap::Partial,
        Mishap::Failed,
        Mishap::Unavailable,
        Mishap::Reset,
        Mishap::AnswerLost,
        Mishap::Unreachable,
    ];
    for mishap in kinds {
        let (rows, showed) = round(&program, &mut aws.proxy, mishap).await;
        (count, slowest) = (count + rows, slowest.max(showed));
    }
    assert!(slowest <= SHOWS_WITHIN, "{slowest:?}");
    for name in ["local", "kds/events", "s3", "dynamodb/records", "sns/alerts"] {
        assert_eq!(sink(&program, name)["failed"], 0, "{name}");
    }
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    assert_complete(&aws, ended.dir.path()).await;
    figure(&format!(
        "R11 sinks: {count} of {} faults show and go away; the slowest showed {:.1} s after its event",
        SINKS.len(),
        slowest.as_secs_f64()
    ));
    aws.proxy.stop().await;
    footage.sim.stop().await;
}

async fn assert_complete(aws: &Aws, folder: &Path) {
    let events = events(folder);
    assert_delivered(&delivered(aws).await, &events, &CAMERAS, true);
    let ids: BTreeSet<String> =
        events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(aws.items().await, ids);
    let snapshots = events.iter().map(|event| {
        let url = event["payload"]["extras"]["snapshot"].as_str().unwrap();
        url.strip_prefix("s3://pictures/").unwrap().to_owned()
    });
    let pictures = aws.pictures().await;
    let missing: Vec<_> = snapshots.filter(|key| !pictures.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
