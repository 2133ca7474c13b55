//! A model's thread: collects requests to batches and answers them.
//!
//! Requests are answered in the order in which they came. A camera has at most one request in flight, since its decide
//! task waits for the answer before it sends the next: so the order is fair between cameras, and the queue is never
//! longer than there are cameras.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::DetectError;
use super::spec::Thresholds;
use crate::frame::{Detection, Frame};
use crate::telemetry::detect::FrameFailed;

/// What a request gets.
pub(super) type Answer = Result<Vec<Detection>, DetectError>;

/// A frame to look at.
pub(super) struct Job {
    pub(super) frame: Arc<Frame>,
    pub(super) thresholds: Thresholds,
}

/// A job and who waits for it.
pub(super) struct Request {
    pub(super) job: Job,
    pub(super) answer: oneshot::Sender<Answer>,
    /// Its place in the queue; free again when the request is answered.
    pub(super) place: OwnedSemaphorePermit,
}

/// Something that looks at batches; a model, or a test's stand-in.
pub(super) trait Look {
    /// One answer a job, in order.
    fn look(&mut self, jobs: &[Job]) -> Vec<Answer>;
}

/// How requests become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Frames of a batch at most.
    pub most: usize,
    /// How long a batch that is not full waits for more, while there is more than one camera at work.
    pub wait: Duration,
}

/// What the worker tells of itself.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    busy_since: Mutex<Option<Instant>>,
}

impl Pulse {
    /// When the batch that is being looked at was begun.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Answers requests until all senders are gone and the queue is empty.
pub(super) fn run(
    model: &str,
    requests: &Receiver<Request>,
    batching: Batching,
    engine: &mut impl Look,
    pulse: &Pulse,
) {
    let mut crowded = false;
    while let Ok(first) = requests.recv() {
        let batch = collect(requests, first, batching, crowded);
        crowded = batch.len() > 1;
        pulse.set(Some(Instant::now()));
        answer(model, batch, engine);
        pulse.set(None);
    }
}

/// What waits in the queue, up to a batch. Where others are at work too, it waits a little for them.
fn collect(requests: &Receiver<Request>, first: Request, batching: Batching, crowded: bool) -> Vec<Request> {
    let mut batch = vec![first];
    let deadline = Instant::now() + batching.wait;
    while batch.len() < batching.most {
        let next = match requests.try_recv() {
            Err(TryRecvError::Empty) if crowded || batch.len() > 1 => {
                requests.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Err(RecvTimeoutError::Timeout),
            Ok(request) => Ok(request),
        };
        let Ok(request) = next else { break };
        batch.push(request);
    }
    batch
}

/// Looks at the batch, without those who wait no longer. A panic is an error of this batch only.
fn answer(model: &str, mut batch: Vec<Request>, engine: &mut impl Look) {
    batch.retain(|request| !request.answer.is_closed());
    if batch.is_empty() {
        return;
    }
    let (jobs, waiting): (Vec<Job>, Vec<_>) =
        batch.into_iter().map(|request| (request.job, (request.answer, request.place))).unzip();
    let looked = catch_unwind(AssertUnwindSafe(|| engine.look(&jobs)));
    let answers = looked.unwrap_or_else(|panic| panicked(model, &jobs, &*panic));
    for ((job, (waiting, place)), answer) in jobs.iter().zip(waiting).zip(answers) {
        if let Err(error) = &answer {
            FrameFailed { model, camera: job.frame.camera.as_str(), error }.emit();
        }
        drop(place);
        drop(waiting.send(answer));
    }
}

fn panicked(model: &str, jobs: &[Job], panic: &(dyn Any + Send)) -> Vec<Answer> {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let error = DetectError::Inference { model: model.to_owned(), reason: format!("it panicked: {said}") };
    jobs.iter().map(|_| Err(error.clone())).collect()
}
