//! Tries a model that fell back to the CPU on the GPU again, until that works.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use super::loaded_model::LoadedModel;
use super::model_rows::{DegradedReason, ModelRows, ShownModel};
use crate::base::lock;
use crate::detect::{CpuFallback, DetectError, Device};
use crate::status::{LoadThread, StatusBoard};
use crate::telemetry::Gpus;
use crate::telemetry::detect::{GpuRegained, GpuRetryFailed};
use crate::telemetry::service::{AbandonedLoadEnded, LoadAbandoned};

/// The time until the first try: a GPU that was only busy at the start is free soon.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest time between two tries.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// The name of the thread, before the model's and the number of a GPU that is not the first.
const TASK: &str = "gpu";

/// The right to try on a GPU, which one model has at a time: tries at once would compete for the memory of the GPU, and one that hangs holds
/// up the others instead of adding a thread that hangs as well.
#[derive(Clone, Default)]
pub(super) struct RetryTurn(Arc<Mutex<()>>);

/// The thread `gpu-MODEL` (`gpu@N-MODEL` for GPU N, from 1), which ends with the first try that works, without a GPU, or when this handle is dropped.
///
/// The drop does not wait for a try under way, because ONNX Runtime cannot be interrupted: it is abandoned like another load.
pub(super) struct GpuRetry {
    attempt: Arc<GpuAttemptCell>,
    board: StatusBoard,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
}

/// The attempt of the thread, which it shares with its handle.
#[derive(Default)]
struct GpuAttemptCell(Mutex<GpuAttempt>);

#[derive(Default)]
enum GpuAttempt {
    #[default]
    Waiting,
    Running(Arc<LoadThread>),
    /// The handle was dropped.
    Unwanted,
}

impl GpuAttemptCell {
    /// Begins a try; `None`: the handle was dropped.
    fn begin(&self, task: &str, model: &str) -> Option<RunningGpuAttempt<'_>> {
        let mut attempt = lock(&self.0);
        if matches!(*attempt, GpuAttempt::Unwanted) {
            return None;
        }
        let thread = Arc::new(LoadThread::new(task, model));
        *attempt = GpuAttempt::Running(Arc::clone(&thread));
        Some(RunningGpuAttempt { cell: self, thread })
    }
}

/// A guard of a try: its drop, also by a panic, marks the try as ended.
struct RunningGpuAttempt<'a> {
    cell: &'a GpuAttemptCell,
    thread: Arc<LoadThread>,
}

impl Drop for RunningGpuAttempt<'_> {
    fn drop(&mut self) {
        let mut attempt = lock(&self.cell.0);
        if matches!(*attempt, GpuAttempt::Running(_)) {
            *attempt = GpuAttempt::Waiting;
        }
        drop(attempt);
        if self.thread.end() {
            AbandonedLoadEnded { model: &self.thread.model, after: self.thread.age() }.emit();
        }
    }
}

impl GpuRetry {
    /// Starts the thread for a model that fell back; `None`: it did not, this ONNX Runtime has no CUDA, or the system grants no thread.
    pub(super) fn start(
        shown: &ShownModel,
        rows: &ModelRows,
        board: &StatusBoard,
        turn: &RetryTurn,
    ) -> Option<Self> {
        let model = &shown.model;
        // A build without CUDA is a choice.
        let fallback = model.fallback().filter(|fallback| fallback.has_cuda)?;
        let (attempt, (stop, stopped)) = (Arc::<GpuAttemptCell>::default(), channel());
        let task_name = Device::Cuda(fallback.gpu).task(TASK);
        let thread_name = format!("{task_name}-{}", model.name().replace('\0', ""));
        let task = RetryTask {
            task_name,
            gpu: fallback.gpu,
            on_cpu: on_cpu(shown.gpu),
            model: model.clone(),
            degraded: Arc::clone(&shown.degraded),
            rows: rows.clone(),
            attempt: Arc::clone(&attempt),
            turn: turn.clone(),
        };
        let named = thread::Builder::new().name(thread_name);
        // Without a thread the model stays on the CPU, as it would without a GPU.
        named.spawn(move || task.run(&fallback, &stopped)).ok()?;
        Some(Self { attempt, board: board.clone(), stop: Some(stop) })
    }
}

impl Drop for GpuRetry {
    fn drop(&mut self) {
        drop(self.stop.take());
        let attempt = std::mem::replace(&mut *lock(&self.attempt.0), GpuAttempt::Unwanted);
        if let GpuAttempt::Running(thread) = attempt
            && self.board.abandon(&thread)
        {
            LoadAbandoned { model: &thread.model, after: thread.age() }.emit();
        }
    }
}

/// The work of the thread.
struct RetryTask {
    /// The name of the thread, before the model's.
    task_name: String,
    /// The index of the GPU that is tried.
    gpu: u32,
    /// The state of the model until a try works, in words.
    on_cpu: String,
    model: LoadedModel,
    degraded: Arc<DegradedReason>,
    rows: ModelRows,
    attempt: Arc<GpuAttemptCell>,
    turn: RetryTurn,
}

impl RetryTask {
    fn run(self, fallback: &CpuFallback, stopped: &Receiver<()>) {
        // A host without a GPU is the usual place of `device: auto` on the CPU.
        if !Gpus::open().has_gpu() {
            return;
        }
        if fallback.is_final() {
            return self.show(Some(self.final_reason(&fallback.reason)));
        }
        self.show(Some(self.retried_reason(&fallback.reason)));
        let mut wait = FIRST_WAIT;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
            let Some(_turn) = self.turn.take() else { continue };
            let Some(attempt) = self.attempt.begin(&self.task_name, &self.model.name()) else { return };
            let moved = self.model.move_to_gpu();
            drop(attempt);
            match moved {
                Ok(()) => return self.regained(),
                Err(error) if error.needs_new_process() => {
                    return self.failed(&error, None, self.final_reason(&error.to_string()));
                }
                Err(error) => {
                    wait = next_wait(wait);
                    self.failed(&error, Some(wait), self.retried_reason(&error.to_string()));
                }
            }
        }
    }

    fn regained(&self) {
        self.show(None);
        // A model that was stopped meanwhile stays where it was.
        if self.model.fallback().is_none() {
            GpuRegained { model: &self.model.name(), gpu: self.gpu }.emit();
        }
    }

    fn failed(&self, error: &DetectError, wait: Option<Duration>, reason: String) {
        GpuRetryFailed { model: &self.model.name(), gpu: self.gpu, error, wait }.emit();
        self.show(Some(reason));
    }

    fn retried_reason(&self, reason: &str) -> String {
        format!("{}; it is tried there again: {reason}", self.on_cpu)
    }

    fn final_reason(&self, reason: &str) -> String {
        format!("{}; restart kvs-infer, since CUDA works again only in a new process: {reason}", self.on_cpu)
    }

    /// Shows the model with the reason for which it does not run on the GPU.
    fn show(&self, reason: Option<String>) {
        *lock(&self.degraded) = reason;
        self.rows.refresh();
    }
}

impl RetryTurn {
    /// Returns the right to try until the guard is dropped; `None`: another model has it.
    fn take(&self) -> Option<MutexGuard<'_, ()>> {
        match self.0.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Returns the state of a model that fell back, in words; `gpu`: the one that it is for, of several.
fn on_cpu(gpu: Option<u32>) -> String {
    let place = gpu.map_or_else(String::new, |gpu| format!(" (cuda:{gpu})"));
    format!("runs on the CPU although this host has a GPU{place}")
}

fn next_wait(wait: Duration) -> Duration {
    (wait * 2).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_become_rarer_up_to_ten_minutes() {
        let waits = std::iter::successors(Some(FIRST_WAIT), |wait| Some(next_wait(*wait)));
        let seconds: Vec<u64> = waits.take(9).map(|wait| wait.as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    }

    fn retry(board: &StatusBoard) -> (GpuRetry, Arc<GpuAttemptCell>, Receiver<()>) {
        let (attempt, (stop, stopped)) = (Arc::<GpuAttemptCell>::default(), channel());
        (GpuRetry { attempt: Arc::clone(&attempt), board: board.clone(), stop: Some(stop) }, attempt, stopped)
    }

    #[test]
    fn a_try_under_way_is_abandoned_and_reported_until_it_ends() {
        let board = StatusBoard::new();
        let (retry, cell, stopped) = retry(&board);
        let attempt = cell.begin(TASK, "street").unwrap();
        assert_eq!(board.load_threads().len(), 0, "a try that someone wants does not count for a reload");
        drop(retry);
        assert_eq!(stopped.recv_timeout(FIRST_WAIT), Err(RecvTimeoutError::Disconnected));
        assert_eq!(board.abandoned_loads(), 1);
        let reasons = board.health().reasons.join("\n");
        assert!(reasons.contains("its thread `gpu-street` still runs"), "{reasons}");
        drop(attempt);
        assert_eq!(board.abandoned_loads(), 0);
        assert!(cell.begin(TASK, "street").is_none(), "no try begins without the handle");
    }

    #[test]
    fn without_a_try_nothing_is_abandoned() {
        let board = StatusBoard::new();
        let (retry, cell, _stopped) = retry(&board);
        drop(cell.begin(TASK, "street").unwrap());
        drop(retry);
        assert_eq!((board.load_threads().len(), board.abandoned_loads()), (0, 0));
    }

    #[test]
    fn one_model_is_tried_at_a_time() {
        let turn = RetryTurn::default();
        let other = turn.clone();
        let taken = turn.take();
        assert!(taken.is_some() && other.take().is_none());
        drop(taken);
        assert!(other.take().is_some());
    }
}
