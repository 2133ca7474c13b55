//! The captures of CUDA graphs, during which no thread of the process may call the driver for anything else.
//!
//! ONNX Runtime captures in CUDA's global mode: a call of another thread that could wait for the GPU, such as an allocation, fails
//! meanwhile, and makes the capture fail. So who captures is alone, and all other work on a GPU is shared.

use std::cell::Cell;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static WORK: RwLock<()> = RwLock::new(());

thread_local! {
    /// The number of guards of this thread, of both kinds.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Work on a GPU that captures nothing, until it is dropped.
///
/// A thread may begin work within work, and within its own capture. Guards are dropped in the reverse order of their beginning, as those of scopes are.
#[derive(Debug)]
pub struct GpuWork(
    // Unset within another guard of the thread: a second lock would wait for a capture that waits for the first, or for its own.
    #[expect(dead_code, reason = "held, not read")] Option<RwLockReadGuard<'static, ()>>,
);

/// The capture of a graph, until it is dropped.
#[derive(Debug)]
pub struct GraphCapture(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'static, ()>);

impl GpuWork {
    /// Waits for a capture that is under way, and keeps others from beginning.
    #[must_use]
    pub fn begin() -> Self {
        let depth = DEPTH.get();
        // A panic of another thread leaves nothing half-done here.
        let guard = (depth == 0).then(|| WORK.read().unwrap_or_else(PoisonError::into_inner));
        DEPTH.set(depth + 1);
        Self(guard)
    }
}

impl Drop for GpuWork {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

impl GraphCapture {
    /// Waits for all work on GPUs that is under way, and keeps other work from beginning.
    #[must_use]
    pub fn begin() -> Self {
        let guard = WORK.write().unwrap_or_else(PoisonError::into_inner);
        DEPTH.set(DEPTH.get() + 1);
        Self(guard)
    }
}

impl Drop for GraphCapture {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::thread;
    use std::time::Duration;

    use super::{GpuWork, GraphCapture};

    #[test]
    fn a_capture_is_alone() {
        let (sender, order) = channel();
        let capture = GraphCapture::begin();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _work = GpuWork::begin();
                sender.send("work").unwrap();
            });
            let early = order.recv_timeout(Duration::from_millis(50));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "it waits for the capture");
            drop(capture);
            assert_eq!(order.recv(), Ok("work"));
        });
        let _first = GpuWork::begin();
        thread::spawn(|| drop(GpuWork::begin())).join().unwrap();
    }

    #[test]
    fn work_may_begin_within_work_while_a_capture_waits() {
        let (sender, order) = channel();
        thread::scope(|scope| {
            let outer = GpuWork::begin();
            scope.spawn(|| {
                let _capture = GraphCapture::begin();
                sender.send("capture").unwrap();
            });
            // Once the capture waits, a lock for reading is refused; it cannot be seen from outside when that is.
            while super::WORK.try_read().is_ok() {
                thread::yield_now();
            }
            drop(GpuWork::begin());
            assert_eq!(order.try_recv().ok(), None, "the outer work is not over");
            drop(outer);
            assert_eq!(order.recv(), Ok("capture"));
        });
        let _next = GpuWork::begin();
        assert!(super::WORK.try_write().is_err(), "the lock is taken again");
    }
}
