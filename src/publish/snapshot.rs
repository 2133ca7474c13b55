//! The pictures of an event: drawn and encoded before the event is taken in, so that both are kept together.

use std::sync::Arc;

use bytes::Bytes;

use super::SnapshotSpec;
use super::picture::{self, Label};
use crate::frame::{BBox, Event, Frame};

/// Around a crop, as a share of the box's size on each side.
const CROP_MARGIN: f32 = 0.15;

/// From here on another box of the same caption is the event's own.
const SAME_IOU: f32 = 0.9;

/// A snapshot to be made.
#[derive(Debug)]
pub(super) struct Shot {
    frame: Arc<Frame>,
    /// All boxes; the event's is the last.
    labels: Vec<Label>,
    wants: Wants,
}

/// What is wanted beside the annotated picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    /// The picture without boxes.
    pub(super) clean: bool,
    /// The event's box as a picture of its own.
    pub(super) crop: bool,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShotError {
    #[error("{0}")]
    Encode(#[from] picture::EncodeError),
    #[error("the encoder stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl Shot {
    /// Of an event, among other boxes.
    pub(super) fn of(event: &Event, frame: Arc<Frame>, others: Vec<Label>, wants: Wants) -> Self {
        let [x1, y1, x2, y2] = event.payload.bbox;
        let own = Label::of(&event.payload.label, event.payload.conf, BBox { x1, y1, x2, y2 });
        let mut labels = others;
        labels.retain(|other| other.text != own.text || other.bbox.iou(&own.bbox) < SAME_IOU);
        labels.push(own);
        Self { frame, labels, wants }
    }

    /// The annotated picture, the one without boxes where it is wanted, then the crop where one is wanted and the box is not empty; made on a blocking thread.
    ///
    /// Errors: the encoder refuses, or panicked.
    pub(super) async fn develop(self, spec: SnapshotSpec) -> Result<Vec<Bytes>, ShotError> {
        Ok(tokio::task::spawn_blocking(move || self.pictures(spec)).await??)
    }

    fn pictures(&self, spec: SnapshotSpec) -> Result<Vec<Bytes>, picture::EncodeError> {
        let surface = &self.frame.surface;
        let mut pictures =
            vec![picture::encode(&picture::annotate(surface, &self.labels, None), spec)?.into()];
        if self.wants.clean {
            pictures.push(picture::encode(&picture::annotate(surface, &[], None), spec)?.into());
        }
        let own = self.labels.last().filter(|_| self.wants.crop);
        if let Some(part) = own.and_then(|label| picture::crop(surface, &label.bbox, CROP_MARGIN)) {
            pictures.push(picture::encode(&part, spec)?.into());
        }
        Ok(pictures)
    }
}
