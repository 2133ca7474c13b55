//! The handle of a model's thread: takes requests in, waits for answers, ends it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot};

use super::error::DetectError;
use super::worker::{self, Answer, Batching, Look, Pulse, Request};

/// Requests that wait at most; a further caller waits for a place. More than one process has cameras.
const QUEUE: usize = 1024;

/// A model's thread, which ends with [`Self::stop`] or when this goes.
pub(super) struct Desk<J, F> {
    model: String,
    places: Arc<Semaphore>,
    requests: Mutex<Option<SyncSender<Request<J, F>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pulse: Arc<Pulse>,
}

impl<J: Send + 'static, F: Send + 'static> Desk<J, F> {
    /// Starts the thread `VERB-MODEL`.
    ///
    /// Errors: [`DetectError::Thread`].
    pub(super) fn open<L>(verb: &str, model: &str, engine: L, batching: Batching) -> Result<Self, DetectError>
    where
        L: Look<Job = J, Found = F> + Send + 'static,
    {
        let (requests, queue) = sync_channel(QUEUE);
        let pulse = Arc::new(Pulse::default());
        let thread = spawn(verb, model, engine, queue, batching, Arc::clone(&pulse))?;
        Ok(Self {
            model: model.to_owned(),
            places: Arc::new(Semaphore::new(QUEUE)),
            requests: Mutex::new(Some(requests)),
            thread: Mutex::new(Some(thread)),
            pulse,
        })
    }

    /// What the thread says of the job. Dropping the future takes the request back, if its inference has not begun.
    ///
    /// Errors: those of the look; [`DetectError::Ended`].
    pub(super) async fn ask(&self, job: J) -> Answer<F> {
        let ended = || DetectError::Ended { model: self.model.clone() };
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| ended())?;
        let (answer, answered) = oneshot::channel();
        let requests = lock(&self.requests).clone().ok_or_else(ended)?;
        requests.send(Request { job, answer, place }).map_err(|_| ended())?;
        drop(requests);
        answered.await.map_err(|_| ended())?
    }
}

impl<J, F> Desk<J, F> {
    pub(super) fn is_alive(&self) -> bool {
        lock(&self.thread).as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// When the batch that is being looked at was begun.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.pulse.busy_since()
    }

    /// Takes no more requests, answers those that wait, and ends the thread; blocks until then.
    pub(super) fn stop(&self) {
        self.places.close();
        drop(lock(&self.requests).take());
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

impl<J, F> Drop for Desk<J, F> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn<L>(
    verb: &str,
    model: &str,
    mut engine: L,
    queue: Receiver<Request<L::Job, L::Found>>,
    batching: Batching,
    pulse: Arc<Pulse>,
) -> Result<JoinHandle<()>, DetectError>
where
    L: Look + Send + 'static,
    L::Job: Send + 'static,
    L::Found: Send + 'static,
{
    let name = model.to_owned();
    let work = move || worker::run(&name, &queue, batching, &mut engine, &pulse);
    let named = thread::Builder::new().name(format!("{verb}-{}", model.replace('\0', "")));
    named
        .spawn(work)
        .map_err(|error| DetectError::Thread { model: model.to_owned(), reason: error.to_string() })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
