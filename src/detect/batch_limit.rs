//! The largest batch of a model: by the size of its input, and by what the memory of the GPU allows.

use super::batch_sizes::BatchSizes;
use super::cuda_fault::CudaFault;
use super::device::Device;
use super::model::InputShape;
use crate::telemetry::detect::BatchLimited;

/// Frames per batch on a GPU, if the model does not fix the number.
const MAX_GPU_FRAMES: usize = 16;
/// The maximum size of a batch's input on a GPU, bytes: 16 pictures of 640 px in `f32`. The memory that the model takes grows with it.
const MAX_GPU_BATCH_BYTES: usize = 80 << 20;

/// Returns the number of frames per batch on a GPU for a model that does not fix it: a power of two.
pub(super) fn gpu_frames(input: &InputShape) -> usize {
    let element_bytes = if input.half { 2 } else { 4 };
    let picture_bytes = 3 * input.width_px as usize * input.height_px as usize * element_bytes;
    let fitting = (MAX_GPU_BATCH_BYTES / picture_bytes.max(1)).clamp(1, MAX_GPU_FRAMES);
    1 << fitting.ilog2()
}

/// The sizes of a loaded model's batches, which are limited by memory.
pub(super) struct BatchLimit {
    model: String,
    sizes: BatchSizes,
}

impl BatchLimit {
    /// Returns the size that the graph fixes, else sizes of up to `max`.
    pub(super) fn new(model: &str, device: Device, fixed: Option<usize>, max: usize) -> Self {
        let sizes = match (fixed, device) {
            (Some(frames), _) => BatchSizes::Fixed(frames),
            (None, Device::Cpu) => BatchSizes::Any(max.max(1)),
            (None, Device::Cuda(_) | Device::Auto(_)) => BatchSizes::powers_of_two(max),
        };
        Self { model: model.to_owned(), sizes }
    }

    /// Returns the sizes at present.
    pub(super) fn sizes(&self) -> BatchSizes {
        self.sizes
    }

    /// Runs the batches of each size but one, the largest first, and lowers the limit below those that fail.
    ///
    /// The largest first: memory that is too small shows at the start instead of under load, and the smaller sizes find theirs in the
    /// arena.
    pub(super) fn warm_up(&mut self, mut run: impl FnMut(usize) -> Result<(), String>) {
        let BatchSizes::PowersOfTwo(mut batch) = self.sizes else { return };
        while batch > 1 {
            if let Err(reason) = run(batch) {
                // Whatever the reason is: a graph may fail on any batch but one. What is wrong with the GPU shows with a single frame.
                self.lower_below(batch, &reason);
            }
            batch /= 2;
        }
    }

    /// Lowers the limit below a batch that ran out of memory; returns `false` if it failed for another reason or cannot be smaller.
    pub(super) fn lowers_after(&mut self, batch: usize, reason: &str) -> bool {
        let lowers = matches!(self.sizes, BatchSizes::PowersOfTwo(_))
            && batch > 1
            && CudaFault::of(reason) == Some(CudaFault::OutOfMemory);
        if lowers {
            self.lower_below(batch, reason);
        }
        lowers
    }

    /// Lowers the limit below a batch of several frames.
    fn lower_below(&mut self, batch: usize, reason: &str) {
        let max = self.sizes.max().min(batch / 2);
        self.sizes = BatchSizes::powers_of_two(max);
        BatchLimited { model: &self.model, batch, max, reason }.emit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name, the device, the size that the graph fixes, the wanted maximum, the largest size that fits, the sizes that run, and the limit.
    type WarmUpCase<'a> = (&'a str, Device, Option<usize>, usize, usize, &'a [usize], usize);

    const NO_MEMORY: &str = "CUDA failure 2: out of memory ; GPU=0";

    #[test]
    fn the_largest_batch_is_limited_by_bytes() {
        for (width_px, height_px, half, frames) in [
            (320, 320, false, 16),
            (640, 640, false, 16),
            (640, 640, true, 16),
            (960, 960, false, 4),
            (960, 960, true, 8),
            (1280, 1280, false, 4),
            (1920, 1088, false, 2),
            (4096, 4096, false, 1),
            (4096, 4096, true, 1),
        ] {
            let input = InputShape { batch: None, width_px, height_px, half };
            assert_eq!(gpu_frames(&input), frames, "{input}");
        }
    }

    #[test]
    fn sizes_are_warmed_up_from_the_largest_and_those_that_fail_are_left_out() {
        let table: [WarmUpCase<'_>; 6] = [
            ("all fit", Device::Cuda(0), None, 16, 16, &[16, 8, 4, 2], 16),
            ("four fit", Device::Cuda(0), None, 16, 4, &[16, 8, 4, 2], 4),
            ("one fits", Device::Cuda(0), None, 16, 1, &[16, 8, 4, 2], 1),
            ("an odd size", Device::Cuda(0), None, 6, 16, &[4, 2], 4),
            ("fixed", Device::Cuda(0), Some(8), 16, 1, &[], 8),
            ("on the CPU", Device::Cpu, None, 4, 1, &[], 4),
        ];
        for (name, device, fixed, max, fitting, sizes, want) in table {
            let (mut limit, mut ran) = (BatchLimit::new("street", device, fixed, max), Vec::new());
            limit.warm_up(|batch| {
                ran.push(batch);
                if batch > fitting { Err(NO_MEMORY.to_owned()) } else { Ok(()) }
            });
            assert_eq!((&*ran, limit.sizes().max()), (sizes, want), "{name}");
        }
    }

    #[test]
    fn a_batch_that_runs_out_of_memory_lowers_the_limit_to_the_next_smaller_size() {
        let mut limit = BatchLimit::new("street", Device::Cuda(0), None, 16);
        assert!(!limit.lowers_after(16, "CUDA failure 1: invalid argument"));
        assert_eq!(limit.sizes().max(), 16);
        for (batch, max) in [(16, 8), (8, 4), (4, 2), (2, 1)] {
            assert!(limit.lowers_after(batch, NO_MEMORY));
            assert_eq!(limit.sizes().max(), max, "{batch}");
        }
        assert!(!limit.lowers_after(1, NO_MEMORY), "it cannot be smaller");
        let mut fixed = BatchLimit::new("street", Device::Cuda(0), Some(8), 16);
        assert!(!fixed.lowers_after(8, NO_MEMORY));
    }
}
