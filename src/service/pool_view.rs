//! The reader of the pool for `/api/cluster`.

use std::sync::{Arc, Mutex};

use ::sharing::CameraKey;
use aws_config::SdkConfig;
use futures_util::FutureExt;
use tokio::runtime::Handle;

use crate::base::lock;
use crate::config::{CameraSpec, Settings};
use crate::http::ReadPool;
use crate::sharing::PoolViewReader;

/// A reader of the pool, and the cameras of the current configuration.
pub(super) struct PoolWatch {
    reader: Arc<PoolViewReader>,
    cameras: Arc<Mutex<Vec<CameraKey>>>,
}

impl PoolWatch {
    /// Creates the reader; `None`: the settings share no cameras. Nothing is called yet.
    pub(super) fn new(settings: &Settings, aws: &SdkConfig) -> Option<Self> {
        let (sharing, items) = settings.sharing.as_ref().zip(settings.state.ddb_table.as_ref())?;
        let reader = Arc::new(PoolViewReader::new(aws, items, &sharing.table, &sharing.pool));
        let watch = Self { reader, cameras: Arc::default() };
        watch.set_cameras(&settings.cameras);
        Some(watch)
    }

    /// Sets the cameras of the configuration.
    pub(super) fn set_cameras(&self, cameras: &[CameraSpec]) {
        *lock(&self.cameras) = cameras.iter().map(|camera| CameraKey::new(camera.id.as_str())).collect();
    }

    /// Returns the function with which HTTP reads the pool. The reads run on the current runtime, where the connections are.
    pub(super) fn read(&self) -> ReadPool {
        let (runtime, reader, cameras) =
            (Handle::current(), Arc::clone(&self.reader), Arc::clone(&self.cameras));
        Arc::new(move || {
            let (reader, cameras) = (Arc::clone(&reader), lock(&cameras).clone());
            // A read ends by the time limits of its calls, also where no client waits for it any more.
            let reading = runtime.spawn(async move { reader.read(&cameras).await });
            let ended = async {
                let view = reading.await.map_err(|_| "the service stops".to_owned())?;
                view.map_err(|error| error.to_string())
            };
            ended.boxed()
        })
    }
}
