//! The boxes of a model's output that reach the threshold, by the kernel `candidates`.
//!
//! The kernel finds them and appends them in no certain order; here they are sorted by anchor, which is the order of the CPU's reader.
//! Their numbers are those of the output. Some kilobytes leave the GPU instead of the whole output.

use super::context::{CudaContext, CudaStream, DeviceBuffer, DeviceSlice, InFlight, PinnedBuffer};
use super::driver::{DeviceAddress, DeviceRows};
use super::error::GpuError;
use super::launch::{ArgumentBytes, Kernel, MAX_FRAMES, blocks, int};
use super::paint::ElementType;

/// Boxes of a slot for which the kernel has room.
pub const CANDIDATE_CAPACITY: usize = 1024;

/// Boxes of a slot that are read together with the counts; more are fetched by a second copy.
const FIRST_BOXES: usize = 64;
/// Bytes of `FoundArgs` of `kernels.cu`.
const FOUND_BYTES: usize = 32;
const SLOT_BYTES: usize = CANDIDATE_CAPACITY * FOUND_BYTES;
const FIRST_BYTES: usize = FIRST_BOXES * FOUND_BYTES;
/// Bytes of the counts and first boxes of a batch.
const STAGING_BYTES: usize = MAX_FRAMES * (4 + FIRST_BYTES);
const THREADS: u32 = 128;

/// The arrangement of a model's output, without the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLayout {
    /// `[4 + classes, anchors]`: YOLOv8.
    ChannelRows,
    /// `[anchors, 4 + classes]`: RT-DETR.
    AnchorRows,
    /// `[anchors, 5 + classes]`, with objectness after the box: YOLOv5, YOLOX.
    ObjectnessRows,
    /// `[anchors, 4]` and `[anchors, classes]`: YOLO-NAS.
    SeparateScores,
}

/// A model's output.
#[derive(Clone, Copy, Debug)]
pub struct OutputHead {
    /// The arrangement.
    pub layout: HeadLayout,
    /// The number of boxes.
    pub anchors: usize,
    /// The number of classes.
    pub classes: usize,
    /// The type of its numbers.
    pub element: ElementType,
    /// The output with the boxes, `[batch, ...]`.
    pub boxes: DeviceSlice,
    /// The output with the scores, `[batch, ...]`; that of the boxes where a layout has one output.
    pub scores: DeviceSlice,
}

/// A box that reaches the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundBox {
    /// Its place in the output.
    pub anchor: usize,
    /// Index of its best class; of equal scores the first.
    pub class: usize,
    /// The score of that class, times objectness where the layout has it.
    pub conf: f32,
    /// The four numbers of the box as the output has them.
    pub numbers: [f32; 4],
}

/// The boxes of one slot of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum SlotBoxes {
    /// All boxes that reach the threshold, by anchor.
    Found(Vec<FoundBox>),
    /// More boxes than [`CANDIDATE_CAPACITY`] reach the threshold, so the output itself is needed.
    TooMany,
}

/// Reads the boxes of batches.
#[derive(Debug)]
pub struct CandidateReader {
    found: DeviceBuffer,
    counts: DeviceBuffer,
    /// The first boxes of each slot, without the gaps between the slots.
    packed: DeviceBuffer,
    staging: Option<PinnedBuffer>,
    pending: Option<(usize, InFlight<PinnedBuffer>)>,
}

impl CandidateReader {
    /// Allocates room for batches of up to [`MAX_FRAMES`].
    ///
    /// # Errors
    ///
    /// The driver's.
    pub fn new(context: &CudaContext) -> Result<Self, GpuError> {
        Ok(Self {
            found: DeviceBuffer::new(context, MAX_FRAMES * SLOT_BYTES)?,
            counts: DeviceBuffer::new(context, MAX_FRAMES * 4)?,
            packed: DeviceBuffer::new(context, STAGING_BYTES)?,
            staging: Some(PinnedBuffer::new(context, STAGING_BYTES)?),
            pending: None,
        })
    }

    /// Puts the search for boxes with at least `threshold` into the stream, for the first `slots` of a batch.
    ///
    /// # Errors
    ///
    /// `threshold` is not above 0, there are too many slots, the output is shorter than its layout, or the driver's.
    pub fn start(
        &mut self,
        stream: &CudaStream,
        head: &OutputHead,
        slots: usize,
        threshold: f32,
    ) -> Result<(), GpuError> {
        check_head(head, slots, threshold)?;
        let staging = self.take_staging()?;
        let counts_bytes = slots * 4;
        stream.fill(self.counts.all(), 0)?;
        let mut arguments = ArgumentBytes::default();
        write_head(&mut arguments, head, threshold);
        arguments.address(self.found.all().address).address(self.counts.all().address);
        let grid = [blocks(head.anchors, THREADS), blocks(slots, 1), 1];
        if head.anchors > 0 && slots > 0 {
            stream.launch(Kernel::Candidates, grid, [THREADS, 1], &arguments)?;
        }
        let packed = self.packed.all();
        if slots > 0 {
            let (address, row_bytes) = (self.counts.all().address, counts_bytes);
            let counts = DeviceRows { address, pitch: row_bytes, row_bytes, rows: 1 };
            stream.copy_rows(&counts, packed.address, row_bytes)?;
            let (address, row_bytes) = (self.found.all().address, FIRST_BYTES);
            let found = DeviceRows { address, pitch: SLOT_BYTES, row_bytes, rows: slots };
            stream.copy_rows(&found, packed.address + counts_bytes as DeviceAddress, row_bytes)?;
        }
        let bytes = counts_bytes + slots * FIRST_BYTES;
        self.pending = Some((slots, stream.download(DeviceSlice { bytes, ..packed }, staging)?));
        Ok(())
    }

    /// Waits for the search that [`Self::start`] began, and returns the boxes of each slot.
    ///
    /// # Errors
    ///
    /// No search was begun, or the driver's.
    pub fn finish(&mut self, stream: &CudaStream) -> Result<Vec<SlotBoxes>, GpuError> {
        let none = GpuError::Argument("no search for boxes was begun");
        let (slots, in_flight) = self.pending.take().ok_or(none)?;
        let staging = in_flight.wait()?;
        let counts: Vec<usize> =
            staging[..slots * 4].chunks_exact(4).map(|bytes| word(bytes) as usize).collect();
        let mut all = Vec::with_capacity(slots);
        for (slot, count) in counts.into_iter().enumerate() {
            all.push(if count > CANDIDATE_CAPACITY {
                SlotBoxes::TooMany
            } else if count > FIRST_BOXES {
                self.fetch(stream, slot, count)?
            } else {
                boxes(&staging[slots * 4 + slot * FIRST_BYTES..][..count * FOUND_BYTES])
            });
        }
        self.staging = Some(staging);
        Ok(all)
    }

    /// Reads all boxes of a slot.
    fn fetch(&self, stream: &CudaStream, slot: usize, count: usize) -> Result<SlotBoxes, GpuError> {
        let mut bytes = vec![0; count * FOUND_BYTES];
        let from = self.found.all().part(slot * SLOT_BYTES, bytes.len());
        stream
            .download_now(from.ok_or(GpuError::Argument("a slot of boxes is out of range"))?, &mut bytes)?;
        Ok(boxes(&bytes))
    }

    fn take_staging(&mut self) -> Result<PinnedBuffer, GpuError> {
        // A search whose result was not taken ends first: both would write into the same memory.
        if let Some((_, abandoned)) = self.pending.take() {
            return abandoned.wait();
        }
        match self.staging.take() {
            Some(staging) => Ok(staging),
            // A failed copy has lost it.
            None => PinnedBuffer::new(self.found.context(), STAGING_BYTES),
        }
    }
}

fn boxes(bytes: &[u8]) -> SlotBoxes {
    let one = |bytes: &[u8]| {
        let number = |i: usize| f32::from_bits(word(&bytes[4 * i..]));
        let numbers = [number(3), number(4), number(5), number(6)];
        FoundBox { anchor: word(bytes) as usize, class: word(&bytes[4..]) as usize, conf: number(2), numbers }
    };
    let mut found: Vec<FoundBox> = bytes.chunks_exact(FOUND_BYTES).map(one).collect();
    // The threads of a GPU end in no certain order; each anchor gives at most one box.
    found.sort_unstable_by_key(|found| found.anchor);
    SlotBoxes::Found(found)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Numbers of boxes and of scores per slot.
fn slot_numbers(head: &OutputHead) -> (usize, usize) {
    let whole = |channels: usize| (channels * head.anchors, channels * head.anchors);
    match head.layout {
        HeadLayout::ChannelRows | HeadLayout::AnchorRows => whole(4 + head.classes),
        HeadLayout::ObjectnessRows => whole(5 + head.classes),
        HeadLayout::SeparateScores => (4 * head.anchors, head.classes * head.anchors),
    }
}

fn check_head(head: &OutputHead, slots: usize, threshold: f32) -> Result<(), GpuError> {
    // The kernel's offsets within a slot fit its ints.
    const MAX_NUMBERS: usize = 1 << 28;
    let (boxes, scores) = slot_numbers(head);
    let bytes = |numbers: usize| slots * numbers * head.element.bytes();
    let fits = slots <= MAX_FRAMES
        && boxes.max(scores) <= MAX_NUMBERS
        && head.boxes.bytes >= bytes(boxes)
        && head.scores.bytes >= bytes(scores);
    // Above 0, so that the order of zeros of either sign does not matter.
    if threshold.is_nan() || threshold <= 0.0 {
        return Err(GpuError::Argument("the threshold of boxes on the GPU is not above 0"));
    }
    fits.then_some(()).ok_or(GpuError::Argument("the output on the GPU is shorter than its layout"))
}

/// Appends `HeadArgs`.
fn write_head(to: &mut ArgumentBytes, head: &OutputHead, threshold: f32) {
    let (anchors, classes) = (head.anchors, head.classes);
    let (box_slot, score_slot) = slot_numbers(head);
    let number = |of: DeviceSlice, at: usize| of.address + (at * head.element.bytes()) as DeviceAddress;
    // First score, objectness; strides from anchor to anchor and from channel to channel, of boxes and of scores.
    let (scores, objectness, strides) = match head.layout {
        HeadLayout::ChannelRows => (number(head.boxes, 4 * anchors), 0, [1, anchors, 1, anchors]),
        HeadLayout::AnchorRows => (number(head.boxes, 4), 0, [4 + classes, 1, 4 + classes, 1]),
        HeadLayout::ObjectnessRows => {
            (number(head.boxes, 5), number(head.boxes, 4), [5 + classes, 1, 5 + classes, 1])
        }
        HeadLayout::SeparateScores => (head.scores.address, 0, [4, 1, classes, 1]),
    };
    to.address(head.boxes.address).address(scores).address(objectness);
    to.long(i64::from(int(box_slot))).long(i64::from(int(score_slot)));
    for stride in strides {
        to.int(int(stride));
    }
    to.int(int(anchors)).int(int(classes)).int((head.element == ElementType::F16).into());
    to.int(int(CANDIDATE_CAPACITY)).float(threshold).int(0);
}
