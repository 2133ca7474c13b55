//! The configuration as the workers of a pool see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sharing::{CameraKey, ConfigVersion, PoolCamera, PoolConfig};

use super::load::estimated_cost;
use crate::config::CameraSpec;
use crate::detect::{Device, ModelInfo};
use crate::service::camera_devices::DeviceModels;

/// The cameras of a configuration, each with the models of its pipeline entries.
pub(in crate::service) struct SharedConfig {
    /// For the planning.
    pub(super) pool: Arc<PoolConfig>,
    cameras: BTreeMap<CameraKey, ConfiguredCamera>,
}

/// A camera of the configuration.
#[derive(Clone)]
pub(super) struct ConfiguredCamera {
    pub(super) spec: CameraSpec,
    /// The models of its pipeline entries on each device that it may run on.
    pub(super) models: Vec<DeviceModels>,
}

impl SharedConfig {
    /// Returns the configuration of this version.
    pub(in crate::service) fn new(
        version: ConfigVersion,
        cameras: Vec<(CameraSpec, Vec<DeviceModels>)>,
    ) -> Self {
        let cameras = cameras
            .into_iter()
            .map(|(spec, models)| (CameraKey::new(spec.id.as_str()), ConfiguredCamera { spec, models }));
        let cameras: BTreeMap<_, _> = cameras.collect();
        let planned = cameras.iter().map(|(key, camera)| (key.clone(), camera.planned()));
        Self { pool: Arc::new(PoolConfig { version, cameras: planned.collect() }), cameras }
    }

    /// Returns a camera; `None`: it is not in the configuration.
    pub(super) fn camera(&self, key: &CameraKey) -> Option<&ConfiguredCamera> {
        self.cameras.get(key)
    }

    /// Returns the number of GPUs on which models run.
    pub(super) fn gpus(&self) -> usize {
        let models = self.cameras.values().flat_map(|camera| &camera.models);
        let infos = models.flat_map(DeviceModels::infos);
        infos.filter_map(|info| info.device.gpu()).collect::<BTreeSet<u32>>().len()
    }

    /// Returns the cameras whose settings differ in `newer`.
    pub(super) fn changed(&self, newer: &Self) -> Vec<ConfiguredCamera> {
        let differs = |(key, camera): &(&CameraKey, &ConfiguredCamera)| {
            self.cameras.get(*key).is_some_and(|old| !old.spec.runs_like(&camera.spec))
        };
        newer.cameras.iter().filter(differs).map(|(_, camera)| camera.clone()).collect()
    }
}

impl ConfiguredCamera {
    /// Returns the time that a frame takes in the models on a GPU, ms.
    pub(super) fn gpu_ms(&self) -> f64 {
        self.infer_ms(true)
    }

    /// Returns the time that a frame takes in the models on the CPU, ms.
    pub(super) fn cpu_ms(&self) -> f64 {
        self.infer_ms(false)
    }

    /// Returns the facts about the detectors on the first device: the GPUs of a host are alike.
    fn infos(&self) -> impl Iterator<Item = Arc<ModelInfo>> {
        self.models.iter().take(1).flat_map(DeviceModels::infos)
    }

    fn infer_ms(&self, on_gpu: bool) -> f64 {
        let on = |info: &Arc<ModelInfo>| matches!(info.device, Device::Cuda(_)) == on_gpu;
        self.infos().filter(on).map(|info| info.infer_ms).sum()
    }

    fn planned(&self) -> PoolCamera {
        let models = self.infos().map(|info| Arc::from(info.id.name.as_str()));
        PoolCamera {
            spec: self.spec.digest().into(),
            priority: self.spec.priority,
            models: models.collect::<BTreeSet<_>>(),
            group: Arc::default(),
            cost: estimated_cost(self.spec.fps_target, self.cpu_ms(), self.gpu_ms()),
        }
    }
}
