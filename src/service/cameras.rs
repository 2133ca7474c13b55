//! Starts and ends cameras: each is a task of its own that no other waits for.
//!
//! A camera that knows where to go on starts at once, another when the table of positions answers. One whose
//! configuration has changed ends in order first, and goes on from there.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ServiceError;
use crate::base::Backoff;
use crate::camera::{CameraError, CameraPipeline, CameraResources, EntryModels};
use crate::checkpoint::Checkpoint;
use crate::config::{self, CameraSpec};
use crate::delivery::ResumeError;
use crate::media::CameraId;
use crate::status::StatusBoard;
use crate::status::{Watch, WatchKey};
use crate::telemetry::losses::watch_losses;
use crate::telemetry::service::{CameraBroke, CameraGone};

/// Between two questions to the table of positions: from so much to so much.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What starting a camera takes.
#[derive(Clone)]
pub(super) struct Starter {
    pub(super) shared: CameraResources,
    pub(super) board: StatusBoard,
}

/// A camera, and what it is to do.
struct Member {
    spec: CameraSpec,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A camera to start.
struct Start {
    spec: CameraSpec,
    models: Vec<EntryModels>,
    stop: CancellationToken,
}

/// A camera at work.
struct Started {
    camera: CameraPipeline,
    id: String,
    watches: Vec<WatchKey>,
    stop: CancellationToken,
}

/// All cameras.
pub(super) struct Fleet {
    starter: Starter,
    members: Vec<Member>,
    /// Those that were told to end while the service goes on.
    leaving: Vec<JoinHandle<()>>,
    /// Judges what frames they lose.
    losses: JoinHandle<()>,
}

impl Fleet {
    /// No camera yet.
    pub(super) fn new(starter: Starter) -> Self {
        let losses = tokio::spawn(watch_losses(starter.board.clone(), starter.shared.stop.clone()));
        Self { starter, members: Vec::new(), leaving: Vec::new(), losses }
    }

    /// Starts cameras; those whose position nobody knows yet start by themselves later.
    ///
    /// Errors: what was kept of a camera cannot be used, or the system gives no thread.
    pub(super) async fn start(
        &mut self,
        cameras: Vec<(CameraSpec, Vec<EntryModels>)>,
    ) -> Result<(), ServiceError> {
        for (spec, _) in &cameras {
            self.starter.board.add_camera(&spec.id, &spec.stream);
        }
        let starting = cameras.into_iter().map(|(spec, models)| {
            let start = Start { spec, models, stop: self.starter.shared.stop.child_token() };
            async { (self.starter.resume(&start.spec).await, start) }
        });
        for (resumed, start) in join_all(starting).await {
            let (spec, stop, starter) = (start.spec.clone(), start.stop.clone(), self.starter.clone());
            let task = match resumed {
                Ok(checkpoint) => {
                    let started = starter.start(start, checkpoint)?;
                    tokio::spawn(async move { starter.accompany(started).await })
                }
                Err(ResumeError::Unknown { .. }) => tokio::spawn(starter.start_later(start)),
                Err(error) => return Err(error.into()),
            };
            self.members.push(Member { spec, stop, task });
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Adds a camera; it starts by itself.
    pub(super) fn add(&mut self, spec: CameraSpec, models: Vec<EntryModels>) {
        self.starter.board.add_camera(&spec.id, &spec.stream);
        self.spawn(spec, models, None);
    }

    /// Has a camera end in order and begin again as `spec` says, where it ended.
    pub(super) fn change(&mut self, spec: CameraSpec, models: Vec<EntryModels>) {
        let Some(at) = self.members.iter().position(|member| member.spec.id == spec.id) else { return };
        let before = self.members.remove(at);
        before.stop.cancel();
        if before.spec.stream != spec.stream {
            self.starter.board.remove_camera(&spec.id);
        }
        self.starter.board.add_camera(&spec.id, &spec.stream);
        self.spawn(spec, models, Some(before.task));
    }

    /// Has a camera end in order; it is shown no more.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(at) = self.members.iter().position(|member| member.spec.id.as_str() == id) else { return };
        let member = self.members.remove(at);
        member.stop.cancel();
        self.starter.board.remove_camera(&member.spec.id);
        CameraGone { camera: id }.emit();
        self.leaving.retain(|task| !task.is_finished());
        self.leaving.push(member.task);
    }

    /// Resolves when all have ended, after the token was cancelled.
    pub(super) async fn stopped(self) {
        let members = self.members.into_iter().map(|member| member.task);
        join_all(members.chain(self.leaving).chain([self.losses])).await;
    }

    fn spawn(&mut self, spec: CameraSpec, models: Vec<EntryModels>, before: Option<JoinHandle<()>>) {
        let stop = self.starter.shared.stop.child_token();
        let start = Start { spec: spec.clone(), models, stop: stop.clone() };
        let starter = self.starter.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // A panic in it was told of by the panic hook.
                let _ended = before.await;
            }
            starter.start_now_or_later(start).await;
        });
        self.members.push(Member { spec, stop, task });
    }
}

impl Starter {
    async fn resume(&self, spec: &CameraSpec) -> Result<Option<Checkpoint>, ResumeError> {
        let resumed = self.shared.outbox.resume(&spec.id).await;
        if let Err(error) = &resumed {
            self.board.add_camera(&spec.id, &spec.stream).down(error.to_string(), None);
        }
        resumed
    }

    fn start(&self, start: Start, checkpoint: Option<Checkpoint>) -> Result<Started, CameraError> {
        let Start { spec, models, stop } = start;
        let id = spec.id.to_string();
        let place = self.board.add_camera(&spec.id, &spec.stream);
        let shared = CameraResources { stop: stop.clone(), ..self.shared.clone() };
        self.shared.outbox.attach(&spec.id, stop.clone(), spec.start == config::StartPosition::Now);
        let camera = CameraPipeline::start(spec, models, checkpoint, place, &shared)?;
        let watches = camera.watches(&id).map(|watch| self.board.add_watch(until(watch, stop.clone())));
        Ok(Started { camera, id, watches: watches.to_vec(), stop })
    }

    /// Until it ends. One that was told to is no longer watched.
    async fn accompany(&self, started: Started) {
        let Started { camera, id, watches, stop } = started;
        if let Err(error) = camera.join(&id).await {
            CameraBroke { error }.emit();
        }
        if stop.is_cancelled() {
            watches.into_iter().for_each(|watch| self.board.remove_watch(watch));
        }
        let taken_over = self.shared.outbox.taken_over(&CameraId::new(&id));
        if let Some((by, place)) = taken_over.zip(self.board.camera(&id)) {
            place.down(by.to_string(), None);
        }
    }

    async fn start_now_or_later(self, start: Start) {
        if start.stop.is_cancelled() {
            return;
        }
        match self.resume(&start.spec).await {
            Ok(checkpoint) => self.start_shown(start, checkpoint).await,
            Err(ResumeError::TakenOver { .. }) => {}
            Err(_shown) => self.start_later(start).await,
        }
    }

    /// Until it is told to stop. What stands in its way is shown on the board.
    async fn start_later(self, start: Start) {
        let mut backoff = Backoff::new(ASK_AGAIN.0, ASK_AGAIN.1);
        loop {
            let waiting = tokio::time::sleep(backoff.next_wait());
            if start.stop.run_until_cancelled(waiting).await.is_none() {
                return;
            }
            match self.resume(&start.spec).await {
                Ok(checkpoint) => return self.start_shown(start, checkpoint).await,
                Err(ResumeError::TakenOver { .. }) => return,
                Err(_shown) => {}
            }
        }
    }

    async fn start_shown(&self, start: Start, checkpoint: Option<Checkpoint>) {
        let (id, stream) = (start.spec.id.clone(), start.spec.stream.clone());
        match self.start(start, checkpoint) {
            Ok(started) => self.accompany(started).await,
            Err(error) => self.board.add_camera(&id, &stream).down(error.to_string(), None),
        }
    }
}

/// The same watch; who was told to stop is no fault.
fn until(watch: Watch, stop: CancellationToken) -> Watch {
    let alive = watch.alive;
    Watch { alive: Box::new(move || stop.is_cancelled() || alive()), ..watch }
}
