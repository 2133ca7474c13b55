//! The configuration as the workers of a pool see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::sharing::{CameraKey, ConfigVersion, PoolCamera, PoolConfig};

use super::load::estimated_cost;
use crate::camera::EntryModels;
use crate::config::CameraSpec;
use crate::detect::Device;

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
    pub(super) entries: Vec<EntryModels>,
}

impl SharedConfig {
    /// Returns the configuration of this version.
    pub(in crate::service) fn new(
        version: ConfigVersion,
        cameras: Vec<(CameraSpec, Vec<EntryModels>)>,
    ) -> Self {
        let cameras = cameras
            .into_iter()
            .map(|(spec, entries)| (CameraKey::new(spec.id.as_str()), ConfiguredCamera { spec, entries }));
        let cameras: BTreeMap<_, _> = cameras.collect();
        let planned = cameras.iter().map(|(key, camera)| (key.clone(), camera.planned()));
        Self { pool: Arc::new(PoolConfig { version, cameras: planned.collect() }), cameras }
    }

    /// Returns a camera; `None`: it is not in the configuration.
    pub(super) fn camera(&self, key: &CameraKey) -> Option<&ConfiguredCamera> {
        self.cameras.get(key)
    }

    /// Returns the cameras.
    pub(super) fn cameras(&self) -> impl Iterator<Item = &ConfiguredCamera> {
        self.cameras.values()
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

    fn infer_ms(&self, on_gpu: bool) -> f64 {
        let infos = self.entries.iter().map(|entry| entry.detector.info());
        infos.filter(|info| matches!(info.device, Device::Cuda(_)) == on_gpu).map(|info| info.infer_ms).sum()
    }

    fn planned(&self) -> PoolCamera {
        let models = self.entries.iter().map(|entry| Arc::from(entry.detector.info().id.name.as_str()));
        PoolCamera {
            spec: self.spec.digest().into(),
            priority: self.spec.priority,
            models: models.collect::<BTreeSet<_>>(),
            group: Arc::default(),
            cost: estimated_cost(self.spec.fps_target, self.cpu_ms(), self.gpu_ms()),
        }
    }
}
