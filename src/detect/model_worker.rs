//! The handle of a model's threads: sends them requests, waits for the results, and ends them.
//!
//! `run` has one thread per model. `replay` may have several, each with a session of its own, which take requests off one queue.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot};

use super::batching::{
    self, BatchHandler, Batching, InferenceRequest, JobResult, RequestQueue, WorkerLiveness,
};
use super::device_loss::DeviceLoss;
use super::error::DetectError;

/// The maximum number of waiting requests; a further caller waits for a place. No process has as many cameras.
const QUEUE: usize = 1024;

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

impl<J: Send + 'static, F: Send + 'static> ModelWorker<J, F> {
    /// Starts a thread `VERB-MODEL` per engine.
    ///
    /// # Errors
    /// [`DetectError::Thread`]; the threads that were started before end.
    pub(super) fn open<L>(
        verb: &str,
        model: &str,
        engines: Vec<L>,
        batching: Batching,
    ) -> Result<Self, DetectError>
    where
        L: BatchHandler<Job = J, Output = F> + Send + 'static,
    {
        let (requests, queue) = sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let mut worker = Self {
            model: model.to_owned(),
            places: Arc::new(Semaphore::new(QUEUE)),
            requests: Mutex::new(Some(requests)),
            threads: Mutex::default(),
            liveness: Vec::new(),
            loss: Arc::default(),
        };
        for engine in engines {
            let liveness = Arc::new(WorkerLiveness::new(Arc::clone(&worker.loss)));
            let thread = spawn(verb, model, engine, Arc::clone(&queue), batching, Arc::clone(&liveness))?;
            lock(&worker.threads).push(thread);
            worker.liveness.push(liveness);
        }
        Ok(worker)
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

    /// Has the listener called with the reason when the GPU of the model is lost.
    pub(super) fn on_device_lost(&self, listener: impl FnOnce(String) + Send + 'static) {
        self.loss.listen(listener);
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

fn spawn<L>(
    verb: &str,
    model: &str,
    mut engine: L,
    queue: Arc<RequestQueue<L::Job, L::Output>>,
    batching: Batching,
    liveness: Arc<WorkerLiveness>,
) -> Result<JoinHandle<()>, DetectError>
where
    L: BatchHandler + Send + 'static,
    L::Job: Send + 'static,
    L::Output: Send + 'static,
{
    let name = model.to_owned();
    let work = move || batching::run(&name, &queue, batching, &mut engine, &liveness);
    // `spawn` panics at a name with a NUL.
    let named = thread::Builder::new().name(format!("{verb}-{}", model.replace('\0', "")));
    named
        .spawn(work)
        .map_err(|error| DetectError::Thread { model: model.to_owned(), reason: error.to_string() })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
