//! The pictures of an event: drawn and encoded before the event is taken in, so that both are kept together.

mod folder;
pub(crate) mod place;

pub(crate) use folder::SnapshotFolder;
pub(crate) use place::SnapshotPlace;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::media::{BBox, Event, Frame};
use crate::render::{self, Label, Picture, SnapshotSpec};

/// Around a crop, as a share of the box's size on each side.
const CROP_MARGIN: f32 = 0.15;

/// From here on another box of the same caption is the event's own.
const SAME_IOU: f32 = 0.9;

/// Snapshots that are drawn and encoded at a time, those of all cameras together: each takes the memory of a picture and a core.
const MAX_ENCODING: usize = 2;

static ENCODING: Semaphore = Semaphore::const_new(MAX_ENCODING);

/// The pictures of an event that it shares with no other.
#[derive(Debug)]
pub(crate) struct OwnPictures {
    /// The frame with all boxes, the event's on top.
    pub(crate) annotated: Bytes,
    /// The event's box; `None` where none is wanted or nothing of it is in the frame.
    pub(crate) crop: Option<Bytes>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("{0}")]
    Encode(#[from] render::EncodeError),
    #[error("the encoder stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Returns the frame without boxes: the same for all its events.
///
/// # Errors
/// The encoder refuses, or panicked.
pub(crate) async fn clean_picture(frame: Arc<Frame>, spec: SnapshotSpec) -> Result<Bytes, SnapshotError> {
    off_thread(move || encode(&render::annotate(&frame.surface, &[], None), spec)).await
}

/// Returns the pictures that are an event's own, among the `boxes` of the others.
///
/// # Errors
/// The encoder refuses, or panicked.
pub(crate) async fn own_pictures(
    event: &Event,
    frame: Arc<Frame>,
    boxes: Arc<[Label]>,
    wants_crop: bool,
    spec: SnapshotSpec,
) -> Result<OwnPictures, SnapshotError> {
    let [x1, y1, x2, y2] = event.payload.bbox;
    let own = Label::of(&event.payload.label, event.payload.conf, BBox { x1, y1, x2, y2 });
    off_thread(move || {
        let surface = &frame.surface;
        let part = wants_crop.then(|| render::crop(surface, &own.bbox, CROP_MARGIN)).flatten();
        let crop = part.map(|part| encode(&part, spec)).transpose()?;
        let annotated = encode(&render::annotate(surface, &with_own(&boxes, own), None), spec)?;
        Ok(OwnPictures { annotated, crop })
    })
    .await
}

/// All boxes, each once, the event's last.
fn with_own(boxes: &[Label], own: Label) -> Vec<Label> {
    let is_own = |other: &&Label| other.text == own.text && other.bbox.iou(&own.bbox) >= SAME_IOU;
    let mut labels: Vec<Label> = boxes.iter().filter(|other| !is_own(other)).cloned().collect();
    labels.push(own);
    labels
}

fn encode(picture: &Picture, spec: SnapshotSpec) -> Result<Bytes, render::EncodeError> {
    render::encode(picture, spec).map(Bytes::from)
}

/// Runs `make` on a blocking thread once fewer than [`MAX_ENCODING`] do.
async fn off_thread<T: Send + 'static>(
    make: impl FnOnce() -> Result<T, render::EncodeError> + Send + 'static,
) -> Result<T, SnapshotError> {
    // It is never closed.
    let permit = ENCODING.acquire().await.ok();
    let made = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        make()
    });
    Ok(made.await??)
}
