//! Raw sections -> settings: the checks that need more than one key, and the defaults that depend on other keys.

mod camera;
mod classes;
mod clips;
mod models;
mod pipeline;
mod roi;
mod shapes;
mod sharing;
mod sinks;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kvs_config::raw::RawConfig;
use kvs_config::{KeyPath, Problem, Problems, TypedDocument};

use crate::detect::{DeviceChoice, ModelSpec, UnknownDevice};

use super::files::{ConfigText, ModelFiles};
use super::settings::Settings;

/// Resolves a configuration that matches its schema.
pub(super) struct SettingsBuilder<'a> {
    document: &'a TypedDocument,
    raw: &'a RawConfig,
    problems: Problems,
    named_models: BTreeMap<&'a str, Option<Arc<ModelSpec>>>,
    /// Models that entries name by a path, outside of `models`.
    inline_models: BTreeMap<String, Arc<ModelSpec>>,
    /// The local files that enabled cameras need, each with the key that names it first.
    needed_files: BTreeMap<String, KeyPath>,
}

impl<'a> SettingsBuilder<'a> {
    pub(super) fn new(document: &'a TypedDocument) -> Self {
        Self {
            document,
            raw: &document.raw,
            problems: Problems::default(),
            named_models: BTreeMap::new(),
            inline_models: BTreeMap::new(),
            needed_files: BTreeMap::new(),
        }
    }

    /// Returns the settings.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub(super) fn build(mut self, config: Arc<ConfigText>) -> Result<Settings, Vec<Problem>> {
        let publish = self.publish();
        let state = self.state();
        let sharing = self.sharing(&config.content);
        // Before the cameras, whose entries refer to the models.
        self.named_models();
        let cameras = self.cameras();
        let device = self.device();
        // After every section: all mistakes are reported at once.
        if !self.problems.is_empty() {
            return Err(self.problems.into_sorted());
        }
        let raw = self.raw;
        Ok(Settings {
            region: raw.aws.region.clone(),
            publish,
            state,
            version: sharing.as_ref().and_then(|_| config.content.version().ok()),
            sharing,
            reconnect_delay: Duration::from_secs(raw.service.reconnect_delay_seconds.into()),
            hls_session: Duration::from_secs(raw.service.hls_session_seconds.into()),
            max_behind: Duration::from_secs(raw.service.max_behind_seconds.into()),
            model_load: Duration::from_secs(raw.service.model_load_seconds.into()),
            device,
            decode: raw.decode,
            log_level: raw.log_level,
            log_format: raw.log_format,
            emf_service: raw.metrics.emf.then(|| raw.metrics.service.clone()),
            cameras,
            shapes: Arc::new(self.shapes(&config.file, &config.content.text)),
            files: self.files(config),
        })
    }

    fn device(&mut self) -> DeviceChoice {
        match self.raw.device.parse() {
            Ok(device) => device,
            Err(UnknownDevice { .. }) => {
                let message = format!("{:?} is not a device", self.raw.device);
                self.problem(&root_key("device"), message, "write auto, cpu, cuda or cuda:N");
                // Not used: the mistake refuses the file.
                DeviceChoice::Auto
            }
        }
    }

    fn files(&self, config: Arc<ConfigText>) -> ModelFiles {
        let mut files = ModelFiles::new(config);
        for (path, key) in &self.needed_files {
            files.push(key.clone(), self.document.span_of(key), path.into());
        }
        files
    }

    /// Adds a mistake at the position of the key.
    fn problem(&mut self, key: &KeyPath, message: impl Into<String>, remedy: impl Into<String>) {
        // The value of a variable must not appear in a message.
        let message = self.document.without_expanded(key, &message.into());
        self.problems.add(key, self.document.span_of(key), message, remedy);
    }
}

/// Returns the path of a key at the root of the file.
fn root_key(key: &str) -> KeyPath {
    KeyPath::default().key(key)
}
