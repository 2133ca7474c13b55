//! Reads of the pool for `/api/cluster`: one for all clients.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::timeout;

use crate::base::lock;
use crate::sharing::PoolView;

/// A function that reads the pool, or returns the reason why that failed. The read itself runs elsewhere: this thread only awaits it.
pub type ReadPool = Arc<dyn Fn() -> BoxFuture<'static, Result<PoolView, String>> + Send + Sync>;

/// The time for which one read answers all requests.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// Additional time per camera: DynamoDB charges for each item that is read, and an open page asks for as long as it is open.
const FRESH_FOR_CAMERA: Duration = Duration::from_millis(10);
/// Limit on a read, below that of an answer.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// The reads of the pool; without `sharing` there are none.
pub(super) struct PoolReads {
    read: Option<ReadPool>,
    limit: Duration,
    last: Mutex<Option<StartedRead>>,
}

/// A read, and the time of its start.
struct StartedRead {
    at: Instant,
    answer: Shared<BoxFuture<'static, PoolAnswer>>,
}

/// The JSON of a pool, or the reason why there is none.
#[derive(Clone)]
pub(super) struct PoolAnswer {
    pub(super) body: Result<Bytes, Arc<str>>,
    fresh_for: Duration,
}

impl PoolReads {
    pub(super) fn new(read: Option<ReadPool>) -> Self {
        Self { read, limit: READ_LIMIT, last: Mutex::default() }
    }

    /// Returns the last read if it may answer a request at `now`, or starts another one; `None` without `sharing`.
    pub(super) fn answer(&self, now: Instant) -> Option<Shared<BoxFuture<'static, PoolAnswer>>> {
        let read = self.read.as_ref()?;
        let mut last = lock(&self.last);
        if let Some(started) = last.as_ref().filter(|started| started.is_usable(now)) {
            return Some(started.answer.clone());
        }
        let answer = answer_of(read(), self.limit).boxed().shared();
        *last = Some(StartedRead { at: now, answer: answer.clone() });
        Some(answer)
    }
}

impl StartedRead {
    fn is_usable(&self, now: Instant) -> bool {
        // A read that no client awaits any more ends without being noticed: after its limit, what it brings is old.
        let limit = self.answer.peek().map_or(READ_LIMIT, |answer| answer.fresh_for);
        now.saturating_duration_since(self.at) < limit
    }
}

async fn answer_of(read: BoxFuture<'static, Result<PoolView, String>>, limit: Duration) -> PoolAnswer {
    let view = match timeout(limit, read).await {
        Ok(view) => view,
        Err(_) => Err(format!(
            "the tables of the pool did not answer within {} s; check the network, and AWS_ENDPOINT_URL_DYNAMODB where it is set",
            READ_LIMIT.as_secs()
        )),
    };
    let cameras = view.as_ref().map_or(0, |view| u32::try_from(view.cameras.len()).unwrap_or(u32::MAX));
    let json = view.and_then(|view| serde_json::to_vec(&view).map_err(|why| why.to_string()));
    let body = json.map(Bytes::from).map_err(Arc::from);
    PoolAnswer { body, fresh_for: FRESH_FOR.max(FRESH_FOR_CAMERA.saturating_mul(cameras)) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::sharing::{PoolCameraState, PoolCameraView};

    fn view(cameras: usize) -> PoolView {
        let camera = |number: usize| PoolCameraView {
            id: number.to_string(),
            worker: None,
            state: PoolCameraState::Free,
            next_worker: None,
            epoch: 0,
            since_ms: None,
            cost: None,
            strikes: 0,
            why: None,
        };
        PoolView {
            pool: "north".to_owned(),
            leader: None,
            term: 0,
            generation: 0,
            workers: Vec::new(),
            cameras: (0..cameras).map(camera).collect(),
        }
    }

    fn reads(
        of: impl Fn() -> BoxFuture<'static, Result<PoolView, String>> + Send + Sync + 'static,
    ) -> (PoolReads, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let read: ReadPool = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            of()
        });
        (PoolReads::new(Some(read)), count)
    }

    #[tokio::test]
    async fn one_read_answers_all_requests_of_its_time() {
        for (name, cameras, times_ms, expected) in [
            ("a small pool", 10, vec![0, 1, 1_999], 1),
            ("after two seconds", 10, vec![0, 2_000, 2_001], 2),
            ("a large pool is read less often", 1_000, vec![0, 2_000, 9_999], 1),
            ("but it is", 1_000, vec![0, 10_000], 2),
        ] {
            let (reads, count) = reads(move || std::future::ready(Ok(view(cameras))).boxed());
            let begun = Instant::now();
            for at_ms in times_ms {
                let answer = reads.answer(begun + Duration::from_millis(at_ms)).unwrap().await;
                assert!(answer.body.unwrap().starts_with(br#"{"pool":"north""#), "{name}");
            }
            assert_eq!(count.load(Ordering::Relaxed), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_failure_is_shared_as_well() {
        let (reads, count) = reads(|| std::future::ready(Err("table workers: gone".to_owned())).boxed());
        let begun = Instant::now();
        for at_ms in [0, 1_000] {
            let answer = reads.answer(begun + Duration::from_millis(at_ms)).unwrap().await;
            assert_eq!(&*answer.body.unwrap_err(), "table workers: gone");
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn clients_wait_for_one_read_and_not_without_end() {
        let (mut reads, count) = reads(|| std::future::pending().boxed());
        reads.limit = Duration::from_millis(20);
        let begun = Instant::now();
        let abandoned = reads.answer(begun).unwrap();
        drop(abandoned);
        let waiting = [1_000, 4_999].map(|at_ms| reads.answer(begun + Duration::from_millis(at_ms)).unwrap());
        assert_eq!(count.load(Ordering::Relaxed), 1);
        for answer in waiting {
            let why = answer.await.body.unwrap_err();
            assert!(why.contains("did not answer within 5 s"), "{why}");
        }
        let _next = reads.answer(begun + READ_LIMIT).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 2, "an old read is replaced");
    }

    #[test]
    fn without_sharing_nothing_is_read() {
        assert!(PoolReads::new(None).answer(Instant::now()).is_none());
    }
}
