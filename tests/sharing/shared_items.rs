//! Items that a pool of workers, a process without a pool and earlier versions write in turns.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use ::sharing::{
    CameraItem, CameraKey, CameraResumeState, ItemCall, ItemGrant, OwnerAfter, OwnerWrite, PendingRecord,
    TableAnswer, TableCall, WorkerId, limits,
};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use kvs_infer::checkpoint::Checkpoint;
use kvs_infer::delivery::OfferError;
use kvs_infer::sharing::PoolTable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::moto::Moto;

use super::calls::{record, state_of};
use super::shared_table::{pool_at, pool_on};
use crate::publish::event::{self, event, pending};
use crate::publish::positions::{SECOND, folders, item, offer, outbox, resumed, route, seqs, services};

type Attributes = HashMap<String, AttributeValue>;

fn front() -> CameraKey {
    CameraKey::new("front")
}

fn worker(id: &str) -> WorkerId {
    WorkerId::new(id)
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// Returns a checkpoint as versions with `rev` store it.
fn packed(checkpoint: &Checkpoint) -> AttributeValue {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(&checkpoint.to_bytes().unwrap()).unwrap();
    AttributeValue::B(Blob::new(packer.finish().unwrap()))
}

async fn read(pool: &PoolTable) -> CameraItem {
    match pool.call(&TableCall::ReadItem { camera: front() }).await.unwrap() {
        TableAnswer::Item(item) => (*item).clone(),
        other => panic!("{other:?}"),
    }
}

/// Makes a call whose condition is met; returns the item after it.
async fn change(pool: &PoolTable, call: ItemCall) -> CameraItem {
    match pool.call(&TableCall::Item { camera: front(), call }).await.unwrap() {
        TableAnswer::ItemApplied(item) => (*item).clone(),
        other => panic!("{other:?}"),
    }
}

/// Returns the write of an item's owner with this state and these records.
fn write(item: &CameraItem, state: CameraResumeState, pending: Vec<PendingRecord>) -> OwnerWrite {
    let owner = item.owner.clone().unwrap();
    let (spec, then) = ("spec".into(), OwnerAfter::Same);
    OwnerWrite { owner, epoch: item.epoch, rev: item.rev, state, pending, spec, clear_strikes: false, then }
}

/// Returns the record of an event as a worker writes it ahead, for the sinks of another record.
fn record_like(other: &PendingRecord, seq: u64) -> PendingRecord {
    let event = event("front", seq);
    let header = json!({
        "event_id": event.event_id, "ts_ms": event.payload.ts_ms, "seq": seq, "arrived_ms": 5, "incident_id": "", "place": null
    });
    let payload = format!("{header}\n{}", serde_json::to_string(&event).unwrap());
    let sinks = serde_json::from_slice::<Value>(&other.body).unwrap()["sinks"].clone();
    let body = json!({ "seq": seq, "holder": "01A", "payload": payload, "sinks": sinks }).to_string();
    PendingRecord { seq, id: event.event_id.into(), body: body.into_bytes().into() }
}

fn numbers_of(item: &CameraItem) -> Vec<u64> {
    item.pending.iter().map(|record| record.seq).collect()
}

#[tokio::test]
async fn a_pool_adopts_the_item_of_a_process_and_a_process_that_of_a_pool() {
    let (moto, dynamodb, kinesis) = services().await;
    let (folders, proxy, pool) = (folders(), FaultProxy::start(&moto.url).await, pool_at(&moto.url));
    let lost = outbox(folders[0].path(), &proxy.url).await;
    assert_eq!(resumed(&lost).await, None);
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, None);
    offer(&lost, 1..=3).await;

    let single = read(&pool).await;
    assert_eq!(single.state, state_of(&event::checkpoint(Some(3), 3), 0), "of an unknown version");
    let ids: Vec<_> = single.pending.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids, [1, 2, 3].map(|seq| event("front", seq).event_id));
    assert_eq!((single.epoch, &*single.spec, single.strikes), (1, "", 0));

    let owned = change(&pool, single.claim_for(&worker("01A"))).await;
    assert_eq!((&owned.state, &owned.pending), (&single.state, &single.pending));
    let refused = event::offer(&lost, pending(event("front", 4), &route())).await.unwrap_err();
    assert!(matches!(refused, OfferError::TakenOver { .. }), "{refused}");
    let records = [owned.pending.clone(), vec![record_like(&owned.pending[0], 4)]].concat();
    let call = write(&owned, state_of(&event::checkpoint(Some(4), 4), 7), records);
    let written = change(&pool, ItemCall::Write(call.clone())).await;
    assert!(call.is_stored_in(&written) && call.is_stored_in(&read(&pool).await));

    let next = outbox(folders[1].path(), &moto.url).await;
    assert_eq!(resumed(&next).await, Some(4));
    offer(&next, 5..=5).await;
    assert_eq!(next.flush(30 * SECOND).await, []);
    assert_eq!(seqs(&kinesis).await, [1, 2, 3, 4, 5], "also the record that a worker of the pool wrote");

    let attributes = item(&dynamodb).await;
    let stale = ["seq", "checkpoint_version"].map(|name| attributes[name].as_n().unwrap().as_str());
    assert_eq!(
        (stale, attributes["spec"].as_s().unwrap().as_str()),
        (["4", "7"], "spec"),
        "left by the pool"
    );
    let back = read(&pool).await;
    assert_eq!(back.state, state_of(&event::checkpoint(Some(5), 5), 0));
    assert!(back.pending.is_empty() && back.spec.is_empty());
    let owned = change(&pool, back.claim_for(&worker("01B"))).await;
    assert_eq!((&owned.state, &*owned.spec), (&back.state, ""), "a claim does not make the stale ones count");
    let call = write(&owned, state_of(&event::checkpoint(Some(6), 5), 7), Vec::new());
    assert!(call.is_stored_in(&change(&pool, ItemCall::Write(call.clone())).await));
}

#[tokio::test]
async fn a_delivered_state_of_a_pool_is_where_a_process_resumes() {
    let (moto, dynamodb, _) = services().await;
    let (folder, pool) = (tempfile::tempdir().unwrap(), pool_at(&moto.url));
    let owned = change(&pool, CameraItem::default().claim_for(&worker("01A"))).await;
    let call = write(&owned, state_of(&event::checkpoint(Some(9), 2), 1), Vec::new());
    let written = change(&pool, ItemCall::Write(OwnerWrite { then: OwnerAfter::Free, ..call })).await;
    assert_eq!((written.owner, written.epoch, written.rev), (None, 2, 2));
    let attributes = item(&dynamodb).await;
    assert!(["owner", "host", "ahead", "ahead_rev"].iter().all(|name| !attributes.contains_key(*name)));
    let outbox = outbox(folder.path(), &moto.url).await;
    assert_eq!(resumed(&outbox).await, Some(2));
    outbox.flush(SECOND).await;
}

#[tokio::test]
async fn items_of_earlier_versions_are_read_and_claimed() {
    let moto = Moto::start();
    let (pool, client) = pool_on(&moto).await;
    let checkpoint = event::checkpoint(Some(8), 3);
    let json = String::from_utf8(checkpoint.to_bytes().unwrap().to_vec()).unwrap();
    let position = checkpoint.position.unwrap().fragment;
    for (name, rest, state) in [
        ("never claimed", vec![], CameraResumeState::default()),
        ("claimed", vec![("owner", text("outbox")), ("epoch", number(3))], CameraResumeState::default()),
        (
            "the first versions",
            vec![
                ("owner", text("outbox")),
                ("epoch", number(3)),
                ("position", text(&position)),
                ("checkpoint", text(&json)),
            ],
            state_of(&event::checkpoint(Some(8), 3), 0),
        ),
    ] {
        let mut put = client.put_item().table_name("positions").item("camera_id", text("front"));
        for (attribute, value) in rest {
            put = put.item(attribute, value);
        }
        put.send().await.unwrap();
        let old = read(&pool).await;
        assert_eq!((&old.state, old.rev, old.pending.len()), (&state, 0, 0), "{name}");
        let owned = change(&pool, old.claim_for(&worker("01A"))).await;
        let expected = CameraItem { rev: 1, epoch: old.epoch + 1, owner: Some(worker("01A")), ..old };
        assert_eq!(owned, expected, "{name}");
        let call = write(&owned, state_of(&event::checkpoint(Some(9), 4), 1), vec![record(4)]);
        assert!(call.is_stored_in(&change(&pool, ItemCall::Write(call.clone())).await), "{name}");
    }
}

/// An earlier version raises `rev` and leaves all that it does not know.
#[tokio::test]
async fn what_an_earlier_version_made_stale_stays_stale() {
    let moto = Moto::start();
    let (pool, client) = pool_on(&moto).await;
    let owned = change(&pool, CameraItem::default().claim_for(&worker("01A"))).await;
    let call = write(&owned, state_of(&event::checkpoint(Some(3), 2), 7), vec![record(1), record(2)]);
    let ahead = change(&pool, ItemCall::Write(call)).await;
    let granted = change(&pool, ahead.claim_for(&worker("01B"))).await;
    assert_eq!((&granted.state, &granted.pending, &*granted.spec), (&ahead.state, &ahead.pending, "spec"));

    let update = client
        .update_item()
        .table_name("positions")
        .key("camera_id", text("front"))
        .update_expression(
            "SET #rev = #rev + :one, epoch = epoch + :one, #owner = :owner, checkpoint = :later",
        )
        .expression_attribute_names("#rev", "rev")
        .expression_attribute_names("#owner", "owner")
        .expression_attribute_values(":one", number(1))
        .expression_attribute_values(":owner", text("outbox"))
        .expression_attribute_values(":later", packed(&event::checkpoint(Some(5), 4)));
    update.send().await.unwrap();
    let mut seen = read(&pool).await;
    for id in ["01C", "01D"] {
        assert_eq!(seen.state, state_of(&event::checkpoint(Some(5), 4), 0));
        assert!(seen.pending.is_empty() && seen.spec.is_empty());
        seen = change(&pool, seen.claim_for(&worker(id))).await;
    }
    let free = ItemCall::Free { owner: worker("01D"), epoch: seen.epoch, strikes: 1 };
    let free = change(&pool, free).await;
    assert!(free.owner.is_none() && free.pending.is_empty() && free.strikes == 1);
}

/// A process delivers without a write-ahead while the table is away, and moves the position afterwards.
#[tokio::test]
async fn a_delivered_state_beyond_the_write_ahead_of_a_process_is_the_state() {
    let moto = Moto::start();
    let (pool, client) = pool_on(&moto).await;
    let owned = change(&pool, CameraItem::default().claim_for(&worker("01A"))).await;
    let call = write(&owned, state_of(&event::checkpoint(Some(3), 2), 7), vec![record(2)]);
    change(&pool, ItemCall::Write(call)).await;
    let update = client
        .update_item()
        .table_name("positions")
        .key("camera_id", text("front"))
        .update_expression("SET #rev = #rev + :one, ahead_rev = ahead_rev + :one, checkpoint = :later")
        .expression_attribute_names("#rev", "rev")
        .expression_attribute_values(":one", number(1))
        .expression_attribute_values(":later", packed(&event::checkpoint(Some(5), 4)));
    update.send().await.unwrap();
    let item = read(&pool).await;
    assert_eq!((&item.state, numbers_of(&item)), (&state_of(&event::checkpoint(Some(5), 4), 0), vec![]));
}

fn noise(random: &mut StdRng, bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..bytes).map(|_| char::from(LETTERS[random.random_range(0..64)])).collect()
}

/// Returns a record of about this many bytes that hardly shrinks.
fn large_record(random: &mut StdRng, seq: u64, bytes: usize) -> PendingRecord {
    let payload = format!("{{\"event_id\":\"e{seq}\"}}\n{{\"noise\":\"{}\"}}", noise(random, bytes));
    let body = json!({ "seq": seq, "holder": "h", "payload": payload, "sinks": [] }).to_string();
    PendingRecord { seq, id: format!("e{seq}").into(), body: body.into_bytes().into() }
}

fn item_bytes(attributes: &Attributes) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|(name, attribute)| name.len() + value(attribute)).sum()
}

#[tokio::test]
async fn the_largest_commit_fits_into_an_item() {
    let (moto, dynamodb, _) = services().await;
    let (pool, mut random) = (pool_at(&moto.url), StdRng::seed_from_u64(3));
    let owned = change(&pool, CameraItem::default().claim_for(&worker("01A"))).await;
    // The stream's name is the noise in the state.
    let mut state = || state_of(&Checkpoint::new(&noise(&mut random, 128 * 1024 - 300)), 1);
    let (delivered, ahead) = (state(), state());
    assert!(delivered.checkpoint.len() <= limits::MAX_CHECKPOINT_BYTES);
    let owned = change(&pool, ItemCall::Write(write(&owned, delivered, Vec::new()))).await;
    let records: Vec<_> = (1..=6).map(|seq| large_record(&mut random, seq, 32 * 1024 - 100)).collect();
    let bytes: usize = records.iter().map(PendingRecord::len_bytes).sum();
    assert!((190 * 1024..=limits::MAX_COMMIT_BYTES).contains(&bytes), "{bytes}");
    let call = write(&owned, ahead, records);
    assert!(call.is_stored_in(&change(&pool, ItemCall::Write(call.clone())).await));
    let bytes = item_bytes(&item(&dynamodb).await);
    println!("{bytes} bytes of 409600");
    assert!(bytes < 400 * 1024, "{bytes}");
}

#[tokio::test]
async fn what_no_item_holds_is_a_failure_that_says_so_and_changes_nothing() {
    let moto = Moto::start();
    let (pool, client) = pool_on(&moto).await;
    let mut random = StdRng::seed_from_u64(4);
    let owned = change(&pool, CameraItem::default().claim_for(&worker("01A"))).await;
    let small = state_of(&event::checkpoint(Some(1), 1), 1);
    let large = state_of(&Checkpoint::new(&noise(&mut random, 600_000)), 1);
    let records: Vec<_> = (1..=12).map(|seq| large_record(&mut random, seq, 32_000)).collect();
    let wrong_seq = CameraResumeState { seq: 2, ..small.clone() };
    let wrong_id = PendingRecord { id: Arc::from("other"), ..record(1) };
    for (name, state, records, code, words) in [
        ("records", small.clone(), records.clone(), "too_large", "of at most 274432"),
        ("state", large, vec![], "too_large", "the state would have"),
        ("seq", wrong_seq, vec![], "not_sent", "not those of the checkpoint"),
        ("id", small.clone(), vec![wrong_id], "not_sent", "record 1 is not"),
    ] {
        let call = TableCall::Item { camera: front(), call: ItemCall::Write(write(&owned, state, records)) };
        let failure = pool.call(&call).await.unwrap_err();
        assert!(failure.code == code && failure.text.contains(words), "{name}: {failure:?}");
        assert_eq!(read(&pool).await, owned, "{name}");
    }
    // Of a version without these limits.
    let stored = AttributeValue::B(Blob::new(vec![0; 300_000]));
    let update = client.update_item().table_name("positions").key("camera_id", text("front"));
    let update =
        update.update_expression("SET checkpoint = :stored").expression_attribute_values(":stored", stored);
    update.send().await.unwrap();
    let call = ItemCall::Write(write(&owned, small, records[..6].to_vec()));
    let failure = pool.call(&TableCall::Item { camera: front(), call }).await.unwrap_err();
    assert_eq!(failure.code, "too_large", "{failure:?}");
}

/// Workers that race for a camera get it once.
#[tokio::test]
async fn of_many_grants_at_once_one_is_applied() {
    let moto = Moto::start();
    let (pool, _) = pool_on(&moto).await;
    let pool = Arc::new(pool);
    for epoch in 0..5 {
        let from = read(&pool).await.owner;
        let grants = (0..8).map(|number| {
            let (pool, from) = (Arc::clone(&pool), from.clone());
            let grant = ItemGrant { from, epoch, to: worker(&format!("01{number}")), strikes: 0 };
            tokio::spawn(async move {
                pool.call(&TableCall::Item { camera: front(), call: ItemCall::Grant(grant) }).await.unwrap()
            })
        });
        let mut applied = 0;
        for answer in grants.collect::<Vec<_>>() {
            applied += u32::from(matches!(answer.await.unwrap(), TableAnswer::ItemApplied(_)));
        }
        assert_eq!(applied, 1);
    }
}

/// The attributes of an item, as another program sees them.
#[tokio::test]
async fn the_names_of_attributes_are_those_of_the_documentation() {
    let moto = Moto::start();
    let (pool, client) = pool_on(&moto).await;
    let owned = change(&pool, CameraItem::default().claim_for(&worker("01A"))).await;
    let call = write(&owned, state_of(&event::checkpoint(Some(1), 0), 1), vec![]);
    let written = change(&pool, ItemCall::Write(call)).await;
    let call = write(&written, state_of(&event::checkpoint(Some(2), 1), 1), vec![record(1)]);
    change(&pool, ItemCall::Write(call)).await;
    let offer = ItemCall::Offer { owner: worker("01A"), epoch: 1, next: worker("01B") };
    change(&pool, offer).await;
    change(&pool, ItemCall::Ready { epoch: 1, next: worker("01B") }).await;
    let attributes = attributes_of(&client).await;
    let documented = include_str!("../../src/sharing/pool_table/mod.rs");
    let table = documented.split("# Members").next().unwrap();
    for name in attributes.keys() {
        assert!(table.contains(&format!("`{name}`")), "{name} is not documented");
    }
    assert_eq!(attributes.len(), 18, "{:?}", attributes.keys());
}

async fn attributes_of(client: &Client) -> Attributes {
    let get = client.get_item().table_name("positions").key("camera_id", text("front"));
    get.consistent_read(true).send().await.unwrap().item.unwrap()
}
