//! Starts the cameras: at once those that know where to go on, the others when the table of positions answers.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;

use super::ServiceError;
use super::models::Models;
use crate::base::Backoff;
use crate::camera::{Camera, CameraError, Shared};
use crate::config::CameraSpec;
use crate::publish::{Checkpoint, ResumeError};
use crate::telemetry::Board;

/// Between two questions to the table of positions: from so much to so much.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Cameras by id.
pub(super) type Cameras = Vec<(String, Camera)>;

/// What starting a camera takes.
pub(super) struct Starter {
    pub(super) shared: Shared,
    pub(super) models: Models,
    pub(super) board: Board,
}

/// The cameras that were started.
#[derive(Default)]
pub(super) struct Fleet {
    cameras: Cameras,
    /// Starts the others, and gives them back when it was told to stop or all are there.
    late: Option<JoinHandle<Cameras>>,
}

impl Fleet {
    /// Starts all cameras.
    ///
    /// Errors: what was kept of a camera cannot be used, or the system gives no thread.
    pub(super) async fn start(
        &mut self,
        starter: Starter,
        specs: Vec<CameraSpec>,
    ) -> Result<(), ServiceError> {
        for spec in &specs {
            starter.board.add_camera(&spec.id, &spec.stream);
        }
        let mut late = Vec::new();
        for (spec, resumed) in starter.resume(specs).await {
            match resumed {
                Ok(checkpoint) => self.cameras.push(starter.start(spec, checkpoint)?),
                Err(ResumeError::Unknown { .. }) => late.push(spec),
                Err(error) => return Err(error.into()),
            }
        }
        if !late.is_empty() {
            self.late = Some(tokio::spawn(starter.start_late(late)));
        }
        Ok(())
    }

    /// How many were started at once.
    pub(super) fn len(&self) -> usize {
        self.cameras.len()
    }

    /// All cameras, after the token was cancelled.
    pub(super) async fn stopped(self) -> Cameras {
        let mut cameras = self.cameras;
        if let Some(late) = self.late {
            // A join error means that the task panicked, which the panic hook has told.
            cameras.extend(late.await.unwrap_or_default());
        }
        cameras
    }
}

impl Starter {
    async fn resume(
        &self,
        specs: Vec<CameraSpec>,
    ) -> Vec<(CameraSpec, Result<Option<Checkpoint>, ResumeError>)> {
        let resuming = specs.into_iter().map(|spec| async {
            let resumed = self.shared.outbox.resume(&spec.id).await;
            if let Err(error) = &resumed {
                self.board.add_camera(&spec.id, &spec.stream).down(error.to_string(), None);
            }
            (spec, resumed)
        });
        join_all(resuming).await
    }

    fn start(
        &self,
        spec: CameraSpec,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(String, Camera), CameraError> {
        let id = spec.id.to_string();
        let place = self.board.add_camera(&spec.id, &spec.stream);
        let models = spec.pipeline.iter().filter_map(|entry| self.models.of(entry)).collect();
        let camera = Camera::start(spec, models, checkpoint, place, &self.shared)?;
        camera.watches(&id).into_iter().for_each(|watch| self.board.add_watch(watch));
        Ok((id, camera))
    }

    /// Until all are started, or it is told to stop. What stands in the way of a camera is shown on the board.
    async fn start_late(self, mut specs: Vec<CameraSpec>) -> Cameras {
        let mut backoff = Backoff::new(ASK_AGAIN.0, ASK_AGAIN.1);
        let mut cameras = Vec::new();
        while !specs.is_empty() {
            let waiting = tokio::time::sleep(backoff.next_wait());
            if self.shared.stop.run_until_cancelled(waiting).await.is_none() {
                break;
            }
            for (spec, resumed) in self.resume(std::mem::take(&mut specs)).await {
                match resumed.map(|checkpoint| self.start(spec.clone(), checkpoint)) {
                    Ok(Ok(camera)) => cameras.push(camera),
                    Ok(Err(error)) => {
                        self.board.add_camera(&spec.id, &spec.stream).down(error.to_string(), None);
                    }
                    Err(_shown) => specs.push(spec),
                }
            }
        }
        cameras
    }
}
