//! The handle of a model's thread: sends it requests, waits for the results, and ends it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot};

use super::batching::{self, BatchHandler, Batching, InferenceRequest, JobResult, WorkerLiveness};
use super::error::DetectError;

/// The maximum number of waiting requests; a further caller waits for a place. No process has as many cameras.
const QUEUE: usize = 1024;

/// A model's thread. It ends with [`Self::stop`], or when this handle is dropped.
pub(super) struct ModelWorker<J, F> {
    model: String,
    places: Arc<Semaphore>,
    requests: Mutex<Option<SyncSender<InferenceRequest<J, F>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    liveness: Arc<WorkerLiveness>,
}

impl<J: Send + 'static, F: Send + 'static> ModelWorker<J, F> {
    /// Starts the thread `VERB-MODEL`.
    ///
    /// # Errors
    /// [`DetectError::Thread`].
    pub(super) fn open<L>(verb: &str, model: &str, engine: L, batching: Batching) -> Result<Self, DetectError>
    where
        L: BatchHandler<Job = J, Output = F> + Send + 'static,
    {
        let (requests, queue) = sync_channel(QUEUE);
        let liveness = Arc::new(WorkerLiveness::default());
        let thread = spawn(verb, model, engine, queue, batching, Arc::clone(&liveness))?;
        Ok(Self {
            model: model.to_owned(),
            places: Arc::new(Semaphore::new(QUEUE)),
            requests: Mutex::new(Some(requests)),
            thread: Mutex::new(Some(thread)),
            liveness,
        })
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
    /// Returns whether the thread runs.
    pub(super) fn is_alive(&self) -> bool {
        lock(&self.thread).as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Returns the time at which the running batch began; `None` while the thread waits.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.liveness.busy_since()
    }

    /// Refuses new requests, answers the waiting ones, and ends the thread. Blocks until then.
    pub(super) fn stop(&self) {
        // First, so that callers that wait for a place return instead of sending to a closed queue.
        self.places.close();
        drop(lock(&self.requests).take());
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
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
    queue: Receiver<InferenceRequest<L::Job, L::Output>>,
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
