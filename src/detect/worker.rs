//! A model's thread: collects requests to batches and answers them.
//!
//! Requests are answered in the order in which they came. A camera has at most one request in flight, since its decide task
//! waits for the answers about a frame before it asks about the next: so the order is fair between cameras, and no more
//! requests wait than cameras use the model. A request may ask for several thresholds: entries of a camera with one model
//! share the inference.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::DetectError;
use super::spec::Thresholds;
use crate::media::{Detection, Frame};
use crate::telemetry::detect::FrameFailed;

/// What a detector finds, by each of the request's thresholds.
pub(super) type Found = Vec<Vec<Detection>>;

/// What a request gets.
pub(super) type Answer<F = Found> = Result<F, DetectError>;

/// A frame to look at.
pub(super) struct Job {
    pub(super) frame: Arc<Frame>,
    /// One answer is made by each.
    pub(super) thresholds: Vec<Thresholds>,
}

/// Something to do with a frame.
pub(super) trait OfFrame {
    /// The frame.
    fn frame(&self) -> &Frame;
}

impl OfFrame for Job {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// A job and who waits for it.
pub(super) struct Request<J = Job, F = Found> {
    pub(super) job: J,
    pub(super) answer: oneshot::Sender<Answer<F>>,
    /// Its place in the queue; free again when the request is answered.
    pub(super) place: OwnedSemaphorePermit,
}

/// Something that looks at batches; a model, or a test's stand-in.
pub(super) trait Look {
    /// What it looks at.
    type Job: OfFrame;
    /// What it finds there.
    type Found;

    /// One answer a job, in order.
    fn look(&mut self, jobs: &[Self::Job]) -> Vec<Answer<Self::Found>>;
}

/// How requests become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Frames of a batch at most.
    pub most: usize,
    /// How long a batch that is not full waits for more, while more than one request came at once.
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
pub(super) fn run<L: Look>(
    model: &str,
    requests: &Receiver<Request<L::Job, L::Found>>,
    batching: Batching,
    engine: &mut L,
    pulse: &Pulse,
) {
    let mut crowded = false;
    while let Ok(first) = requests.recv() {
        let batch = collect(requests, first, batching, crowded);
        crowded = batch.len() > 1;
        answer(model, batch, engine, pulse);
    }
}

/// What waits in the queue, up to a batch. Where others are at work too, it waits a little for them.
fn collect<J, F>(
    requests: &Receiver<Request<J, F>>,
    first: Request<J, F>,
    batching: Batching,
    crowded: bool,
) -> Vec<Request<J, F>> {
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
fn answer<L: Look>(model: &str, mut batch: Vec<Request<L::Job, L::Found>>, engine: &mut L, pulse: &Pulse) {
    batch.retain(|request| !request.answer.is_closed());
    if batch.is_empty() {
        return;
    }
    let (jobs, waiting): (Vec<L::Job>, Vec<_>) =
        batch.into_iter().map(|request| (request.job, (request.answer, request.place))).unzip();
    pulse.set(Some(Instant::now()));
    let looked = catch_unwind(AssertUnwindSafe(|| engine.look(&jobs)));
    pulse.set(None);
    let answers = looked.unwrap_or_else(|panic| panicked(model, jobs.len(), &*panic));
    for ((job, (waiting, place)), answer) in jobs.iter().zip(waiting).zip(answers) {
        if let Err(error) = &answer {
            FrameFailed { model, camera: job.frame().camera.as_str(), error }.emit();
        }
        drop(place);
        drop(waiting.send(answer));
    }
}

fn panicked<F>(model: &str, jobs: usize, panic: &(dyn Any + Send)) -> Vec<Answer<F>> {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let error = DetectError::Inference { model: model.to_owned(), reason: format!("it panicked: {said}") };
    (0..jobs).map(|_| Err(error.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::{Duration, Instant};

    use tokio::sync::{Semaphore, oneshot};

    use super::{Answer, Batching, Found, Job, Look, Pulse, Request, collect, run};
    use crate::detect::{DetectError, Thresholds};
    use crate::media::{
        BBox, CameraId, Color, Detection, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface,
    };

    const THRESHOLDS: Thresholds = Thresholds { conf: 0.5, nms_iou: 0.5 };
    const FOUR: Batching = Batching { most: 4, wait: Duration::ZERO };

    fn frame(camera: &str) -> Arc<Frame> {
        let color = Color { matrix: Matrix::Bt709, full_range: false };
        let picture = HostPicture::from_planes((1, 1), [vec![0], vec![0], vec![0]], [1; 3], color).unwrap();
        Arc::new(Frame {
            camera: CameraId::new(camera),
            fragment: Arc::new(Fragment { number: Arc::from("1"), producer_ms: None, server_ms: None }),
            index: 0,
            media: MediaMs(0),
            arrived: Instant::now(),
            surface: Surface::Host(picture),
        })
    }

    fn request(camera: &str) -> (Request, oneshot::Receiver<Answer>) {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (answer, answered) = oneshot::channel();
        (Request { job: Job { frame: frame(camera), thresholds: vec![THRESHOLDS] }, answer, place }, answered)
    }

    fn queued(cameras: &[&str]) -> (SyncSender<Request>, Receiver<Request>, Vec<oneshot::Receiver<Answer>>) {
        let (sender, queue) = sync_channel(64);
        let mut answers = Vec::new();
        for camera in cameras {
            let (request, answered) = request(camera);
            sender.send(request).unwrap();
            answers.push(answered);
        }
        (sender, queue, answers)
    }

    /// Answers with the camera's name; fails for `bad`, panics for `worse`; remembers the batches.
    #[derive(Default)]
    struct Echo {
        batches: Vec<Vec<String>>,
    }

    impl Look for Echo {
        type Job = Job;
        type Found = Found;

        fn look(&mut self, jobs: &[Job]) -> Vec<Answer> {
            let cameras: Vec<_> = jobs.iter().map(|job| job.frame.camera.to_string()).collect();
            self.batches.push(cameras.clone());
            let one = |camera: &String| match camera.as_str() {
                "worse" => panic!("no picture like this"),
                "bad" => Err(DetectError::Inference { model: "m".into(), reason: "bad frame".into() }),
                name => Ok(vec![vec![seen(name)]]),
            };
            cameras.iter().map(one).collect()
        }
    }

    fn seen(label: &str) -> Detection {
        Detection {
            label: Arc::from(label),
            conf: 1.0,
            bbox: BBox { x1: 0.0, y1: 0.0, x2: 1.0, y2: 1.0 },
            reading: None,
        }
    }

    #[test]
    fn each_gets_its_own_answer_in_batches_in_order() {
        let (sender, queue, answers) = queued(&["a", "b", "c", "d", "e", "f"]);
        drop(sender);
        let mut echo = Echo::default();
        run("m", &queue, FOUR, &mut echo, &Pulse::default());
        assert_eq!(echo.batches, [vec!["a", "b", "c", "d"], vec!["e", "f"]]);
        for (mut answer, name) in answers.into_iter().zip(["a", "b", "c", "d", "e", "f"]) {
            assert_eq!(answer.try_recv().unwrap(), Ok(vec![vec![seen(name)]]));
        }
    }

    #[test]
    fn an_error_and_a_panic_stay_with_their_request() {
        let (sender, queue, mut answers) = queued(&["a", "bad", "worse", "b"]);
        drop(sender);
        let one_by_one = Batching { most: 1, wait: Duration::ZERO };
        run("m", &queue, one_by_one, &mut Echo::default(), &Pulse::default());
        let got: Vec<Answer> = answers.iter_mut().map(|answer| answer.try_recv().unwrap()).collect();
        assert_eq!(got[0], Ok(vec![vec![seen("a")]]));
        assert!(got[1].clone().unwrap_err().to_string().contains("bad frame"));
        let panicked = got[2].clone().unwrap_err().to_string();
        assert!(
            panicked.contains("model m: inference failed: it panicked: no picture like this"),
            "{panicked}"
        );
        assert_eq!(got[3], Ok(vec![vec![seen("b")]]));
    }

    #[test]
    fn a_request_that_nobody_waits_for_is_not_looked_at() {
        let (sender, queue, mut answers) = queued(&["a", "gone", "b"]);
        drop(sender);
        drop(answers.remove(1));
        let mut echo = Echo::default();
        run("m", &queue, FOUR, &mut echo, &Pulse::default());
        assert_eq!(echo.batches, [vec!["a", "b"]]);
    }

    #[test]
    fn a_batch_waits_only_where_others_are_at_work() {
        let never = Duration::from_secs(3600);
        let (_sender, queue, _answers) = queued(&[]);
        let alone = collect(&queue, request("a").0, Batching { most: 4, wait: never }, false);
        assert_eq!(alone.len(), 1, "one camera alone does not wait");
        let (_sender, queue, _answers) = queued(&["b", "c", "d", "e"]);
        let full = collect(&queue, request("a").0, Batching { most: 4, wait: never }, true);
        assert_eq!(full.len(), 4, "a full batch does not wait");
        let (sender, queue, _answers) = queued(&[]);
        drop(sender);
        let ended = collect(&queue, request("a").0, Batching { most: 4, wait: never }, true);
        assert_eq!(ended.len(), 1, "nobody can come any more");
        let (_sender, queue, _answers) = queued(&["b"]);
        let short = Batching { most: 4, wait: Duration::from_millis(1) };
        assert_eq!(collect(&queue, request("a").0, short, true).len(), 2, "the wait is bounded");
    }

    #[test]
    fn one_that_comes_within_the_wait_joins_the_batch() {
        let (sender, queue, _answers) = queued(&["b"]);
        let late = thread::spawn(move || sender.send(request("c").0).is_ok());
        let batch =
            collect(&queue, request("a").0, Batching { most: 3, wait: Duration::from_secs(3600) }, false);
        assert_eq!(batch.len(), 3);
        assert!(late.join().unwrap());
    }

    /// Tells whether the pulse beats while it looks.
    struct Feeling(Arc<Pulse>, Mutex<Vec<bool>>);

    impl Look for Feeling {
        type Job = Job;
        type Found = Found;

        fn look(&mut self, jobs: &[Job]) -> Vec<Answer> {
            self.1.lock().unwrap().push(self.0.busy_since().is_some());
            jobs.iter().map(|_| Ok(Vec::new())).collect()
        }
    }

    #[test]
    fn the_pulse_tells_when_a_batch_was_begun() {
        let (sender, queue, _answers) = queued(&["a"]);
        drop(sender);
        let pulse = Arc::new(Pulse::default());
        let mut feeling = Feeling(Arc::clone(&pulse), Mutex::default());
        run("m", &queue, FOUR, &mut feeling, &pulse);
        assert_eq!(*feeling.1.lock().unwrap(), [true]);
        assert_eq!(pulse.busy_since(), None);
    }
}
