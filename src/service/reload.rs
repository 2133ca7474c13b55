//! Another configuration while the service runs: checked as a whole first, then only what differs is touched.

use std::fmt;

use super::models::Loaded;
use super::{Service, ServiceError, check_camera, outbox_spec};
use crate::config::{CameraSpec, Settings};
use crate::telemetry::service::{Advice, Reloaded, WasRefused};

/// Threads of loads that were given up, at most: each takes a core.
const LEFT_BEHIND_MAX: usize = 1;

/// Why a configuration cannot be taken over while the service runs.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It changes what is set up once: start the service anew.
    #[error("{key} has changed: restart kvs-infer to change it, or write what was there before")]
    NeedsRestart {
        /// The key.
        key: &'static str,
    },
    /// It names a sink that was not there at the start.
    #[error(
        "events would go to {sink}, to which none went at the start: restart kvs-infer to add it, or route them to \
         where others go"
    )]
    NewSink {
        /// The sink's name.
        sink: String,
    },
    /// A model cannot be used.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What a configuration changed, by camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New ones.
    pub added: Vec<String>,
    /// Those that are to do something else.
    pub changed: Vec<String>,
    /// Those that are not there any more.
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
                .filter(|camera| in_old(camera).is_some_and(|old| old != *camera))
                .collect()),
            removed: ids(old.iter().filter(is_gone).collect()),
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        let told: Vec<String> = kinds
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(kind, ids)| format!("{kind}: {}", ids.join(", ")))
            .collect();
        f.write_str(if told.is_empty() { "no camera differs".to_owned() } else { told.join("; ") }.as_str())
    }
}

/// A configuration with all that it needs.
pub struct PreparedReload {
    settings: Settings,
    loaded: Loaded,
}

impl Service {
    /// Checks another configuration as a whole and loads its models. Nothing has changed until it is taken over; dropping the future
    /// gives it up.
    ///
    /// # Errors
    /// It cannot be taken over.
    pub async fn prepare(&self, settings: Settings) -> Result<PreparedReload, ReloadError> {
        if let Some(key) = fixed(&self.settings, &settings) {
            return Err(ReloadError::NeedsRestart { key });
        }
        let outbox = outbox_spec(&settings, &self.aws, self.state.clone(), None);
        if let Some(sink) = self.outbox.lacks(&outbox) {
            return Err(ReloadError::NewSink { sink });
        }
        let _shown = self.board.show_reload();
        let loaded = self.models.load(&settings.cameras).await?;
        for camera in &settings.cameras {
            check_camera(camera, |spec| {
                let new =
                    loaded.iter().filter(|(named, _)| named.1 == *spec).find_map(|(_, net)| net.detector());
                new.or_else(|| self.models.get(spec))
            })?;
        }
        Ok(PreparedReload { settings, loaded })
    }

    /// Takes another configuration over: new models first, then the cameras that differ. The others are not touched.
    pub async fn take_over(&mut self, prepared: PreparedReload) -> Changes {
        let PreparedReload { settings, loaded } = prepared;
        self.models.adopt(loaded);
        settings.advice().iter().for_each(|text| Advice { text }.emit());
        let changes = self.change_cameras(settings).await;
        self.board.set_config_fault(None);
        Reloaded { changes: &changes }.emit();
        changes
    }

    /// The models whose loading cannot be interrupted and that would be left behind with one that is already, if the configuration that
    /// is being prepared were given up; `None`: it may be.
    #[must_use]
    pub fn stuck_loads(&self) -> Option<String> {
        let threads = self.board.load_threads();
        let models = || threads.iter().map(|thread| thread.model.as_str()).collect::<Vec<_>>().join(" and ");
        (threads.len() > LEFT_BEHIND_MAX).then(models)
    }

    /// The configuration as it is now cannot be taken over; what runs goes on.
    pub fn refuse(&self, why: &str) {
        let first = why.lines().find(|line| !line.is_empty()).unwrap_or_default();
        self.board.set_config_fault(Some(first.to_owned()));
        WasRefused { why }.emit();
    }

    async fn change_cameras(&mut self, settings: Settings) -> Changes {
        let changes = Changes::between(&self.settings.cameras, &settings.cameras);
        changes.removed.iter().for_each(|id| self.fleet.remove(id));
        for camera in &settings.cameras {
            let (id, models) = (camera.id.to_string(), self.models.of(camera));
            if changes.added.contains(&id) {
                self.fleet.add(camera.clone(), models);
            } else if changes.changed.contains(&id) {
                self.fleet.change(camera.clone(), models);
            }
        }
        self.models.keep(&settings.cameras).await;
        self.settings = settings;
        changes
    }
}

/// The first key that differs and is set up once.
fn fixed(old: &Settings, new: &Settings) -> Option<&'static str> {
    let differs = [
        ("aws.region", old.region != new.region),
        ("publishers or snapshots", old.publish != new.publish),
        ("state", old.state != new.state),
        ("service.reconnect_delay_seconds", old.reconnect_delay != new.reconnect_delay),
        ("service.hls_session_seconds", old.hls_session != new.hls_session),
        ("service.max_behind_seconds", old.max_behind != new.max_behind),
        ("service.model_load_seconds", old.model_load != new.model_load),
        ("device", old.device != new.device),
        ("log_level", old.log_level != new.log_level),
        ("metrics", old.emf_service != new.emf_service),
        ("log_format", old.log_format != new.log_format),
    ];
    differs.into_iter().find(|(_, differs)| *differs).map(|(key, _)| key)
}
