//! Live pictures as JPEG: encoded on demand, once for all viewers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex};

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore};

use crate::base::lock;
use crate::media::{CameraId, Frame};
use crate::render::Label;
use crate::status::InferredPicture;
use crate::telemetry::EncodeFailed;

/// A function that encodes a frame with its labels drawn as a JPEG, at most as wide as the given width, px.
pub type Encode = Arc<dyn Fn(&Frame, &[Label], Option<u32>) -> Result<Bytes, EncodeError> + Send + Sync>;

/// An error of encoding a picture.
pub type EncodeError = Box<dyn std::error::Error + Send + Sync>;

/// Maximum number of concurrent encodings: the detectors need the CPU more.
const MAX_CONCURRENT: usize = 2;

/// Maximum number of requests that wait for a picture; further ones are refused.
const MAX_WAITING: usize = 64;

/// The widths that are encoded, px: few, so that viewers share the pictures.
const WIDTHS_PX: [u32; 5] = [320, 480, 640, 960, 1280];

/// The form of a live picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LivePictureKind {
    /// The width that the client needs, px; `None`: that of the frame.
    pub(super) width_px: Option<u32>,
    /// `true` if the bounding boxes are drawn.
    pub(super) has_boxes: bool,
}

/// A JPEG of a picture.
#[derive(Clone)]
pub(super) struct Jpeg {
    /// The version of the picture.
    pub(super) version: u64,
    pub(super) bytes: Bytes,
}

/// An error of a request for a picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    #[error("too many pictures are being encoded; try again")]
    Busy,
    #[error("the picture could not be encoded: {0}")]
    Encode(String),
}

/// A cache of the newest JPEG of each camera and form.
pub(super) struct Pictures {
    encode: Encode,
    encoding: Semaphore,
    waiting: Semaphore,
    slots: StdMutex<HashMap<(CameraId, LivePictureKind), PictureSlot>>,
}

/// The JPEG of one camera and form. The holder of the lock encodes it; the requests that waited for the lock find it done.
type PictureSlot = Arc<Mutex<Option<Jpeg>>>;

impl Pictures {
    pub(super) fn new(encode: Encode) -> Self {
        Self {
            encode,
            encoding: Semaphore::new(MAX_CONCURRENT),
            waiting: Semaphore::new(MAX_WAITING),
            slots: StdMutex::default(),
        }
    }

    /// Returns a JPEG of `picture` or of a newer one, at least as wide as wanted unless the frame is narrower.
    pub(super) async fn jpeg(
        &self,
        camera: &CameraId,
        picture: &InferredPicture,
        wanted: LivePictureKind,
    ) -> Result<Jpeg, PictureError> {
        // Not awaited: requests beyond the limit would only pile up behind slow encodings.
        let _permit = self.waiting.try_acquire().map_err(|_| PictureError::Busy)?;
        let width_px = width_step(wanted.width_px, picture.frame.surface.size_px().0);
        let kind = LivePictureKind { width_px, ..wanted };
        let slot = self.slot(camera, kind);
        // All requests for one picture wait here, and the first of them encodes it.
        let mut newest = slot.lock().await;
        if let Some(jpeg) = newest.as_ref().filter(|jpeg| jpeg.version >= picture.version) {
            return Ok(jpeg.clone());
        }
        let bytes = self.encode(picture, kind).await?;
        Ok(newest.insert(Jpeg { version: picture.version, bytes }).clone())
    }

    fn slot(&self, camera: &CameraId, kind: LivePictureKind) -> PictureSlot {
        // At most twelve entries per camera: `WIDTHS_PX` and the width of the frame, each with and without boxes.
        let mut slots = lock(&self.slots);
        Arc::clone(slots.entry((camera.clone(), kind)).or_default())
    }

    async fn encode(&self, picture: &InferredPicture, kind: LivePictureKind) -> Result<Bytes, PictureError> {
        let _permit = self.encoding.acquire().await.map_err(|_| PictureError::Busy)?;
        let (encode, shown) = (Arc::clone(&self.encode), picture.clone());
        // The runtime of HTTP has one thread: an encoding there would hold up every other answer.
        let encoded = tokio::task::spawn_blocking(move || {
            let labels = if kind.has_boxes { &*shown.labels } else { &[] };
            encode(&shown.frame, labels, kind.width_px)
        })
        .await;
        encoded.map_err(EncodeError::from).flatten().map_err(|error| {
            EncodeFailed { camera: picture.frame.camera.as_str(), error: &error }.emit();
            PictureError::Encode(error.to_string())
        })
    }
}

/// Returns the smallest of [`WIDTHS_PX`] that is wide enough; `None`: the frame's own width.
fn width_step(wanted_px: Option<u32>, frame_px: u32) -> Option<u32> {
    let wanted_px = wanted_px?;
    WIDTHS_PX.into_iter().find(|width| *width >= wanted_px).filter(|width| *width < frame_px)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_rounded_up_to_a_step() {
        let table = [
            ("as it is", None, 1920, None),
            ("a step", Some(640), 1920, Some(640)),
            ("between steps", Some(500), 1920, Some(640)),
            ("tiny", Some(0), 1920, Some(320)),
            ("wider than any step", Some(4_000), 1920, None),
            ("wider than the frame", Some(640), 640, None),
        ];
        for (name, wanted, frame, expected) in table {
            assert_eq!(width_step(wanted, frame), expected, "{name}");
        }
    }
}
