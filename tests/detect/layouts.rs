//! Models of each exporter's layout are read as what they are, or refused; none is read as another.

use std::path::Path;
use std::sync::Arc;

use super::graph::{Answer, SIDE, write_answers, write_light_meter};
use super::support::{Paint, USUAL, frame, near, spec};
use kvs_infer::detect::{
    BoxUnits, DetectError, Detector, Device, InputEncoding, Layout, LayoutChoice, LayoutSource, ModelSpec,
};
use kvs_infer::media::{Detection, Frame};

const RTDETR: &[(&str, &str)] = &[
    ("names", "{0: 'gun', 1: 'knife'}"),
    ("task", "detect"),
    ("author", "Ultralytics"),
    ("description", "Ultralytics rtdetr-l model"),
];
const TWO: &[(&str, &str)] = &[("names", "{0: 'gun', 1: 'knife'}")];
const THREE: &[(&str, &str)] = &[("names", "{0: 'gun', 1: 'knife', 2: 'phone'}")];
const ONE: &[(&str, &str)] = &[("names", "{0: 'gun'}")];

/// Rows of `columns` numbers: these, then as many of 0 as it takes to make `count`.
fn padded(rows: &[&[f32]], columns: usize, count: usize) -> Vec<f32> {
    let mut all: Vec<f32> = rows.concat();
    all.resize(columns * count, 0.0);
    all
}

fn black() -> Arc<Frame> {
    frame("a", (SIDE, SIDE), &[])
}

async fn found(spec: &ModelSpec) -> Result<Vec<Detection>, DetectError> {
    let detector = Detector::start(spec, Device::Cpu, 1)?;
    let seen = detector.detect(black(), USUAL).await;
    if seen.is_err() {
        let grey = frame("a", (SIDE, SIDE), &[(Paint::White, [0, 0, SIDE, SIDE])]);
        assert_eq!(detector.detect(grey, USUAL).await, seen, "a picture without objects is no cure");
    }
    seen
}

fn one_output(
    folder: &Path,
    dims: &[usize],
    grey: Vec<f32>,
    black: Vec<f32>,
    metadata: &[(&str, &str)],
) -> ModelSpec {
    spec(write_answers(folder, "m", &[Answer { name: "output0", dims, grey, black }], metadata))
}

/// Boxes and scores of a dense head of corners: 8 x 8 cells with a box each, nothing found but `gun` in the first where
/// `found`.
fn corners_and_scores(found: bool) -> [Vec<f32>; 2] {
    let corners = |i: u32| [i % 8 * 8, i / 8 * 8, i % 8 * 8 + 12, i / 8 * 8 + 12].map(|px| px as f32);
    let mut scores = vec![0.001; 128];
    if found {
        scores[0] = 0.9;
    }
    [(0..64).flat_map(corners).collect(), scores]
}

/// The box of each model, as shares of the input (centre and size) and as corners in px.
const SHARES: [f32; 4] = [0.5, 0.5, 0.5, 0.375];
const CORNERS: [f32; 4] = [16.0, 20.0, 48.0, 44.0];

/// Asserts that the model is read as this layout for this reason, and finds `gun` at 0.9 in a black picture.
async fn assert_finds(name: &str, spec: &ModelSpec, layout: Layout, source: LayoutSource) {
    let detector = Detector::start(spec, Device::Cpu, 1).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((detector.info().layout, detector.info().layout_source), (layout, source), "{name}");
    let seen = detector.detect(black(), USUAL).await.unwrap();
    let [gun] = &seen[..] else { panic!("{name}: {seen:?}") };
    let is_gun = *gun.label == *"gun" && (gun.conf - 0.9).abs() < 0.01;
    assert!(is_gun && near(&gun.bbox, CORNERS, 0.1), "{name}: {gun:?}");
}

/// One output of `[1, count, columns]`: one row, and nothing on grey.
fn one_row(folder: &Path, count: usize, row: &[f32], metadata: &[(&str, &str)]) -> ModelSpec {
    let black = padded(&[row], row.len(), count);
    one_output(folder, &[1, count, row.len()], vec![0.0; black.len()], black, metadata)
}

#[tokio::test]
async fn layouts_of_one_output_find_the_same_box() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let query = |scores: &[f32]| [&SHARES[..], scores].concat();
    let end = [&CORNERS[..], &[0.9, 0.0]].concat();
    let two = one_row(folder, 300, &query(&[0.9, 0.1]), RTDETR);
    assert_finds("rtdetr of two", &two, Layout::Rtdetr, LayoutSource::Metadata).await;
    let three = one_row(folder, 300, &query(&[0.9, 0.1, 0.0]), THREE);
    assert_finds("rtdetr of three", &three, Layout::Rtdetr, LayoutSource::Shape).await;
    let one = one_row(folder, 300, &query(&[0.9]), ONE);
    assert_finds("rtdetr of one", &one, Layout::Rtdetr, LayoutSource::Shape).await;
    let one = one_row(folder, 300, &end, ONE);
    assert_finds("NMS of one", &one, Layout::Nms, LayoutSource::Rows).await;
    let three = one_row(folder, 300, &end, THREE);
    assert_finds("NMS of three", &three, Layout::Nms, LayoutSource::Shape).await;
    for (row, layout) in [(query(&[0.9, 0.1]), Layout::Rtdetr), (end, Layout::Nms)] {
        let numbers = padded(&[&row], 6, 300);
        let shows_itself = one_output(folder, &[1, 300, 6], numbers.clone(), numbers, TWO);
        assert_finds("two classes, by numbers", &shows_itself, layout, LayoutSource::Values).await;
    }
}

#[tokio::test]
async fn layouts_of_two_outputs_find_the_same_box() {
    let folder = tempfile::tempdir().unwrap();
    let dense = |numbers: [f32; 4]| numbers.repeat(64);
    let sure = |first: &[f32], rest: &[f32]| [first, &rest.repeat(63)].concat();
    let model = |boxes, columns, scores| {
        let dims = [1, 64, columns];
        let answers =
            [Answer::constant("boxes", &[1, 64, 4], boxes), Answer::constant("scores", &dims, scores)];
        spec(write_answers(folder.path(), "m", &answers, TWO))
    };
    let detr = model(dense(SHARES), 2, sure(&[2.2, -9.0], &[-9.0, -9.0]));
    assert_finds("detr", &detr, Layout::Detr, LayoutSource::Values).await;
    let nas = model(dense(CORNERS), 2, sure(&[0.9, 0.001], &[0.001, 0.001]));
    assert_finds("yolonas", &nas, Layout::Yolonas, LayoutSource::Values).await;
    let softmax = model(dense(SHARES), 3, sure(&[2.9, 0.0, 0.0], &[0.0, 0.0, 9.0]));
    let softmax = ModelSpec { layout: LayoutChoice::DetrSoftmax, ..softmax };
    assert_finds("detr of no object", &softmax, Layout::DetrSoftmax, LayoutSource::Config).await;
}

#[tokio::test]
async fn boxes_in_shares_are_found_where_the_configuration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let corners = CORNERS.map(|px| px / SIDE as f32);
    let dims = |columns| [1, 64, columns];
    let dense = |rows: [f32; 4], rest: &[f32]| [&rows[..], rest].concat().repeat(64);
    let black =
        |dims: &[usize], numbers: Vec<f32>| one_output(folder, dims, vec![0.0; numbers.len()], numbers, TWO);
    let planes: Vec<f32> =
        [SHARES[0], SHARES[1], SHARES[2], SHARES[3], 0.9, 0.0].iter().flat_map(|n| [*n; 64]).collect();
    let two_outputs = [
        Answer::constant("boxes", &[1, 64, 4], dense(corners, &[])),
        Answer::constant("scores", &[1, 64, 2], dense([0.9, 0.0, 0.9, 0.0], &[])[..128].to_vec()),
    ];
    let cases = [
        (Layout::Yolov8, LayoutChoice::Yolov8, black(&[1, 6, 64], planes)),
        (Layout::Yolov5, LayoutChoice::Yolov5, black(&dims(7), dense(SHARES, &[1.0, 0.9, 0.0]))),
        (Layout::Nms, LayoutChoice::Nms, one_row(folder, 300, &[&corners[..], &[0.9, 0.0]].concat(), TWO)),
        (Layout::Yolonas, LayoutChoice::Yolonas, spec(write_answers(folder, "m", &two_outputs, TWO))),
    ];
    for (layout, choice, spec) in cases {
        let spec = ModelSpec { layout: choice, box_units: BoxUnits::Normalized, ..spec };
        assert_finds(layout.as_str(), &spec, layout, LayoutSource::Config).await;
    }
}

#[tokio::test]
async fn the_layout_before_the_grid_finds_the_same_box() {
    let folder = tempfile::tempdir().unwrap();
    let mut grid = vec![0.0; 84 * 7];
    grid[36 * 7..37 * 7].copy_from_slice(&[0.0, 0.0, 4.0_f32.ln(), 3.0_f32.ln(), 1.0, 0.9, 0.0]);
    let yolox = one_output(folder.path(), &[1, 84, 7], vec![0.0; 84 * 7], grid, TWO);
    let yolox = ModelSpec { layout: LayoutChoice::Yolox, ..yolox };
    assert_finds("yolox", &yolox, Layout::Yolox, LayoutSource::Config).await;
}

#[tokio::test]
async fn an_empty_scene_gives_no_box_in_any_layout() {
    let folder = tempfile::tempdir().unwrap();
    let [boxes, scores] = corners_and_scores(false);
    let answers =
        [Answer::constant("boxes", &[1, 64, 4], boxes), Answer::constant("scores", &[1, 64, 2], scores)];
    let nas = spec(write_answers(folder.path(), "nas", &answers, TWO));
    assert_eq!(found(&nas).await, Ok(vec![]), "the sigmoid of a probability is above 0.5");
    let as_detr = found(&ModelSpec { layout: LayoutChoice::Detr, ..nas }).await.unwrap_err().to_string();
    for word in ["are not of layout detr", "all scores lie within 0..1", "`layout: yolonas`"] {
        assert!(as_detr.contains(word), "{word:?} is not in: {as_detr}");
    }
}

#[tokio::test]
async fn what_a_picture_shows_of_a_wrong_layout_is_an_error_and_no_box() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let one =
        |dims, black: Vec<f32>, metadata| one_output(folder, dims, vec![0.0; black.len()], black, metadata);
    let as_layout = |layout, spec| ModelSpec { layout, ..spec };
    let (nms, rtdetr, yolov5) = (LayoutChoice::Nms, LayoutChoice::Rtdetr, LayoutChoice::Yolov5);
    let shares = |scores: [f32; 2]| one_row(folder, 300, &[&SHARES[..], &scores].concat(), TWO);
    let normalized = |spec| ModelSpec { box_units: BoxUnits::Normalized, ..spec };
    let corners = |class: f32, names| one_row(folder, 300, &[&CORNERS[..], &[0.9, class]].concat(), names);
    let grid = one(&[1, 84, 7], [0.4, 0.2, -1.0, 1.5, 0.9, 0.9, 0.0].repeat(84), TWO);
    let turned = one_row(folder, 10, &[32.0, 32.0, 32.0, 24.0, 0.9, 0.0, 0.0], THREE);
    let logits = one(&[1, 7, 10], [&[32.0; 20][..], &[8.0; 20], &[4.0; 10], &[0.0; 20]].concat(), THREE);
    #[rustfmt::skip]
    let cases: [(&str, ModelSpec, &[&str]); 9] = [
        ("corners in shares", as_layout(nms, one_row(folder, 300, &[0.25, 0.1, 0.75, 0.47, 0.9, 0.0], TWO)), &["not of layout nms", "no box reaches beyond 0.75", "`box_units: normalized` reads them"]),
        ("corners in px, named shares", as_layout(nms, normalized(corners(1.0, TWO))), &["not of layout nms", "boxes reach to 48", "`box_units: normalized` says"]),
        ("RT-DETR named nms", as_layout(nms, shares([0.9, 0.0])), &["not of layout nms", "no box reaches beyond 0.50", "(`layout: rtdetr`"]),
        ("RT-DETR, the second class", as_layout(nms, shares([0.1, 0.9])), &["the sixth column has 0.900"]),
        ("NMS named rtdetr", as_layout(rtdetr, corners(1.0, TWO)), &["not of layout rtdetr", "boxes reach to 48", "`layout: nms`"]),
        ("yolov8 turned", turned, &["not of layout rtdetr", "shares of the input"]),
        ("YOLOX named yolov5", as_layout(yolov5, grid), &["not of layout yolov5", "no box reaches beyond", "`layout: yolox`"]),
        ("fewer names than classes", corners(79.0, THREE), &["not of layout nms", "it found class 79, and has 3 class names"]),
        ("logits", logits, &["not of layout yolov8", "scores reach from 0.00 to 4.00"]),
    ];
    for (name, spec, words) in cases {
        let error = found(&spec).await.unwrap_err();
        assert!(matches!(error, DetectError::Contradiction { .. }), "{name}: {error}");
        let error = error.to_string();
        for word in words.iter().chain(&["model m: ", "its frames are skipped"]) {
            assert!(error.contains(word), "{name}: {word:?} is not in: {error}");
        }
    }
}

/// Asserts that each model is refused with these words.
fn assert_refused(cases: &[(&str, ModelSpec, &[&str])]) {
    for (name, spec, words) in cases {
        let error = Detector::start(spec, Device::Cpu, 1).map(|_| ()).unwrap_err().to_string();
        for word in *words {
            assert!(error.contains(word), "{name}: {word:?} is not in: {error}");
        }
    }
}

#[test]
fn numbers_that_show_no_layout_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |answers: &[Answer<'_>], metadata: &[(&str, &str)]| {
        spec(write_answers(folder.path(), "m", answers, metadata))
    };
    let end = |row: &[f32], names| {
        let numbers = padded(&[row], 6, 300);
        file(&[Answer::constant("output0", &[1, 300, 6], numbers)], names)
    };
    let turned_of_two: Vec<f32> =
        (0..64).flat_map(|i| [(i % 8 * 8) as f32, 30.0, 9.0, 9.0, 2e-5, 1e-5]).collect();
    let two_outputs = |boxes: f32, scores: f32| {
        let boxes =
            Answer::constant("boxes", &[1, 64, 4], [1.0, 1.0, 3.0, 3.0].map(|n| n * boxes).repeat(64));
        file(&[boxes, Answer::constant("scores", &[1, 64, 2], [scores, scores / 2.0].repeat(64))], TWO)
    };
    let cases: [(&str, ModelSpec, &[&str]); 6] = [
        (
            "NMS of shares, two classes",
            end(&[0.25, 0.1, 0.75, 0.47, 0.9, 0.0], TWO),
            &["fit rtdetr and nms with `box_units: normalized`; say which by `layout`"],
        ),
        (
            "NMS of shares, three classes",
            end(&[0.25, 0.1, 0.75, 0.47, 0.9, 0.0], THREE),
            &[
                "nms: no box reaches beyond 0.75, and its boxes are in px of the input (`box_units: normalized` reads",
            ],
        ),
        ("a box in a corner", end(&[3.0, 3.0, 9.0, 9.0, 0.9, 0.0], TWO), &["fit nms and rtdetr;"]),
        (
            "yolov8 turned, two classes",
            file(&[Answer::constant("output0", &[1, 64, 6], turned_of_two)], TWO),
            &["fit no layout", "boxes end before they begin", "rtdetr: boxes reach to 56"],
        ),
        ("DETR of probabilities", two_outputs(0.1, 0.9), &["fit no layout", "its scores are logits"]),
        ("boxes without scores", two_outputs(16.0, 0.0), &["fit yolonas and detr; say which by `layout`"]),
    ];
    assert_refused(&cases);
}

#[test]
fn models_of_another_kind_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |answers: &[Answer<'_>], metadata: &[(&str, &str)]| {
        spec(write_answers(folder.path(), "m", answers, metadata))
    };
    let zeros = |dims: &'static [usize]| Answer::constant("output0", dims, vec![0.0; dims.iter().product()]);
    let task = |task| [("names", "{0: 'a'}"), ("task", task)];
    let lists = [
        Answer::constant("num_dets", &[1, 1], vec![0.0]),
        Answer::constant("det_boxes", &[1, 100, 4], vec![0.0; 400]),
        Answer::constant("det_scores", &[1, 100], vec![0.0; 100]),
    ];
    let turned =
        Answer::constant("output0", &[1, 10, 7], padded(&[&[32.0, 32.0, 32.0, 24.0, 0.9, 0.0, 0.0]], 7, 10));
    let cases: [(&str, ModelSpec, &[&str]); 7] = [
        ("segments", file(&[zeros(&[1, 5, 10])], &task("segment")), &["`task: segment`", "`task=detect`"]),
        ("turned boxes", file(&[zeros(&[1, 300, 7])], &task("obb")), &["`task: obb`"]),
        (
            "lists",
            file(&lists, THREE),
            &[
                "`num_dets` [1, 1]",
                "`det_scores` [1, 100]",
                "TensorRT's EfficientNMS",
                "export it without NMS",
            ],
        ),
        (
            "yolov8 turned",
            file(&[turned], THREE),
            &["fit no layout", "rtdetr: boxes reach to 32, and its boxes are shares"],
        ),
        ("two readings", file(&[zeros(&[1, 300, 6])], TWO), &["fit nms and rtdetr", "say which by `layout`"]),
        (
            "end2end of another shape",
            file(&[zeros(&[1, 7, 8400])], &[THREE[0], ("end2end", "True")]),
            &["`end2end` says that NMS is done"],
        ),
        (
            "hidden names",
            file(&[zeros(&[1, 6, 10])], &[("names", "{0: 'gun', 1: 'kn\u{200b}ife'}")]),
            &["class name 1", "U+200B (zero width space)"],
        ),
    ];
    assert_refused(&cases);
}

#[tokio::test]
async fn the_input_is_as_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let red = frame("a", (SIDE, SIDE), &[(Paint::Red, [0, 0, SIDE, SIDE])]);
    let bytes = InputEncoding { white: 255.0, ..InputEncoding::default() };
    let normal = InputEncoding { mean: [0.0, 0.0, 55.0], std: [1.0, 1.0, 2.0], bgr: true, ..bytes };
    let (first, third) = ([0.5, 0.0, 0.0], [0.0, 0.0, 0.005]);
    let cases = [
        ("RGB 0..1", first, InputEncoding::default(), Some(0.5)),
        ("BGR 0..1", first, InputEncoding { bgr: true, ..InputEncoding::default() }, None),
        ("RGB 0..255", first.map(|weight: f32| weight / 255.0), bytes, Some(0.5)),
        ("BGR 0..255, mean and deviation", third, normal, Some(0.5)),
        ("the same for RGB", third, InputEncoding { bgr: false, ..normal }, None),
    ];
    for (name, weights, input, want) in cases {
        let path = write_light_meter(folder.path(), "meter", weights, THREE);
        let detector = Detector::start(&ModelSpec { input, ..spec(path) }, Device::Cpu, 1).unwrap();
        let seen = detector.detect(Arc::clone(&red), USUAL).await.unwrap();
        let conf = seen.first().map(|detection| detection.conf);
        let is_near = |(have, want): (f32, f32)| (have - want).abs() < 0.01;
        assert!(conf.zip(want).map_or(conf == want, is_near), "{name}: {seen:?}");
    }
}
