//! The loop of a model's thread: collects requests into batches and answers them.
//!
//! Requests are answered in order of arrival. A camera has at most one request in flight, because its task waits for the
//! detections of a frame before it requests the next. So the order is fair between cameras, and at most one request per camera
//! waits. A batch never waits for more requests: they gather while the one before runs. A request may have several thresholds: pipeline entries of a camera that use the same model share the inference.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::device_loss::DeviceLoss;
use super::error::DetectError;
use super::spec::Thresholds;
use crate::base::lock;
use crate::media::{Detection, Frame};
use crate::telemetry::detect::{DeviceLost, FrameFailed};

/// The detections of a frame, one list per threshold of the request.
pub(super) type JobDetections = Vec<Vec<Detection>>;

/// The result for one job of a batch.
pub(super) type JobResult<F = JobDetections> = Result<F, DetectError>;

/// A frame to run the detector on.
#[derive(Clone)]
pub(super) struct DetectJob {
    pub(super) frame: Arc<Frame>,
    /// One list of detections is returned per threshold.
    pub(super) thresholds: Vec<Thresholds>,
}

/// A job about one frame.
pub(super) trait HasFrame {
    /// Returns the frame.
    fn frame(&self) -> &Frame;
}

impl HasFrame for DetectJob {
    fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// A job and the sender of its result.
pub(super) struct InferenceRequest<J = DetectJob, F = JobDetections> {
    pub(super) job: J,
    pub(super) answer: oneshot::Sender<JobResult<F>>,
    /// Its place in the queue; free again when the request is answered.
    pub(super) place: OwnedSemaphorePermit,
}

/// The requests of a model, which its threads take in turn.
pub(super) struct RequestQueue<J = DetectJob, F = JobDetections>(Mutex<WaitingRequests<J, F>>);

struct WaitingRequests<J, F> {
    arriving: Receiver<InferenceRequest<J, F>>,
    /// Those that arrived and have no batch yet, the oldest first.
    arrived: VecDeque<InferenceRequest<J, F>>,
}

impl<J, F> RequestQueue<J, F> {
    /// Returns the queue of the requests that arrive here.
    pub(super) fn new(arriving: Receiver<InferenceRequest<J, F>>) -> Self {
        Self(Mutex::new(WaitingRequests { arriving, arrived: VecDeque::new() }))
    }

    /// Waits for a request and returns the next batch, of as many as `taken` returns for the number of those that wait; `None` when no
    /// request can come any more.
    ///
    /// Another thread waits for the lock meanwhile, instead of the queue.
    fn next_batch(&self, taken: impl Fn(usize) -> usize) -> Option<Vec<InferenceRequest<J, F>>> {
        let mut requests = lock(&self.0);
        let WaitingRequests { arriving, arrived } = &mut *requests;
        loop {
            arrived.extend(arriving.try_iter());
            // A caller that is gone (a camera was removed) has dropped its receiver.
            arrived.retain(|request| !request.answer.is_closed());
            if !arrived.is_empty() {
                let frames = taken(arrived.len()).clamp(1, arrived.len());
                return Some(arrived.drain(..frames).collect());
            }
            arrived.push_back(arriving.recv().ok()?);
        }
    }
}

/// A model that runs on batches, or the stand-in of a test.
pub(super) trait BatchHandler {
    /// The input of one inference.
    type Job: HasFrame;
    /// The output of one inference.
    type Output;

    /// Returns the number of jobs that the next batch takes of those that wait, at least one.
    fn taken(&self, waiting: usize) -> usize;

    /// Returns one result per job, in their order.
    fn infer_batch(&mut self, jobs: &[Self::Job]) -> Vec<JobResult<Self::Output>>;
}

/// The state of a worker's thread, for the health of the service.
#[derive(Default)]
pub(super) struct WorkerLiveness {
    busy_since: Mutex<Option<Instant>>,
    loss: Arc<DeviceLoss>,
}

impl WorkerLiveness {
    /// Returns the state of a thread that waits; a lost GPU is reported to `loss`.
    pub(super) fn new(loss: Arc<DeviceLoss>) -> Self {
        Self { busy_since: Mutex::default(), loss }
    }

    /// Returns the time at which the running batch began; `None` between batches.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        *lock(&self.busy_since)
    }

    fn set(&self, since: Option<Instant>) {
        *lock(&self.busy_since) = since;
    }
}

/// Answers requests until all senders are dropped and the queue is empty. Several threads may do so at once.
pub(super) fn run<L: BatchHandler>(
    model: &str,
    requests: &RequestQueue<L::Job, L::Output>,
    engine: &mut L,
    liveness: &WorkerLiveness,
) {
    while let Some(batch) = requests.next_batch(|waiting| engine.taken(waiting)) {
        answer(model, batch, engine, liveness);
    }
}

/// Runs a batch and sends the answers. A panic fails this batch only.
fn answer<L: BatchHandler>(
    model: &str,
    batch: Vec<InferenceRequest<L::Job, L::Output>>,
    engine: &mut L,
    liveness: &WorkerLiveness,
) {
    let (jobs, waiting): (Vec<L::Job>, Vec<_>) =
        batch.into_iter().map(|request| (request.job, (request.answer, request.place))).unzip();
    liveness.set(Some(Instant::now()));
    // AssertUnwindSafe: after a panic the engine may hold a half-written input, which the next batch overwrites.
    let caught = catch_unwind(AssertUnwindSafe(|| engine.infer_batch(&jobs)));
    liveness.set(None);
    let answers = caught.unwrap_or_else(|panic| panicked(model, jobs.len(), &*panic));
    report_loss(model, &answers, &liveness.loss);
    for ((job, (waiting, place)), answer) in jobs.iter().zip(waiting).zip(answers) {
        if let Err(error) = &answer {
            FrameFailed { model, camera: job.frame().camera.as_str(), error }.emit();
        }
        // The place first: who gets the answer may send its next request at once.
        drop(place);
        drop(waiting.send(answer));
    }
}

/// Reports the loss of the GPU, if an answer says so. The service knows it before the cameras do.
fn report_loss<F>(model: &str, answers: &[JobResult<F>], loss: &DeviceLoss) {
    let mut errors = answers.iter().filter_map(|answer| answer.as_ref().err());
    if let Some(error) = errors.find(|error| error.is_device_lost())
        && loss.report(error.to_string())
    {
        DeviceLost { model, error }.emit();
    }
}

fn panicked<F>(model: &str, jobs: usize, panic: &(dyn Any + Send)) -> Vec<JobResult<F>> {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    // For each job: nothing says which picture caused the panic.
    let error = DetectError::Inference { model: model.to_owned(), reason: format!("it panicked: {text}") };
    (0..jobs).map(|_| Err(error.clone())).collect()
}

#[cfg(test)]
pub(super) mod testing {
    use std::sync::Arc;
    use std::time::Instant;

    use super::DetectJob;
    use crate::detect::Thresholds;
    use crate::media::{CameraId, Color, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface};

    /// Returns a job about a picture of 1 x 1 px of the camera.
    pub(in crate::detect) fn job(camera: &str) -> DetectJob {
        DetectJob { frame: frame(camera), thresholds: vec![Thresholds { conf: 0.5, nms_iou: 0.5 }] }
    }

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
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use tokio::sync::{Semaphore, oneshot};

    use super::{
        BatchHandler, DetectJob, InferenceRequest, JobDetections, JobResult, RequestQueue, WorkerLiveness,
        run, testing,
    };
    use crate::detect::DetectError;
    use crate::detect::batch_sizes::BatchSizes;
    use crate::media::{BBox, Detection};

    const FOUR: BatchSizes = BatchSizes::PowersOfTwo(4);
    const ONE_BY_ONE: BatchSizes = BatchSizes::Any(1);

    fn request(camera: &str) -> (InferenceRequest, oneshot::Receiver<JobResult>) {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (answer, answered) = oneshot::channel();
        (InferenceRequest { job: testing::job(camera), answer, place }, answered)
    }

    fn queued(
        cameras: &[&str],
    ) -> (SyncSender<InferenceRequest>, RequestQueue, Vec<oneshot::Receiver<JobResult>>) {
        let (sender, queue) = sync_channel(64);
        let mut answers = Vec::new();
        for camera in cameras {
            let (request, answered) = request(camera);
            sender.send(request).unwrap();
            answers.push(answered);
        }
        (sender, RequestQueue::new(queue), answers)
    }

    /// Answers with the camera's name; fails for `bad`, panics for `worse`; remembers the batches.
    struct Echo {
        sizes: BatchSizes,
        batches: Vec<Vec<String>>,
    }

    impl Echo {
        fn of(sizes: BatchSizes) -> Self {
            Self { sizes, batches: Vec::new() }
        }
    }

    impl BatchHandler for Echo {
        type Job = DetectJob;
        type Output = JobDetections;

        fn taken(&self, waiting: usize) -> usize {
            self.sizes.taken(waiting)
        }

        fn infer_batch(&mut self, jobs: &[DetectJob]) -> Vec<JobResult> {
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
        let mut echo = Echo::of(FOUR);
        run("m", &queue, &mut echo, &WorkerLiveness::default());
        assert_eq!(echo.batches, [vec!["a", "b", "c", "d"], vec!["e", "f"]]);
        for (mut answer, name) in answers.into_iter().zip(["a", "b", "c", "d", "e", "f"]) {
            assert_eq!(answer.try_recv().unwrap(), Ok(vec![vec![seen(name)]]));
        }
    }

    #[test]
    fn an_error_and_a_panic_stay_with_their_request() {
        let (sender, queue, mut answers) = queued(&["a", "bad", "worse", "b"]);
        drop(sender);
        run("m", &queue, &mut Echo::of(ONE_BY_ONE), &WorkerLiveness::default());
        let got: Vec<JobResult> = answers.iter_mut().map(|answer| answer.try_recv().unwrap()).collect();
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
    fn a_request_that_no_one_waits_for_is_not_looked_at() {
        let (sender, queue, mut answers) = queued(&["a", "gone", "b"]);
        drop(sender);
        drop(answers.remove(1));
        let mut echo = Echo::of(FOUR);
        run("m", &queue, &mut echo, &WorkerLiveness::default());
        assert_eq!(echo.batches, [vec!["a", "b"]]);
    }

    #[test]
    fn what_does_not_fill_a_size_goes_to_the_next_batch() {
        let (sender, queue, _answers) = queued(&["a", "b", "c", "d", "e", "f", "g"]);
        drop(sender);
        let mut echo = Echo::of(FOUR);
        run("m", &queue, &mut echo, &WorkerLiveness::default());
        assert_eq!(echo.batches, [vec!["a", "b", "c", "d"], vec!["e", "f"], vec!["g"]]);
    }

    /// Records whether the liveness shows a batch while it runs.
    struct Feeling(Arc<WorkerLiveness>, Mutex<Vec<bool>>);

    impl BatchHandler for Feeling {
        type Job = DetectJob;
        type Output = JobDetections;

        fn taken(&self, waiting: usize) -> usize {
            waiting
        }

        fn infer_batch(&mut self, jobs: &[DetectJob]) -> Vec<JobResult> {
            self.1.lock().unwrap().push(self.0.busy_since().is_some());
            jobs.iter().map(|_| Ok(Vec::new())).collect()
        }
    }

    #[test]
    fn the_liveness_has_the_time_at_which_a_batch_began() {
        let (sender, queue, _answers) = queued(&["a"]);
        drop(sender);
        let liveness = Arc::new(WorkerLiveness::default());
        let mut feeling = Feeling(Arc::clone(&liveness), Mutex::default());
        run("m", &queue, &mut feeling, &liveness);
        assert_eq!(*feeling.1.lock().unwrap(), [true]);
        assert_eq!(liveness.busy_since(), None);
    }

    #[test]
    fn threads_share_a_queue_and_each_request_is_answered_once() {
        let cameras: Vec<String> = (0..40).map(|camera| camera.to_string()).collect();
        let names: Vec<&str> = cameras.iter().map(String::as_str).collect();
        let (sender, queue, answers) = queued(&names);
        drop(sender);
        let batches: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut echo = Echo::of(ONE_BY_ONE);
                        run("m", &queue, &mut echo, &WorkerLiveness::default());
                        echo.batches.len()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(batches, 40);
        for (mut answer, name) in answers.into_iter().zip(names) {
            assert_eq!(answer.try_recv().unwrap(), Ok(vec![vec![seen(name)]]));
        }
    }
}
