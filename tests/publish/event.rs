//! Events and pictures for the tests of publish.

use std::sync::Arc;
use std::time::Instant;

use kvs_infer::checkpoint::Checkpoint;
use kvs_infer::decide::DecidedEvent;
use kvs_infer::delivery::{
    CameraCommit, EventOutbox, FrameEvents, FrameRecords, OfferError, Route, StateSpec,
};
use kvs_infer::media::{
    CameraId, Color, Event, Fragment, Frame, HostPicture, Matrix, MediaMs, Position, Surface,
};
use test_support::sample_event;

/// An event of `camera` with a number that makes its id.
pub(crate) fn event(camera: &str, number: u64) -> Event {
    let event_id = format!("{number:016x}{:016x}", camera.len());
    Event { seq: number, ..sample_event(camera, &event_id) }
}

/// The event on its way, without a picture.
pub(crate) fn pending(event: Event, route: &Arc<Route>) -> FrameEvents {
    FrameEvents {
        events: vec![DecidedEvent { event, pictured_by: None, sighted: None }],
        route: Arc::clone(route),
        frame: None,
        boxes: Vec::new(),
        arrived: Instant::now(),
        epoch: None,
    }
}

/// Takes the event in, with a checkpoint behind it; gives it as it is delivered.
pub(crate) async fn offer(outbox: &EventOutbox, pending: FrameEvents) -> Result<Event, OfferError> {
    let packed = outbox.pack(pending).await?;
    commit(outbox, packed).await.map(|mut events| events.remove(0))
}

/// Takes the events of a frame in; gives them as they are delivered.
pub(crate) async fn commit_all(outbox: &EventOutbox, packed: FrameRecords) -> Vec<Event> {
    commit(outbox, packed).await.unwrap()
}

async fn commit(outbox: &EventOutbox, packed: FrameRecords) -> Result<Vec<Event>, OfferError> {
    let events: Vec<Event> = packed.events.iter().map(|packed| packed.event().clone()).collect();
    let event = events.last().unwrap();
    let checkpoint = checkpoint(Some(event.seq), event.seq);
    let camera = CameraId::new(&event.camera_id);
    outbox.commit(CameraCommit { camera, epoch: None, checkpoint, events: packed.events }, || ()).await?;
    Ok(events)
}

/// A state after `seq` events, at the position after the fragment with this number.
pub(crate) fn checkpoint(fragment: Option<u64>, seq: u64) -> Checkpoint {
    let decide = serde_json::json!({ "version": 2, "seq": seq, "detectors": {} });
    let position =
        |number: u64| Position { fragment: format!("{number:047}").into(), media: MediaMs(0), primer: None };
    Checkpoint {
        position: fragment.map(position),
        decide: serde_json::from_value(decide).unwrap(),
        ..Checkpoint::new("stream")
    }
}

/// State in a folder, 64 MiB, without a table of positions.
pub(crate) fn state(folder: &std::path::Path) -> StateSpec {
    StateSpec { dir: folder.join("state"), max_bytes: 64 << 20, ddb_table: None }
}

/// A grey frame of 320x180.
pub(crate) fn frame(camera: &str) -> Arc<Frame> {
    let planes = [vec![110; 320 * 180], vec![128; 160 * 90], vec![128; 160 * 90]];
    let color = Color { matrix: Matrix::Bt601, full_range: false };
    let picture = HostPicture::from_planes((320, 180), planes, [320, 160, 160], color);
    Arc::new(Frame {
        camera: CameraId::new(camera),
        fragment: Arc::new(Fragment { number: "1".into(), producer_ms: Some(1), server_ms: None }),
        index: 0,
        media: MediaMs(1),
        arrived: Instant::now(),
        surface: Surface::Host(picture.unwrap()),
    })
}
