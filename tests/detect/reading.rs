//! Recognition models read coloured stripes; see scripts/models/tiny_text.py for what each colour says.

use std::sync::Arc;

use super::support::Paint::{Black, Blue, Cyan, Green, Magenta, Red, White, Yellow};
use super::support::{Paint, frame, spec, tiny, tiny_text};
use kvs_infer::detect::ocr::TextReader;
use kvs_infer::detect::{DetectError, Device, ModelSpec};
use kvs_infer::media::{BBox, Frame, PlateText};

/// A step of the tiny models in a crop of [`HEIGHT`].
const STRIPE: u32 = 32;
const HEIGHT: u32 = 64;

/// A frame with each text as stripes in a row of its own, and their boxes.
fn rows(texts: &[&[Paint]]) -> (Arc<Frame>, Vec<BBox>) {
    let (mut painted, mut boxes, mut widest) = (Vec::new(), Vec::new(), 2);
    for (row, stripes) in (0..).zip(texts) {
        let (top, bottom) = (row * 2 * HEIGHT, row * 2 * HEIGHT + HEIGHT);
        for (column, paint) in (0..).zip(*stripes) {
            painted.push((*paint, [column * STRIPE, top, (column + 1) * STRIPE, bottom]));
        }
        let width = stripes.len() as u32 * STRIPE;
        boxes.push(BBox { x1: 0.0, y1: top as f32, x2: width as f32, y2: bottom as f32 });
        widest = widest.max(width);
    }
    let height = texts.len().max(1) as u32 * 2 * HEIGHT;
    (frame("gate", (widest, height), &painted), boxes)
}

fn reader(name: &str) -> TextReader {
    TextReader::start(&tiny_text(name), Device::Cpu, 1).unwrap()
}

fn texts(readings: &[Option<PlateText>]) -> Vec<&str> {
    readings.iter().map(|reading| reading.as_ref().map_or("", |reading| &reading.text)).collect()
}

const CASES: [(&[Paint], &str); 10] = [
    (&[Red, Green, Blue], "AB7"),
    (&[Red], "A"),
    (&[Black, Black], ""),
    (&[Yellow, White], ""),
    (&[Red, Red, Green], "AB"),
    (&[Red, Black, Red, White, Red], "AAA"),
    (&[Blue, Yellow, Green, White, Red], "7BA"),
    (&[Magenta, Cyan, Blue], "ก่7"),
    (&[Black, Green, Black, Black, Green, Black], "BB"),
    (&[Green, Blue, Green, Blue, Green, Blue, Green, Blue], "B7B7B7B7"),
];

#[tokio::test]
async fn every_kind_of_model_reads_the_same() {
    let (frame, boxes) = rows(&CASES.map(|(stripes, _)| stripes));
    for name in ["text", "text_logits", "text_fp16", "text_fixed"] {
        let readings = reader(name).read(Arc::clone(&frame), boxes.clone(), 0.0).await.unwrap();
        assert_eq!(texts(&readings), CASES.map(|(_, text)| text), "{name}");
        for reading in readings.iter().flatten() {
            assert!((reading.conf - 0.68).abs() < 0.02, "{name}: {reading:?}");
        }
    }
    let readings = reader("text_no_space").read(frame, boxes, 0.0).await.unwrap();
    assert_eq!(texts(&readings)[0], "AB7");
}

#[tokio::test]
async fn what_is_read_of_a_box_hangs_on_the_box_alone() {
    let long: Vec<Paint> = [Red, Green, Blue, Black].repeat(15);
    let mut stripes: Vec<&[Paint]> = vec![&long];
    stripes.extend([Red, Green, Blue, Magenta].repeat(10).iter().map(|paint| match paint {
        Red => &[Red, Green][..],
        Green => &[Green],
        Blue => &[Blue, Red, Black],
        _ => &[Magenta],
    }));
    let (frame, boxes) = rows(&stripes);
    for name in ["text", "text_fixed"] {
        let reader = reader(name);
        let together = reader.read(Arc::clone(&frame), boxes.clone(), 0.0).await.unwrap();
        assert_eq!(together.len(), 41);
        for (i, bbox) in boxes.iter().enumerate() {
            let alone = reader.read(Arc::clone(&frame), vec![*bbox], 0.0).await.unwrap();
            assert_eq!(alone, together[i..=i], "{name}: box {i}");
        }
        if name == "text" {
            assert_eq!(texts(&together)[0], "AB7".repeat(15), "a line of 480 px");
        }
        assert_eq!(texts(&together)[1..5], ["AB", "B", "7A", "ก"], "{name}");
    }
}

#[tokio::test]
async fn boxes_are_expanded_and_cut() {
    let stripes = [Red, Green, Blue, Green, Red];
    let painted = [0, 1, 2, 3, 4].map(|i| (stripes[i as usize], [i * STRIPE, 0, (i + 1) * STRIPE, HEIGHT]));
    let frame = frame("gate", (5 * STRIPE, HEIGHT), &painted);
    let bbox = |x1, x2| BBox { x1, y1: 0.0, x2, y2: 64.0 };
    let cases = [
        ("the middle", bbox(64.0, 96.0), 0.0, "7"),
        ("two stripes", bbox(64.0, 128.0), 0.0, "7B"),
        ("half as much more on each side", bbox(64.0, 128.0), 0.5, "B7BA"),
        ("beyond the frame", bbox(-64.0, 500.0), 0.0, "AB7BA"),
        ("outside", bbox(500.0, 600.0), 0.5, ""),
        ("no number", bbox(f32::NAN, 600.0), 0.5, ""),
    ];
    let reader = reader("text");
    for (name, bbox, expand, wanted) in cases {
        let readings = reader.read(Arc::clone(&frame), vec![bbox], expand).await.unwrap();
        assert_eq!(texts(&readings), [wanted], "{name}");
    }
    assert_eq!(reader.read(frame, vec![], 0.0).await.unwrap(), []);
}

#[test]
fn a_model_describes_itself() {
    let cases = [("text", "Nx3x16xW f32"), ("text_fp16", "Nx3x16xW f16"), ("text_fixed", "2x3x16x64 f32")];
    for (name, input) in cases {
        let reader = reader(name);
        let info = reader.info();
        assert_eq!((info.input.to_string().as_str(), info.characters), (input, 6), "{name}");
        assert_eq!((info.device, &info.fallback, info.id.name.as_str()), (Device::Cpu, &None, name));
        assert!(info.id.sha256.len() == 64 && info.warmup_ms > 0.0 && info.infer_ms > 0.0, "{info:?}");
    }
}

fn with(spec: ModelSpec, characters: &[&str]) -> ModelSpec {
    let classes = Some(characters.iter().map(|character| (*character).to_owned()).collect());
    ModelSpec { classes, ..spec }
}

#[tokio::test]
async fn the_characters_of_the_configuration_count() {
    let given = with(tiny_text("text_unnamed"), &["ก", "ข", "ค", "1", "2", "3"]);
    let reader = TextReader::start(&given, Device::Cpu, 1).unwrap();
    let (frame, boxes) = rows(&[&[Red, Yellow], &[Green, Cyan]]);
    assert_eq!(texts(&reader.read(frame, boxes, 0.0).await.unwrap()), ["ก1", "ข3"]);
}

#[test]
fn a_model_that_cannot_read_says_why_and_what_to_do() {
    let two = ["a", "b"];
    let cases: [(&str, ModelSpec, &[&str]); 7] = [
        ("missing", spec("none.onnx".into()), &["cannot read the file", "check `path`"]),
        (
            "no characters",
            tiny_text("text_unnamed"),
            &["`character` in its metadata", "one character per line"],
        ),
        ("none given", with(tiny_text("text"), &[]), &["it has no characters"]),
        (
            "too few",
            with(tiny_text("text"), &two),
            &["has 8 classes, and 2 characters are given", "make 3 classes with the blank"],
        ),
        ("a detector", with(tiny("yolov8"), &two), &["has 64 classes, and 2 characters"]),
        ("no steps", with(tiny("wrong_rank"), &two), &["`output0` [1, 3]", "[batch, steps, classes]"]),
        ("two outputs", with(tiny("detr"), &two), &["`pred_boxes`", "are no text"]),
    ];
    for (name, spec, words) in cases {
        let error = TextReader::start(&spec, Device::Cpu, 1).map(|_| ()).unwrap_err().to_string();
        let place = format!("model {} ({}): ", spec.name, spec.path.display());
        for word in words.iter().chain([&place.as_str()]) {
            assert!(error.contains(word), "{name}: {word:?} is not in: {error}");
        }
    }
}

#[tokio::test]
async fn after_stop_there_is_an_error_and_no_thread() {
    let reader = reader("text");
    let (frame, boxes) = rows(&[&[Red]]);
    assert!(reader.is_alive() && reader.busy_since().is_none());
    reader.clone().stop();
    reader.stop();
    assert!(!reader.is_alive());
    let error = reader.read(frame, boxes, 0.0).await.unwrap_err();
    assert_eq!(error, DetectError::Ended { model: "text".to_owned() });
}
