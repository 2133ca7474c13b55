//! The self-test of the kernels on a GPU, before they are used.

use super::candidates::{CandidateReader, FoundBox, HeadLayout, OutputHead, SlotBoxes};
use super::context::{CudaContext, CudaStream, DeviceBuffer, PinnedBuffer};
use super::error::GpuError;
use super::frame::{ChromaLayout, DeviceFrame, FramePlanes};
use super::luma::{LUMA_CELLS, LumaReader};
use super::mask::{DeviceMask, MaskSpans, SampleSpan};
use super::paint::{
    ChannelEncoding, ColorFactors, DeviceTables, ElementType, PaintJob, ResampleTables, paint,
};

/// Anchors and classes of the built-in output: more anchors than a block has threads.
const ANCHORS: usize = 300;
const CLASSES: usize = 5;
const THRESHOLD: f32 = 0.75;
/// The luma of a black sample in limited range.
const BLACK: u8 = 16;

/// The built-in picture: noise, so that a sample read at a wrong place shows.
#[derive(Clone, Debug)]
pub struct ProofInput {
    planes: [Vec<u8>; 3],
    strides: [usize; 3],
}

impl ProofInput {
    /// Width and height, px: odd, and not a multiple of any block.
    pub const SIZE_PX: (u32, u32) = (211, 117);

    /// Returns the picture.
    #[must_use]
    pub fn new() -> Self {
        let (width, height) = (Self::SIZE_PX.0 as usize, Self::SIZE_PX.1 as usize);
        let (half_w, half_h) = (width.div_ceil(2), height.div_ceil(2));
        let mut noise = ProofNoise(1);
        let mut plane = |bytes| (0..bytes).map(|_| noise.byte()).collect();
        let planes = [plane(width * height), plane(half_w * half_h), plane(half_w * half_h)];
        Self { planes, strides: [width, half_w, half_w] }
    }

    /// Returns the planes, for the CPU pass that gives the [`ExpectedResults`].
    #[must_use]
    pub fn planes(&self) -> FramePlanes<'_> {
        FramePlanes { planes: self.planes.each_ref().map(Vec::as_slice), strides: self.strides }
    }
}

impl Default for ProofInput {
    fn default() -> Self {
        Self::new()
    }
}

/// The results of the CPU pass for the built-in picture.
#[derive(Clone, Debug)]
pub struct ExpectedResults {
    /// The tables of its place in an input.
    pub tables: ResampleTables,
    /// The factors of its colour coding.
    pub color: ColorFactors,
    /// The encoding of the input.
    pub encoding: ChannelEncoding,
    /// The input with its padding.
    pub input_f32: Vec<f32>,
    /// The same as the bits of f16.
    pub input_f16: Vec<u16>,
    /// The grid of luma.
    pub luma: [u8; LUMA_CELLS],
}

/// A failed self-test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// It could not be completed.
    #[error("the self-test of the GPU failed: {0}")]
    Gpu(#[from] GpuError),
    /// A kernel gave another result than the CPU.
    #[error(
        "the self-test of the GPU failed: {kernel} on {gpu} gave {have} as number {index} of {count}, the CPU {want}; update \
         NVIDIA's driver, and report it if that does not help"
    )]
    Differs {
        /// The kernel.
        kernel: &'static str,
        /// The name of the GPU.
        gpu: String,
        /// The index of the first number that differs.
        index: usize,
        /// The length of the result.
        count: usize,
        /// The number by the GPU.
        have: String,
        /// The number by the CPU.
        want: String,
    },
}

/// Runs each kernel on the built-in picture, and compares the results with those of the CPU, to the bit.
///
/// # Errors
///
/// A result differs, or a call of the driver failed; the words are for the user.
pub fn prove(
    context: &CudaContext,
    input: &ProofInput,
    expected: &ExpectedResults,
) -> Result<(), ProofFault> {
    let stream = CudaStream::new(context)?;
    let tables = DeviceTables::upload(&stream, &expected.tables)?;
    for layout in [ChromaLayout::Interleaved, ChromaLayout::Planar] {
        let frame = DeviceFrame::new(context, ProofInput::SIZE_PX, layout)?;
        let staging = PinnedBuffer::new(context, frame.bytes())?;
        frame.upload(&stream, &input.planes(), staging)?.wait()?;
        let job = PaintJob { frame: &frame, tables: &tables, color: expected.color };
        prove_paint(&stream, &job, expected)?;
        prove_luma(&stream, &frame, &expected.luma)?;
        prove_mask(&stream, &frame, input)?;
    }
    prove_candidates(&stream)
}

fn prove_paint(
    stream: &CudaStream,
    job: &PaintJob<'_>,
    expected: &ExpectedResults,
) -> Result<(), ProofFault> {
    let painted = |element| -> Result<Vec<u8>, GpuError> {
        let mut bytes = vec![0; job.tables.input_bytes(element)];
        let out = DeviceBuffer::new(stream.context(), bytes.len())?;
        paint(stream, &[*job], &expected.encoding, element, out.all())?;
        stream.download_now(out.all(), &mut bytes)?;
        Ok(bytes)
    };
    let bits: Vec<u32> =
        painted(ElementType::F32)?.as_chunks().0.iter().copied().map(u32::from_ne_bytes).collect();
    let want: Vec<u32> = expected.input_f32.iter().map(|number| number.to_bits()).collect();
    let float = |bits: &u32| format!("{:?}", f32::from_bits(*bits));
    compare(stream, "paint_f32", &bits, &want, float)?;
    let bits: Vec<u16> =
        painted(ElementType::F16)?.as_chunks().0.iter().copied().map(u16::from_ne_bytes).collect();
    compare(stream, "paint_f16", &bits, &expected.input_f16, |bits| format!("{bits:#06x}"))
}

fn prove_luma(stream: &CudaStream, frame: &DeviceFrame, want: &[u8; LUMA_CELLS]) -> Result<(), ProofFault> {
    let mut reader = LumaReader::new(stream.context())?;
    reader.start(stream, &[frame])?;
    let grids = reader.finish()?;
    compare(stream, "luma_grid", grids.as_flattened(), want, u8::to_string)
}

fn prove_mask(stream: &CudaStream, frame: &DeviceFrame, input: &ProofInput) -> Result<(), ProofFault> {
    let mask = DeviceMask::upload(stream, ProofInput::SIZE_PX, &spans())?;
    mask.paint(stream, frame, BLACK)?;
    let staging = PinnedBuffer::new(stream.context(), frame.bytes())?;
    let have = frame.unpack(&frame.download(stream, staging)?.wait()?);
    let mut want = input.planes.clone();
    for (plane, want) in want.iter_mut().enumerate() {
        let spans = if plane == 0 { spans().luma } else { spans().chroma };
        for SampleSpan { row, from, to } in spans {
            let value = if plane == 0 { BLACK } else { 128 };
            want[row as usize * input.strides[plane]..][from as usize..to as usize].fill(value);
        }
        compare(stream, "mask", &have[plane], want, u8::to_string)?;
    }
    Ok(())
}

/// The mask: a row that is longer than a block, the last sample, and nothing.
fn spans() -> MaskSpans {
    let (width, height) = ProofInput::SIZE_PX;
    let span = |row, from, to| SampleSpan { row, from, to };
    MaskSpans {
        luma: vec![span(3, 2, width), span(height - 1, width - 1, width), span(5, 7, 7)],
        chroma: vec![span(1, 1, width.div_ceil(2)), span(height.div_ceil(2) - 1, 0, 1)],
    }
}

fn prove_candidates(stream: &CudaStream) -> Result<(), ProofFault> {
    let mut noise = ProofNoise(2);
    let numbers: Vec<f32> = (0..(4 + CLASSES) * ANCHORS).map(|_| f32::from(noise.byte()) / 256.0).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    let output = DeviceBuffer::new(stream.context(), bytes.len())?;
    stream.upload_now(&bytes, output.all())?;
    let head = OutputHead {
        layout: HeadLayout::ChannelRows,
        anchors: ANCHORS,
        classes: CLASSES,
        element: ElementType::F32,
        boxes: output.all(),
        scores: output.all(),
    };
    let mut reader = CandidateReader::new(stream.context())?;
    reader.start(stream, &head, 1, THRESHOLD)?;
    let found = reader.finish(stream)?;
    let want = [SlotBoxes::Found(boxes_of(&numbers))];
    let words = |slot: &SlotBoxes| format!("{slot:?}");
    compare(stream, "candidates", &found, &want, words)
}

/// The boxes of the built-in output, one anchor after the other.
fn boxes_of(numbers: &[f32]) -> Vec<FoundBox> {
    let mut found = Vec::new();
    for anchor in 0..ANCHORS {
        let channel = |channel: usize| numbers[channel * ANCHORS + anchor];
        let mut best = 0;
        for class in 1..CLASSES {
            if channel(4 + class) > channel(4 + best) {
                best = class;
            }
        }
        if channel(4 + best) >= THRESHOLD {
            let numbers = [channel(0), channel(1), channel(2), channel(3)];
            found.push(FoundBox { anchor, class: best, conf: channel(4 + best), numbers });
        }
    }
    found
}

fn compare<T: PartialEq>(
    stream: &CudaStream,
    kernel: &'static str,
    have: &[T],
    want: &[T],
    words: impl Fn(&T) -> String,
) -> Result<(), ProofFault> {
    if have == want {
        return Ok(());
    }
    let longest = have.len().max(want.len());
    let index = (0..longest).find(|index| have.get(*index) != want.get(*index)).unwrap_or(0);
    let word = |of: &[T]| of.get(index).map_or_else(|| "nothing".to_owned(), &words);
    let (have, want) = (word(have), word(want));
    let gpu = stream.context().name().to_owned();
    Err(ProofFault::Differs { kernel, gpu, index, count: longest, have, want })
}

/// A generator of bytes.
struct ProofNoise(u64);

impl ProofNoise {
    fn byte(&mut self) -> u8 {
        // The generator of Knuth's MMIX. The top byte is used: its lower bits have short periods.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.to_be_bytes()[0]
    }
}
