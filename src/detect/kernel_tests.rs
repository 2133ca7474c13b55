//! The GPU's kernels, compiled for the host, beside the CPU pass: equal to the bit.

use gpu::{
    CandidateReader, ChromaLayout, CudaContext, CudaDriver, CudaStream, DeviceBuffer, DeviceFrame,
    DeviceTables, ElementType, FramePlanes, LumaReader, OutputHead, PaintJob, PinnedBuffer, SlotBoxes, paint,
};
use half::f16;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use test_support::gpu::FakeDriver;

use super::boxes::{Outputs, candidates, candidates_of, head_layout};
use super::kernel_proof::prove_kernels;
use super::luma::LumaGrid;
use super::noise::Noise;
use super::resample::fill_padding_with;
use super::{
    BoxUnits, Candidate, InputEncoding, Layout, Letterbox, PADDING, Resampler, TensorElement,
    channel_encoding, color_factors, resample_tables,
};
use crate::media::{Color, Matrix, Yuv420};

thread_local! {
    /// To compile a driver for each case of a property would take too much time.
    static STREAM: CudaStream = CudaStream::new(&context()).unwrap();
}

/// Returns the context of this machine's GPU where KVS_INFER_GPU is set (`make gpu-test`), else of a driver in host memory.
fn context() -> CudaContext {
    if std::env::var_os("KVS_INFER_GPU").is_some() {
        return CudaContext::retain(&CudaDriver::load().unwrap(), 0).unwrap();
    }
    opened(&FakeDriver::new())
}

fn opened(fake: &FakeDriver) -> CudaContext {
    CudaContext::retain(&CudaDriver::load_from(&fake.library()).unwrap(), 0).unwrap()
}

fn uploaded(stream: &CudaStream, picture: &Yuv420<'_>, layout: ChromaLayout) -> DeviceFrame {
    let size_px = (picture.width_px, picture.height_px);
    let frame = DeviceFrame::new(stream.context(), size_px, layout).unwrap();
    let staging = PinnedBuffer::new(stream.context(), frame.bytes()).unwrap();
    let planes = FramePlanes { planes: picture.planes, strides: picture.strides };
    frame.upload(stream, &planes, staging).unwrap().wait().unwrap();
    frame
}

fn downloaded(stream: &CudaStream, buffer: &DeviceBuffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.all().bytes];
    stream.download_now(buffer.all(), &mut bytes).unwrap();
    bytes
}

/// The inputs of all pictures, painted by the GPU in one launch.
fn by_gpu(
    stream: &CudaStream,
    pictures: &[Noise],
    (side_px, encoding): ((u32, u32), InputEncoding),
    layout: ChromaLayout,
    element: ElementType,
) -> Vec<u8> {
    let uploaded = |picture: &Noise| {
        let letterbox = Letterbox::fit(picture.size, side_px).unwrap();
        let tables = DeviceTables::upload(stream, &resample_tables(letterbox)).unwrap();
        (uploaded(stream, &picture.view(), layout), tables, color_factors(picture.color))
    };
    let inputs: Vec<_> = pictures.iter().map(uploaded).collect();
    let jobs: Vec<PaintJob<'_>> =
        inputs.iter().map(|(frame, tables, color)| PaintJob { frame, tables, color: *color }).collect();
    let bytes = inputs.iter().map(|input| input.1.input_bytes(element)).sum();
    let out = DeviceBuffer::new(stream.context(), bytes).unwrap();
    paint(stream, &jobs, &channel_encoding(&encoding), element, out.all()).unwrap();
    downloaded(stream, &out)
}

/// The same by the CPU.
fn by_cpu<T: TensorElement>(
    pictures: &[Noise],
    (side_px, encoding): ((u32, u32), InputEncoding),
    bytes_of: impl Fn(&T) -> Vec<u8>,
) -> Vec<u8> {
    let mut resampler = Resampler::new(side_px).encoded(encoding);
    let mut bytes = Vec::new();
    for picture in pictures {
        let mut out = vec![T::of(f32::NAN); resampler.elements()];
        let letterbox = resampler.write(&picture.view(), &mut out).unwrap();
        fill_padding_with(encoding.grey(PADDING), &letterbox, &mut out);
        bytes.extend(out.iter().flat_map(&bytes_of));
    }
    bytes
}

/// Compares both element types and both chroma layouts, and returns the number of elements.
fn compare(stream: &CudaStream, pictures: &[Noise], model: ((u32, u32), InputEncoding)) -> usize {
    let wants = [
        (ElementType::F32, by_cpu::<f32>(pictures, model, |number| number.to_bits().to_ne_bytes().to_vec())),
        (ElementType::F16, by_cpu::<f16>(pictures, model, |number| number.to_bits().to_ne_bytes().to_vec())),
    ];
    let mut elements = 0;
    for (element, want) in wants {
        for layout in [ChromaLayout::Interleaved, ChromaLayout::Planar] {
            let have = by_gpu(stream, pictures, model, layout, element);
            let sizes: Vec<_> = pictures.iter().map(|picture| (picture.size, picture.color)).collect();
            let differ = have.iter().zip(&want).position(|(have, want)| have != want);
            assert_eq!(
                (have.len(), differ),
                (want.len(), None),
                "{element:?} {layout:?} {sizes:?} {model:?}"
            );
            elements += have.len() / element.bytes();
        }
    }
    elements
}

fn color(index: u32) -> Color {
    let matrix = if index & 1 == 0 { Matrix::Bt709 } else { Matrix::Bt601 };
    Color { matrix, full_range: index & 2 != 0 }
}

/// The usual encoding, and those of models of other makers.
fn encoding(index: u32) -> InputEncoding {
    let mean = [103.53, 116.28, 123.675];
    match index % 4 {
        0 => InputEncoding::default(),
        1 => InputEncoding { bgr: true, ..InputEncoding::default() },
        2 => InputEncoding { white: 255.0, mean, std: [57.375, 57.12, 58.395], bgr: true },
        _ => InputEncoding {
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, -0.225],
            ..InputEncoding::default()
        },
    }
}

#[test]
fn pictures_of_usual_sizes_are_painted_as_by_the_cpu() {
    let cases = [
        ((1920, 1080), (640, 640)),
        ((1280, 720), (416, 416)),
        ((768, 576), (320, 320)),
        ((640, 360), (640, 384)),
        ((1, 1), (16, 16)),
        ((2, 1), (16, 16)),
        ((1, 50), (16, 16)),
        ((400, 2), (32, 32)),
        ((61, 47), (40, 40)),
        ((20, 30), (64, 64)),
    ];
    let elements = STREAM.with(|stream| {
        let case = |(i, (size, side_px)): (usize, _)| {
            let i = i as u32;
            compare(
                stream,
                &[Noise::new(size, [3, 1, 17], u64::from(i), color(i))],
                (side_px, encoding(i / 3)),
            )
        };
        cases.into_iter().enumerate().map(case).sum::<usize>()
    });
    assert!(elements > 10_000_000, "{elements}");
}

#[test]
fn a_whole_batch_of_different_pictures_is_painted_in_one_launch() {
    let picture = |i: u32| Noise::new((40 + 7 * i, 90 - 5 * i), [0; 3], u64::from(i), color(i));
    let pictures: Vec<Noise> = (0..16).map(picture).collect();
    STREAM.with(|stream| compare(stream, &pictures, ((48, 64), encoding(2))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn pictures_are_painted_as_by_the_cpu(
        size in (1_u32..220, 1_u32..160), other in (1_u32..50, 1_u32..50), side_px in (1_u32..96, 1_u32..96),
        slack in 0_usize..5, seed in any::<u64>(), kind in 0_u32..16,
    ) {
        let pictures = [
            Noise::new(size, [slack; 3], seed, color(kind)),
            Noise::new(other, [0; 3], seed ^ 2, color(kind + 1)),
        ];
        let elements = STREAM.with(|stream| compare(stream, &pictures, (side_px, encoding(kind / 4))));
        prop_assert_eq!(elements as u32, 24 * side_px.0 * side_px.1);
    }

    #[test]
    fn grids_of_luma_are_those_of_the_cpu(
        sizes in proptest::collection::vec((1_u32..300, 1_u32..300), 1..4), seed in any::<u64>(),
    ) {
        let pictures: Vec<Noise> =
            sizes.iter().map(|size| Noise::new(*size, [1, 0, 0], seed, color(0))).collect();
        let grids = STREAM.with(|stream| {
            let frames: Vec<_> =
                pictures.iter().map(|picture| uploaded(stream, &picture.view(), ChromaLayout::Planar)).collect();
            let mut reader = LumaReader::new(stream.context()).unwrap();
            reader.start(stream, &frames.iter().collect::<Vec<_>>()).unwrap();
            reader.finish().unwrap()
        });
        for (grid, picture) in grids.iter().zip(&pictures) {
            prop_assert!(grid == LumaGrid::of(&picture.view()).cells(), "{:?}", picture.size);
        }
    }

    #[test]
    fn boxes_are_those_of_the_cpu(
        layout in 0_usize..5, anchors in 1_usize..85, classes in 1_usize..7, seed in any::<u64>(), conf in 0.1_f32..0.9, shares in any::<bool>(),
    ) {
        let layout = [Layout::Yolov8, Layout::Yolov5, Layout::Yolox, Layout::Rtdetr, Layout::Yolonas][layout];
        let units = if shares { BoxUnits::Normalized } else { BoxUnits::Pixels };
        let (boxes, scores, columns) = output(layout, anchors, classes, seed);
        let outputs = Outputs { layout, units, boxes: &boxes, scores: &scores, columns, classes };
        let letterbox = Letterbox::fit((320, 200), (64, 64)).unwrap();
        let want = candidates(&outputs, &letterbox, conf);
        let have = STREAM.with(|stream| found(stream, &outputs, anchors, conf, &letterbox));
        prop_assert_eq!(bits(&have), bits(&want), "{}", layout);
    }
}

/// The outputs of a model for one picture, and the columns of the scores: some numbers are equal, and some not finite.
fn output(layout: Layout, anchors: usize, classes: usize, seed: u64) -> (Vec<f32>, Vec<f32>, usize) {
    let mut state = seed | 1;
    let mut numbers = |count: usize| -> Vec<f32> {
        let number = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match state >> 58 {
                0 => f32::NAN,
                1 => f32::INFINITY,
                2 => -0.0,
                _ => (state >> 40 & 31) as f32 / 32.0,
            }
        };
        (0..count).map(number).collect()
    };
    let whole = |channels: usize, columns: usize, numbers: &mut dyn FnMut(usize) -> Vec<f32>| {
        let boxes = numbers(channels * anchors);
        (boxes.clone(), boxes, columns)
    };
    match layout {
        Layout::Yolov8 => whole(4 + classes, anchors, &mut numbers),
        Layout::Rtdetr => whole(4 + classes, 4 + classes, &mut numbers),
        Layout::Yolonas => (numbers(4 * anchors), numbers(classes * anchors), classes),
        _ => whole(5 + classes, 5 + classes, &mut numbers),
    }
}

fn found(
    stream: &CudaStream,
    outputs: &Outputs<'_>,
    anchors: usize,
    conf: f32,
    letterbox: &Letterbox,
) -> Vec<Candidate> {
    let on_gpu = |numbers: &[f32]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let buffer = DeviceBuffer::new(stream.context(), bytes.len()).unwrap();
        stream.upload_now(&bytes, buffer.all()).unwrap();
        buffer
    };
    let (boxes, scores) = (on_gpu(outputs.boxes), on_gpu(outputs.scores));
    let head = OutputHead {
        layout: head_layout(outputs.layout).unwrap(),
        anchors,
        classes: outputs.classes,
        element: ElementType::F32,
        boxes: boxes.all(),
        scores: scores.all(),
    };
    let mut reader = CandidateReader::new(stream.context()).unwrap();
    reader.start(stream, &head, 1, conf).unwrap();
    match &reader.finish(stream).unwrap()[..] {
        [SlotBoxes::Found(found)] => candidates_of(found, outputs.layout, outputs.units, letterbox),
        other => panic!("{other:?}"),
    }
}

fn bits(candidates: &[Candidate]) -> Vec<(usize, usize, u32, [u32; 4])> {
    let one = |Candidate { anchor, class, conf, bbox }: &Candidate| {
        (*anchor, *class, conf.to_bits(), [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f32::to_bits))
    };
    candidates.iter().map(one).collect()
}

#[test]
fn a_gpu_proves_itself_and_one_that_computes_wrongly_is_named() {
    let fake = FakeDriver::new();
    let context = opened(&fake);
    prove_kernels(&context).unwrap();
    for kernel in ["paint_f32", "paint_f16", "luma_grid", "mask", "candidates"] {
        fake.set_faults(&format!("wrong {kernel}"));
        let words = prove_kernels(&context).unwrap_err().to_string();
        let start = format!("the self-test of the GPU failed: {kernel} on Fake GPU 0 gave ");
        assert!(words.starts_with(&start) && words.contains(" as number 0 of "), "{words}");
        assert!(words.ends_with("update NVIDIA's driver, and report it if that does not help"), "{words}");
    }
    fake.set_faults("memory 1");
    let words = prove_kernels(&context).unwrap_err().to_string();
    let full =
        "the self-test of the GPU failed: cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY (2), out of memory";
    assert_eq!(words, full);
}
