//! The pictures of an event: drawn and encoded before the event is committed, so that both are kept together.

mod folder;
mod place;

pub(crate) use folder::SnapshotFolder;
#[cfg(test)]
pub(crate) use place::S3Place;
pub use place::SnapshotRoute;
pub(crate) use place::{BucketFolder, SNAPSHOTS_FOLDER, SnapshotPlace, SnapshotSettings};

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::media::{BBox, Event, Frame};
use crate::render::{self, Label, Picture, SnapshotSpec};

/// Margin of a crop on each side, as a share of the box's size.
const CROP_MARGIN: f32 = 0.15;

/// IoU from which on another box with the same caption counts as the event's own.
const SAME_IOU: f32 = 0.9;

/// Limit on the snapshots of all cameras that are drawn and encoded at a time: each takes the memory of a picture and a core.
const MAX_ENCODING: usize = 2;

static ENCODING: Semaphore = Semaphore::const_new(MAX_ENCODING);

/// The pictures of an event that it shares with no other.
#[derive(Debug)]
pub(crate) struct OwnPictures {
    /// The frame with all boxes, the event's on top.
    pub(crate) annotated: Bytes,
    /// The event's box as a picture; `None` where none is wanted or the box is outside the frame.
    pub(crate) crop: Option<Bytes>,
}

/// Reason why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("{0}")]
    Encode(#[from] render::PictureEncodeError),
    #[error("the encoder stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Returns the frame without boxes, as a picture for all its events.
///
/// # Errors
/// The encoder refuses, or panicked.
pub(crate) async fn clean_picture(frame: Arc<Frame>, spec: SnapshotSpec) -> Result<Bytes, SnapshotError> {
    off_thread(move || encode(&render::annotate(&frame.surface, &[], None)?, spec)).await
}

/// Returns the pictures that an event shares with no other; `boxes`: those of all objects in the frame.
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
        let part = if wants_crop { render::crop(surface, &own.bbox, CROP_MARGIN)? } else { None };
        let crop = part.map(|part| encode(&part, spec)).transpose()?;
        let annotated = encode(&render::annotate(surface, &with_own(&boxes, own), None)?, spec)?;
        Ok(OwnPictures { annotated, crop })
    })
    .await
}

/// Returns all boxes, each once, the event's last, so that it is drawn on top.
fn with_own(boxes: &[Label], own: Label) -> Vec<Label> {
    let is_own = |other: &&Label| other.text == own.text && other.bbox.iou(&own.bbox) >= SAME_IOU;
    let mut labels: Vec<Label> = boxes.iter().filter(|other| !is_own(other)).cloned().collect();
    labels.push(own);
    labels
}

fn encode(picture: &Picture, spec: SnapshotSpec) -> Result<Bytes, render::PictureEncodeError> {
    render::encode(picture, spec).map(Bytes::from)
}

/// Runs `make` on a blocking thread once fewer than [`MAX_ENCODING`] are running.
async fn off_thread<T: Send + 'static>(
    make: impl FnOnce() -> Result<T, render::PictureEncodeError> + Send + 'static,
) -> Result<T, SnapshotError> {
    // The semaphore is never closed, so a permit always comes.
    let permit = ENCODING.acquire().await.ok();
    let making = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        make()
    });
    Ok(making.await??)
}
