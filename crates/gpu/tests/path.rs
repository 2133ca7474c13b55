//! The GPU path on a driver in host memory (driver/driver.c): what it computes, and what it reports where the driver fails.
//!
//! The CPU pass itself is in the root package, whose tests compare the kernels with it (`src/detect/kernel_tests.rs`).
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::Path;
use std::sync::Arc;

use gpu::{
    CandidateReader, ChannelEncoding, ChromaLayout, ColorFactors, CudaContext, CudaDriver, CudaStream,
    DeviceBuffer, DeviceFrame, DeviceMask, DeviceRows, DeviceSlice, DeviceTables, ElementType, FoundBox,
    FramePlanes, FramePool, GpuError, HeadLayout, LumaReader, MAX_FRAMES, MaskSpans, OutputHead, PaintJob,
    PinnedBuffer, ResampleTables, RowTaps, SampleSpan, SlotBoxes, TapTable, paint,
};
use half::f16;
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use test_support::gpu::FakeDriver;

fn opened(fake: &FakeDriver) -> CudaContext {
    CudaContext::retain(&CudaDriver::load_from(&fake.library()).unwrap(), 0).unwrap()
}

fn error_of<T>(result: Result<T, GpuError>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Tables that give each pixel of the picture one pixel of the input, at the upper left.
fn unscaled(size_px: (u32, u32), side_px: (u32, u32)) -> ResampleTables {
    let table = |halves: i32| TapTable {
        at: (0..size_px.0 as i32).map(|x| x / halves).collect(),
        weights: vec![16384; size_px.0 as usize],
        rows: (0..size_px.1 as i32)
            .map(|y| RowTaps { upper: y / halves, lower: y / halves, weight: 0 })
            .collect(),
    };
    let (luma, chroma) = (table(1), table(2));
    ResampleTables { frame_px: size_px, side_px, content_px: size_px, pad_px: (0, 0), luma, chroma }
}

/// Red is luma, green is U, blue is V, each in levels.
const LEVELS: ColorFactors = ColorFactors {
    luma: 1.0 / 2_097_152.0,
    red_v: 0.0,
    green_u: 0.0,
    green_v: 0.0,
    blue_u: 0.0,
    offsets: [0.0; 3],
};

const PLAIN: ChannelEncoding = ChannelEncoding { scales: None, greys: [0.25; 3], bgr: false };

fn picture(size_px: (u32, u32), first: u8) -> [Vec<u8>; 3] {
    let half = size_px.0.div_ceil(2) * size_px.1.div_ceil(2);
    [size_px.0 * size_px.1, half, half].map(|bytes| (0..bytes).map(|i| first.wrapping_add(i as u8)).collect())
}

fn uploaded(
    stream: &CudaStream,
    size_px: (u32, u32),
    layout: ChromaLayout,
    planes: &[Vec<u8>; 3],
) -> DeviceFrame {
    let frame = DeviceFrame::new(stream.context(), size_px, layout).unwrap();
    let staging = PinnedBuffer::new(stream.context(), frame.bytes()).unwrap();
    let half = size_px.0.div_ceil(2) as usize;
    let planes = planes.each_ref().map(Vec::as_slice);
    let from = FramePlanes { planes, strides: [size_px.0 as usize, half, half] };
    frame.upload(stream, &from, staging).unwrap().wait().unwrap();
    frame
}

fn downloaded(stream: &CudaStream, frame: &DeviceFrame) -> [Vec<u8>; 3] {
    let staging = PinnedBuffer::new(stream.context(), frame.bytes()).unwrap();
    frame.unpack(&frame.download(stream, staging).unwrap().wait().unwrap())
}

fn floats(stream: &CudaStream, from: DeviceSlice) -> Vec<f32> {
    let mut bytes = vec![0; from.bytes];
    stream.download_now(from, &mut bytes).unwrap();
    bytes.as_chunks().0.iter().copied().map(f32::from_ne_bytes).collect()
}

#[test]
fn a_missing_or_foreign_driver_is_an_error() {
    let missing = error_of(CudaDriver::load_from(Path::new("/nowhere/libcuda.so.1")));
    assert!(missing.starts_with("cannot load NVIDIA's driver library /nowhere/libcuda.so.1: "), "{missing}");
    assert!(missing.ends_with("; install the driver, or run on the CPU"), "{missing}");
    // A library that is no driver.
    let foreign = error_of(CudaDriver::load_from(Path::new("libc.so.6")));
    assert!(foreign.contains("cuInit"), "{foreign}");
}

#[test]
fn a_driver_that_cannot_serve_says_why() {
    let cases = [
        ("no_device", "cuInit failed: CUDA_ERROR_NO_DEVICE (100), no CUDA-capable device is detected"),
        (
            "driver 12040",
            "NVIDIA's driver serves CUDA 12.4, and 13.0 is needed; install driver 580 or later, or run on the CPU",
        ),
        (
            "ptx",
            "cuModuleLoadDataEx failed: CUDA_ERROR_FAKE (218), a fault of a test: ptxas: a mistake of a test",
        ),
        ("fail cuDevicePrimaryCtxSetFlags 1 708", "no error"),
        (
            "fail cuDevicePrimaryCtxSetFlags 1 1",
            "cuDevicePrimaryCtxSetFlags failed: CUDA_ERROR_FAKE (1), a fault of a test",
        ),
        (
            "fail cuModuleGetFunction 5 500",
            "cuModuleGetFunction failed: CUDA_ERROR_FAKE (500), a fault of a test",
        ),
    ];
    for (fault, words) in cases {
        let fake = FakeDriver::new();
        fake.set_faults(fault);
        let opened =
            CudaDriver::load_from(&fake.library()).and_then(|driver| CudaContext::retain(&driver, 1));
        assert_eq!(error_of(opened), words, "{fault}");
    }
    let driver = CudaDriver::load_from(&FakeDriver::new().library()).unwrap();
    assert_eq!(driver.device_count(), Ok(2));
    let words = "there is no GPU 2: the driver reports 2; choose another `device`, or run on the CPU";
    assert_eq!(error_of(CudaContext::retain(&driver, 2)), words);
    let context = CudaContext::retain(&driver, 1).unwrap();
    assert_eq!((context.ordinal(), context.name()), (1, "Fake GPU 1"));
}

#[test]
fn pictures_come_back_as_they_were() {
    let stream = CudaStream::new(&opened(&FakeDriver::new())).unwrap();
    for layout in [ChromaLayout::Interleaved, ChromaLayout::Planar] {
        for size_px in [(1, 1), (2, 2), (257, 3), (640, 361)] {
            let planes = picture(size_px, 7);
            let frame = uploaded(&stream, size_px, layout, &planes);
            assert_eq!(downloaded(&stream, &frame), planes, "{layout:?} {size_px:?}");
        }
    }
}

#[test]
fn a_decoders_picture_is_copied_whatever_its_pitch() {
    let context = opened(&FakeDriver::new());
    let stream = CudaStream::new(&context).unwrap();
    let planes = picture((5, 3), 1);
    // NV12 with rows of 8 bytes, and chroma that begins one row late, as behind a height that is rounded up.
    let mut bytes = vec![0xee; 8 * 6];
    for (i, luma) in planes[0].iter().enumerate() {
        bytes[i / 5 * 8 + i % 5] = *luma;
    }
    for i in 0..6 {
        bytes[32 + i / 3 * 8 + i % 3 * 2] = planes[1][i];
        bytes[32 + i / 3 * 8 + i % 3 * 2 + 1] = planes[2][i];
    }
    let pool = DeviceBuffer::new(&context, bytes.len()).unwrap();
    stream.upload_now(&bytes, pool.all()).unwrap();
    let luma = DeviceRows { address: pool.all().address, pitch: 8, row_bytes: 5, rows: 3 };
    let chroma = DeviceRows { address: pool.all().address + 32, pitch: 8, row_bytes: 6, rows: 2 };
    let frame = DeviceFrame::new(&context, (5, 3), ChromaLayout::Interleaved).unwrap();
    frame.copy_from(&stream, &[luma, chroma]).unwrap();
    assert_eq!(downloaded(&stream, &frame), planes);
    assert_eq!(frame.download_now(&stream).unwrap(), planes);
    let mut rows = [0; 12];
    stream.download_rows_now(&chroma, &mut rows).unwrap();
    let pairs = planes[1].iter().zip(&planes[2]).flat_map(|(u, v)| [*u, *v]);
    assert_eq!(rows.to_vec(), pairs.collect::<Vec<_>>());
    let planar = DeviceFrame::new(&context, (5, 3), ChromaLayout::Planar).unwrap();
    let refused = "a decoder's picture for the GPU is not NV12 of this size; this is a fault of the program, please report it";
    assert_eq!(error_of(planar.copy_from(&stream, &[luma, chroma])), refused);
    for wrong in [DeviceRows { pitch: 5, ..chroma }, DeviceRows { row_bytes: 4, ..chroma }] {
        assert_eq!(error_of(frame.copy_from(&stream, &[luma, wrong])), refused);
    }
}

#[test]
fn a_picture_is_used_again_once_nothing_refers_to_it() {
    let context = opened(&FakeDriver::new());
    let pool = FramePool::new(&context);
    let of = |frame: &Arc<DeviceFrame>| Arc::as_ptr(frame).addr();
    let (first, second) = (pool.take((8, 6)).unwrap(), pool.take((8, 6)).unwrap());
    let (place, other) = (of(&first), pool.take((4, 4)).unwrap());
    assert!(place != of(&second) && place != of(&other), "each is in use");
    drop(first);
    assert_ne!(of(&pool.take((4, 2)).unwrap()), place, "it has another size");
    assert_eq!(of(&pool.take((8, 6)).unwrap()), place);
}

#[test]
fn few_unused_pictures_are_kept() {
    let driver = FakeDriver::new();
    let pool = FramePool::new(&opened(&driver));
    let many: Vec<_> = (0..40).map(|_| pool.take((8, 6)).unwrap()).collect();
    drop(many);
    // Each call frees one that is more than needed.
    for _ in 0..40 {
        let _used = pool.take((4, 4)).unwrap();
    }
    driver.set_faults("memory 1");
    let kept: Vec<_> = std::iter::from_fn(|| pool.take((8, 6)).ok()).collect();
    assert_eq!(kept.len(), 17, "those beside one in use");
    assert!(pool.take((8, 6)).unwrap_err().is_out_of_memory());
}

#[test]
fn pictures_of_several_sizes_are_painted_in_one_launch() {
    let stream = CudaStream::new(&opened(&FakeDriver::new())).unwrap();
    let side_px = (40, 9);
    let sizes = [(40, 9), (3, 5), (1, 1)];
    let planes = sizes.map(|size| picture(size, 3));
    let tables = sizes.map(|size| DeviceTables::upload(&stream, &unscaled(size, side_px)).unwrap());
    let frames: Vec<DeviceFrame> = sizes
        .iter()
        .zip(&planes)
        .map(|(size, planes)| uploaded(&stream, *size, ChromaLayout::Interleaved, planes))
        .collect();
    let jobs: Vec<PaintJob<'_>> = frames
        .iter()
        .zip(&tables)
        .map(|(frame, tables)| PaintJob {
            frame,
            tables,
            color: ColorFactors { luma: LEVELS.luma / 255.0, ..LEVELS },
        })
        .collect();
    let out = DeviceBuffer::new(stream.context(), 3 * tables[0].input_bytes(ElementType::F32)).unwrap();
    paint(&stream, &jobs, &PLAIN, ElementType::F32, out.all()).unwrap();
    let painted = floats(&stream, out.all());
    for (picture, (width, height)) in sizes.into_iter().enumerate() {
        for (x, y) in (0..9).flat_map(|y| (0..40).map(move |x| (x, y))) {
            let inside = x < width && y < height;
            let level = |luma: u8| f32::from(luma) * 2_097_152.0 * (LEVELS.luma / 255.0);
            let want = if inside { level(planes[picture][0][(y * width + x) as usize]) } else { 0.25 };
            for channel in 0..3 {
                let have = painted[((picture * 3 + channel) * 9 + y as usize) * 40 + x as usize];
                assert_eq!(have, want, "{picture}: {x} {y}");
            }
        }
    }
}

#[test]
fn what_would_lead_a_kernel_astray_is_refused() {
    let (fake, other) = (FakeDriver::new(), FakeDriver::new());
    let stream = CudaStream::new(&opened(&fake)).unwrap();
    let context = stream.context();
    let refused = |result: Result<(), GpuError>, words: &str| {
        assert_eq!(error_of(result), format!("{words}; this is a fault of the program, please report it"));
    };
    let astray = |spoil: fn(&mut ResampleTables)| {
        let mut tables = unscaled((5, 3), (8, 8));
        spoil(&mut tables);
        DeviceTables::upload(&stream, &tables).map(drop)
    };
    let words = "the tables of a picture's size lead out of the picture";
    refused(astray(|tables| tables.luma.at[4] = 5), words);
    refused(astray(|tables| tables.chroma.at[4] = 3), words);
    refused(astray(|tables| tables.luma.at[0] = -1), words);
    refused(astray(|tables| tables.chroma.rows[2].lower = 2), words);
    refused(astray(|tables| tables.pad_px.0 = 4), words);
    refused(astray(|tables| tables.luma.weights.truncate(4)), words);
    assert_eq!(astray(|_| ()), Ok(()));

    let tables = DeviceTables::upload(&stream, &unscaled((5, 3), (8, 8))).unwrap();
    let frame = DeviceFrame::new(context, (5, 3), ChromaLayout::Planar).unwrap();
    let wider = DeviceFrame::new(context, (6, 3), ChromaLayout::Planar).unwrap();
    let out = DeviceBuffer::new(context, MAX_FRAMES * tables.input_bytes(ElementType::F32)).unwrap();
    let painted = |frame, count, bytes| {
        let jobs = vec![PaintJob { frame, tables: &tables, color: LEVELS }; count];
        paint(&stream, &jobs, &PLAIN, ElementType::F32, out.all().part(0, bytes).unwrap())
    };
    assert_eq!(painted(&frame, MAX_FRAMES, out.all().bytes), Ok(()));
    refused(
        painted(&frame, MAX_FRAMES, out.all().bytes - 1),
        "the input on the GPU is shorter than its pictures",
    );
    refused(painted(&frame, MAX_FRAMES + 1, out.all().bytes), "more than 16 pictures in a launch");
    let fit = "a picture on the GPU does not fit the tables of its size";
    refused(painted(&wider, 1, out.all().bytes), fit);
    let foreign = DeviceFrame::new(&opened(&other), (5, 3), ChromaLayout::Planar).unwrap();
    refused(painted(&foreign, 1, out.all().bytes), fit);
    refused(
        DeviceFrame::new(context, (0, 3), ChromaLayout::Planar).map(drop),
        "a picture on the GPU has sides of 1 to 16384 px",
    );
    let span = |row, from, to| {
        let spans = MaskSpans { luma: vec![SampleSpan { row, from, to }], chroma: Vec::new() };
        DeviceMask::upload(&stream, (5, 3), &spans).map(drop)
    };
    assert_eq!(span(2, 0, 5), Ok(()));
    for (row, from, to) in [(3, 0, 5), (0, 0, 6), (0, 4, 3)] {
        refused(span(row, from, to), "a mask on the GPU leads out of the picture");
    }
    let mut short = [0; 7];
    refused(
        stream.download_now(out.all().part(0, 8).unwrap(), &mut short),
        "a copy between host and GPU is longer than its buffers",
    );
}

#[test]
fn memory_that_runs_out_is_reported_as_such_and_given_back() {
    let allocated = |limit: u32| {
        let fake = FakeDriver::new();
        fake.set_faults(&format!("memory {limit}"));
        let context = opened(&fake);
        let tried = DeviceBuffer::new(&context, 100)
            .and_then(|first| Ok((first, PinnedBuffer::new(&context, 100)?)))
            .and_then(|_| DeviceFrame::new(&context, (4, 4), ChromaLayout::Planar));
        let error = tried.err();
        fake.set_faults("");
        assert!(DeviceBuffer::new(&context, 100).is_ok(), "the memory is there again");
        error
    };
    for limit in 1..=3 {
        let error = allocated(limit).unwrap();
        assert!(error.is_out_of_memory() && !error.is_sticky(), "{limit}: {error}");
        assert!(error.to_string().ends_with("CUDA_ERROR_OUT_OF_MEMORY (2), out of memory"), "{error}");
    }
    assert_eq!(allocated(4), None);
}

#[test]
fn an_error_of_a_launch_is_sticky_for_every_later_call() {
    let fake = FakeDriver::new();
    let stream = CudaStream::new(&opened(&fake)).unwrap();
    let mut reader = LumaReader::new(stream.context()).unwrap();
    let frame = uploaded(&stream, (8, 8), ChromaLayout::Planar, &picture((8, 8), 0));
    fake.set_faults("sticky 2 719");
    reader.start(&stream, &[&frame]).unwrap();
    assert_eq!(reader.finish().unwrap().len(), 1);
    let error = reader.start(&stream, &[&frame]).and_then(|()| reader.finish()).unwrap_err();
    assert!(error.is_sticky() && error.to_string().contains("CUDA_ERROR_LAUNCH_FAILED (719)"), "{error}");
    assert!(stream.synchronize().unwrap_err().is_sticky());
    assert!(DeviceBuffer::new(stream.context(), 1).unwrap_err().is_sticky());
    // Everything is dropped with such a context, and nothing hangs or frees memory that the GPU might use.
}

#[test]
fn a_copy_that_is_not_waited_for_ends_before_its_buffer() {
    let context = opened(&FakeDriver::new());
    let stream = CudaStream::new(&context).unwrap();
    let target = DeviceBuffer::new(&context, 4).unwrap();
    let mut staging = PinnedBuffer::new(&context, 4).unwrap();
    staging.copy_from_slice(&[1, 2, 3, 4]);
    drop(stream.upload(staging, target.all(), 4).unwrap());
    let mut back = [0; 4];
    stream.download_now(target.all(), &mut back).unwrap();
    assert_eq!(back, [1, 2, 3, 4]);
}

#[test]
fn streams_wait_for_events_of_others() {
    let context = opened(&FakeDriver::new());
    let (decode, detect) = (CudaStream::new(&context).unwrap(), CudaStream::new(&context).unwrap());
    let event = decode.record().unwrap();
    detect.wait_for(&event).unwrap();
    event.wait().unwrap();
    assert_ne!(decode.as_ptr(), detect.as_ptr());
    assert!(!context.as_ptr().is_null());
}

/// The boxes of one slot, one anchor after the other; `number(anchor, channel)` of box and scores.
fn naive(
    layout: HeadLayout,
    (anchors, classes): (usize, usize),
    number: impl Fn(usize, usize) -> f32,
    threshold: f32,
) -> Vec<FoundBox> {
    let first = if layout == HeadLayout::ObjectnessRows { 5 } else { 4 };
    let one = |anchor| {
        let objectness = if first == 5 { number(anchor, 4) } else { 1.0 };
        let scores = (0..classes).map(|class| (class, number(anchor, first + class)));
        let best =
            scores.filter(|(_, score)| !score.is_nan()).reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        let conf = if first == 5 { objectness * best.1 } else { best.1 };
        let numbers = [0, 1, 2, 3].map(|channel| number(anchor, channel));
        let reaches = (first == 4 || objectness >= threshold) && conf >= threshold;
        reaches.then_some(FoundBox { anchor, class: best.0, conf, numbers })
    };
    (0..anchors).filter_map(one).collect()
}

/// The bytes of both outputs, and what a reader of the numbers that they really have gives.
fn outputs(
    layout: HeadLayout,
    element: ElementType,
    (slots, anchors, classes): (usize, usize, usize),
    number: impl Fn(usize, usize, usize) -> f32,
) -> [Vec<u8>; 2] {
    let first = if layout == HeadLayout::ObjectnessRows { 5 } else { 4 };
    let put = |to: &mut Vec<u8>, value: f32| match element {
        ElementType::F32 => to.extend(value.to_ne_bytes()),
        ElementType::F16 => to.extend(f16::from_f32(value).to_bits().to_ne_bytes()),
    };
    let [mut boxes, mut scores] = [Vec::new(), Vec::new()];
    for slot in 0..slots {
        if layout == HeadLayout::ChannelRows {
            for (channel, anchor) in (0..4 + classes).flat_map(|c| (0..anchors).map(move |a| (c, a))) {
                put(&mut boxes, number(slot, anchor, channel));
            }
            continue;
        }
        for (anchor, channel) in (0..anchors).flat_map(|a| (0..first + classes).map(move |c| (a, c))) {
            let apart = layout == HeadLayout::SeparateScores && channel >= 4;
            put(if apart { &mut scores } else { &mut boxes }, number(slot, anchor, channel));
        }
    }
    if scores.is_empty() {
        scores.clone_from(&boxes);
    }
    [boxes, scores]
}

fn read(
    stream: &CudaStream,
    reader: &mut CandidateReader,
    (layout, element): (HeadLayout, ElementType),
    (slots, anchors, classes): (usize, usize, usize),
    bytes: &[Vec<u8>; 2],
    threshold: f32,
) -> Vec<SlotBoxes> {
    let [boxes, scores] = bytes.each_ref().map(|bytes| {
        let buffer = DeviceBuffer::new(stream.context(), bytes.len()).unwrap();
        stream.upload_now(bytes, buffer.all()).unwrap();
        buffer
    });
    let head = OutputHead { layout, anchors, classes, element, boxes: boxes.all(), scores: scores.all() };
    reader.start(stream, &head, slots, threshold).unwrap();
    reader.finish(stream).unwrap()
}

const LAYOUTS: [HeadLayout; 4] =
    [HeadLayout::ChannelRows, HeadLayout::AnchorRows, HeadLayout::ObjectnessRows, HeadLayout::SeparateScores];

/// Bits without the difference of equal NaNs.
fn bits(found: &[FoundBox]) -> Vec<(usize, usize, u32, [u32; 4])> {
    let one =
        |found: &FoundBox| (found.anchor, found.class, found.conf.to_bits(), found.numbers.map(f32::to_bits));
    found.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn boxes_are_those_of_a_loop_over_the_anchors(
        seed in any::<u64>(), slots in 1_usize..4, anchors in 0_usize..300, classes in 0_usize..7, threshold in 0.2_f32..0.95,
    ) {
        // Levels of 1/16, so that scores are often equal, and are numbers of f16 too; some are not finite.
        let number = |slot: usize, anchor: usize, channel: usize| {
            let mixed = (seed ^ (slot * 1_000_003 + anchor * 1009 + channel) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            match mixed >> 58 {
                0 => f32::NAN,
                1 => f32::INFINITY,
                2 => -0.0,
                _ => (mixed >> 40 & 15) as f32 / 16.0,
            }
        };
        for layout in LAYOUTS {
            for element in [ElementType::F32, ElementType::F16] {
                let shape = (slots, anchors, classes);
                let bytes = outputs(layout, element, shape, number);
                let found = SHARED.with(|(stream, ..)| {
                    let mut reader = CandidateReader::new(stream.context()).unwrap();
                    read(stream, &mut reader, (layout, element), shape, &bytes, threshold)
                });
                prop_assert_eq!(found.len(), slots);
                for (slot, found) in found.iter().enumerate() {
                    let want = naive(layout, (anchors, classes), |a, c| number(slot, a, c), threshold);
                    let SlotBoxes::Found(found) = found else { panic!("{layout:?}: too many") };
                    let is_nan = |bits: u32| f32::from_bits(bits).is_nan();
                    let (have, want) = (bits(found), bits(&want));
                    prop_assert_eq!(have.len(), want.len(), "{:?} {:?}", layout, element);
                    for (have, want) in have.into_iter().zip(want) {
                        let boxes_equal = have.3.iter().zip(want.3).all(|(a, b)| *a == b || is_nan(*a) && is_nan(b));
                        let equal = (have.0, have.1, have.2) == (want.0, want.1, want.2) && boxes_equal;
                        proptest::prop_assert!(equal, "{:?} {:?}: {:?} {:?}", layout, element, have, want);
                    }
                }
            }
        }
    }

    #[test]
    fn halves_are_those_of_the_cpu(bits in any::<u32>(), small in 0_u32..0x4800_0000) {
        let values = [f32::from_bits(bits), f32::from_bits(small), -f32::from_bits(small)];
        for value in values.into_iter().filter(|value| !value.is_nan()) {
            prop_assert_eq!(painted_half(value), f16::from_f32(value).to_bits(), "{}", value);
        }
    }
}

thread_local! {
    /// A stream, and what `painted_half` needs: to compile a driver for each case takes too much time.
    static SHARED: (CudaStream, DeviceFrame, DeviceTables) = {
        let stream = CudaStream::new(&opened(&FakeDriver::new())).unwrap();
        let frame = uploaded(&stream, (1, 1), ChromaLayout::Planar, &picture((1, 1), 0));
        let tables = DeviceTables::upload(&stream, &unscaled((1, 1), (2, 1))).unwrap();
        (stream, frame, tables)
    };
}

/// Returns the f16 that the kernel makes of the grey of a padding.
fn painted_half(value: f32) -> u16 {
    SHARED.with(|(stream, frame, tables)| {
        let out = DeviceBuffer::new(stream.context(), tables.input_bytes(ElementType::F16)).unwrap();
        let encoding = ChannelEncoding { greys: [value; 3], ..PLAIN };
        let job = PaintJob { frame, tables, color: LEVELS };
        paint(stream, &[job], &encoding, ElementType::F16, out.all()).unwrap();
        let mut bytes = vec![0; out.all().bytes];
        stream.download_now(out.all(), &mut bytes).unwrap();
        u16::from_ne_bytes([bytes[2], bytes[3]])
    })
}

#[test]
fn many_boxes_are_fetched_and_too_many_are_reported() {
    let stream = CudaStream::new(&opened(&FakeDriver::new())).unwrap();
    let mut reader = CandidateReader::new(stream.context()).unwrap();
    // In slot 0, 1 and 2: as many boxes as come with the first copy, one more, and all for which there is room, plus one in slot 3.
    let counts = [64, 65, 1024, 1025];
    let number = |slot: usize, anchor: usize, channel: usize| match channel {
        4 => f32::from(u8::from(anchor < counts[slot])),
        _ => anchor as f32,
    };
    let shape = (4, 1100, 1);
    let kind = (HeadLayout::ChannelRows, ElementType::F32);
    let bytes = outputs(kind.0, kind.1, shape, number);
    for _ in 0..2 {
        let found = read(&stream, &mut reader, kind, shape, &bytes, 0.5);
        for (slot, found) in found[..3].iter().enumerate() {
            let want = naive(kind.0, (1100, 1), |a, c| number(slot, a, c), 0.5);
            assert_eq!(*found, SlotBoxes::Found(want), "{slot}");
        }
        assert_eq!(found[3], SlotBoxes::TooMany);
    }
}

#[test]
fn outputs_that_are_too_short_are_refused() {
    let stream = CudaStream::new(&opened(&FakeDriver::new())).unwrap();
    let mut reader = CandidateReader::new(stream.context()).unwrap();
    let buffer = DeviceBuffer::new(stream.context(), 4 * 60 * 2).unwrap();
    let mut refused = |layout, classes, slots, threshold| {
        let (boxes, scores) = (buffer.all(), buffer.all());
        let head = OutputHead { layout, anchors: 10, classes, element: ElementType::F32, boxes, scores };
        error_of(reader.start(&stream, &head, slots, threshold))
    };
    assert_eq!(refused(HeadLayout::ChannelRows, 2, 2, 0.5), "no error");
    let short =
        "the output on the GPU is shorter than its layout; this is a fault of the program, please report it";
    assert_eq!(refused(HeadLayout::ChannelRows, 3, 2, 0.5), short);
    assert_eq!(refused(HeadLayout::ObjectnessRows, 2, 2, 0.5), short);
    assert_eq!(refused(HeadLayout::SeparateScores, 7, 2, 0.5), short);
    assert_eq!(refused(HeadLayout::ChannelRows, 2, 17, 0.5), short);
    let threshold =
        "the threshold of boxes on the GPU is not above 0; this is a fault of the program, please report it";
    assert_eq!(refused(HeadLayout::ChannelRows, 2, 2, 0.0), threshold);
    assert_eq!(refused(HeadLayout::ChannelRows, 2, 2, f32::NAN), threshold);
}
