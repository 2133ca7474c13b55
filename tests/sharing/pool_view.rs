//! The pool as people see it, read from the tables that its workers write.

use std::time::{SystemTime, UNIX_EPOCH};

use ::sharing::{
    CameraKey, ConfigVersion, ItemCall, ItemGrant, MemberPhase, MemberRow, OwnerAfter, OwnerWrite,
    ResourceAmounts, TableAnswer, TableCall, WorkerId,
};
use kvs_infer::sharing::{
    PoolCameraState, PoolCameraView, PoolTable, PoolView, PoolViewReader, PoolWorkerState,
};
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::moto::{self, Moto};

use super::shared_table::pool_on;

fn reader(url: &str) -> PoolViewReader {
    PoolViewReader::new(&moto::config(url), "positions", "members", "main")
}

fn worker(id: &str) -> WorkerId {
    WorkerId::new(id)
}

fn camera(id: &str) -> CameraKey {
    CameraKey::new(id)
}

async fn done(pool: &PoolTable, call: TableCall) {
    let answer = pool.call(&call).await.unwrap();
    assert!(matches!(answer, TableAnswer::Done | TableAnswer::ItemApplied(_)), "{call:?}: {answer:?}");
}

async fn change(pool: &PoolTable, call: ItemCall) {
    done(pool, TableCall::Item { camera: camera("door"), call }).await;
}

async fn join(pool: &PoolTable, id: &str) {
    let row = MemberRow {
        phase: MemberPhase::Ready,
        capacity: ResourceAmounts { cpu_milli: 1_000, ..ResourceAmounts::default() },
        generation: 1,
        zone: "here".into(),
        ..MemberRow::default()
    };
    done(pool, TableCall::Join { worker: worker(id), row }).await;
}

async fn door(reader: &PoolViewReader) -> PoolCameraView {
    reader.read(&[camera("door")]).await.unwrap().cameras.remove(0)
}

fn grant(from: Option<&str>, epoch: u64, to: &str) -> ItemCall {
    ItemCall::Grant(ItemGrant { from: from.map(worker), epoch, to: worker(to), strikes: 0 })
}

/// Returns the write of `a` that ends its ownership of an item of this epoch and revision.
fn last_write(epoch: u64, rev: u64, then: OwnerAfter) -> ItemCall {
    ItemCall::Write(OwnerWrite {
        owner: worker("a"),
        epoch,
        rev,
        state: Default::default(),
        pending: Vec::new(),
        spec: "spec".into(),
        clear_strikes: false,
        then,
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn the_workers_and_their_cameras_are_read() {
    let moto = Moto::start();
    let (pool, _) = pool_on(&moto).await;
    let reader = reader(&moto.url);
    let empty = reader.read(&[camera("door")]).await.unwrap();
    assert_eq!((empty.leader.as_deref(), empty.workers.len(), empty.term), (None, 0, 0));
    assert_eq!(empty.cameras[0].why.as_deref(), Some("no worker is ready"));

    join(&pool, "a").await;
    join(&pool, "b").await;
    done(&pool, TableCall::Lead { worker: worker("a"), seen: None }).await;
    let version = ConfigVersion { modified_ms: 1, digest: "d".into() };
    done(&pool, TableCall::RaiseConfig { generation: 0, version }).await;
    let cost = ResourceAmounts { cpu_milli: 300, ..ResourceAmounts::default() };
    let loads = [(camera("door"), cost)].into();
    done(&pool, TableCall::WriteLoads { worker: worker("a"), loads }).await;
    let begun_ms = now_ms();
    change(&pool, grant(None, 0, "a")).await;

    let PoolView { pool: name, leader, term, generation, workers, cameras } =
        reader.read(&[camera("door"), camera("yard")]).await.unwrap();
    assert_eq!((&*name, leader.as_deref(), term, generation), ("main", Some("a"), 1, 1));
    let shown: Vec<_> = workers
        .iter()
        .map(|row| (&*row.id, row.state, row.leads, row.cameras, row.load_percent.unwrap()))
        .collect();
    assert_eq!(
        shown,
        [("a", PoolWorkerState::Ready, true, 1, 30), ("b", PoolWorkerState::Ready, false, 0, 0)]
    );
    assert!((begun_ms - 10_000..=now_ms()).contains(&workers[0].beat_ms.unwrap()), "{workers:?}");
    assert_eq!(&*workers[0].zone, "here");
    let [door, yard] = &*cameras else { panic!("{cameras:?}") };
    assert_eq!((door.worker.as_deref(), door.state, door.epoch), (Some("a"), PoolCameraState::Running, 1));
    assert_eq!(door.cost.map(|cost| cost.cpu_milli), Some(300));
    assert!((begun_ms..=now_ms()).contains(&door.since_ms.unwrap()), "{door:?}");
    assert_eq!((yard.worker.as_deref(), yard.state, yard.since_ms), (None, PoolCameraState::Free, None));
}

#[tokio::test]
async fn each_change_of_owner_and_nothing_else_has_its_time() {
    let moto = Moto::start();
    let (pool, _) = pool_on(&moto).await;
    let reader = reader(&moto.url);
    for id in ["a", "b"] {
        join(&pool, id).await;
    }
    let to_b = OwnerAfter::Next(worker("b"));
    let offer = |epoch| ItemCall::Offer { owner: worker("a"), epoch, next: worker("b") };
    let mut last_ms = 0;
    for (name, call, is_change, owner) in [
        ("grant", grant(None, 0, "a"), true, Some("a")),
        ("write", last_write(1, 1, OwnerAfter::Same), false, Some("a")),
        ("offer", offer(1), false, Some("a")),
        ("final write", last_write(1, 2, to_b), true, Some("b")),
        ("forced grant", grant(Some("b"), 2, "a"), true, Some("a")),
        ("release", last_write(3, 4, OwnerAfter::Free), true, None),
        ("grant of a free camera", grant(None, 4, "b"), true, Some("b")),
        ("free", ItemCall::Free { owner: worker("b"), epoch: 5, strikes: 3 }, true, None),
    ] {
        let begun_ms = now_ms();
        // The clock must move on, so that a time that was not written again differs.
        while now_ms() <= begun_ms.max(last_ms) {}
        change(&pool, call).await;
        let door = door(&reader).await;
        assert_eq!(door.worker.as_deref(), owner, "{name}");
        let since_ms = door.since_ms.unwrap();
        assert_eq!(since_ms > last_ms, is_change, "{name}: {since_ms} after {last_ms}");
        last_ms = since_ms;
        if name == "offer" {
            assert_eq!((door.state, door.next_worker.as_deref()), (PoolCameraState::Moving, Some("b")));
        }
    }
    assert_eq!(door(&reader).await.state, PoolCameraState::Quarantined);
}

#[tokio::test]
async fn more_cameras_than_one_read_takes_are_read() {
    let moto = Moto::start();
    let (pool, _) = pool_on(&moto).await;
    join(&pool, "a").await;
    let cameras: Vec<_> = (0..205).map(|number| camera(&format!("camera-{number:03}"))).collect();
    for key in &cameras {
        done(&pool, TableCall::Item { camera: key.clone(), call: grant(None, 0, "a") }).await;
    }
    let view = reader(&moto.url).read(&cameras).await.unwrap();
    assert_eq!((view.cameras.len(), view.workers[0].cameras), (205, 205));
    assert!(view.cameras.iter().all(|camera| camera.worker.as_deref() == Some("a")));
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_named_with_the_remedy() {
    let moto = Moto::start();
    let (_, client) = pool_on(&moto).await;
    let proxy = FaultProxy::start(&moto.url).await;
    let cameras = [camera("door")];
    proxy.rule(AwsService::DynamoDb, Mishap::Denied, Some(1));
    let denied = reader(&proxy.url).read(&cameras).await.unwrap_err().to_string();
    assert!(
        denied.starts_with("table members: ") && denied.contains("allow dynamodb:Query on it"),
        "{denied}"
    );
    proxy.rule(AwsService::DynamoDb, Mishap::Throttled, Some(1));
    reader(&proxy.url).read(&cameras).await.unwrap();
    client.delete_table().table_name("positions").send().await.unwrap();
    let gone = reader(&moto.url).read(&cameras).await.unwrap_err().to_string();
    assert!(gone.starts_with("table positions: ") && gone.contains("correct state.ddb_table"), "{gone}");
    client.delete_table().table_name("members").send().await.unwrap();
    let gone = reader(&moto.url).read(&cameras).await.unwrap_err().to_string();
    assert!(gone.starts_with("table members: ") && gone.contains("correct sharing.table"), "{gone}");
    proxy.stop().await;
}
