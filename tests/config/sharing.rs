//! Workers that share the cameras: their settings, the version of a configuration, and the digest of a camera.

use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

use kvs_infer::base::hex;
use kvs_infer::config::{
    CameraSpec, ConfigContent, ConfigSource, Overrides, Settings, SharingSettings, UnknownTime, load,
    parse_content,
};
use sha2::{Digest, Sha256};
use sharing::{ConfigVersion, WhenTableIsAway};

use super::settings::MINIMAL;

const SHARED: &str = "state: { ddb_table: positions }
sharing: { table: workers }
publishers: { kds_stream: events, local_dir: /tmp/events }
models: { street: { path: s3://bucket/street.onnx, classes: [person, car] } }
cameras:
  - id: a
    kvs_stream_name: a-stream
    fps_target: 5
    masks: [{ points: [[0, 0], [9, 0], [9, 9]] }]
    motion: { enabled: true }
    roi: { polygons: [{ points: [[0, 0], [9, 0], [9, 9]] }] }
    pipeline:
      - { type: objects, objects: { yolo_weights: street, classes: [person] } }
      - { type: alpr, alpr: { plate_detector_weights: p.onnx, ocr_weights: r.onnx, plate_patterns: ['[A-Z]+'] } }
";

fn settings_at(text: &str, modified_ms: u64) -> Settings {
    let content = ConfigContent { text: text.to_owned(), modified_ms: Ok(modified_ms) };
    parse_content("c.yaml", content, &|_| None, &Overrides::default()).unwrap_or_else(|why| panic!("{why}"))
}

fn shared_with(old: &str, new: &str) -> Settings {
    let text = SHARED.replacen(old, new, 1);
    assert_ne!(text, SHARED, "{old:?} is not in SHARED");
    settings_at(&text, 1)
}

#[test]
fn sharing_and_priority_have_defaults() {
    let shared = settings_at(SHARED, 1);
    let sharing = |pool: &str, when_away| {
        Some(SharingSettings { table: "workers".to_owned(), pool: pool.to_owned(), when_away })
    };
    assert_eq!(shared.sharing, sharing("default", WhenTableIsAway::Publish));
    assert_eq!(shared.cameras[0].priority, 100);
    let other = shared_with("table: workers", "table: workers, pool: north, when_table_is_away: hold");
    assert_eq!(other.sharing, sharing("north", WhenTableIsAway::Hold));
    let first = shared_with("    fps_target", "    priority: 0\n    fps_target");
    assert_eq!(first.cameras[0].priority, 0);
    let alone = settings_at(MINIMAL, 1);
    assert_eq!((alone.sharing, alone.version), (None, None));
    assert!(!alone.publish.local_is_best_effort && shared.publish.local_is_best_effort);
}

#[test]
fn a_version_has_the_time_and_the_digest_of_the_text() {
    let sha256 = hex(Sha256::new_with_prefix(SHARED));
    let expected = ConfigVersion { modified_ms: 7, digest: sha256.into() };
    assert_eq!(settings_at(SHARED, 7).version, Some(expected));
}

#[test]
fn the_version_of_a_file_is_of_the_read_that_brought_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cameras.yaml");
    let write = |text: &str, seconds: u64| {
        std::fs::write(&path, text).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    write(SHARED, 1_700_000_000);
    let source = ConfigSource::File(path.clone());
    let first = load(&source, &|_| None, &Overrides::default()).unwrap().version.unwrap();
    assert_eq!(first.modified_ms, 1_700_000_000_000);
    assert_eq!(source.read_again().unwrap().version(), Ok(first.clone()));
    let copy = folder.path().join("copy.yaml");
    std::fs::copy(&path, &copy).unwrap();
    let copied = ConfigSource::File(copy).read().unwrap().version().unwrap();
    assert!(copied.digest == first.digest && copied > first, "a copy is newer");
    write(&SHARED.replace("fps_target: 5", "fps_target: 4"), 1_700_000_001);
    let second = source.read_again().unwrap().version().unwrap();
    assert!(second > first && second.digest != first.digest);
}

#[test]
fn sharing_requires_a_configuration_with_a_time() {
    let refusal = |text: &str, unknown| {
        let content = ConfigContent { text: text.to_owned(), modified_ms: Err(unknown) };
        parse_content("c.yaml", content, &|_| None, &Overrides::default()).map_err(|why| why.to_string())
    };
    let cases = [
        (UnknownTime::NoFile, "not from a file", "--config s3://bucket/key"),
        (UnknownTime::NoFileTime, "keeps no time", "--config s3://bucket/key"),
        (UnknownTime::NoHeader, "no valid Last-Modified", "let the server send Last-Modified"),
    ];
    for (unknown, reason, remedy) in cases {
        let text = refusal(SHARED, unknown).unwrap_err();
        assert!(text.contains(reason) && text.contains(remedy) && text.contains("c.yaml:2:10"), "{text}");
        assert!(refusal(MINIMAL, unknown).is_ok(), "{unknown}: without sharing");
    }
}

#[test]
fn a_pipe_has_no_time_that_workers_share() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, SHARED.as_bytes()).unwrap();
    drop(writer);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let content = ConfigSource::File(path.into()).read().unwrap();
    assert_eq!(content, ConfigContent::without_time(SHARED.to_owned()));
}

#[test]
fn advice_names_events_that_are_delivered_at_best_effort() {
    let local = "sharing: `publishers.local_dir` is best effort, since no other worker can read the folder of this host";
    assert_eq!(settings_at(SHARED, 1).advice(), [local]);
    assert_eq!(shared_with(", local_dir: /tmp/events", "").advice(), [""; 0]);
    let none = shared_with("kds_stream: events, ", "").advice();
    assert_eq!(none[0], local);
    assert!(none[1].starts_with("sharing: no camera has a Kinesis data stream, so every event"), "{none:?}");
    let second = "  - { id: b, kvs_stream_name: b, pipeline: [{ type: objects, objects: { yolo_weights: street } }], \
                  routing: { events: { to_kds: false } } }\n";
    let one = settings_at(&format!("{SHARED}{second}"), 1).advice();
    assert!(one.len() == 2 && one[1].starts_with("camera b: with sharing"), "{one:?}");
    assert_eq!(settings_at(MINIMAL, 1).advice(), [""; 0]);
}

fn camera(settings: &Settings) -> &CameraSpec {
    &settings.cameras[0]
}

/// Each change of a camera's settings changes the digest, and restarts the camera; nothing else does.
#[test]
fn a_digest_differs_where_a_reload_restarts_the_camera() {
    let before = settings_at(SHARED, 1);
    let before = camera(&before);
    let changes = [
        ("a-stream", "b-stream"),
        ("    fps_target: 5\n", ""),
        ("fps_target: 5", "fps_target: 5.5"),
        ("    fps_target", "    max_pixels: 65536\n    fps_target"),
        ("    fps_target", "    playback: { mode: HLS }\n    fps_target"),
        ("    fps_target", "    playback: { start: NOW }\n    fps_target"),
        ("masks: [{ points: [[0, 0]", "masks: [{ points: [[0, 1]"),
        ("enabled: true", "enabled: false"),
        ("enabled: true", "enabled: true, sensitivity: 0.25"),
        ("enabled: true", "enabled: true, idle_decode: all"),
        ("roi: { polygons: [{ points: [[0, 0]", "roi: { polygons: [{ points: [[0, 1]"),
        ("roi: {", "roi: { filter: overlap, min_overlap: 0.5,"),
        ("roi: {", "roi: { filter: any,"),
        ("polygons: [{", "polygons: [{ name: door,"),
        ("classes: [person] ", "classes: [car] "),
        ("classes: [person, car]", "classes: [person, bus]"),
        ("street.onnx,", "street.onnx, layout: nms,"),
        ("street.onnx,", "street.onnx, int8: s3://bucket/street.int8.onnx,"),
        ("street.onnx,", "street.onnx, half: s3://bucket/street.half.onnx,"),
        ("street.onnx,", "street.onnx, threads: 3,"),
        ("street.onnx,", "street.onnx, input: { range: 0..255 },"),
        ("bucket/street.onnx", "bucket/other.onnx"),
        ("yolo_weights: street", "yolo_weights: street, conf_threshold: 0.5"),
        ("yolo_weights: street", "yolo_weights: street, dwell_seconds: 2"),
        ("yolo_weights: street", "yolo_weights: street, temporal_confirm: { frames: 3 }"),
        ("r.onnx", "s.onnx"),
        ("r.onnx", "r.onnx, crop_expand: 0.1"),
        ("[A-Z]+", "[A-Y]+"),
        ("kds_stream: events", "kds_stream: others"),
        ("kds_stream: events", "kds_stream: events, s3_bucket: buc"),
    ];
    let mut digests = vec![before.digest()];
    for (old, new) in changes {
        let after = shared_with(old, new);
        assert!(!before.runs_like(camera(&after)), "{old} -> {new} restarts");
        digests.push(camera(&after).digest());
    }
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count, "each is another one");
    let same = [
        ("    fps_target", "    priority: 1\n    fps_target"),
        ("table: workers", "table: others"),
        ("    fps_target: 5", "    fps_target: 5.0 # a comment"),
        ("    fps_target", "    enabled: true\n    fps_target"),
        ("local_dir: /tmp/events", "local_dir: /tmp/others"),
    ];
    for (old, new) in same {
        let after = shared_with(old, new);
        assert!(before.runs_like(camera(&after)), "{old} -> {new}");
        assert_eq!(before.digest(), camera(&after).digest(), "{old} -> {new}");
    }
}

/// The digest is in the table, and another host computes it: it depends on no host, process or order in memory. A new value here
/// makes a worker of this version treat each camera of one from before as changed.
#[test]
fn the_digest_of_an_unchanged_camera_stays_the_same() {
    let digest = camera(&settings_at(SHARED, 1)).digest();
    assert_eq!(digest, "5975701989716bff0eb0e5a35a8f1ff8b337d1c966b4fe32c2fa51108967b729");
}
