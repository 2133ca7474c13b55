//! The snapshot sink: draws and encodes, keeps pictures in the local folder, and hands them to S3.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::SnapshotSpec;
use super::drop_oldest::{Inlet, Outlet};
use super::picture::{self, Label};
use super::place::Place;
use super::s3::Upload;
use super::snapshot_folder::SnapshotFolder;
use super::status::Gauge;
use crate::frame::{BBox, Event, Frame};
use crate::telemetry::publish::SnapshotsDropped;

/// Frames that wait to be encoded; each holds a decoded picture.
pub(super) const QUEUE: usize = 16;
/// Around a crop, as a share of the box's size on each side.
const CROP_MARGIN: f32 = 0.15;

/// From here on another box of the same caption is the event's own.
const SAME_IOU: f32 = 0.9;

/// A snapshot to be made.
#[derive(Debug)]
pub(super) struct Shot {
    pub(super) frame: Arc<Frame>,
    /// All boxes; the event's is the last.
    pub(super) labels: Vec<Label>,
    pub(super) place: Place,
    pub(super) camera_id: String,
    pub(super) event_id: String,
    pub(super) ts_ms: i64,
    pub(super) arrived: Instant,
}

impl Shot {
    pub(super) fn of(
        event: &Event,
        frame: Arc<Frame>,
        others: Vec<Label>,
        place: Place,
        arrived: Instant,
    ) -> Self {
        let [x1, y1, x2, y2] = event.payload.bbox;
        let own = Label::of(&event.payload.label, event.payload.conf, BBox { x1, y1, x2, y2 });
        let mut labels = others;
        labels.retain(|other| other.text != own.text || other.bbox.iou(&own.bbox) < SAME_IOU);
        labels.push(own);
        let (camera_id, event_id) = (event.camera_id.clone(), event.event_id.clone());
        Self { frame, labels, place, camera_id, event_id, ts_ms: event.payload.ts_ms, arrived }
    }
}

/// A queue whose oldest items give way, with its sink's status.
pub(super) struct BestEffort<T> {
    pub(super) inlet: Inlet<T>,
    pub(super) gauge: Arc<Gauge>,
}

impl<T> BestEffort<T> {
    /// Adds an item; what gives way is counted.
    pub(super) fn push(&self, item: T, weight: usize) {
        self.gauge.enqueued();
        let count = self.inlet.push(item, weight);
        if count > 0 {
            self.gauge.gave_up(count);
            SnapshotsDropped { sink: self.gauge.name(), count }.emit();
        }
    }
}

/// Makes one snapshot at a time, on a blocking thread. Best effort: one that cannot be kept is given up.
pub(super) struct SnapshotSink {
    pub(super) shots: Outlet<Shot>,
    pub(super) spec: SnapshotSpec,
    /// Shared with the blocking thread, so that a panic there costs one snapshot only.
    pub(super) folder: Option<Arc<Mutex<SnapshotFolder>>>,
    /// Closed when this sink ends, so that S3 drains after it.
    pub(super) s3: Option<BestEffort<Upload>>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) give_up: CancellationToken,
}

impl SnapshotSink {
    /// Ends when the queue is closed and empty, or at `give_up`.
    pub(super) async fn run(mut self) {
        let give_up = self.give_up.clone();
        while let Some(Some(shot)) = give_up.run_until_cancelled(self.shots.pop()).await {
            let arrived = shot.arrived;
            match self.make(shot, Made::of).await {
                Ok(()) => {
                    self.gauge.works();
                    self.gauge.delivered(arrived);
                }
                Err(error) => {
                    self.gauge.failing("snapshot", &error.to_string(), 0);
                    self.gauge.gave_up(1);
                }
            }
        }
    }

    /// Encodes the shot, saves it, and passes it on.
    async fn make(&self, shot: Shot, encode: Encode) -> Result<(), ShotError> {
        let (spec, folder) = (self.spec, self.folder.clone());
        let work = move || {
            let made = encode(&shot, spec)?;
            let saved = save(folder.as_deref(), &shot.place, &made.annotated);
            Ok::<_, picture::EncodeError>((shot, made, saved))
        };
        let (shot, made, saved) = tokio::task::spawn_blocking(work).await??;
        if let (Some(s3), Some(upload)) = (&self.s3, Upload::of(&shot, &made, self.spec.format)) {
            let bytes = upload.bytes();
            s3.push(upload, bytes);
        }
        Ok(saved?)
    }
}

/// Makes the files of a shot.
type Encode = fn(&Shot, SnapshotSpec) -> Result<Made, picture::EncodeError>;

/// The files of a shot.
pub(super) struct Made {
    pub(super) annotated: Bytes,
    pub(super) crop: Option<Bytes>,
}

impl Made {
    fn of(shot: &Shot, spec: SnapshotSpec) -> Result<Self, picture::EncodeError> {
        let surface = &shot.frame.surface;
        let annotated = picture::encode(&picture::annotate(surface, &shot.labels, None), spec)?.into();
        let wanted = shot.place.s3.as_ref().is_some_and(|s3| s3.crop_key.is_some());
        let own = shot.labels.last().filter(|_| wanted);
        let part = own.and_then(|label| picture::crop(surface, &label.bbox, CROP_MARGIN));
        let crop = part.map(|part| picture::encode(&part, spec)).transpose()?.map(Bytes::from);
        Ok(Self { annotated, crop })
    }
}

fn save(folder: Option<&Mutex<SnapshotFolder>>, place: &Place, file: &[u8]) -> std::io::Result<()> {
    match (folder, &place.local) {
        (Some(folder), Some(path)) => folder.lock().unwrap_or_else(PoisonError::into_inner).save(path, file),
        _ => Ok(()),
    }
}

/// Why a snapshot was given up.
#[derive(Debug, thiserror::Error)]
enum ShotError {
    #[error("{0}")]
    Encode(#[from] picture::EncodeError),
    #[error("cannot write the snapshot: {0}; make room, or correct publishers.local_dir")]
    Save(#[from] std::io::Error),
    #[error("the encoder stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

#[cfg(test)]
mod tests {
    use super::super::SnapshotFormat;
    use super::super::drop_oldest;
    use super::*;
    use crate::decode::{Color, HostPicture, Matrix, Surface};
    use crate::frame::{CameraId, Fragment, MediaMs};

    fn shot(path: &str) -> Shot {
        let color = Color { matrix: Matrix::Bt601, full_range: false };
        let planes = [vec![110; 64 * 36], vec![128; 32 * 18], vec![128; 32 * 18]];
        let picture = HostPicture::from_planes((64, 36), planes, [64, 32, 32], color).unwrap();
        let frame = Frame {
            camera: CameraId::new("front"),
            fragment: Arc::new(Fragment { number: "1".into(), producer_ms: None, server_ms: None }),
            index: 0,
            media: MediaMs(0),
            arrived: Instant::now(),
            surface: Surface::Host(picture),
        };
        Shot {
            frame: Arc::new(frame),
            labels: Vec::new(),
            place: Place { local: Some(path.into()), s3: None },
            camera_id: "front".into(),
            event_id: "e1".into(),
            ts_ms: 0,
            arrived: Instant::now(),
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_encoder_costs_its_snapshot_only() {
        let root = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::open(root.path()).unwrap();
        let sink = SnapshotSink {
            shots: drop_oldest::queue(QUEUE).1,
            spec: SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 80 },
            folder: Some(Arc::new(Mutex::new(folder))),
            s3: None,
            gauge: Arc::new(Gauge::new("snapshots", false, 0, Arc::default())),
            give_up: CancellationToken::new(),
        };
        let panicked = sink.make(shot("snapshots/front/1.jpg"), |_, _| panic!("no picture like this")).await;
        assert!(matches!(panicked, Err(ShotError::Stopped(_))), "{panicked:?}");
        sink.make(shot("snapshots/front/2.jpg"), Made::of).await.unwrap();
        let kept = ["1.jpg", "2.jpg"].map(|name| root.path().join("snapshots/front").join(name).exists());
        assert_eq!(kept, [false, true]);
    }
}
