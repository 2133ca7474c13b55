//! Live pictures as JPEG: made when somebody looks, once for all who look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore};

use crate::media::{CameraId, Frame};
use crate::render::Label;
use crate::status::Picture;
use crate::telemetry::EncodeFailed;

/// Makes a JPEG of a frame with its labels drawn, not wider than the given width, px.
pub type Encode = Arc<dyn Fn(&Frame, &[Label], Option<u32>) -> Result<Bytes, EncodeError> + Send + Sync>;

/// Whatever keeps a picture from being encoded.
pub type EncodeError = Box<dyn std::error::Error + Send + Sync>;

/// Pictures that are encoded at a time: the detectors need the processors more.
const AT_ONCE: usize = 2;

/// Requests that wait for a picture; further ones are refused.
const WAITING: usize = 64;

/// Widths that are made, px: few, so that ten viewers share one picture.
const WIDTHS_PX: [u32; 5] = [320, 480, 640, 960, 1280];

/// A JPEG of a picture.
#[derive(Clone)]
pub(super) struct Jpeg {
    /// The picture's.
    pub(super) version: u64,
    pub(super) bytes: Bytes,
}

/// Why there is no JPEG.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    #[error("too many pictures are being made; ask again")]
    Busy,
    #[error("the picture could not be encoded: {0}")]
    Encode(String),
}

/// The newest JPEG of each camera and width.
pub(super) struct Pictures {
    encode: Encode,
    encoding: Semaphore,
    waiting: Semaphore,
    slots: StdMutex<HashMap<(CameraId, Option<u32>), Slot>>,
}

/// Whoever holds it makes the JPEG; those who waited find it made.
type Slot = Arc<Mutex<Option<Jpeg>>>;

impl Pictures {
    pub(super) fn new(encode: Encode) -> Self {
        Self {
            encode,
            encoding: Semaphore::new(AT_ONCE),
            waiting: Semaphore::new(WAITING),
            slots: StdMutex::default(),
        }
    }

    /// A JPEG of `picture` or of a newer one, at least `width_px` wide where the frame is.
    pub(super) async fn jpeg(
        &self,
        camera: &CameraId,
        picture: &Picture,
        width_px: Option<u32>,
    ) -> Result<Jpeg, PictureError> {
        let _place = self.waiting.try_acquire().map_err(|_| PictureError::Busy)?;
        let width_px = rung(width_px, picture.frame.surface.size_px().0);
        let slot = self.slot(camera, width_px);
        let mut newest = slot.lock().await;
        if let Some(jpeg) = newest.as_ref().filter(|jpeg| jpeg.version >= picture.version) {
            return Ok(jpeg.clone());
        }
        let bytes = self.encode(picture, width_px).await?;
        Ok(newest.insert(Jpeg { version: picture.version, bytes }).clone())
    }

    fn slot(&self, camera: &CameraId, width_px: Option<u32>) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry((camera.clone(), width_px)).or_default())
    }

    async fn encode(&self, picture: &Picture, width_px: Option<u32>) -> Result<Bytes, PictureError> {
        let _turn = self.encoding.acquire().await.map_err(|_| PictureError::Busy)?;
        let (encode, shown) = (Arc::clone(&self.encode), picture.clone());
        let made = tokio::task::spawn_blocking(move || encode(&shown.frame, &shown.labels, width_px)).await;
        made.map_err(EncodeError::from).flatten().map_err(|error| {
            EncodeFailed { camera: picture.frame.camera.as_str(), error: &error }.emit();
            PictureError::Encode(error.to_string())
        })
    }
}

/// The least width that is made and is enough; `None`: the frame's own.
fn rung(wanted_px: Option<u32>, frame_px: u32) -> Option<u32> {
    let wanted_px = wanted_px?;
    WIDTHS_PX.into_iter().find(|width| *width >= wanted_px).filter(|width| *width < frame_px)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rungs() {
        let table = [
            ("as it is", None, 1920, None),
            ("a rung", Some(640), 1920, Some(640)),
            ("between rungs", Some(500), 1920, Some(640)),
            ("tiny", Some(0), 1920, Some(320)),
            ("wider than any rung", Some(4_000), 1920, None),
            ("wider than the frame", Some(640), 640, None),
        ];
        for (name, wanted, frame, expected) in table {
            assert_eq!(rung(wanted, frame), expected, "{name}");
        }
    }
}
