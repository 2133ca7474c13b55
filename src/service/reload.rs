//! Reload: a newer configuration is checked as a whole first, then only the cameras that differ are changed.

use std::fmt;

use super::clips::clip_cameras;
use super::models::LoadedModels;
use super::{Service, ServiceError, camera_ids, check_camera, outbox_spec};
use crate::config::{CameraSpec, Settings};
use crate::telemetry::service::{ConfigAdvice, ConfigApplied, ConfigRejected};

/// Maximum number of threads of abandoned loads: each takes a core.
const MAX_ABANDONED_LOADS: usize = 1;

/// An error of applying a configuration while the service runs.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration changes a key that takes effect only at the start.
    #[error("{key} has changed: restart kvs-infer to apply it, or restore its previous value")]
    NeedsRestart {
        /// The key.
        key: &'static str,
    },
    /// The configuration routes events to a sink that did not exist at the start.
    #[error(
        "sink {sink} is new: restart kvs-infer to add it, or route its events to a sink that was configured at the start"
    )]
    NewSink {
        /// The sink's name.
        sink: String,
    },
    /// A model cannot be fetched or loaded, or does not know a class.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// The cameras that a reload changed, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New cameras.
    pub added: Vec<String>,
    /// Cameras whose settings differ.
    pub changed: Vec<String>,
    /// Cameras that are no longer in the configuration.
    pub removed: Vec<String>,
}

impl Changes {
    fn between(old: &[CameraSpec], new: &[CameraSpec]) -> Self {
        let in_old = |camera: &CameraSpec| old.iter().find(|before| before.id == camera.id);
        let ids = |cameras: Vec<&CameraSpec>| cameras.iter().map(|camera| camera.id.to_string()).collect();
        let is_gone = |before: &&CameraSpec| !new.iter().any(|camera| camera.id == before.id);
        Self {
            added: ids(new.iter().filter(|camera| in_old(camera).is_none()).collect()),
            changed: ids(new
                .iter()
                .filter(|camera| in_old(camera).is_some_and(|old| !old.runs_like(camera)))
                .collect()),
            removed: ids(old.iter().filter(is_gone).collect()),
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        let parts: Vec<String> = kinds
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(kind, ids)| format!("{kind}: {}", ids.join(", ")))
            .collect();
        f.write_str(if parts.is_empty() { "no camera differs".to_owned() } else { parts.join("; ") }.as_str())
    }
}

/// A checked configuration with its loaded models.
pub struct PreparedReload {
    settings: Settings,
    loaded: LoadedModels,
}

impl Service {
    /// Checks a newer configuration as a whole and loads its models. Nothing changes before [`Self::take_over`]; dropping the future
    /// abandons the reload.
    ///
    /// # Errors
    /// The configuration cannot be applied while the service runs.
    pub async fn prepare(&self, settings: Settings) -> Result<PreparedReload, ReloadError> {
        if let Some(key) = changed_at_start_only(&self.settings, &settings) {
            return Err(ReloadError::NeedsRestart { key });
        }
        let outbox = outbox_spec(&settings, &self.aws, self.state.clone(), None);
        if let Some(sink) = self.outbox.lacks(&outbox) {
            return Err(ReloadError::NewSink { sink });
        }
        // Shown from here on: everything before answers at once.
        let _shown = self.board.show_reload();
        let loaded = self.models.load(&settings.cameras).await?;
        for camera in &settings.cameras {
            check_camera(camera, |spec| loaded.detector(spec).or_else(|| self.models.get(spec)))?;
        }
        Ok(PreparedReload { settings, loaded })
    }

    /// Applies a prepared configuration: new models first, then the cameras that differ. The others keep running untouched.
    pub async fn take_over(&mut self, prepared: PreparedReload) -> Changes {
        let PreparedReload { settings, loaded } = prepared;
        self.models.adopt(loaded);
        settings.advice().iter().for_each(|text| ConfigAdvice { text }.emit());
        let changes = self.change_cameras(settings).await;
        self.board.set_config_fault(None);
        ConfigApplied { changes: &changes }.emit();
        changes
    }

    /// Returns the models under load if a newer configuration must not replace the one that is being prepared: with an abandoned load
    /// running already, another one would exceed `MAX_ABANDONED_LOADS`. `None`: it may.
    #[must_use]
    pub fn stuck_loads(&self) -> Option<String> {
        let threads = self.board.load_threads();
        let models = || threads.iter().map(|thread| thread.model.as_str()).collect::<Vec<_>>().join(" and ");
        (threads.len() > MAX_ABANDONED_LOADS).then(models)
    }

    /// Rejects the current configuration, for `reason`; the previous one stays in effect.
    pub fn refuse(&self, reason: &str) {
        // The log has the whole report; `/healthz` has room for its first line.
        let first = reason.lines().find(|line| !line.is_empty()).unwrap_or_default();
        self.board.set_config_fault(Some(first.to_owned()));
        ConfigRejected { reason }.emit();
    }

    async fn change_cameras(&mut self, settings: Settings) -> Changes {
        let changes = Changes::between(&self.settings.cameras, &settings.cameras);
        self.cameras.change(&settings, &self.models, &changes).await;
        // Last: a removed camera still uses its models while it drains.
        self.models.keep(&settings.cameras).await;
        if let Some(watch) = &self.pool_watch {
            watch.set_cameras(&settings.cameras);
        }
        if let Some(history) = &self.history {
            history.set_cameras(camera_ids(&settings.cameras));
        }
        self.shapes.set(&settings.shapes);
        self.clips.set_cameras(clip_cameras(&settings.cameras));
        self.self_check.set_settings(&settings);
        self.settings = settings;
        changes
    }
}

/// Returns the first key that differs and that takes effect only at the start.
fn changed_at_start_only(old: &Settings, new: &Settings) -> Option<&'static str> {
    // Without `..`: a new setting does not compile before it is decided whether a reload applies it.
    let Settings {
        region,
        publish,
        state,
        sharing,
        reconnect_delay,
        hls_session,
        max_behind,
        model_load,
        device,
        decode,
        log_level,
        log_format,
        emf_service,
        // A reload applies these.
        version: _,
        cameras: _,
        shapes: _,
        files: _,
    } = old;
    let differs = [
        ("aws.region", *region != new.region),
        // Before the sinks, of which it makes one best effort.
        ("sharing", *sharing != new.sharing),
        ("publishers, snapshots or clips", *publish != new.publish),
        ("state", *state != new.state),
        ("service.reconnect_delay_seconds", *reconnect_delay != new.reconnect_delay),
        ("service.hls_session_seconds", *hls_session != new.hls_session),
        ("service.max_behind_seconds", *max_behind != new.max_behind),
        ("service.model_load_seconds", *model_load != new.model_load),
        ("device", *device != new.device),
        ("decode", *decode != new.decode),
        ("log_level", *log_level != new.log_level),
        ("metrics", *emf_service != new.emf_service),
        ("log_format", *log_format != new.log_format),
    ];
    differs.into_iter().find(|(_, differs)| *differs).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigContent, Overrides, parse_content};

    const FILE: &str = "state: { ddb_table: positions }
publishers: { kds_stream: events, local_dir: events }
cameras: [{ id: a, kvs_stream_name: a, pipeline: [{ type: objects, objects: { yolo_weights: m.onnx } }] }]
";

    fn settings(text: &str, modified_ms: u64) -> Settings {
        let content = ConfigContent { text: text.to_owned(), modified_ms: Ok(modified_ms) };
        parse_content("c", content, &|_| None, &Overrides::default()).unwrap()
    }

    #[test]
    fn sharing_takes_effect_at_the_start_and_a_newer_version_at_once() {
        let (alone, shared) = (FILE.to_owned(), format!("{FILE}sharing: {{ table: workers }}\n"));
        let other = shared.replace("workers", "others");
        let cases = [
            ("added", &alone, &shared, Some("sharing")),
            ("removed", &shared, &alone, Some("sharing")),
            ("another table", &shared, &other, Some("sharing")),
            ("another version", &shared, &shared, None),
        ];
        for (name, old, new, key) in cases {
            assert_eq!(changed_at_start_only(&settings(old, 1), &settings(new, 2)), key, "{name}");
        }
    }

    #[test]
    fn another_priority_restarts_no_camera() {
        let old = settings(FILE, 1).cameras;
        for (keys, changed) in [("priority: 1", vec![]), ("priority: 1, fps_target: 5", vec!["a".to_owned()])]
        {
            let new = settings(&FILE.replace("id: a,", &format!("id: a, {keys},")), 1).cameras;
            assert_eq!(Changes::between(&old, &new), Changes { changed, ..Changes::default() }, "{keys}");
        }
    }
}
