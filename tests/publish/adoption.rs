//! The pictures of records that a lost host left in the table of positions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use kvs_infer::checkpoint::Checkpoint;
use kvs_infer::delivery::{
    Clients, EventOutbox, FrameEvents, OutboxSpec, ResumeError, ResumeRules, Route, StateSpec,
};
use kvs_infer::media::{BBox, CameraId, Event, Frame};
use kvs_infer::render::{Label, SnapshotFormat, SnapshotSpec};
use kvs_infer::sinks::{PublishSpec, S3Spec, Sse};
use kvs_infer::snapshot::SnapshotRoute;
use tempfile::TempDir;
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap};
use test_support::moto::{self, Moto};

use super::dynamodb::tables;
use super::event::{self, event, frame, pending, state};

const SECOND: Duration = Duration::from_secs(1);

fn front() -> CameraId {
    CameraId::new("front")
}

fn route() -> Arc<Route> {
    let snapshot = SnapshotRoute { prefix: String::new(), upload_crops: true };
    Arc::new(Route { kds_stream: Some("events".into()), snapshot: Some(snapshot), clip: None })
}

async fn outbox(folder: &Path, config: &SdkConfig) -> EventOutbox {
    let publish = PublishSpec {
        s3: Some(S3Spec { bucket: "pictures".into(), prefix: String::new(), sse: Sse::Aes256 }),
        snapshots: Some(SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 90 }),
        ..PublishSpec::default()
    };
    let spec = OutboxSpec {
        sinks: publish.sinks(vec![route()]),
        dead_letter: folder.join("dead-letter.jsonl"),
        state: StateSpec { ddb_table: Some("positions".into()), ..state(folder) },
        clients: Some(Clients::new(config, true)),
        sharing: None,
    };
    EventOutbox::start(spec).await.unwrap()
}

async fn resume(outbox: &EventOutbox, reads_all: bool) -> Result<Option<Checkpoint>, ResumeError> {
    outbox.resume(&front(), ResumeRules { reads_all, route: &route() }).await
}

/// An event of the frame of [`frame`].
fn seen_there() -> Event {
    let mut event = event("front", 1);
    event.payload.extras.fragment_number = "1".into();
    event.payload.extras.frame_index = 0;
    event
}

/// Another frame of the same fragment.
fn another() -> Arc<Frame> {
    let Frame { camera, fragment, media, arrived, surface, .. } = Arc::into_inner(frame("front")).unwrap();
    Arc::new(Frame { camera, fragment, index: 1, media, arrived, surface })
}

/// The services, a bucket with the pictures of an undisturbed run, and a host that was lost before it could store its own.
struct Loss {
    moto: Moto,
    expected: Vec<(String, Vec<u8>)>,
    _folders: [TempDir; 2],
}

impl Loss {
    async fn happen() -> Self {
        let (calm, moto) = (Moto::start(), Moto::start());
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let proxy = FaultProxy::start(&moto.url).await;
        proxy.rule(AwsService::S3, Mishap::Unavailable, None);
        for services in [&calm, &moto] {
            tables(services).await;
            services.stream("events").await;
            services.bucket("pictures").await;
        }
        for (folder, url) in folders.iter().zip([&calm.url, &proxy.url]) {
            let outbox = outbox(folder.path(), &moto::config(url)).await;
            resume(&outbox, true).await.unwrap();
            let boxes = vec![Label::of("car", 0.5, BBox { x1: 200.0, y1: 90.0, x2: 300.0, y2: 170.0 })];
            let offered =
                FrameEvents { frame: Some(frame("front")), boxes, ..pending(seen_there(), &route()) };
            event::offer(&outbox, offered).await.unwrap();
            outbox.until(|all| all.iter().all(|sink| sink.queued == 0 || sink.name == "s3")).await;
            if url == &calm.url {
                assert_eq!(outbox.flush(30 * SECOND).await, []);
            }
        }
        let expected = pictures(&calm).await;
        assert_eq!(expected.len(), 3, "with boxes, without, and the crop");
        Self { moto, expected, _folders: folders }
    }
}

async fn pictures(moto: &Moto) -> Vec<(String, Vec<u8>)> {
    let config = aws_sdk_s3::config::Builder::from(&moto.config()).force_path_style(true).build();
    let s3 = aws_sdk_s3::Client::from_conf(config);
    let listed = s3.list_objects_v2().bucket("pictures").send().await.unwrap();
    let mut found = Vec::new();
    for object in listed.contents() {
        let key = object.key().unwrap();
        let body = s3.get_object().bucket("pictures").key(key).send().await.unwrap().body;
        found.push((key.to_owned(), body.collect().await.unwrap().to_vec()));
    }
    found
}

#[tokio::test]
async fn the_pictures_of_a_lost_host_are_made_again_as_they_were() {
    let Loss { moto, expected, .. } = Loss::happen().await;
    // The first of two hosts dies before the frame has come again.
    for number in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let next = outbox(folder.path(), &moto.config()).await;
        let resumed = resume(&next, true).await.unwrap().unwrap();
        assert_eq!((resumed.decide.seq(), resumed.position), (1, None), "the footage is read again");
        next.picture_adopted(&front(), &another()).await.unwrap();
        if number == 1 {
            next.picture_adopted(&front(), &frame("front")).await.unwrap();
            next.give_up_pictures(&front()).await.unwrap();
            assert_eq!(next.flush(30 * SECOND).await, []);
        }
    }
    assert_eq!(pictures(&moto).await, expected);
}

#[tokio::test]
async fn a_record_whose_frame_does_not_come_again_is_delivered_without_pictures() {
    let Loss { moto, .. } = Loss::happen().await;
    let folder = tempfile::tempdir().unwrap();
    let next = outbox(folder.path(), &moto.config()).await;
    let resumed = resume(&next, false).await.unwrap().unwrap();
    assert!(resumed.position.is_some(), "a camera without a position would start at NOW");
    next.give_up_pictures(&front()).await.unwrap();
    assert_eq!(next.flush(30 * SECOND).await, []);
    assert_eq!(pictures(&moto).await, []);
    let again = outbox(folder.path(), &moto.config()).await;
    assert_eq!(resume(&again, false).await.unwrap().map(|at| at.decide.seq()), Some(1));
    assert_eq!(again.flush(30 * SECOND).await, [], "nothing is adopted again");
}
