//! The motion gate's grids of luma, by the kernel `luma_grid`.

use super::context::{CudaContext, CudaStream, DeviceBuffer, DeviceSlice, InFlight, PinnedBuffer};
use super::error::GpuError;
use super::frame::DeviceFrame;
use super::launch::{ArgumentBytes, Kernel, MAX_FRAMES, blocks};

/// Cells of a grid: 64 across, 36 down, row by row.
pub const LUMA_CELLS: usize = 64 * 36;

/// Bytes of `PictureArgs` of `kernels.cu`.
const PICTURE_BYTES: usize = 48;
const THREADS: u32 = 64;

/// Reads the grids of pictures.
#[derive(Debug)]
pub struct LumaReader {
    cells: DeviceBuffer,
    staging: Option<PinnedBuffer>,
    pending: Option<(usize, InFlight<PinnedBuffer>)>,
}

impl LumaReader {
    /// Allocates room for the grids of up to [`MAX_FRAMES`] pictures.
    ///
    /// # Errors
    ///
    /// The driver's.
    pub fn new(context: &CudaContext) -> Result<Self, GpuError> {
        let bytes = MAX_FRAMES * LUMA_CELLS;
        let staging = Some(PinnedBuffer::new(context, bytes)?);
        Ok(Self { cells: DeviceBuffer::new(context, bytes)?, staging, pending: None })
    }

    /// Puts the averaging of up to [`MAX_FRAMES`] pictures of any sizes into the stream, in one launch.
    ///
    /// # Errors
    ///
    /// Too many pictures, pictures of another GPU, or the driver's.
    pub fn start(&mut self, stream: &CudaStream, frames: &[&DeviceFrame]) -> Result<(), GpuError> {
        if frames.len() > MAX_FRAMES || frames.iter().any(|frame| frame.context() != stream.context()) {
            return Err(GpuError::Argument("more than 16 pictures in a launch, or some of another GPU"));
        }
        let staging = match (self.pending.take(), self.staging.take()) {
            // Grids that were not taken are done first: both would write into the same memory.
            (Some((_, abandoned)), _) => abandoned.wait()?,
            (None, Some(staging)) => staging,
            // A failed copy has lost it.
            (None, None) => PinnedBuffer::new(self.cells.context(), MAX_FRAMES * LUMA_CELLS)?,
        };
        let mut arguments = ArgumentBytes::default();
        for frame in frames {
            frame.write_arguments(&mut arguments);
        }
        arguments.fill_to(MAX_FRAMES * PICTURE_BYTES).address(self.cells.all().address);
        if !frames.is_empty() {
            let grid = [blocks(LUMA_CELLS, THREADS), blocks(frames.len(), 1), 1];
            stream.launch(Kernel::LumaGrid, grid, [THREADS, 1], &arguments)?;
        }
        let bytes = frames.len() * LUMA_CELLS;
        let copy = stream.download(DeviceSlice { bytes, ..self.cells.all() }, staging)?;
        self.pending = Some((frames.len(), copy));
        Ok(())
    }

    /// Waits for what [`Self::start`] began, and returns the grid of each picture: the average luma of each cell, row by row.
    ///
    /// # Errors
    ///
    /// Nothing was begun, or the driver's.
    pub fn finish(&mut self) -> Result<Vec<[u8; LUMA_CELLS]>, GpuError> {
        let none = GpuError::Argument("no grid of luma was begun");
        let (frames, in_flight) = self.pending.take().ok_or(none)?;
        let staging = in_flight.wait()?;
        let (grids, _) = staging[..frames * LUMA_CELLS].as_chunks();
        let grids = grids.to_vec();
        self.staging = Some(staging);
        Ok(grids)
    }
}
