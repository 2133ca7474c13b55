//! The captures of CUDA graphs, during which no thread of the process may call the driver for anything else.
//!
//! ONNX Runtime captures in CUDA's global mode: a call of another thread that could wait for the GPU, such as an allocation, fails
//! meanwhile, and makes the capture fail. So who captures is alone, and all other work on a GPU is shared.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static WORK: RwLock<()> = RwLock::new(());

/// Work on a GPU that captures nothing, until it is dropped. A thread has at most one.
#[derive(Debug)]
pub struct GpuWork(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'static, ()>);

/// The capture of a graph, until it is dropped.
#[derive(Debug)]
pub struct GraphCapture(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'static, ()>);

impl GpuWork {
    /// Waits for a capture that is under way, and keeps others from beginning.
    #[must_use]
    pub fn begin() -> Self {
        // A panic of another thread leaves nothing half-done here.
        Self(WORK.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl GraphCapture {
    /// Waits for all work on GPUs that is under way, and keeps other work from beginning.
    #[must_use]
    pub fn begin() -> Self {
        Self(WORK.write().unwrap_or_else(PoisonError::into_inner))
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
}
