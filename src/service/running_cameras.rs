//! The cameras of a running service: all of the configuration, or those that a pool of workers gives to this one.

use std::time::Duration;

use aws_config::SdkConfig;
use tokio::sync::mpsc;

use super::ServiceError;
use super::camera_devices::DeviceModels;
use super::cameras::Fleet;
use super::models::ModelSet;
use super::pool::{PoolHandle, PoolParts, SharedConfig};
use super::reload::Changes;
use crate::config::{CameraSpec, Settings};
use crate::delivery::{EventOutbox, OwnerCommitRequest};
use crate::sharing::PoolTable;
use crate::status::StatusBoard;

/// The time in which other workers take over the cameras of one that stops; those that are left are freed then.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(12);

/// The parts with which cameras are started.
pub(super) struct CameraHost<'a> {
    pub(super) settings: &'a Settings,
    pub(super) aws: &'a SdkConfig,
    pub(super) models: &'a ModelSet,
    pub(super) outbox: &'a EventOutbox,
    pub(super) board: &'a StatusBoard,
    pub(super) requests: mpsc::Receiver<OwnerCommitRequest>,
}

/// The cameras of a running service.
pub(super) enum RunningCameras {
    /// All cameras of the configuration.
    Single(Box<Fleet>),
    /// The cameras that the pool gives to this worker.
    Pool(PoolHandle),
}

impl CameraHost<'_> {
    /// Starts the cameras of the configuration, or joins the pool.
    pub(super) async fn start(self, mut fleet: Fleet) -> (RunningCameras, Result<(), ServiceError>) {
        let Self { settings, aws, models, outbox, board, requests } = self;
        let sharing = settings.sharing.as_ref().zip(settings.state.ddb_table.as_ref());
        let Some(((sharing, items), delivery)) = sharing.zip(outbox.shared()) else {
            let started = fleet.start(with_models(settings, models)).await;
            return (RunningCameras::Single(Box::new(fleet)), started);
        };
        let parts = PoolParts {
            table: PoolTable::new(aws, items, &sharing.table, &sharing.pool),
            when_away: sharing.when_away,
            config: shared_config(settings, models),
            fleet,
            delivery: delivery.clone(),
            board: board.clone(),
            requests,
        };
        (RunningCameras::Pool(PoolHandle::start(parts)), Ok(()))
    }
}

impl RunningCameras {
    /// Applies another configuration.
    pub(super) async fn change(&mut self, settings: &Settings, models: &ModelSet, changes: &Changes) {
        match self {
            Self::Single(fleet) => change_fleet(fleet, settings, models, changes),
            Self::Pool(pool) => pool.set_config(shared_config(settings, models)).await,
        }
    }

    /// Hands all cameras over to other workers, and returns the fleet; without a pool it still runs all of them.
    pub(super) async fn hand_over(self) -> Option<Fleet> {
        match self {
            Self::Single(fleet) => Some(*fleet),
            Self::Pool(pool) => pool.stop(HAND_OVER_LIMIT).await,
        }
    }
}

fn change_fleet(fleet: &mut Fleet, settings: &Settings, models: &ModelSet, changes: &Changes) {
    changes.removed.iter().for_each(|id| fleet.remove(id));
    for camera in &settings.cameras {
        let (id, models) = (camera.id.to_string(), models.models_of(camera));
        if changes.added.contains(&id) {
            fleet.add(camera.clone(), models);
        } else if changes.changed.contains(&id) {
            fleet.change(camera.clone(), models);
        }
    }
}

fn shared_config(settings: &Settings, models: &ModelSet) -> SharedConfig {
    SharedConfig::new(settings.version.clone().unwrap_or_default(), with_models(settings, models))
}

fn with_models(settings: &Settings, models: &ModelSet) -> Vec<(CameraSpec, Vec<DeviceModels>)> {
    settings.cameras.iter().map(|camera| (camera.clone(), models.models_of(camera))).collect()
}
