//! Frames with very many objects: no event is lost, and memory and disk stay within their limits.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvs_infer::decide::DecidedEvent;
use kvs_infer::delivery::{
    Clients, EventOutbox, FrameEvents, MAX_FRAME_BYTES, MAX_PICTURED, OutboxSpec, Route,
};
use kvs_infer::media::{
    BBox, CameraId, Color, Event, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface,
};
use kvs_infer::render::Label;
use kvs_infer::render::{SnapshotFormat, SnapshotSpec};
use kvs_infer::sinks::{PublishSpec, S3Spec, Sse};
use kvs_infer::snapshot::SnapshotRoute;
use test_support::moto;

use super::event::{commit_all, event, frame, pending, state};

/// Nothing listens there, so all stays in the outbox.
const NOWHERE: &str = "http://127.0.0.1:1";
const MIB: u64 = 1 << 20;
/// The environment variable that makes a process the child of the test that measures memory.
const CHILD: &str = "CROWD_CHILD";

fn route() -> Arc<Route> {
    let snapshot = SnapshotRoute { prefix: String::new(), upload_crops: true };
    Arc::new(Route { kds_stream: Some("events".into()), snapshot: Some(snapshot), clip: None })
}

async fn outbox(folder: &Path, max_bytes: u64) -> EventOutbox {
    let publish = PublishSpec {
        s3: Some(S3Spec { bucket: "pictures".into(), prefix: "snapshots".into(), sse: Sse::Aes256 }),
        snapshots: Some(SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 90 }),
        ..PublishSpec::default()
    };
    let spec = OutboxSpec {
        sinks: publish.sinks(vec![route()]),
        dead_letter: folder.join("dead-letter.jsonl"),
        state: kvs_infer::delivery::StateSpec { max_bytes, ..state(folder) },
        clients: Some(Clients::new(&moto::config(NOWHERE), true)),
        sharing: None,
    };
    EventOutbox::start(spec).await.unwrap()
}

/// A frame of noise, the worst case of an encoder.
fn noise(width: usize, height: usize) -> Arc<Frame> {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut plane = |len: usize| {
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        };
        (0..len).map(|_| next()).collect::<Vec<u8>>()
    };
    let planes = [plane(width * height), plane(width * height / 4), plane(width * height / 4)];
    let color = Color { matrix: Matrix::Bt601, full_range: false };
    let picture =
        HostPicture::from_planes((width as u32, height as u32), planes, [width, width / 2, width / 2], color);
    Arc::new(Frame {
        camera: CameraId::new("front"),
        fragment: Arc::new(Fragment { number: "1".into(), producer_ms: Some(1), server_ms: None }),
        index: 0,
        media: MediaMs(1),
        arrived: Instant::now(),
        surface: Surface::Host(picture.unwrap()),
    })
}

/// An event whose snapshot has a name of its own: that has the first digits of the id.
fn numbered(number: u64) -> Event {
    Event { event_id: format!("{number:012x}{:020}", 0), ..event("front", number) }
}

fn crowd(from: u64, count: u64, frame: &Arc<Frame>) -> FrameEvents {
    let events = (from..from + count).map(|number| DecidedEvent {
        event: numbered(number),
        pictured_by: None,
        sighted: None,
    });
    let label = |index: u64| {
        let (x1, y1) = ((index % 20) as f32 * 15.0, (index / 20) as f32 * 11.0);
        Label::of("person", 0.9, BBox { x1, y1, x2: x1 + 12.0, y2: y1 + 9.0 })
    };
    FrameEvents {
        events: events.collect(),
        frame: Some(Arc::clone(frame)),
        boxes: (0..count).map(label).collect(),
        ..pending(event("front", from), &route())
    }
}

fn snapshots(events: &[Event]) -> Vec<Option<&str>> {
    events.iter().map(|event| event.payload.extras.snapshot.as_deref()).collect()
}

/// The peak memory of this process, bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn events_beyond_the_limit_name_the_picture_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox(folder.path(), 64 * MIB).await;
    let packed = outbox.pack(crowd(1, 20, &frame("front"))).await.unwrap();
    let ids: Vec<String> = (1..=20).map(|number| numbered(number).event_id).collect();
    assert_eq!(packed.unpictured, ids[MAX_PICTURED..].iter().cloned().collect::<BTreeSet<_>>());
    assert_eq!(packed.shown_by.as_ref().map(|by| by.event_id.as_str()), Some(ids[0].as_str()));
    let events = commit_all(&outbox, packed).await;
    let named = snapshots(&events);
    let own = named[..MAX_PICTURED].iter().flatten().collect::<BTreeSet<_>>();
    assert_eq!(own.len(), MAX_PICTURED);
    assert!(named[MAX_PICTURED..].iter().all(|name| name.is_some() && *name == named[0]), "{named:?}");
    let queued = |name: &str| outbox.statuses().into_iter().find(|sink| sink.name == name).unwrap().queued;
    assert_eq!((queued("kds/events"), queued("s3")), (20, MAX_PICTURED as u64));
    outbox.flush(Duration::ZERO).await;
}

/// The crowd has a process of its own, because other tests of this one use memory at the same time.
#[test]
fn a_crowd_in_4k_takes_no_more_memory_and_disk_than_its_limits_start_after_start() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "publish::crowd::child_that_takes_a_crowd_in_4k", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

/// The child. Three starts in a row: what the one before has left is still there.
#[tokio::test]
async fn child_that_takes_a_crowd_in_4k() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    const MAX_BYTES: u64 = 32 * MIB;
    let (folder, frame) = (tempfile::tempdir().unwrap(), noise(3840, 2160));
    let before = peak_bytes();
    for start in 0..3 {
        let outbox = outbox(folder.path(), MAX_BYTES).await;
        let packed = outbox.pack(crowd(start * 300 + 1, 300, &frame)).await.unwrap();
        assert_eq!(packed.events.len(), 300);
        let events = commit_all(&outbox, packed).await;
        let own = snapshots(&events).into_iter().collect::<BTreeSet<_>>();
        assert!((1..=MAX_PICTURED).contains(&own.len()) && !own.contains(&None), "{own:?}");
        let s3 = outbox.statuses().into_iter().find(|sink| sink.name == "s3").unwrap();
        assert!(s3.queued_bytes <= s3.share_bytes, "{} of {}", s3.queued_bytes, s3.share_bytes);
        outbox.flush(Duration::ZERO).await;
        let file = std::fs::metadata(folder.path().join("state/outbox.redb")).unwrap().len();
        assert!(file <= 4 * (MAX_BYTES + MAX_FRAME_BYTES), "start {start}: {} MiB", file / MIB);
    }
    let grown = peak_bytes() - before;
    assert!(grown < 256 * MIB, "{} MiB", grown / MIB);
}

/// A share that holds the records and no picture: events go without, and say so.
#[tokio::test]
async fn where_no_picture_has_room_records_name_none() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = outbox(folder.path(), 200_000).await;
    let packed = outbox.pack(crowd(1, 9, &noise(640, 360))).await.unwrap();
    assert_eq!((packed.unpictured.len(), &packed.shown_by), (9, &None));
    let events = commit_all(&outbox, packed).await;
    assert_eq!(snapshots(&events), [None; 9]);
    outbox.flush(Duration::ZERO).await;
}
