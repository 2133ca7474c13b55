//! Pictures as a model's input, by the kernels `paint_f32` and `paint_f16`.

use super::context::{CudaStream, DeviceBuffer, DeviceSlice};
use super::driver::DeviceAddress;
use super::error::GpuError;
use super::frame::DeviceFrame;
use super::launch::{ArgumentBytes, Kernel, MAX_FRAMES, blocks, int};

/// Bytes of `PaintArgs` of `kernels.cu`.
const PAINT_ARGS_BYTES: usize = 200;
/// Threads of a block across and down.
const BLOCK: [u32; 2] = [32, 8];

/// The two source rows of a row of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowTaps {
    /// The upper row.
    pub upper: i32,
    /// The lower row.
    pub lower: i32,
    /// The weight of the lower row; 2^15 is 1.
    pub weight: i32,
}

/// The source samples of the content's columns and rows in one plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapTable {
    /// The left of the two source columns of each column.
    pub at: Vec<i32>,
    /// The weights of each column: left in the lower 16 bits, right in the upper; 2^14 is 1.
    pub weights: Vec<i32>,
    /// The source rows of each row.
    pub rows: Vec<RowTaps>,
}

/// The place of a picture in a model's input, and the source samples of each pixel. Made by the CPU's resampler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResampleTables {
    /// Width and height of the picture, px.
    pub frame_px: (u32, u32),
    /// Width and height of the input, px.
    pub side_px: (u32, u32),
    /// Width and height of the picture in the input, px.
    pub content_px: (u32, u32),
    /// Padding left of the picture and above it, px.
    pub pad_px: (u32, u32),
    /// The samples of the luma.
    pub luma: TapTable,
    /// The samples of both chroma planes.
    pub chroma: TapTable,
}

/// The factors from samples (2^21 is 1 level of 255) to RGB 0..=1. Made by the CPU's resampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorFactors {
    /// The factor of luma.
    pub luma: f32,
    /// The factor of V in red.
    pub red_v: f32,
    /// The factor of U in green.
    pub green_u: f32,
    /// The factor of V in green.
    pub green_v: f32,
    /// The factor of U in blue.
    pub blue_u: f32,
    /// Added to red, green and blue.
    pub offsets: [f32; 3],
}

/// The numbers of a model's input for its channels, in the order of the channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelEncoding {
    /// Factor and offset of each channel of 0..=1; `None` leaves them as they are.
    pub scales: Option<[(f32, f32); 3]>,
    /// The number of the padding.
    pub greys: [f32; 3],
    /// `true`: the channels are blue, green, red; else red, green, blue.
    pub bgr: bool,
}

/// The type of the numbers of a model's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
}

impl ElementType {
    /// Returns the bytes of a number.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// [`ResampleTables`] in device memory. One serves all pictures of a size.
#[derive(Debug)]
pub struct DeviceTables {
    buffer: DeviceBuffer,
    frame_px: (u32, u32),
    side_px: (u32, u32),
    content_px: (u32, u32),
    pad_px: (u32, u32),
    /// Byte offsets of the columns, weights and rows: of the luma, of the chroma.
    offsets: [[usize; 3]; 2],
}

impl DeviceTables {
    /// Copies the tables to the GPU and waits for it.
    ///
    /// # Errors
    ///
    /// The tables lead out of the picture or do not have the sizes that they name, or the driver's.
    pub fn upload(stream: &CudaStream, tables: &ResampleTables) -> Result<Self, GpuError> {
        check_tables(tables)?;
        let mut bytes = ArgumentBytes::default();
        let offsets = [&tables.luma, &tables.chroma].map(|table| write_table(&mut bytes, table));
        let buffer = DeviceBuffer::new(stream.context(), bytes.as_bytes().len())?;
        stream.upload_now(bytes.as_bytes(), buffer.all())?;
        let ResampleTables { frame_px, side_px, content_px, pad_px, .. } = *tables;
        Ok(Self { buffer, frame_px, side_px, content_px, pad_px, offsets })
    }

    /// Returns the width and height of the input, px.
    #[must_use]
    pub fn side_px(&self) -> (u32, u32) {
        self.side_px
    }

    /// Returns the bytes of an input of numbers of this type.
    #[must_use]
    pub fn input_bytes(&self, element: ElementType) -> usize {
        3 * self.side_px.0 as usize * self.side_px.1 as usize * element.bytes()
    }
}

/// A picture that is to be painted.
#[derive(Clone, Copy, Debug)]
pub struct PaintJob<'a> {
    /// The picture.
    pub frame: &'a DeviceFrame,
    /// The tables of its size.
    pub tables: &'a DeviceTables,
    /// The factors of its colour coding.
    pub color: ColorFactors,
}

/// Paints up to [`MAX_FRAMES`] pictures, padding included, into `out`: `[picture, channel, height, width]`, in one launch.
///
/// Returns at once; the stream orders what reads `out`.
///
/// # Errors
///
/// Too many pictures, pictures of other sizes than their tables, inputs of different sizes, an `out` that is too short, or the driver's.
pub fn paint(
    stream: &CudaStream,
    jobs: &[PaintJob<'_>],
    encoding: &ChannelEncoding,
    element: ElementType,
    out: DeviceSlice,
) -> Result<(), GpuError> {
    let Some(first) = jobs.first() else { return Ok(()) };
    let side_px = first.tables.side_px;
    check_jobs(stream, jobs, side_px)?;
    if out.bytes < jobs.len() * first.tables.input_bytes(element) {
        return Err(GpuError::Argument("the input on the GPU is shorter than its pictures"));
    }
    let mut arguments = ArgumentBytes::default();
    for job in jobs {
        write_job(&mut arguments, job, encoding);
    }
    arguments.fill_to(MAX_FRAMES * PAINT_ARGS_BYTES).address(out.address);
    let kernel = match element {
        ElementType::F32 => Kernel::PaintF32,
        ElementType::F16 => Kernel::PaintF16,
    };
    let grid =
        [blocks(side_px.0 as usize, BLOCK[0]), blocks(side_px.1 as usize, BLOCK[1]), blocks(jobs.len(), 1)];
    stream.launch(kernel, grid, BLOCK, &arguments)
}

fn check_jobs(stream: &CudaStream, jobs: &[PaintJob<'_>], side_px: (u32, u32)) -> Result<(), GpuError> {
    if jobs.len() > MAX_FRAMES {
        return Err(GpuError::Argument("more than 16 pictures in a launch"));
    }
    let fits = |job: &PaintJob<'_>| {
        job.frame.size_px() == job.tables.frame_px
            && job.tables.side_px == side_px
            && job.frame.context() == stream.context()
            && job.tables.buffer.context() == stream.context()
    };
    let all_fit = jobs.iter().all(fits);
    all_fit
        .then_some(())
        .ok_or(GpuError::Argument("a picture on the GPU does not fit the tables of its size"))
}

/// Appends `PaintArgs`.
fn write_job(to: &mut ArgumentBytes, job: &PaintJob<'_>, encoding: &ChannelEncoding) {
    let start = to.as_bytes().len();
    job.frame.write_arguments(to);
    let tables = job.tables;
    for offset in tables.offsets.as_flattened() {
        to.address(tables.buffer.all().address + *offset as DeviceAddress);
    }
    for (width, height) in [tables.pad_px, tables.content_px, tables.side_px] {
        to.int(int(width as usize)).int(int(height as usize));
    }
    let ColorFactors { luma, red_v, green_u, green_v, blue_u, offsets } = job.color;
    to.floats(&[luma, red_v, green_u, green_v, blue_u]).floats(&offsets);
    let scales = encoding.scales.unwrap_or([(1.0, 0.0); 3]);
    to.floats(&scales.map(|(factor, _)| factor)).floats(&scales.map(|(_, offset)| offset));
    to.floats(&encoding.greys).int(encoding.scales.is_some().into()).int(encoding.bgr.into());
    to.fill_to(start + PAINT_ARGS_BYTES);
}

/// Appends the columns, weights and rows, and returns where each begins.
fn write_table(to: &mut ArgumentBytes, table: &TapTable) -> [usize; 3] {
    let mut starts = [to.as_bytes().len(); 3];
    for at in &table.at {
        to.int(*at);
    }
    starts[1] = to.as_bytes().len();
    for weights in &table.weights {
        to.int(*weights);
    }
    starts[2] = to.as_bytes().len();
    for RowTaps { upper, lower, weight } in &table.rows {
        to.int(*upper).int(*lower).int(*weight);
    }
    starts
}

/// Checks that no table leads a kernel out of the picture or out of the table.
fn check_tables(tables: &ResampleTables) -> Result<(), GpuError> {
    let ((width, height), content) = (tables.frame_px, tables.content_px);
    let fits = |table: &TapTable, width: u32, height: u32| {
        let inside = |at: i32, samples: u32| u32::try_from(at).is_ok_and(|at| at < samples);
        table.at.len() == content.0 as usize
            && table.weights.len() == content.0 as usize
            && table.rows.len() == content.1 as usize
            && table.at.iter().all(|at| inside(*at, width))
            && table.rows.iter().all(|row| inside(row.upper, height) && inside(row.lower, height))
    };
    let placed = tables.pad_px.0.saturating_add(content.0) <= tables.side_px.0
        && tables.pad_px.1.saturating_add(content.1) <= tables.side_px.1;
    let fit = placed
        && fits(&tables.luma, width, height)
        && fits(&tables.chroma, width.div_ceil(2), height.div_ceil(2));
    fit.then_some(()).ok_or(GpuError::Argument("the tables of a picture's size lead out of the picture"))
}
