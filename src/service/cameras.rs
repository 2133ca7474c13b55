//! Starts, changes and stops cameras: one task per camera, independent of the others.
//!
//! A camera with a known position starts at once; another starts when the table of positions answers. A camera whose configuration
//! has changed is drained first, and its successor resumes where it ended.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ServiceError;
use super::camera_devices::{DeviceModels, choose_device};
use crate::base::Backoff;
use crate::camera::{CameraError, CameraPipeline, CameraResources, EntryModels, WarmCamera};
use crate::checkpoint::Checkpoint;
use crate::config::{self, CameraSpec};
use crate::delivery::{ResumeError, ResumeRules};
use crate::detect::Device;
use crate::media::CameraId;
use crate::status::{CameraStatus, StatusBoard, Watch, WatchKey};
use crate::telemetry::losses::watch_losses;
use crate::telemetry::service::{CameraFailed, CameraRemoved};

/// The minimum and maximum delay between two queries of the table of positions.
const RESUME_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The resources that starting a camera needs.
#[derive(Clone)]
pub(super) struct Starter {
    pub(super) shared: CameraResources,
    pub(super) board: StatusBoard,
}

/// A camera of the fleet.
struct Member {
    spec: CameraSpec,
    /// The device of its models.
    device: Device,
    tokens: CameraTokens,
    task: JoinHandle<()>,
}

/// A shared camera that is read and not decoded yet.
struct WarmMember {
    camera: WarmCamera,
    status: CameraStatus,
    stop: CancellationToken,
}

/// The tokens that end a camera, and its epoch if workers share it.
#[derive(Clone)]
struct CameraTokens {
    stop: CancellationToken,
    halt: CancellationToken,
    epoch: Option<u64>,
}

/// A camera to start, with the rules and models of its pipeline entries.
struct CameraStart {
    spec: CameraSpec,
    entries: Vec<EntryModels>,
    tokens: CameraTokens,
}

/// The ownership under which a shared camera starts.
pub(super) struct SharedStart {
    /// The epoch of the ownership.
    pub(super) epoch: u64,
    /// The state from which the camera resumes; `None`: its configuration decides.
    pub(super) checkpoint: Option<Checkpoint>,
}

/// A running camera.
struct RunningCamera {
    camera: CameraPipeline,
    id: String,
    watches: Vec<WatchKey>,
    stop: CancellationToken,
}

/// All cameras of the service.
pub(super) struct Fleet {
    starter: Starter,
    members: Vec<Member>,
    /// Removed cameras that have not ended yet.
    leaving: Vec<(CameraId, JoinHandle<()>)>,
    /// Shared cameras that this worker is about to own.
    warm: HashMap<CameraId, WarmMember>,
    /// Evaluates the frame losses of all cameras.
    losses: JoinHandle<()>,
}

impl Fleet {
    /// Returns a fleet without cameras.
    pub(super) fn new(starter: Starter) -> Self {
        let losses = tokio::spawn(watch_losses(starter.board.clone(), starter.shared.stop.clone()));
        Self { starter, members: Vec::new(), leaving: Vec::new(), warm: HashMap::new(), losses }
    }

    /// Starts the cameras. One whose position cannot be determined yet starts later by itself.
    ///
    /// # Errors
    /// The stored state of a camera is unusable, or a thread cannot be started.
    pub(super) async fn start(
        &mut self,
        cameras: Vec<(CameraSpec, Vec<DeviceModels>)>,
    ) -> Result<(), ServiceError> {
        for (spec, _) in &cameras {
            self.starter.board.add_camera(&spec.id, &spec.stream);
        }
        let starting = cameras.into_iter().map(|(spec, models)| {
            let DeviceModels { device, entries } = self.on_device(models, None);
            let start = CameraStart { spec, entries, tokens: self.starter.tokens(None) };
            let starter = self.starter.clone();
            async move { (starter.resume(&start.spec).await, device, start) }
        });
        // All at once: a table that does not answer costs one timeout, and not one per camera.
        for (resumed, device, start) in join_all(starting).await {
            let (spec, tokens, starter) = (start.spec.clone(), start.tokens.clone(), self.starter.clone());
            // A camera that is known to be unusable fails the start; one whose table does not answer must not.
            let task = match resumed {
                Ok(checkpoint) => {
                    let running = starter.start(start, checkpoint)?;
                    tokio::spawn(async move { starter.supervise(running).await })
                }
                Err(error) if error.is_temporary() => tokio::spawn(starter.start_later(start)),
                Err(error) => return Err(error.into()),
            };
            self.members.push(Member { spec, device, tokens, task });
        }
        Ok(())
    }

    /// Adds a camera, which starts by itself.
    pub(super) fn add(&mut self, spec: CameraSpec, models: Vec<DeviceModels>) {
        self.starter.board.add_camera(&spec.id, &spec.stream);
        let (models, tokens) = (self.on_device(models, None), self.starter.tokens(None));
        self.spawn(spec, models, tokens, None);
    }

    /// Drains a camera and starts it again with the changed `spec`, where it ended, on the same device.
    pub(super) fn change(&mut self, spec: CameraSpec, models: Vec<DeviceModels>) {
        let Some(at) = self.members.iter().position(|member| member.spec.id == spec.id) else { return };
        let before = self.members.remove(at);
        before.tokens.stop.cancel();
        // The figures of another stream do not continue.
        if before.spec.stream != spec.stream {
            self.starter.board.remove_camera(&spec.id);
        }
        self.starter.board.add_camera(&spec.id, &spec.stream);
        let models = self.on_device(models, Some(before.device));
        let tokens = self.starter.tokens(before.tokens.epoch);
        self.spawn(spec, models, tokens, Some(before.task));
    }

    /// Drains a camera and removes it from the status board.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(at) = self.members.iter().position(|member| member.spec.id.as_str() == id) else { return };
        let member = self.members.remove(at);
        member.tokens.stop.cancel();
        self.starter.board.remove_camera(&member.spec.id);
        CameraRemoved { camera: id }.emit();
        self.leave(member);
    }

    /// Starts to read a shared camera that this worker is about to own, from the state of its present owner. Returns a future that
    /// waits until it can start without a gap; `None`: it cannot be read.
    pub(super) fn warm(
        &mut self,
        spec: &CameraSpec,
        checkpoint: Option<Checkpoint>,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.cool(&spec.id);
        let starter = &self.starter;
        let (status, stop) =
            (starter.board.hidden_camera(&spec.id, &spec.stream), starter.shared.stop.child_token());
        let started = WarmCamera::start(spec, checkpoint, status.clone(), &stop, &starter.shared);
        match started {
            Ok(mut camera) => {
                let warmed = camera.warmed();
                self.warm.insert(spec.id.clone(), WarmMember { camera, status, stop });
                Some(warmed)
            }
            Err(error) => {
                CameraFailed { camera: spec.id.as_str(), error: &error }.emit();
                None
            }
        }
    }

    /// Ends the reading of a camera that this worker is not to own after all.
    pub(super) fn cool(&mut self, id: &CameraId) {
        if let Some(warm) = self.warm.remove(id) {
            let ending = tokio::spawn(warm.camera.end());
            self.leaving.retain(|(_, task)| !task.is_finished());
            self.leaving.push((id.clone(), ending));
        }
    }

    /// Starts a shared camera that this worker owns, once an earlier run of it here has ended.
    pub(super) fn start_shared(&mut self, spec: CameraSpec, models: Vec<DeviceModels>, start: SharedStart) {
        let SharedStart { epoch, checkpoint } = start;
        let DeviceModels { device, entries } = self.on_device(models, None);
        let (warm, stop) = match self.warm.remove(&spec.id) {
            Some(WarmMember { camera, status, stop }) => {
                self.starter.board.show_camera(&status);
                (Some(camera), stop)
            }
            None => {
                self.starter.board.add_camera(&spec.id, &spec.stream);
                (None, self.starter.shared.stop.child_token())
            }
        };
        let before = self.leaving.iter().position(|(camera, _)| *camera == spec.id);
        let before = before.map(|at| self.leaving.remove(at).1);
        let tokens = CameraTokens { stop, halt: CancellationToken::new(), epoch: Some(epoch) };
        let (starter, start) =
            (self.starter.clone(), CameraStart { spec: spec.clone(), entries, tokens: tokens.clone() });
        let task = tokio::spawn(async move {
            ended(before).await;
            match warm {
                Some(warm) if start.tokens.stop.is_cancelled() => warm.end().await,
                Some(warm) => starter.run_warm(start, checkpoint, warm).await,
                None if start.tokens.stop.is_cancelled() => {}
                None => starter.start_shown(start, checkpoint).await,
            }
        });
        self.members.push(Member { spec, device, tokens, task });
    }

    /// Ends a shared camera after the current frame and returns its end; `None`: it does not run. Its row stays on the board.
    pub(super) fn halt(&mut self, id: &str) -> Option<oneshot::Receiver<()>> {
        let at = self.members.iter().position(|member| member.spec.id.as_str() == id)?;
        let member = self.members.remove(at);
        member.tokens.end_now();
        let (ended, end) = oneshot::channel();
        let task = tokio::spawn(async move {
            // The panic hook has logged a panic of it.
            let _ended = member.task.await;
            // The receiver is gone where the camera has moved meanwhile.
            let _heard = ended.send(());
        });
        self.leave(Member { task, ..member });
        Some(end)
    }

    /// Shows a shared camera that cannot run, with the reason.
    pub(super) fn show_down(&self, spec: &CameraSpec, error: &dyn std::error::Error) {
        self.starter.board.add_camera(&spec.id, &spec.stream).down(error.to_string(), None);
    }

    /// Ends a shared camera that this worker owns no longer, and removes it from the board.
    pub(super) fn drop_shared(&mut self, id: &CameraId) {
        self.starter.board.remove_camera(id);
        let Some(at) = self.members.iter().position(|member| member.spec.id == *id) else { return };
        let member = self.members.remove(at);
        member.tokens.end_now();
        self.leave(member);
    }

    /// Returns whether a camera runs.
    pub(super) fn has(&self, id: &str) -> bool {
        self.members.iter().any(|member| member.spec.id.as_str() == id)
    }

    /// Returns the models on the device `before` if they are there, else on the one with the fewest cameras.
    fn on_device(&self, models: Vec<DeviceModels>, before: Option<Device>) -> DeviceModels {
        let devices: Vec<Device> = models.iter().map(|models| models.device).collect();
        let count = |device| self.members.iter().filter(|member| member.device == device).count();
        let chosen = choose_device(&devices, before, count);
        let on_it = models.into_iter().find(|models| Some(models.device) == chosen);
        // A camera of the configuration has a device.
        on_it.unwrap_or(DeviceModels { device: Device::Cpu, entries: Vec::new() })
    }

    /// Keeps a camera that ends until it has ended.
    fn leave(&mut self, member: Member) {
        // Joined at the stop; finished ones are dropped here, so that they do not collect.
        self.leaving.retain(|(_, task)| !task.is_finished());
        self.leaving.push((member.spec.id, member.task));
    }

    /// Waits until all cameras have ended, after the token was cancelled.
    pub(super) async fn stopped(self) {
        let members = self.members.into_iter().map(|member| member.task);
        let leaving = self.leaving.into_iter().map(|(_, task)| task);
        let warm = self.warm.into_values().map(|warm| warm.camera.end());
        tokio::join!(join_all(members.chain(leaving).chain([self.losses])), join_all(warm));
    }

    fn spawn(
        &mut self,
        spec: CameraSpec,
        models: DeviceModels,
        tokens: CameraTokens,
        before: Option<JoinHandle<()>>,
    ) {
        let DeviceModels { device, entries } = models;
        let start = CameraStart { spec: spec.clone(), entries, tokens: tokens.clone() };
        let starter = self.starter.clone();
        let task = tokio::spawn(async move {
            ended(before).await;
            starter.start_now_or_later(start).await;
        });
        self.members.push(Member { spec, device, tokens, task });
    }
}

impl CameraTokens {
    /// Ends the camera after the current frame.
    fn end_now(&self) {
        self.stop.cancel();
        self.halt.cancel();
    }
}

/// Waits for the end of a camera's earlier run.
async fn ended(before: Option<JoinHandle<()>>) {
    if let Some(before) = before {
        // The panic hook has logged a panic of it.
        let _ended = before.await;
    }
}

impl Starter {
    fn tokens(&self, epoch: Option<u64>) -> CameraTokens {
        CameraTokens { stop: self.shared.stop.child_token(), halt: CancellationToken::new(), epoch }
    }

    async fn resume(&self, spec: &CameraSpec) -> Result<Option<Checkpoint>, ResumeError> {
        let reads_all = spec.start == config::StartPosition::Earliest;
        let rules = ResumeRules { reads_all, route: &spec.route };
        let resumed = self.shared.outbox.resume(&spec.id, rules).await;
        if let Err(error) = &resumed {
            self.board.add_camera(&spec.id, &spec.stream).down(error.to_string(), None);
        }
        resumed
    }

    fn start(
        &self,
        start: CameraStart,
        checkpoint: Option<Checkpoint>,
    ) -> Result<RunningCamera, CameraError> {
        let CameraStart { spec, entries, tokens } = start;
        let id = spec.id.to_string();
        let status = self.board.add_camera(&spec.id, &spec.stream);
        let resources = self.resources(&tokens);
        // Before the pipeline runs: a takeover that is found meanwhile has to stop it.
        let starts_at_now = spec.start == config::StartPosition::Now;
        self.shared.outbox.attach(&spec.id, tokens.stop.clone(), starts_at_now);
        let camera = CameraPipeline::start(spec, entries, checkpoint, status, &resources)?;
        Ok(self.watched(camera, id, tokens.stop))
    }

    fn resources(&self, tokens: &CameraTokens) -> CameraResources {
        let CameraTokens { stop, halt, epoch } = tokens.clone();
        CameraResources { stop, halt, epoch, ..self.shared.clone() }
    }

    /// Adds the watches of a camera that has started.
    fn watched(&self, camera: CameraPipeline, id: String, stop: CancellationToken) -> RunningCamera {
        let watches = camera.watches(&id).map(|watch| self.board.add_watch(until(watch, stop.clone())));
        RunningCamera { camera, id, watches: watches.to_vec(), stop }
    }

    /// Runs a shared camera, with the reading of one that was warm.
    async fn run_warm(&self, start: CameraStart, checkpoint: Option<Checkpoint>, warm: WarmCamera) {
        let CameraStart { spec, entries, tokens } = start;
        let id = spec.id.to_string();
        let status = self.board.add_camera(&spec.id, &spec.stream);
        let resources = self.resources(&tokens);
        let started = CameraPipeline::start_warm(spec, entries, checkpoint, warm, status.clone(), &resources);
        match started.await {
            Ok(camera) => self.supervise(self.watched(camera, id, tokens.stop)).await,
            Err(error) => status.down(error.to_string(), None),
        }
    }

    /// Waits until the camera ends. The watches of one that ends unasked stay, so that `/healthz` fails.
    async fn supervise(&self, running: RunningCamera) {
        let RunningCamera { camera, id, watches, stop } = running;
        if let Err(error) = camera.join(&id).await {
            CameraFailed { camera: &id, error: &error }.emit();
        }
        if stop.is_cancelled() {
            watches.into_iter().for_each(|watch| self.board.remove_watch(watch));
        }
        // A camera that another process took over ends without a request: its status has to say why.
        let taken_over = self.shared.outbox.taken_over(&CameraId::new(&id));
        if let Some((by, status)) = taken_over.zip(self.board.camera(&id)) {
            status.down(by.to_string(), None);
        }
    }

    async fn start_now_or_later(self, start: CameraStart) {
        if start.tokens.stop.is_cancelled() {
            return;
        }
        match self.resume(&start.spec).await {
            Ok(checkpoint) => self.start_shown(start, checkpoint).await,
            Err(ResumeError::TakenOver { .. }) => {}
            Err(_shown) => self.start_later(start).await,
        }
    }

    /// Queries the position until it is known, then runs the camera; ends when its token is cancelled. [`Self::resume`] shows each error
    /// on the status board.
    async fn start_later(self, start: CameraStart) {
        let mut backoff = Backoff::new(RESUME_RETRY.0, RESUME_RETRY.1);
        loop {
            let waiting = tokio::time::sleep(backoff.next_wait());
            if start.tokens.stop.run_until_cancelled(waiting).await.is_none() {
                return;
            }
            let Some(resumed) = start.tokens.stop.run_until_cancelled(self.resume(&start.spec)).await else {
                return;
            };
            match resumed {
                Ok(checkpoint) => return self.start_shown(start, checkpoint).await,
                Err(ResumeError::TakenOver { .. }) => return,
                Err(_shown) => {}
            }
        }
    }

    async fn start_shown(&self, start: CameraStart, checkpoint: Option<Checkpoint>) {
        let (id, stream) = (start.spec.id.clone(), start.spec.stream.clone());
        match self.start(start, checkpoint) {
            Ok(running) => self.supervise(running).await,
            Err(error) => self.board.add_camera(&id, &stream).down(error.to_string(), None),
        }
    }
}

/// Returns the watch without the failure of a camera that ends because its token was cancelled.
fn until(watch: Watch, stop: CancellationToken) -> Watch {
    let alive = watch.alive;
    Watch { alive: Box::new(move || stop.is_cancelled() || alive()), ..watch }
}
