//! A replay reads live tables and streams to compare, and changes nothing on any server.

use std::collections::HashMap;
use std::net::TcpListener;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, ScalarAttributeType,
};
use test_support::footage::camera;
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::polling::until;
use test_support::program::Program;

use super::footage;

/// Returns a configuration with every live sink and a table of positions.
fn live_config() -> String {
    let sinks = "publishers: { kds_stream: live, s3_bucket: pictures, ddb_table: live }\nstate: { ddb_table: positions, dir: state }\n";
    format!("{sinks}service: {{ reconnect_delay_seconds: 1 }}\ndevice: cpu\ncameras:\n{}", camera("front"))
}

async fn table(moto: &Moto, name: &str, keys: &[(&str, ScalarAttributeType)], has_index: bool) {
    let client = aws_sdk_dynamodb::Client::new(&moto.config());
    let key = |name: &str, kind: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
    };
    let attribute = |(name, kind): &(&str, ScalarAttributeType)| {
        AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone()).build().unwrap()
    };
    let mut call = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for given in keys {
        call = call.attribute_definitions(attribute(given));
    }
    call = call.key_schema(key(keys[0].0, KeyType::Hash));
    if has_index {
        let index = GlobalSecondaryIndex::builder()
            .index_name("camera_id-ts_ms-index")
            .key_schema(key("camera_id", KeyType::Hash))
            .key_schema(key("ts_ms", KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::All).build());
        call = call.key_schema(key("ts_ms", KeyType::Range));
        call = call.global_secondary_indexes(index.build().unwrap());
    }
    call.send().await.unwrap();
}

/// Returns all that the live sinks have, as text.
async fn live_state(moto: &Moto, kinesis: &aws_sdk_kinesis::Client, s3: &aws_sdk_s3::Client) -> Vec<String> {
    let mut state: Vec<String> =
        records(kinesis, "live").await.into_iter().map(|(key, json)| format!("{key} {json}")).collect();
    let objects = s3.list_objects_v2().bucket("pictures").send().await.unwrap();
    state.extend(objects.contents().iter().map(|object| format!("{:?} {:?}", object.key(), object.e_tag())));
    let tables = aws_sdk_dynamodb::Client::new(&moto.config());
    for table in ["live", "positions"] {
        let items = tables.scan().table_name(table).send().await.unwrap();
        let mut items: Vec<String> = items.items().iter().map(shown).collect();
        items.sort();
        state.extend(items);
    }
    state
}

/// Returns the attributes of an item, or of a map in it, in the order of their names.
fn shown(attributes: &HashMap<String, AttributeValue>) -> String {
    let attribute = |(name, value): (&String, &AttributeValue)| match value {
        AttributeValue::M(map) => format!("{name} {{{}}}", shown(map)),
        value => format!("{name} {value:?}"),
    };
    let mut attributes: Vec<String> = attributes.iter().map(attribute).collect();
    attributes.sort();
    attributes.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_calls_no_service_but_kvs() {
    let (footage, mut place) = footage(&["front"], 1).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    place.aws = format!("http://{}", listener.local_addr().unwrap());
    let replay = place.replay(&live_config(), 9, "out", &[], 0);
    assert_eq!(replay.events().len(), 5);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "not even a connection");
    footage.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_sinks_are_compared_with_and_stay_as_they_are() {
    let (footage, mut place) = footage(&["front"], 1).await;
    let moto = Moto::start();
    place.aws.clone_from(&moto.url);
    let (kinesis, s3) = (moto.stream("live").await, moto.bucket("pictures").await);
    let text = ScalarAttributeType::S;
    let keys = [("event_id", text.clone()), ("ts_ms", ScalarAttributeType::N), ("camera_id", text.clone())];
    table(&moto, "live", &keys, true).await;
    table(&moto, "positions", &[("camera_id", text)], false).await;

    let program =
        Program::start(kvs_infer_command!(), &live_config(), &footage.sim.endpoint(), Some(&moto.url));
    let delivered = async || {
        let state = live_state(&moto, &kinesis, &s3).await;
        // Five records in the data stream and in the table, their pictures, and the position.
        if state.len() > 10 { Ok(()) } else { Err(format!("{} entries", state.len())) }
    };
    until("the records of run", delivered).await;
    assert!(program.stop().status.success());
    let before = live_state(&moto, &kinesis, &s3).await;
    assert!(before.iter().filter(|entry| entry.contains("incident_id")).count() >= 10, "{before:#?}");

    for source in ["table", "stream", "ddb:live", "kds:live"] {
        let out = source.replace(':', "-");
        let replay = place.replay(&live_config(), 9, &out, &["--compare", source], 0);
        assert_eq!(replay.changes(), ["same red", "same green", "same blue"], "{source}");
        let data = replay.data();
        assert!(!data["incidents"][0]["before_picture"].is_null(), "{source}: the picture comes from S3");
    }
    assert_eq!(live_state(&moto, &kinesis, &s3).await, before);
    let denied = place.replay(&live_config(), 9, "none", &["--compare", "ddb:nowhere"], 69);
    assert!(denied.stderr.contains("table nowhere: ResourceNotFoundException"), "{}", denied.stderr);
    footage.sim.stop().await;
}
