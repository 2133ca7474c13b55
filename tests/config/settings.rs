//! The settings of a configuration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kvs_infer::config::{
    ConfigErrors, ConfigSource, LogFormat, LogLevel, Overrides, Settings, StartPosition, StateSettings, load,
    parse,
};
use kvs_infer::decide::{Confirm, ReadingRules, RoiFilter, TextPattern};
use kvs_infer::decode::Masks;
use kvs_infer::detect::{DeviceChoice, InputEncoding, LayoutChoice, MotionRules, Thresholds};
use kvs_infer::render::{SnapshotFormat, SnapshotSpec};
use kvs_infer::sinks::{PublishSpec, S3Spec, Sse};
use kvs_infer::snapshot::SnapshotRoute;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

pub(crate) const MINIMAL: &str = "publishers: { local_dir: /tmp/events }
cameras:
  - id: a
    kvs_stream_name: a-stream
    pipeline: [{ type: objects, objects: { yolo_weights: models/m.onnx } }]
";

pub(crate) fn settings_of(text: &str) -> Settings {
    let environment = |name: &str| (name == "NUMBER").then(|| "7".to_owned());
    parse("c.yaml", text, &environment, &Overrides::default()).unwrap_or_else(|why| panic!("{why}"))
}

/// Returns the settings of `MINIMAL` with `old` replaced by `new`.
fn settings_with(old: &str, new: &str) -> Settings {
    let text = MINIMAL.replacen(old, new, 1);
    assert_ne!(text, MINIMAL, "{old:?} is not in MINIMAL");
    settings_of(&text)
}

#[test]
fn absent_keys_have_their_defaults() {
    let settings = settings_of(MINIMAL);
    assert_eq!(settings.region, None);
    assert_eq!(settings.reconnect_delay, Duration::from_secs(5));
    assert_eq!(settings.max_behind, Duration::from_mins(1));
    assert_eq!(settings.model_load, Duration::from_mins(10));
    assert_eq!(settings.device, DeviceChoice::Auto);
    assert_eq!((settings.log_level, settings.log_format), (LogLevel::Info, None));
    let publish = PublishSpec {
        local_dir: Some("/tmp/events".into()),
        snapshots: Some(SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 90 }),
        ..PublishSpec::default()
    };
    assert_eq!(settings.publish, publish);
    assert_eq!(settings.state, StateSettings { dir: None, max_bytes: 2 << 30, ddb_table: None });
    let camera = &settings.cameras[0];
    assert_eq!((camera.id.as_str(), &*camera.stream), ("a", "a-stream"));
    assert_eq!((camera.start, camera.fps_target), (StartPosition::Checkpoint, None));
    assert_eq!((&camera.route.kds_stream, &camera.route.snapshot), (&None, &None));
}

#[test]
fn a_minimal_detector_has_all_defaults() {
    let settings = settings_of(MINIMAL);
    let entry = &settings.cameras[0].pipeline[0];
    let rules = &entry.rules;
    assert_eq!((&*rules.detector, &*rules.kind), ("objects", "objects"));
    assert_eq!(rules.thresholds, Thresholds { conf: 0.4, nms_iou: 0.5 });
    assert_eq!((&rules.classes, rules.min_box, &rules.roi), (&None, None, &None));
    let confirm = Confirm { frames: 2, window: 3, iou_threshold: 0.3, median_conf: 0.5 };
    assert_eq!(rules.confirm, confirm);
    assert_eq!((rules.max_disappeared_ms, rules.cooldown_ms), (5_000, 1_500));
    let model = &entry.model;
    assert_eq!((&*model.name, model.path.as_path()), ("m.onnx", Path::new("models/m.onnx")));
    assert_eq!((model.layout, &model.sha256, &model.classes), (LayoutChoice::Auto, &None, &None));
    assert_eq!(model.threads, None);
}

#[test]
fn given_values_become_settings() {
    let new = "aws: { region: eu-west-1 }
service: { reconnect_delay_seconds: 1, max_behind_seconds: 10 }
snapshots: { image_format: png, jpeg_quality: 50 }
log_level: warn
log_format: text
publishers: { kds_stream: k, s3_bucket: buc, s3_prefix: /x/y/, s3_sse: aws:kms, s3_kms_key: alias/z, ";
    let settings = settings_with("publishers: { ", new);
    assert_eq!(settings.region.as_deref(), Some("eu-west-1"));
    assert_eq!((settings.reconnect_delay.as_secs(), settings.max_behind.as_secs()), (1, 10));
    assert_eq!((settings.log_level, settings.log_format), (LogLevel::Warn, Some(LogFormat::Text)));
    let sse = Sse::Kms { key: Some("alias/z".to_owned()) };
    let s3 = S3Spec { bucket: "buc".to_owned(), prefix: "x/y".to_owned(), sse };
    assert_eq!(settings.publish.s3, Some(s3));
    let snapshots = SnapshotSpec { format: SnapshotFormat::Png, jpeg_quality: 50 };
    assert_eq!(settings.publish.snapshots, Some(snapshots));
    let route = &settings.cameras[0].route;
    assert_eq!(route.kds_stream.as_deref(), Some("k"));
    let snapshot = SnapshotRoute { prefix: "a/".to_owned(), upload_crops: true };
    assert_eq!(route.snapshot, Some(snapshot));
}

#[test]
fn masks_are_in_the_units_of_roi_and_the_motion_gate_is_off_by_default() {
    let camera = |keys: &str| {
        let mut settings = settings_with("    pipeline", &format!("{keys}    pipeline"));
        settings.cameras.swap_remove(0)
    };
    let none = camera("    masks: []\n    motion: { sensitivity: 1 }\n");
    assert_eq!((none.masks, none.motion), (None, None));
    let shape = "    masks: [{ points: [[0, 0], [1, 0], [1, 1]] }]\n";
    let corners = vec![(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)];
    let shares = camera(&format!("    roi: {{ enabled: false, units: normalized }}\n{shape}"));
    assert_eq!(shares.masks, Some(Masks { polygons: vec![corners], normalized: true }));
    let pixels = camera("    masks: [{ points: [[0, 0], [9, 0], [9, 9]] }]\n    motion: { enabled: true }\n");
    assert!(pixels.masks.is_some_and(|masks| !masks.normalized && masks.polygons[0][1] == (9.0, 0.0)));
    assert_eq!(pixels.motion, Some(MotionRules { sensitivity: 0.5, max_idle_ms: 5_000, calm_ms: 1_000 }));
    let keys = "    fps_target: 1\n    motion: { enabled: true, sensitivity: 1, max_idle_seconds: 1.5 }\n";
    let other = camera(keys).motion;
    assert_eq!(
        other,
        Some(MotionRules { sensitivity: 1.0, max_idle_ms: 1_500, calm_ms: 3_000 }),
        "three inferences"
    );
}

#[test]
fn activities_are_on_only_if_configured() {
    let cases = [
        ("activity: null, ", None),
        ("activity: {}, ", Some(40_000)),
        ("activity: { quiet_seconds: 12.5 }, ", Some(12_500)),
    ];
    for (key, quiet_ms) in cases {
        let settings = settings_with("objects: { ", &format!("objects: {{ {key}"));
        assert_eq!(settings.cameras[0].pipeline[0].rules.quiet_ms, quiet_ms, "{key}");
    }
}

#[test]
fn devices_are_parsed() {
    let cases = [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("cuda", DeviceChoice::AllGpus),
        ("cuda:3", DeviceChoice::Gpu(3)),
        ("cuda:99", DeviceChoice::Gpu(99)),
    ];
    for (given, expected) in cases {
        let settings = settings_with("cameras:", &format!("device: {given}\ncameras:"));
        assert_eq!(settings.device, expected, "{given}");
    }
}

#[test]
fn a_flag_takes_precedence_over_the_file() {
    let text = format!("aws: {{ region: eu-west-1 }}\n{MINIMAL}");
    let overrides = Overrides { region: Some("us-east-1".to_owned()) };
    let settings = parse("c", &text, &|_| None, &overrides).unwrap();
    assert_eq!(settings.region.as_deref(), Some("us-east-1"));
}

#[test]
fn entries_that_name_the_same_model_share_it() {
    let pipeline = "[
      { type: objects, objects: { yolo_weights: street } },
      { type: weapon, weapon: { yolo_weights: gun.onnx } },
      { type: objects, enabled: false, objects: { yolo_weights: off.onnx } },
      { type: objects, objects: { yolo_weights: street, cooldown_seconds: 1.5 } },
      { type: weapon, weapon: { yolo_weights: gun.onnx } }]";
    let text =
        MINIMAL.replace("[{ type: objects, objects: { yolo_weights: models/m.onnx } }]", pipeline).replace(
            "cameras:",
            "models: { street: { path: s.onnx, layout: nms, classes: [a], threads: 3 } }\ncameras:",
        );
    let settings = settings_of(&text);
    let entries = &settings.cameras[0].pipeline;
    let names: Vec<_> = entries.iter().map(|entry| &*entry.rules.detector).collect();
    assert_eq!(
        names,
        ["objects", "weapon", "objects#3", "weapon#2"],
        "numbered in the order of the file, disabled or not"
    );
    assert!(Arc::ptr_eq(&entries[0].model, &entries[2].model));
    assert!(Arc::ptr_eq(&entries[1].model, &entries[3].model));
    assert_eq!((&*entries[0].model.name, entries[0].model.layout), ("street", LayoutChoice::Nms));
    assert_eq!(entries[0].model.threads, Some(3));
    assert_eq!(entries[2].rules.cooldown_ms, 1500);
}

#[test]
fn zones_and_boxes_keep_their_unit() {
    let roi = "roi: { units: normalized, filter: overlap, min_overlap: 0.25,
      polygons: [{ points: [[0, 0], [1, 0], [1, 1]] }, { name: b, points: [[0, 0], [1, 0], [0, 1]] }] }
    pipeline:";
    let text =
        MINIMAL.replace("pipeline:", roi).replace("m.onnx", "m.onnx, min_box: { width: 0.5, height: 0.25 }");
    let settings = settings_of(&text);
    let rules = &settings.cameras[0].pipeline[0].rules;
    assert_eq!(rules.min_box, Some((0.5, 0.25)));
    let roi = rules.roi.as_ref().unwrap();
    assert!(roi.normalized);
    assert_eq!(roi.filter, RoiFilter::Overlap(0.25));
    let names: Vec<_> = roi.zones.iter().map(|zone| &*zone.name).collect();
    assert_eq!(names, ["zone-1", "b"]);
    assert_eq!(roi.zones[0].points, [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]);
    let disabled = settings_of(&MINIMAL.replace("pipeline:", &text_of_disabled_roi()));
    assert_eq!(disabled.cameras[0].pipeline[0].rules.roi, None);
}

fn text_of_disabled_roi() -> String {
    "roi: { enabled: false, polygons: [{ points: [[0, 0], [9, 0], [9, 9]] }] }\n    pipeline:".to_owned()
}

#[test]
fn events_go_to_the_named_stream() {
    let with_stream = "publishers: { kds_stream: k, ";
    let cases = [
        ("no stream", "publishers: { ", "", None),
        ("the shared stream", with_stream, "", Some("k")),
        ("to_kds false", with_stream, "{ to_kds: false }", None),
        ("its own stream", with_stream, "{ kds_stream_override: own }", Some("own")),
        ("its own stream, no shared one", "publishers: { ", "{ kds_stream_override: own }", Some("own")),
    ];
    for (name, publishers, events, expected) in cases {
        let text = MINIMAL.replace("publishers: { ", publishers);
        let settings = settings_of(&format!("{text}    routing: {{ events: {events} }}\n"));
        assert_eq!(settings.cameras[0].route.kds_stream.as_deref(), expected, "{name}");
    }
}

#[test]
fn a_window_grows_with_its_frames() {
    for (given, frames, window) in [("frames: 1", 1, 3), ("frames: 9", 9, 9), ("window: 2", 2, 2)] {
        let settings = settings_with("m.onnx", &format!("m.onnx, temporal_confirm: {{ {given} }}"));
        let confirm = settings.cameras[0].pipeline[0].rules.confirm;
        assert_eq!((confirm.frames, confirm.window), (frames, window), "{given}");
    }
}

#[test]
fn references_are_expanded_once() {
    let cases = [
        ("'${NUMBER}'", "7"),
        ("\"a-${NUMBER}.${NUMBER}\"", "a-7.7"),
        ("'$${NUMBER}'", "${NUMBER}"),
        ("a$b$$c", "a$b$c"),
    ];
    for (given, expected) in cases {
        let settings = settings_with("/tmp/events", given);
        assert_eq!(settings.publish.local_dir.as_deref(), Some(Path::new(expected)), "{given}");
    }
    let settings = settings_with("a-stream", "a-stream\n    fps_target: ${NUMBER}");
    assert_eq!(settings.cameras[0].fps_target, Some(7.0), "where a number is required");
    let routed = format!(
        "{}    routing: {{ snapshot: {{ prefix: \"x/${{camera_id}}-\" }} }}\n",
        MINIMAL.replace("local_dir", "s3_bucket: buc, local_dir")
    );
    assert_eq!(settings_of(&routed).cameras[0].route.snapshot.as_ref().unwrap().prefix, "x/a-");
}

#[test]
fn anchors_and_merges_work() {
    let text = MINIMAL.replace("  - id: a\n", "  - &first\n    id: a\n")
        + "  - { <<: *first, id: b, fps_target: 3 }\n";
    let settings = settings_of(&text);
    let cameras: Vec<_> =
        settings.cameras.iter().map(|c| (c.id.as_str(), &*c.stream, c.fps_target)).collect();
    assert_eq!(cameras, [("a", "a-stream", None), ("b", "a-stream", Some(3.0))]);
}

#[test]
fn disabled_cameras_are_left_out() {
    let text = MINIMAL.to_owned()
        + "  - { id: b, enabled: false, kvs_stream_name: b, pipeline: [{ type: objects, objects: { yolo_weights: b.onnx } }] }\n";
    let settings = settings_of(&text);
    assert_eq!(settings.cameras.len(), 1);
    let error = settings.check_model_files().unwrap_err().to_string();
    assert!(error.contains("models/m.onnx does not exist") && !error.contains("b.onnx"), "{error}");
}

#[test]
fn a_missing_file_is_reported_even_if_a_disabled_entry_names_it_first() {
    let off = "[{ type: weapon, enabled: false, weapon: { yolo_weights: models/m.onnx } }, { type: objects,";
    let settings = settings_with("[{ type: objects,", off);
    let error = settings.check_model_files().unwrap_err().to_string();
    assert!(error.contains("pipeline[1].objects.yolo_weights: the model file models/m.onnx"), "{error}");
}

#[test]
fn missing_files_are_reported_with_their_position() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cameras.yaml");
    let model = folder.path().join("m.onnx");
    std::fs::write(&file, MINIMAL.replace("models/m.onnx", &model.display().to_string())).unwrap();
    let load = || load(&ConfigSource::File(file.clone()), &|_| None, &Overrides::default());
    let settings = load().unwrap();
    let error = settings.check_model_files().unwrap_err().to_string();
    assert!(error.contains(&format!("the model file {} does not exist", model.display())), "{error}");
    assert!(error.contains(&format!("{}:5:58", file.display())), "{error}");
    std::fs::write(&model, "").unwrap();
    assert!(load().unwrap().check_model_files().is_ok());
}

#[test]
fn the_input_of_a_model_is_as_configured() {
    let usual = InputEncoding::default();
    let (mean, std) = ([1.0, 2.0, 3.5], [0.5, 0.25, 4.0]);
    let cases = [
        ("{}", usual),
        ("{ range: 0..255, order: bgr }", InputEncoding { white: 255.0, bgr: true, ..usual }),
        ("{ mean: [1, 2, 3.5], std: [0.5, 0.25, 4] }", InputEncoding { mean, std, ..usual }),
    ];
    for (written, want) in cases {
        let models = format!("models: {{ m: {{ path: m.onnx, input: {written} }} }}\ncameras:");
        let settings = settings_of(&MINIMAL.replace("cameras:", &models).replace("models/m.onnx", "m"));
        assert_eq!(settings.cameras[0].pipeline[0].model.input, want, "{written}");
    }
}

#[test]
fn remote_models_need_no_local_file_and_are_named_by_their_file_name() {
    let cases = [
        ("s3://bucket/street/v2.onnx", "v2.onnx"),
        ("https://example.com/m.onnx?v=1", "m.onnx"),
        ("https://example.com/models/latest", "latest"),
        ("http://127.0.0.1:8000/m.onnx", "m.onnx"),
    ];
    for (address, name) in cases {
        let settings = settings_of(&MINIMAL.replace("models/m.onnx", &format!("'{address}'")));
        let model = &settings.cameras[0].pipeline[0].model;
        assert_eq!((model.name.as_str(), model.path.to_str()), (name, Some(address)));
        assert!(model.addresses().next().is_some() && settings.check_model_files().is_ok(), "{address}");
    }
}

#[test]
fn plates_are_detected_by_one_model_and_recognized_by_another() {
    let minimal = "{ type: alpr, alpr: { plate_detector_weights: p.onnx, ocr_weights: r.onnx } }";
    let whole = "{ type: alpr, alpr: { plate_detector_weights: p.onnx, ocr_weights: r.onnx, ocr_engine: paddleocr, \
        ocr_lang: th, conf_threshold: 0.5, ocr_conf_threshold: 0.75, crop_expand: 0.25, plate_patterns: [\"[0-9]+\"], \
        nms_iou: 0.25, min_box: { width: 40, height: 12 }, dwell_seconds: 1.5, update_seconds: 2, cooldown_seconds: 3, \
        activity: { quiet_seconds: 90 } } }";
    let text = MINIMAL.replace(
        "{ type: objects, objects: { yolo_weights: models/m.onnx } }",
        &format!("{minimal}, {whole}"),
    );
    let settings = settings_of(&text);
    let [minimal, whole] = &settings.cameras[0].pipeline[..] else { panic!("two entries") };
    for (entry, detector) in [(minimal, "alpr"), (whole, "alpr#2")] {
        assert_eq!((entry.rules.kind.as_str(), entry.rules.detector.as_str()), ("alpr", detector));
        assert_eq!(entry.model.path, Path::new("p.onnx"));
        assert_eq!(entry.ocr.as_ref().unwrap().model.path, Path::new("r.onnx"));
        assert_eq!(entry.rules.classes, None);
    }
    let defaults = ReadingRules { conf: 0.4, patterns: Vec::new() };
    assert_eq!((&minimal.rules.reading, minimal.ocr.as_ref().unwrap().crop_expand), (&Some(defaults), 0.0));
    let digits = ReadingRules { conf: 0.75, patterns: vec![TextPattern::new("[0-9]+").unwrap()] };
    assert_eq!((&whole.rules.reading, whole.ocr.as_ref().unwrap().crop_expand), (&Some(digits), 0.25));
    assert_eq!(whole.rules.thresholds, Thresholds { conf: 0.5, nms_iou: 0.25 });
    assert_eq!(whole.rules.min_box, Some((40.0, 12.0)));
    let times = (whole.rules.dwell_ms, whole.rules.update_ms, whole.rules.cooldown_ms);
    assert_eq!(times, (1500, Some(2000), 3000));
    assert_eq!((minimal.rules.quiet_ms, whole.rules.quiet_ms), (None, Some(90_000)));
    let missing = settings.check_model_files().unwrap_err().to_string();
    assert!(missing.contains("p.onnx") && missing.contains("r.onnx"), "{missing}");
}

#[test]
fn an_unreadable_file_is_reported_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, [b'a', 0xe9]).unwrap();
    let cases =
        [(folder.path().join("none.yaml"), "name the file with --config"), (latin, "save the file as UTF-8")];
    for (path, expected) in cases {
        let source = ConfigSource::from_name(&path.display().to_string());
        let error = load(&source, &|_| None, &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&*path.to_string_lossy()), "{error}");
    }
    assert_eq!(ConfigSource::from_name("-"), ConfigSource::Stdin);
}

#[test]
fn deep_nesting_is_refused() {
    let deep = "cameras: ".to_owned() + &"[".repeat(100_000);
    assert!(parse("c", &deep, &|_| None, &Overrides::default()).is_err());
}

#[test]
fn ranges_include_their_bounds() {
    for fps in ["1", "30", "1.0", "2.5"] {
        let settings = settings_with("a-stream", &format!("a-stream\n    fps_target: {fps}"));
        assert_eq!(settings.cameras[0].fps_target, fps.parse().ok());
    }
    let pixels = "{ enabled: true, polygons: [{ points: [[0, 0], [65535, 0], [65535, 65535]] }] }";
    let roi = settings_with("pipeline:", &format!("roi: {pixels}\n    pipeline:"));
    assert!(roi.cameras[0].pipeline[0].rules.roi.is_some());
}

/// A value of any type at any key of a valid file is accepted, or reported with its position.
#[test]
fn any_value_at_any_key_is_accepted_or_reported() {
    let values = [
        "",
        "7",
        "-1",
        "1e99",
        "0.5",
        "true",
        "text",
        "''",
        "[]",
        "[1]",
        "{}",
        "{ a: 1 }",
        "~",
        "18446744073709551615",
    ];
    let base = include_str!("../../testdata/config/base.yaml");
    let lines: Vec<&str> = base.lines().collect();
    let keys =
        lines.iter().enumerate().filter_map(|(i, line)| line.split_once(": ").map(|(key, _)| (i, key)));
    let (mut refused, mut accepted) = (0, 0);
    for ((at, key), value) in keys.flat_map(|key| values.map(|value| (key, value))) {
        let changed = format!("{key}: {value}");
        let text: Vec<&str> =
            lines.iter().enumerate().map(|(i, line)| if i == at { &changed } else { *line }).collect();
        match parse("c", &text.join("\n"), &|_| None, &Overrides::default()) {
            Ok(_) => accepted += 1,
            Err(refusal) => {
                refused += 1;
                assert_problems_are_complete(&text.join("\n"), &refusal)
                    .unwrap_or_else(|why| panic!("{changed}: {why}"));
            }
        }
    }
    assert!(refused > 150 && accepted > 20, "{refused} refused, {accepted} accepted");
}

/// Checks that each mistake has a position in the file and a remedy.
pub(crate) fn assert_problems_are_complete(
    text: &str,
    refusal: &ConfigErrors,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let ConfigErrors::Invalid { problems, .. } = refusal else { panic!("{refusal}") };
    prop_assert!(!problems.is_empty());
    for problem in problems {
        let span = problem.span;
        prop_assert!(span.is_some(), "{problem:?} has no position in\n{text}");
        let line = span.map_or(0, |span| span.line);
        prop_assert!(line <= text.lines().count() + 1, "{problem:?}");
        prop_assert!(!problem.remedy.is_empty());
    }
    Ok(())
}

proptest! {
    /// Any text is refused without a panic, and each mistake has its position.
    #[test]
    fn any_text_is_refused_with_positions(text in any::<String>()) {
        let refusal = parse("c", &text, &|_| None, &Overrides::default()).unwrap_err();
        assert_problems_are_complete(&text, &refusal)?;
    }

    /// A text in which every dollar sign is doubled expands to the original.
    #[test]
    fn doubled_dollar_signs_are_dollar_signs(text in "[a-z${}]{1,20}") {
        let written = MINIMAL.replace("/tmp/events", &format!("'{}'", text.replace('$', "$$")));
        let settings = parse("c", &written, &|_| None, &Overrides::default()).unwrap();
        prop_assert_eq!(settings.publish.local_dir, Some(text.into()));
    }
}

#[test]
fn a_region_from_the_environment_is_checked() {
    let overrides = Overrides { region: Some("Frankfurt".to_owned()) };
    let error = parse("c", MINIMAL, &|_| None, &overrides).unwrap_err().to_string();
    assert!(error.contains("\"Frankfurt\"") && error.contains("such as ap-southeast-1"), "{error}");
}

#[test]
fn advice_names_cameras_whose_masks_and_clips_exclude_each_other() {
    let masked =
        MINIMAL.replace("    pipeline", "    masks: [{ points: [[0, 0], [20, 0], [20, 20]] }]\n    pipeline");
    for (clips, advice) in [
        ("", None),
        (
            "clips: { to_local: true }\n",
            Some("those of a are not stored, because masks do not cover stored video"),
        ),
        ("clips: { ignore_masks: true }\n", Some("the clips of a show what the masks hide")),
    ] {
        let given = settings_of(&format!("{clips}{masked}")).advice();
        assert_eq!(given.len(), usize::from(advice.is_some()), "{given:?}");
        assert!(given.iter().zip(advice).all(|(given, advice)| given.contains(advice)), "{given:?}");
        assert_eq!(
            settings_of(&format!("{}{MINIMAL}", clips.replace("ignore_masks: true", ""))).advice(),
            [""; 0]
        );
    }
}
