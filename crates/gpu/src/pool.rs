//! Pictures in device memory that are used again: to allocate and to free memory stops the GPU.

use std::sync::{Arc, Mutex, PoisonError};

use super::context::CudaContext;
use super::error::GpuError;
use super::frame::{ChromaLayout, DeviceFrame};

/// The number of unused pictures that are kept beside as many as are in use.
const SPARE: usize = 16;

/// NV12 pictures of one GPU. A clone refers to the same pictures.
#[derive(Clone, Debug)]
pub struct FramePool {
    context: CudaContext,
    /// All pictures; one that only the pool refers to is unused.
    frames: Arc<Mutex<Vec<Arc<DeviceFrame>>>>,
}

impl FramePool {
    /// Returns an empty pool.
    #[must_use]
    pub fn new(context: &CudaContext) -> Self {
        Self { context: context.clone(), frames: Arc::default() }
    }

    /// Returns an unused picture of this size, of unknown content. It is unused again when the last reference outside of the pool is gone:
    /// whoever lets the GPU read it keeps one until that is done.
    ///
    /// # Errors
    ///
    /// As of [`DeviceFrame::new`].
    pub fn take(&self, size_px: (u32, u32)) -> Result<Arc<DeviceFrame>, GpuError> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |frame: &mut Arc<DeviceFrame>| Arc::get_mut(frame).is_some();
        let found = frames.iter_mut().position(|frame| frame.size_px() == size_px && is_free(frame));
        let taken = match found {
            Some(index) => Arc::clone(&frames[index]),
            None => {
                let new = Arc::new(DeviceFrame::new(&self.context, size_px, ChromaLayout::Interleaved)?);
                frames.push(Arc::clone(&new));
                new
            }
        };
        let free = frames.iter_mut().filter_map(|frame| is_free(frame).then_some(())).count();
        if free > frames.len() - free + SPARE
            && let Some(oldest) = frames.iter_mut().position(is_free)
        {
            frames.remove(oldest);
        }
        Ok(taken)
    }
}
