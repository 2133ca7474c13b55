//! The services that the program delivers to, and what they have.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use serde_json::Value;
use test_support::moto::{Moto, records};

/// The services of one run, and those of its round; no other test writes to them.
pub(crate) struct Aws {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    round: usize,
    kinesis: aws_sdk_kinesis::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
}

/// The item of a camera.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The records, items and objects after a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivered {
    /// The records of the data stream, in its order.
    pub(crate) records: Vec<Value>,
    /// The items of the table, in any order.
    pub(crate) items: Vec<HashMap<String, AttributeValue>>,
    /// The objects in the bucket: key and hash.
    pub(crate) objects: BTreeMap<String, String>,
}

impl Aws {
    /// Makes the data stream, the tables and the bucket of `round`.
    pub(crate) async fn make(moto: &Moto, round: usize) -> Self {
        let dynamodb = aws_sdk_dynamodb::Client::new(&moto.config());
        let kinesis = moto.stream(&events(round)).await;
        let s3 = moto.bucket(&pictures(round)).await;
        let made = Self { url: moto.url.clone(), round, kinesis, dynamodb, s3 };
        let [string, number] = [ScalarAttributeType::S, ScalarAttributeType::N];
        made.table(&items(round), &[("event_id", string.clone()), ("ts_ms", number)]).await;
        made.table(&positions(round), &[("camera_id", string)]).await;
        made
    }

    /// The part of a configuration that names what was made.
    pub(crate) fn publishers(&self) -> String {
        let (stream, bucket, table) = (events(self.round), pictures(self.round), items(self.round));
        format!(
            "publishers:\n  kds_stream: {stream}\n  s3_bucket: {bucket}\n  ddb_table: {table}\n  local_dir: events\n"
        )
    }

    /// The same, without pictures and local files.
    pub(crate) fn stream_and_items(&self) -> String {
        let (stream, table) = (events(self.round), items(self.round));
        format!("publishers:\n  kds_stream: {stream}\n  ddb_table: {table}\n")
    }

    /// The name of the table of positions.
    pub(crate) fn positions(&self) -> String {
        positions(self.round)
    }

    /// Returns whether the position of a camera was written.
    pub(crate) async fn has_position(&self) -> bool {
        let found = self.dynamodb.scan().table_name(positions(self.round)).consistent_read(true);
        found.send().await.unwrap().items().iter().any(|item| item.contains_key("position"))
    }

    /// Returns what the services have.
    pub(crate) async fn delivered(&self) -> Delivered {
        let records = self.records().await.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
        Delivered { records, items: self.items().await, objects: self.objects().await }
    }

    /// Returns the records of the data stream as they are, in its order.
    pub(crate) async fn records(&self) -> Vec<String> {
        let records = records(&self.kinesis, &events(self.round)).await.into_iter().map(|(key, json)| {
            let record: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(record["camera_id"], key);
            json
        });
        records.collect()
    }

    /// Returns the ids of the events in the table.
    pub(crate) async fn item_ids(&self) -> BTreeSet<String> {
        self.items().await.iter().map(|item| item["event_id"].as_s().unwrap().clone()).collect()
    }

    /// Makes the table of workers, and returns its name.
    pub(crate) async fn workers(&self) -> String {
        let name = format!("workers-{}", self.round);
        self.table(&name, &[("pool", ScalarAttributeType::S), ("member", ScalarAttributeType::S)]).await;
        name
    }

    /// Returns the id of the worker that leads a pool.
    pub(crate) async fn leader(&self, workers: &str, pool: &str) -> Option<String> {
        let [pool, member] = [pool, "leader"].map(|key| AttributeValue::S(key.to_owned()));
        let found = self.dynamodb.get_item().table_name(workers).key("pool", pool).key("member", member);
        let row = found.consistent_read(true).send().await.unwrap().item?;
        row.get("worker_id").map(|id| id.as_s().unwrap().clone())
    }

    /// Returns the items of all cameras, by camera.
    pub(crate) async fn camera_items(&self) -> BTreeMap<String, Item> {
        let found = self.dynamodb.scan().table_name(positions(self.round)).consistent_read(true);
        let items = found.send().await.unwrap().items.unwrap_or_default();
        items.into_iter().map(|item| (item["camera_id"].as_s().unwrap().clone(), item)).collect()
    }

    /// Resets the number of owners that died with a camera.
    pub(crate) async fn forget_deaths(&self, camera: &str) {
        let update = self.dynamodb.update_item().table_name(positions(self.round));
        let update = update.key("camera_id", AttributeValue::S(camera.to_owned()));
        let update = update.update_expression("SET strikes = :none");
        let none = AttributeValue::N("0".to_owned());
        update.expression_attribute_values(":none", none).send().await.unwrap();
    }

    async fn items(&self) -> Vec<HashMap<String, AttributeValue>> {
        let pages = self.dynamodb.scan().table_name(items(self.round)).consistent_read(true).into_paginator();
        pages.items().send().collect::<Result<_, _>>().await.unwrap()
    }

    async fn objects(&self) -> BTreeMap<String, String> {
        let mut objects = BTreeMap::new();
        let mut pages = self.s3.list_objects_v2().bucket(pictures(self.round)).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            let object = |object: &aws_sdk_s3::types::Object| {
                (object.key().unwrap().to_owned(), object.e_tag().unwrap().to_owned())
            };
            objects.extend(page.contents().iter().map(object));
        }
        objects
    }

    /// The first of the keys is the partition's, the second the sort key.
    async fn table(&self, name: &str, keys: &[(&str, ScalarAttributeType)]) {
        let attribute = |(name, kind): &(&str, ScalarAttributeType)| {
            AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone()).build().unwrap()
        };
        let key = |((name, _), kind): (&(&str, ScalarAttributeType), KeyType)| {
            KeySchemaElement::builder().attribute_name(*name).key_type(kind).build().unwrap()
        };
        let call = self.dynamodb.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        let call = call.set_attribute_definitions(Some(keys.iter().map(attribute).collect()));
        let schema = keys.iter().zip([KeyType::Hash, KeyType::Range]).map(key).collect();
        call.set_key_schema(Some(schema)).send().await.unwrap();
    }
}

fn events(round: usize) -> String {
    format!("events-{round}")
}

fn pictures(round: usize) -> String {
    format!("pictures-{round}")
}

fn items(round: usize) -> String {
    format!("items-{round}")
}

fn positions(round: usize) -> String {
    format!("positions-{round}")
}
