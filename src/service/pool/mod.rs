//! Shares the cameras with other workers: runs the step function of the crate `sharing` as one task.
//!
//! The task makes the calls on the tables, starts and ends the cameras that this worker owns, and takes their commits to their owners.
//! The crate `sharing` decides everything; nothing is decided here.

mod actions;
mod config;
mod load;
mod task;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use ::sharing::WhenTableIsAway;

use super::cameras::Fleet;
use crate::delivery::{OwnerCommitRequest, SharedDelivery};
use crate::sharing::PoolTable;
use crate::status::{StatusBoard, Watch};
pub(super) use config::SharedConfig;
use task::PoolTask;

/// Capacity of the queue of commits to the owners. A commit waits for its answer, so each camera has one at most.
pub(super) const MAX_REQUESTS: usize = 1_024;

/// The parts of a worker.
pub(super) struct PoolParts {
    /// The tables.
    pub(super) table: PoolTable,
    /// The behaviour while the table does not answer.
    pub(super) when_away: WhenTableIsAway,
    /// The cameras of the configuration.
    pub(super) config: SharedConfig,
    /// The cameras of this worker; none yet.
    pub(super) fleet: Fleet,
    /// Their delivery.
    pub(super) delivery: Arc<SharedDelivery>,
    /// The status of the service.
    pub(super) board: StatusBoard,
    /// Their commits.
    pub(super) requests: mpsc::Receiver<OwnerCommitRequest>,
}

/// A command to the task.
enum PoolCommand {
    /// Another configuration is in force.
    Config { config: SharedConfig, done: oneshot::Sender<()> },
    /// Hand all cameras over, and free those that are left after this time.
    Drain { within: Duration },
}

/// The running task of a worker.
pub(super) struct PoolHandle {
    commands: mpsc::Sender<PoolCommand>,
    task: JoinHandle<Fleet>,
}

impl PoolHandle {
    /// Joins the pool.
    pub(super) fn start(parts: PoolParts) -> Self {
        let (commands, receiver) = mpsc::channel(1);
        let board = parts.board.clone();
        let task = tokio::spawn(PoolTask::new(parts, receiver).run());
        let liveness = task.abort_handle();
        board.add_watch(Watch {
            name: "pool".to_owned(),
            alive: Box::new(move || !liveness.is_finished()),
            busy_since: Box::new(|| None),
            limit: Duration::MAX,
        });
        Self { commands, task }
    }

    /// Applies another configuration: cameras of this worker that differ are started again.
    pub(super) async fn set_config(&self, config: SharedConfig) {
        let (done, applied) = oneshot::channel();
        // The task ends only after `stop`.
        if self.commands.send(PoolCommand::Config { config, done }).await.is_ok() {
            let _applied = applied.await;
        }
    }

    /// Hands all cameras over and leaves the pool. Returns the fleet, whose cameras have ended or are ending; `None`: the task panicked,
    /// or did not end in time.
    pub(super) async fn stop(self, within: Duration) -> Option<Fleet> {
        // An error means that the task has ended.
        let _asked = self.commands.send(PoolCommand::Drain { within }).await;
        let abort = self.task.abort_handle();
        let ended = tokio::time::timeout(within + LEAVE_LIMIT, self.task).await;
        if ended.is_err() {
            abort.abort();
        }
        ended.ok()?.ok()
    }
}

/// The time in which a worker whose cameras are all handed over leaves the pool.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
