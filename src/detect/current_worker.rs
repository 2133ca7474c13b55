//! The worker of a model, which another one may replace while requests arrive.

use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::error::DetectError;
use super::model_worker::ModelWorker;
use crate::base::lock;

/// A worker and the facts about its engine.
pub(super) struct LoadedWorker<J, F, T> {
    pub(super) worker: ModelWorker<J, F>,
    pub(super) facts: T,
}

/// The worker that answers the requests of a model.
pub(super) struct CurrentWorker<J, F, T> {
    state: Mutex<WorkerState<J, F, T>>,
}

struct WorkerState<J, F, T> {
    current: Arc<LoadedWorker<J, F, T>>,
    /// The worker before, until it has answered its last requests: if it hangs then, the model does.
    replaced: Option<Arc<LoadedWorker<J, F, T>>>,
    is_stopped: bool,
}

impl<J: Clone + Send + 'static, F: Send + 'static, T> CurrentWorker<J, F, T> {
    /// Returns the result for one job, and the worker that made it. Dropping the future cancels the request if its inference has not
    /// begun.
    ///
    /// # Errors
    /// Those of [`ModelWorker::ask`].
    pub(super) async fn ask(&self, job: J) -> Result<(F, Arc<LoadedWorker<J, F, T>>), DetectError> {
        loop {
            let asked = self.get();
            match asked.worker.ask(job.clone()).await {
                // It was replaced before it took the request.
                Err(DetectError::Ended { .. }) if !Arc::ptr_eq(&asked, &self.get()) => {}
                answer => return answer.map(|answer| (answer, asked)),
            }
        }
    }
}

impl<J, F, T> CurrentWorker<J, F, T> {
    pub(super) fn new(first: LoadedWorker<J, F, T>) -> Self {
        let state = WorkerState { current: Arc::new(first), replaced: None, is_stopped: false };
        Self { state: Mutex::new(state) }
    }

    /// Returns the current worker.
    pub(super) fn get(&self) -> Arc<LoadedWorker<J, F, T>> {
        Arc::clone(&lock(&self.state).current)
    }

    /// Has another worker answer the next requests; `false`: the model was stopped. Blocks until the worker before has answered its
    /// requests.
    pub(super) fn replace(&self, next: LoadedWorker<J, F, T>) -> bool {
        let mut state = lock(&self.state);
        if state.is_stopped {
            // Without the lock, which requests take.
            drop(state);
            next.worker.stop();
            return false;
        }
        let replaced = mem::replace(&mut state.current, Arc::new(next));
        state.replaced = Some(Arc::clone(&replaced));
        drop(state);
        replaced.worker.stop();
        lock(&self.state).replaced = None;
        true
    }

    /// Returns the time at which the oldest running batch began; `None` while nothing is inferred.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let workers = [Some(&state.current), state.replaced.as_ref()];
        workers.into_iter().flatten().filter_map(|loaded| loaded.worker.busy_since()).min()
    }

    /// Refuses new requests, answers the waiting ones, and ends the threads. Blocks until then.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        state.is_stopped = true;
        let workers = [Some(Arc::clone(&state.current)), state.replaced.clone()];
        drop(state);
        workers.iter().flatten().for_each(|loaded| loaded.worker.stop());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use tokio::task::yield_now;

    use super::super::batching::testing::job;
    use super::super::batching::{BatchHandler, DetectJob, JobDetections, JobResult};
    use super::super::device_loss::DeviceLoss;
    use super::super::model_worker::{LoadedEngine, QUEUE};
    use super::*;

    type TestWorker = LoadedWorker<DetectJob, JobDetections, usize>;

    /// Answers each job with a number of empty lists, as soon as the gate lets it.
    struct Lists {
        count: usize,
        began: Sender<()>,
        gate: Option<Receiver<()>>,
    }

    impl BatchHandler for Lists {
        type Job = DetectJob;
        type Output = JobDetections;

        fn taken(&self, _waiting: usize) -> usize {
            1
        }

        fn infer_batch(&mut self, jobs: &[DetectJob]) -> Vec<JobResult> {
            // No one waits for it in most tests.
            self.began.send(()).ok();
            if let Some(gate) = &self.gate {
                // Opened by the drop of its sender.
                gate.recv().unwrap_err();
            }
            jobs.iter().map(|_| Ok(vec![Vec::new(); self.count])).collect()
        }
    }

    fn worker(count: usize) -> TestWorker {
        open(count, channel().0, None)
    }

    fn open(count: usize, began: Sender<()>, gate: Option<Receiver<()>>) -> TestWorker {
        let engine = Mutex::new(Some(Lists { count, began, gate }));
        let load = move || Ok(LoadedEngine { engine: lock(&engine).take().unwrap(), facts: count });
        let (worker, facts) =
            ModelWorker::open("detect", "m", Arc::<DeviceLoss>::default(), load, |_| 1).unwrap();
        LoadedWorker { worker, facts }
    }

    /// Returns the number of lists in the answer, and the facts about the worker that made it.
    async fn asked(current: &CurrentWorker<DetectJob, JobDetections, usize>) -> (usize, usize) {
        let (lists, worker) = current.ask(job("a")).await.unwrap();
        (lists.len(), worker.facts)
    }

    #[tokio::test]
    async fn requests_go_to_the_worker_that_replaced_another() {
        let current = CurrentWorker::new(worker(1));
        assert_eq!(asked(&current).await, (1, 1));
        let before = current.get();
        assert!(current.replace(worker(2)));
        assert_eq!(asked(&current).await, (2, 2));
        assert!(!before.worker.is_alive() && current.get().worker.is_alive());
    }

    /// Requests for which the queue has no place.
    const BEYOND: usize = 6;

    #[tokio::test]
    async fn requests_at_the_replacement_are_answered_by_either_worker() {
        let (began, begins) = channel();
        let (open_gate, gate) = channel();
        let current = Arc::new(CurrentWorker::new(open(1, began, Some(gate))));
        let sent = Arc::new(AtomicUsize::new(0));
        let asks: Vec<_> = (0..QUEUE + BEYOND)
            .map(|_| {
                let (current, sent) = (Arc::clone(&current), Arc::clone(&sent));
                tokio::spawn(async move {
                    sent.fetch_add(1, Ordering::Relaxed);
                    asked(&current).await
                })
            })
            .collect();
        while sent.load(Ordering::Relaxed) < asks.len() {
            yield_now().await;
        }
        begins.recv().unwrap();
        let replaced = thread::spawn({
            let current = Arc::clone(&current);
            move || current.replace(worker(2))
        });
        while current.get().facts == 1 {
            yield_now().await;
        }
        assert!(current.busy_since().is_some(), "the worker before is still at work");
        assert_eq!(asked(&current).await, (2, 2), "the next one does not wait for it");
        drop(open_gate);
        let mut answered = [0; 2];
        for ask in asks {
            let (lists, facts) = ask.await.unwrap();
            assert_eq!(lists, facts, "an answer names the worker that made it");
            answered[facts - 1] += 1;
        }
        assert_eq!(answered, [QUEUE, BEYOND], "what the first one refused when it ended is asked again");
        assert!(replaced.join().unwrap());
        assert_eq!(current.busy_since(), None);
    }

    #[tokio::test]
    async fn a_stopped_model_is_not_replaced() {
        let current = CurrentWorker::new(worker(1));
        current.stop();
        assert!(!current.replace(worker(2)));
        assert!(!current.get().worker.is_alive());
        let refused = current.ask(job("a")).await.map(|(lists, _)| lists);
        assert_eq!(refused, Err(DetectError::Ended { model: "m".to_owned() }));
    }
}
