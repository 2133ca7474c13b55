//! The handle of a model's threads: has them load their engines, sends them requests, waits for the results, and ends them.
//!
//! `run` has one thread per model. `replay` may have several, each with a session of its own, which take requests off one queue.

use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot};

use super::batching::{self, BatchHandler, InferenceRequest, JobResult, RequestQueue, WorkerLiveness};
use super::device_loss::DeviceLoss;
use super::error::DetectError;
use crate::base::lock;

/// The maximum number of waiting requests; a further caller waits for a place. No process has as many cameras.
pub(super) const QUEUE: usize = 1024;

/// A model's threads. They end with [`Self::stop`], or when this handle is dropped.
pub(super) struct ModelWorker<J, F> {
    model: String,
    places: Arc<Semaphore>,
    requests: Mutex<Option<SyncSender<InferenceRequest<J, F>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// One per thread.
    liveness: Vec<Arc<WorkerLiveness>>,
    loss: Arc<DeviceLoss>,
}

/// An engine that a model's thread has loaded.
pub(super) struct LoadedEngine<L, T> {
    /// It never leaves the thread: CUDA keeps handles and captured graphs per thread.
    pub(super) engine: L,
    /// The facts for the handle of the model.
    pub(super) facts: T,
}

/// The load of an engine, which each thread of a model runs.
type EngineLoad<L, T> = Arc<dyn Fn() -> Result<LoadedEngine<L, T>, DetectError> + Send + Sync>;

impl<J: Send + 'static, F: Send + 'static> ModelWorker<J, F> {
    /// Starts the threads `TASK-MODEL`, each of which loads an engine and runs it; `threads` returns their number from the facts about
    /// the first one. Returns these facts too. Blocks until all engines are loaded. A lost GPU is reported to `loss`.
    ///
    /// # Errors
    /// Those of `load`, and [`DetectError::Thread`]; the threads that were started before end. A panic of `load` is one of the caller.
    pub(super) fn open<L, T>(
        task: &str,
        model: &str,
        loss: Arc<DeviceLoss>,
        load: impl Fn() -> Result<LoadedEngine<L, T>, DetectError> + Send + Sync + 'static,
        threads: impl FnOnce(&T) -> usize,
    ) -> Result<(Self, T), DetectError>
    where
        L: BatchHandler<Job = J, Output = F> + 'static,
        T: Send + 'static,
    {
        let (requests, queue) = sync_channel(QUEUE);
        let queue = Arc::new(RequestQueue::new(queue));
        let mut worker = Self {
            model: model.to_owned(),
            places: Arc::new(Semaphore::new(QUEUE)),
            requests: Mutex::new(Some(requests)),
            threads: Mutex::default(),
            liveness: Vec::new(),
            loss,
        };
        let load: EngineLoad<L, T> = Arc::new(load);
        let facts = worker.add_thread(task, &load, &queue)?;
        for _ in 1..threads(&facts) {
            worker.add_thread(task, &load, &queue)?;
        }
        Ok((worker, facts))
    }

    /// Starts a thread that loads an engine and runs it; returns the facts about the engine once it is loaded.
    fn add_thread<L, T>(
        &mut self,
        task: &str,
        load: &EngineLoad<L, T>,
        queue: &Arc<RequestQueue<J, F>>,
    ) -> Result<T, DetectError>
    where
        L: BatchHandler<Job = J, Output = F> + 'static,
        T: Send + 'static,
    {
        let liveness = Arc::new(WorkerLiveness::new(Arc::clone(&self.loss)));
        let (sender, loaded) = sync_channel(1);
        let (load, queue, name) = (Arc::clone(load), Arc::clone(queue), self.model.clone());
        let alive = Arc::clone(&liveness);
        let work = move || match load() {
            Ok(LoadedEngine { mut engine, facts }) => {
                // The caller waits for it.
                drop(sender.send(Ok(facts)));
                batching::run(&name, &queue, &mut engine, &alive);
            }
            Err(error) => drop(sender.send(Err(error))),
        };
        let thread = spawn(task, &self.model, work)?;
        match loaded.recv() {
            Ok(Ok(facts)) => {
                lock(&self.threads).push(thread);
                self.liveness.push(liveness);
                Ok(facts)
            }
            Ok(Err(error)) => {
                drop(thread.join());
                Err(error)
            }
            Err(_panicked) => match thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => Err(DetectError::Ended { model: self.model.clone() }),
            },
        }
    }

    /// Returns the result for one job. Dropping the future cancels the request if its inference has not begun.
    ///
    /// # Errors
    /// Those of the inference, and [`DetectError::Ended`].
    pub(super) async fn ask(&self, job: J) -> JobResult<F> {
        let ended = || DetectError::Ended { model: self.model.clone() };
        // The semaphore, not the channel, is the bound: `send` would block the async caller.
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| ended())?;
        let (answer, answered) = oneshot::channel();
        let requests = lock(&self.requests).clone().ok_or_else(ended)?;
        requests.send(InferenceRequest { job, answer, place }).map_err(|_| ended())?;
        // While this caller waits, a clone of the sender would keep the thread from ending.
        drop(requests);
        answered.await.map_err(|_| ended())?
    }
}

impl<J, F> ModelWorker<J, F> {
    /// Returns whether all threads run.
    pub(super) fn is_alive(&self) -> bool {
        let threads = lock(&self.threads);
        !threads.is_empty() && threads.iter().all(|thread| !thread.is_finished())
    }

    /// Returns the time at which the oldest running batch began; `None` while all threads wait.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.liveness.iter().filter_map(|liveness| liveness.busy_since()).min()
    }

    /// Refuses new requests, answers the waiting ones, and ends the threads. Blocks until then.
    pub(super) fn stop(&self) {
        // First, so that callers that wait for a place return instead of sending to a closed queue.
        self.places.close();
        drop(lock(&self.requests).take());
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            drop(thread.join());
        }
    }
}

impl<J, F> Drop for ModelWorker<J, F> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(
    task: &str,
    model: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, DetectError> {
    // `spawn` panics at a name with a NUL.
    let named = thread::Builder::new().name(format!("{task}-{}", model.replace('\0', "")));
    named
        .spawn(work)
        .map_err(|error| DetectError::Thread { model: model.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::detect::batching::{DetectJob, JobDetections};

    /// An engine that must stay on its thread, as the compiler sees to it.
    struct Pinned {
        _is_not_send: Rc<()>,
    }

    impl BatchHandler for Pinned {
        type Job = DetectJob;
        type Output = JobDetections;

        fn taken(&self, waiting: usize) -> usize {
            waiting
        }

        fn infer_batch(&mut self, jobs: &[DetectJob]) -> Vec<JobResult<JobDetections>> {
            jobs.iter().map(|_| Ok(Vec::new())).collect()
        }
    }

    fn loaded() -> LoadedEngine<Pinned, Option<String>> {
        LoadedEngine {
            engine: Pinned { _is_not_send: Rc::default() },
            facts: thread::current().name().map(str::to_owned),
        }
    }

    #[test]
    fn each_thread_loads_its_engine_itself() {
        let loads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&loads);
        let load = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(loaded())
        };
        let (worker, name) = ModelWorker::open("detect", "street", Arc::default(), load, |_| 3).unwrap();
        assert_eq!(name.as_deref(), Some("detect-street"));
        assert_eq!((loads.load(Ordering::Relaxed), worker.is_alive()), (3, true));
        worker.stop();
        assert!(!worker.is_alive());
    }

    #[test]
    fn a_load_that_fails_or_panics_is_the_result() {
        let failure = DetectError::Ended { model: "street".to_owned() };
        let failed = failure.clone();
        let fails = move || Err::<LoadedEngine<Pinned, ()>, _>(failed.clone());
        let opened = ModelWorker::open("detect", "street", Arc::default(), fails, |()| 1);
        assert_eq!(opened.map(|_| ()).unwrap_err(), failure);
        let panics = || -> Result<LoadedEngine<Pinned, ()>, DetectError> { panic!("no such kernel") };
        let opening = AssertUnwindSafe(|| {
            ModelWorker::open("detect", "street", Arc::default(), panics, |()| 1).map(|_| ())
        });
        let panic = catch_unwind(opening).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"no such kernel"));
    }
}
