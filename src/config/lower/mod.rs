//! As written -> as meant: the checks that need more than one key, and the defaults that depend on others.

mod camera;
mod classes;
mod models;
mod pipeline;
mod roi;
mod sinks;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kvs_config::written::Config;
use kvs_config::{Document, KeyPath, Problem, Problems};

use crate::detect::{Device, ModelSpec};

use super::files::{ModelFiles, Source};
use super::meant::Settings;

/// Turns a configuration of the right shape into what is meant.
pub(super) struct Lowering<'a> {
    document: &'a Document,
    written: &'a Config,
    problems: Problems,
    named_models: BTreeMap<&'a str, Option<Arc<ModelSpec>>>,
    models_in_place: BTreeMap<String, Arc<ModelSpec>>,
    /// The paths that enabled cameras need, and the key that names each first.
    needed_files: BTreeMap<String, KeyPath>,
}

impl<'a> Lowering<'a> {
    /// For a file.
    pub(super) fn new(document: &'a Document) -> Self {
        Self {
            document,
            written: &document.written,
            problems: Problems::default(),
            named_models: BTreeMap::new(),
            models_in_place: BTreeMap::new(),
            needed_files: BTreeMap::new(),
        }
    }

    /// What is meant.
    ///
    /// Errors: every mistake found.
    pub(super) fn settings(mut self, source: Arc<Source>) -> Result<Settings, Vec<Problem>> {
        let publish = self.publish();
        let state = self.state();
        self.named_models();
        let cameras = self.cameras();
        let device = self.device();
        if !self.problems.is_empty() {
            return Err(self.problems.into_sorted());
        }
        let written = self.written;
        Ok(Settings {
            region: written.aws.region.clone(),
            publish,
            state,
            reconnect_delay: Duration::from_secs(written.service.reconnect_delay_seconds.into()),
            hls_session: Duration::from_secs(written.service.hls_session_seconds.into()),
            max_behind: Duration::from_secs(written.service.max_behind_seconds.into()),
            model_load: Duration::from_secs(written.service.model_load_seconds.into()),
            device,
            log_level: written.log_level,
            log_format: written.log_format,
            emf_service: written.metrics.emf.then(|| written.metrics.service.clone()),
            cameras,
            files: self.files(source),
        })
    }

    fn device(&self) -> Device {
        match self.written.device.as_str() {
            "cpu" => Device::Cpu,
            "cuda" => Device::Cuda(0),
            other => match other.strip_prefix("cuda:").and_then(|index| index.parse().ok()) {
                Some(index) => Device::Cuda(index),
                None => Device::Auto,
            },
        }
    }

    fn files(&self, source: Arc<Source>) -> ModelFiles {
        let mut files = ModelFiles::new(source);
        for (path, key) in &self.needed_files {
            files.push(key.clone(), self.document.place_of(key), path.into());
        }
        files
    }

    fn problem(&mut self, key: &KeyPath, message: impl Into<String>, remedy: impl Into<String>) {
        let message = self.document.without_expanded(key, &message.into());
        self.problems.add(key, self.document.place_of(key), message, remedy);
    }
}

/// The path of a key that stands at the root of the file.
fn root_key(key: &str) -> KeyPath {
    KeyPath::default().key(key)
}
