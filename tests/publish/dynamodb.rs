//! Records in DynamoDB through the real SDK, against moto.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, ScalarAttributeType,
};
use kvs_infer::delivery::{Clients, EventOutbox, OutboxSpec, Route, SinkState, SinkStatus, StateSpec};
use kvs_infer::sinks::{DdbSpec, PublishSpec};
use test_support::moto::Moto;

use super::event::{self, event, pending, state};

const SECOND: Duration = Duration::from_secs(1);

fn route() -> Arc<Route> {
    Arc::new(Route { kds_stream: None, snapshot: None, clip: None })
}

/// An outbox with a local sink, records in `events` and positions in `positions`.
async fn outbox(folder: &Path, config: &SdkConfig) -> EventOutbox {
    let publish = PublishSpec {
        ddb: Some(DdbSpec { table: "events".into(), ttl_days: Some(2) }),
        local_dir: Some(folder.join("events")),
        ..PublishSpec::default()
    };
    let state = StateSpec { ddb_table: Some("positions".into()), ..state(folder) };
    let (dead_letter, clients) = (folder.join("dead-letter.jsonl"), Some(Clients::new(config, true)));
    EventOutbox::start(OutboxSpec {
        sinks: publish.sinks(vec![route()]),
        state,
        dead_letter,
        clients,
        sharing: None,
    })
    .await
    .unwrap()
}

pub(crate) fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

pub(crate) fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

pub(crate) async fn tables(moto: &Moto) -> Client {
    let client = Client::new(&moto.config());
    let index = GlobalSecondaryIndex::builder()
        .index_name("camera_id-ts_ms-index")
        .key_schema(key("camera_id", KeyType::Hash))
        .key_schema(key("ts_ms", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::All).build());
    let events = client
        .create_table()
        .table_name("events")
        .attribute_definitions(attribute("event_id", ScalarAttributeType::S))
        .attribute_definitions(attribute("camera_id", ScalarAttributeType::S))
        .attribute_definitions(attribute("ts_ms", ScalarAttributeType::N))
        .key_schema(key("event_id", KeyType::Hash))
        .key_schema(key("ts_ms", KeyType::Range))
        .global_secondary_indexes(index.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest);
    events.send().await.unwrap();
    let positions = client
        .create_table()
        .table_name("positions")
        .attribute_definitions(attribute("camera_id", ScalarAttributeType::S))
        .key_schema(key("camera_id", KeyType::Hash))
        .billing_mode(BillingMode::PayPerRequest);
    positions.send().await.unwrap();
    client
}

pub(super) fn status<'a>(statuses: &'a [SinkStatus], name: &str) -> &'a SinkStatus {
    statuses.iter().find(|status| status.name == name).unwrap()
}

#[tokio::test]
async fn an_event_is_an_item_once_however_often_it_is_put() {
    let moto = Moto::start();
    let client = tables(&moto).await;
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let outbox = outbox(folder.path(), &moto.config()).await;
        for number in 1..=30 {
            event::offer(&outbox, pending(event("front", number), &route())).await.unwrap();
        }
        assert_eq!(outbox.flush(30 * SECOND).await, []);
        assert_eq!(status(&outbox.statuses(), "dynamodb/events").delivered, 30, "there already is as good");
    }
    let query = client
        .query()
        .table_name("events")
        .index_name("camera_id-ts_ms-index")
        .key_condition_expression("camera_id = :camera")
        .expression_attribute_values(":camera", AttributeValue::S("front".into()));
    let items = query.send().await.unwrap().items.unwrap();
    assert_eq!(items.len(), 30);
    let sent = event("front", 7);
    let item =
        items.iter().find(|item| item["event_id"] == AttributeValue::S(sent.event_id.clone())).unwrap();
    let number = |value: i64| AttributeValue::N(value.to_string());
    assert_eq!((&item["ts_ms"], &item["seq"]), (&number(sent.payload.ts_ms), &number(7)));
    assert_eq!(item["ttl"], number(sent.payload.ts_ms / 1000 + 2 * 86_400));
    assert_eq!(item["label"], AttributeValue::S("person".into()));
}

#[tokio::test]
async fn a_table_that_is_missing_holds_no_sink_up() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    let outbox = outbox(folder.path(), &moto.config()).await;
    event::offer(&outbox, pending(event("front", 1), &route())).await.unwrap();
    let failing = |all: &[SinkStatus]| {
        status(all, "local").delivered == 1 && status(all, "dynamodb/events").state != SinkState::Ok
    };
    let statuses = outbox.until(failing).await;
    let SinkState::Failing { reason, .. } = &status(&statuses, "dynamodb/events").state else {
        unreachable!()
    };
    assert!(reason.contains("ResourceNotFoundException") && reason.contains("create the table"), "{reason}");
    outbox.flush(Duration::ZERO).await;
}
