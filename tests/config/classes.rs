//! Class names and characters from files.

use super::settings::{MINIMAL, settings_of};

#[test]
fn class_names_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "person\ntraffic light\n";
    let utf_16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(order).collect()
    };
    let cases = [
        ("as it is", text.as_bytes().to_vec()),
        ("CRLF", text.replace('\n', "\r\n").into_bytes()),
        ("CR", text.replace('\n', "\r").into_bytes()),
        ("a byte order mark", format!("\u{feff}{text}").into_bytes()),
        ("UTF-16, little end first", utf_16(u16::to_le_bytes)),
        ("UTF-16, big end first", utf_16(u16::to_be_bytes)),
        ("spaces around", b"person \t\n traffic light\n\n".to_vec()),
    ];
    for (name, bytes) in cases {
        let names = folder.path().join("names.txt");
        std::fs::write(&names, bytes).unwrap();
        let models = format!("models: {{ m: {{ path: m.onnx, classes: {} }} }}\ncameras:", names.display());
        let settings = settings_of(&MINIMAL.replace("cameras:", &models).replace("models/m.onnx", "m"));
        let classes = settings.cameras[0].pipeline[0].model.classes.clone().unwrap();
        assert_eq!(classes, ["person", "traffic light"], "{name}");
    }
}

#[test]
fn class_names_come_from_yaml_and_json_and_characters_from_any_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names");
    let classes_of = |text: &str, is_recognition: bool| {
        std::fs::write(&file, text).unwrap();
        let models = format!("models: {{ m: {{ path: m.onnx, classes: {} }} }}\ncameras:", file.display());
        let recognition = "{ type: alpr, alpr: { plate_detector_weights: p.onnx, ocr_weights: m } }";
        let detection = "{ type: objects, objects: { yolo_weights: m } }";
        let entry = if is_recognition { recognition } else { detection };
        let text = MINIMAL.replace("cameras:", &models);
        let text = text.replace("{ type: objects, objects: { yolo_weights: models/m.onnx } }", entry);
        let entry = settings_of(&text).cameras.remove(0).pipeline.remove(0);
        let model = entry.ocr.map_or(entry.model, |ocr| ocr.model);
        model.classes.clone().unwrap()
    };
    let cases: [(&str, &str, bool, &[&str]); 6] = [
        ("data.yaml", "nc: 2\nnames:\n  0: person\n  1: 007\n", false, &["person", "007"]),
        ("JSON", "[\"person\", \"car\"]", false, &["person", "car"]),
        ("lines", " person \ncar\n", false, &["person", "car"]),
        (
            "characters",
            "{\n-\n\u{3000}\n#\nA\nA\n\u{200b}\n",
            true,
            &["{", "-", "\u{3000}", "#", "A", "A", "\u{200b}"],
        ),
        ("blanks", "ก\n\u{e48}\n\u{3000}\n1\n \n", true, &["ก", "\u{e48}", "\u{3000}", "1", " "]),
        ("characters of YAML", "- A\n0: B\n", true, &["- A", "0: B"]),
    ];
    for (name, text, is_recognition, want) in cases {
        assert_eq!(classes_of(text, is_recognition), want, "{name}");
    }
}
