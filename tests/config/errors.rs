//! The report of each mistake in a configuration: `testdata/config/errors.txt`, rewritten with `BLESS=1`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kvs_infer::config::{ConfigContent, ConfigErrors, Overrides, config_schema, parse_content};
use serde_json::Value;

/// Mistakes: name, the text of `base.yaml` that is replaced (empty: the whole file), and its replacement.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("an empty file", "", "# nothing\n"),
    ("invalid YAML: a tab", "  - id: front", "\t- id: front"),
    ("invalid YAML: an open quote", "id: front", "id: \"front"),
    ("invalid YAML: a duplicate key", "  s3_bucket", "  kds_stream: more\n  s3_bucket"),
    ("invalid YAML: a reference in braces", "snapshots:\n", "aws: { region: ${REGION} }\nsnapshots:\n"),
    ("invalid YAML: two documents", "", "publishers: {}\n---\ncameras: []\n"),
    ("an infinite number", "fps_target: 5", "fps_target: .inf"),
    ("a list at the root", "", "- a\n- b\n"),
    ("unknown key, misspelt", "fps_target", "fps_taget"),
    ("unknown key, part of the right one", "yolo_weights: street", "weights: street"),
    ("unknown key, nothing like it", "fps_target: 5", "frobnicate: 5"),
    ("unknown key at the root", "snapshots:\n", "snapshot:\n"),
    ("text for a number", "fps_target: 5", "fps_target: five"),
    ("text for a boolean", "enabled: true", "enabled: yes"),
    ("a number for text", "id: front", "id: 7"),
    ("a map for text", "id: front", "id: { name: front }"),
    ("text for a map", "snapshots:\n  enabled: true", "snapshots: on"),
    ("text for a list", "classes: [person]", "classes: person"),
    ("a number for a list or a file", "classes: [person, car]", "classes: 80"),
    ("a fraction for a whole number", "  enabled: true", "  jpeg_quality: 90.5"),
    ("out of range, too large", "fps_target: 5", "fps_target: 31"),
    ("out of range, too small", "conf_threshold: 0.4", "conf_threshold: 0"),
    ("out of range, no fraction", "conf_threshold: 0.4", "conf_threshold: 40"),
    ("not one of the values", "units: pixels", "units: pixel"),
    ("not one of the values, nothing like it", "units: pixels", "units: metres"),
    ("not one of the values, upper case", "filter: center", "filter: CENTER"),
    ("missing keys", "  - id: front\n    kvs_stream_name: front-stream\n", "  -\n"),
    ("a key without a value", "yolo_weights: street", "yolo_weights:"),
    ("an empty text", "yolo_weights: street", "yolo_weights: ''"),
    ("an id with a space", "id: front", "id: front door"),
    ("a bucket by its address", "s3_bucket: snapshots-of-ours", "s3_bucket: s3://snapshots-of-ours"),
    ("a stream by its ARN", "kds_stream: events", "kds_stream: arn:aws:kinesis:eu-west-1:1:stream/events"),
    ("a region", "publishers:", "aws: { region: Frankfurt }\npublishers:"),
    ("a device", "publishers:", "device: gpu\npublishers:"),
    ("threads of a model", "    path: models", "    threads: 0\n    path: models"),
    ("a SHA-256", "    path: models", "    sha256: abc\n    path: models"),
    (
        "sharing without its table",
        "snapshots:\n",
        "state: { ddb_table: positions }\nsharing: { pool: a }\nsnapshots:\n",
    ),
    ("sharing without the table of positions", "snapshots:\n", "sharing: { table: workers }\nsnapshots:\n"),
    (
        "sharing in the table of positions",
        "snapshots:\n",
        "state: { ddb_table: positions }\nsharing: { table: positions }\nsnapshots:\n",
    ),
    (
        "sharing in the table of records",
        "snapshots:\n",
        "  ddb_table: records\nstate: { ddb_table: positions }\nsharing: { table: records }\nsnapshots:\n",
    ),
    (
        "a pool with a space",
        "snapshots:\n",
        "state: { ddb_table: positions }\nsharing: { table: workers, pool: our cameras }\nsnapshots:\n",
    ),
    (
        "a table of workers by its ARN",
        "snapshots:\n",
        "sharing: { table: arn:aws:dynamodb:eu-west-1:1:table/t }\nsnapshots:\n",
    ),
    (
        "another treatment of a table that is away",
        "snapshots:\n",
        "state: { ddb_table: positions }\nsharing: { table: workers, when_table_is_away: wait }\nsnapshots:\n",
    ),
    ("a priority that is too low", "fps_target: 5", "priority: 1001"),
    ("a priority in words", "fps_target: 5", "priority: high"),
    ("no camera", "", "publishers: { local_dir: /tmp/e }\n"),
    ("an empty list of cameras", "", "publishers: { local_dir: /tmp/e }\ncameras: []\n"),
    ("no camera enabled", "    fps_target: 5", "    enabled: false"),
    ("an id twice", "cameras:\n", TWIN),
    (
        "several mistakes at once",
        "fps_target: 5",
        "fps_target: 99\n    playback: { start: LATEST, speed: 2 }",
    ),
    ("a variable that is missing", "local_dir: /tmp/events", "local_dir: ${NOT_SET}/events"),
    ("a variable for a number", "fps_target: 5", "fps_target: ${TEXT}"),
    ("a variable that is out of range", "fps_target: 5", "fps_target: ${NINETY_NINE}"),
    ("a reference without an end", "local_dir: /tmp/events", "local_dir: ${NOT_SET"),
    ("a reference with an operator", "local_dir: /tmp/events", "local_dir: ${NOT_SET:-/tmp}"),
    ("camera_id elsewhere", "kvs_stream_name: front-stream", "kvs_stream_name: ${camera_id}-stream"),
    ("camera_id in the shared prefix", "  local_dir", "  s3_prefix: ${camera_id}\n  local_dir"),
    ("no sink at all", PUBLISHERS, "  s3_bucket: snapshots-of-ours\n"),
    ("to_kds without a stream", PUBLISHERS, "  s3_bucket: snapshots-of-ours\n  local_dir: /tmp/events\n"),
    ("no sink for one camera", "", ONE_WITHOUT_SINK),
    ("a stream given, but to_kds false", "to_kds: true", "to_kds: false\n        kds_stream_override: other"),
    ("to_s3 without a bucket", "  s3_bucket: snapshots-of-ours\n", ""),
    ("to_s3 without snapshots", "  enabled: true", "  enabled: false"),
    (
        "clips in S3 without a bucket",
        "  s3_bucket: snapshots-of-ours\n  local_dir: /tmp/events\n",
        "  local_dir: /tmp/events\nclips: { to_s3: true }\n",
    ),
    ("clips in a folder without its name", "  local_dir: /tmp/events\n", "clips: { to_local: true }\n"),
    (
        "clips without time for the incident",
        "snapshots:\n",
        "clips: { before_seconds: 15, after_seconds: 15, max_seconds: 30 }\nsnapshots:\n",
    ),
    ("a KMS key without aws:kms", "  local_dir", "  s3_kms_key: alias/ours\n  local_dir"),
    ("a prefix that climbs", "prefix: ${camera_id}/", "prefix: ../${camera_id}/"),
    ("a prefix from the root", "prefix: ${camera_id}/", "prefix: /${camera_id}/"),
    ("too few corners", "[50, 10], [50, 60]]", "[50, 10]]"),
    ("a corner of three numbers", "[50, 60]]", "[50, 60, 70]]"),
    ("a corner outside", "[50, 60]]", "[50, -60]]"),
    ("corners on a line", "[50, 60]]", "[90, 10]]"),
    ("pixels, but normalized", "units: pixels", "units: normalized"),
    ("normalized, but pixels", "[[10, 10], [50, 10], [50, 60]]", "[[0.1, 0.1], [0.5, 0.1], [0.5, 0.6]]"),
    ("a roi without polygons", ROI, "    roi: { units: pixels }\n"),
    (
        "a zone twice",
        "      filter: center",
        "        - { name: door, points: [[1, 1], [5, 1], [5, 6]] }\n      filter: center",
    ),
    ("overlap without min_overlap", "filter: center", "filter: overlap"),
    ("min_overlap without overlap", "filter: center", "filter: any\n      min_overlap: 0.5"),
    ("an empty pipeline", PIPELINE, "    pipeline: []\n"),
    ("no entry enabled", "- type: objects", "- type: objects\n        enabled: false"),
    ("no block", PIPELINE, "    pipeline: [{ type: weapon }]\n"),
    ("another block", "- type: objects", "- type: weapon"),
    ("no classes", "classes: [person]", "classes: []"),
    ("a class that the model does not have", "classes: [person]", "classes: [persn, dog]"),
    ("an unknown model", "yolo_weights: street", "yolo_weights: steet"),
    ("PyTorch weights", "path: models/street.onnx", "path: models/yolov8n.pt"),
    ("PyTorch weights in place", "yolo_weights: street", "yolo_weights: /app/models/gun.pth"),
    ("a model of another kind", "path: models/street.onnx", "path: models/street.engine"),
    ("a model in S3 without a key", "path: models/street.onnx", "path: s3://bucket"),
    ("a model by plain http, in place", "yolo_weights: street", "yolo_weights: http://example.com/m.onnx"),
    ("a model by ftp", "path: models/street.onnx", "path: ftp://example.com/street.onnx"),
    ("PyTorch weights in S3", "path: models/street.onnx", "path: s3://bucket/yolov8n.pt"),
    ("class names in S3", "classes: [person, car]", "classes: s3://bucket/names.txt"),
    ("a model with the name of a path", "  street:\n", "  models/street:\n"),
    ("a model without anything", "    path: models/street.onnx\n    classes: [person, car]\n", ""),
    ("a camera without anything", "cameras:\n", "cameras:\n  -\n"),
    ("a class file that is missing", "classes: [person, car]", "classes: testdata/config/no-such-names.txt"),
    (
        "a class file with an empty line",
        "classes: [person, car]",
        "classes: testdata/config/names-with-a-hole.txt",
    ),
    ("a class file in Latin-1", "classes: [person, car]", "classes: testdata/config/names-in-latin-1.txt"),
    (
        "a class file in UTF-16 without its mark",
        "classes: [person, car]",
        "classes: testdata/config/names-in-utf-16.txt",
    ),
    ("a class with a byte order mark", "classes: [person]", "classes: [\"\\uFEFFperson\"]"),
    ("a model's class with a zero width space", "classes: [person, car]", "classes: [per\u{200b}son, car]"),
    ("a variable that ends in a carriage return", "local_dir: /tmp/events", "local_dir: ${WITH_RETURN}"),
    ("a zone with a line feed", "- name: door", "- name: \"do\\nor\""),
    ("a number for text, with zeros", "id: front", "id: 007"),
    ("a number for text, with an exponent", "kvs_stream_name: front-stream", "kvs_stream_name: 1e3"),
    ("a number for text, hexadecimal", "kvs_stream_name: front-stream", "kvs_stream_name: 0x1F"),
    (
        "a number for text, in an alias",
        "id: front\n    kvs_stream_name: front-stream",
        "id: &id 0010\n    kvs_stream_name: *id",
    ),
    ("a boolean for text", "id: front", "id: True"),
    ("null for text", "id: front", "id: null"),
    ("null for a key", "fps_target: 5", "~: 5"),
    ("numbers for classes", "classes: [person]", "classes: [007, 1.50, ~]"),
    ("a region that is a boolean in YAML 1.1", "publishers:", "aws: { region: no }\npublishers:"),
    ("out of range, as spelt in the file", "fps_target: 5", "fps_target: 0.310e+02"),
    ("the layout of YOLO 11", "classes: [person, car]", "layout: yolov11"),
    ("the layout of some YOLO", "classes: [person, car]", "layout: yolo"),
    ("the layout of YOLO 26", "classes: [person, car]", "layout: YOLO26n"),
    ("the layout of RT-DETR", "classes: [person, car]", "layout: rt-detr"),
    (
        "box units of YOLOX",
        "classes: [person, car]",
        "layout: yolox\n    box_units: normalized\n    input: { range: 0..255 }",
    ),
    (
        "class names that are equal",
        "classes: [person, car]",
        "classes:\n    - person\n    - car\n    - ' person'",
    ),
    ("class names that are blank", "classes: [person, car]", "classes: [person, ' ']"),
    ("a class name with a no-break space", "classes: [person]", "classes: [\"fire\\u00A0truck\"]"),
    (
        "a class file without names",
        "classes: [person, car]",
        "classes: testdata/config/names-of-a-mark-only.txt",
    ),
    ("a class file with equal names", "classes: [person, car]", "classes: testdata/config/names-twice.txt"),
    (
        "a class file with an invisible character",
        "classes: [person, car]",
        "classes: testdata/config/names-hidden.txt",
    ),
    (
        "a class file of YAML with a gap",
        "classes: [person, car]",
        "classes: testdata/config/names-with-a-gap.yaml",
    ),
    ("a class file with indices", "classes: [person, car]", "classes: testdata/config/names-counted.txt"),
    ("an unknown layout", "classes: [person, car]", "layout: yolonass"),
    ("YOLOX without its input", "classes: [person, car]", "layout: yolox\n    classes: [person, car]"),
    ("a range of another kind", "classes: [person, car]", "input: { range: 0..256 }"),
    ("a mean of one number", "classes: [person, car]", "input: { mean: [0.5] }"),
    ("a deviation of 0", "classes: [person, car]", "input: { std: [0.2, 0, 0.2] }"),
    ("a box larger than the frame", ROI_AND_PIPELINE, NORMALIZED_MIN_BOX),
    ("a box smaller than a pixel", "conf_threshold: 0.4", "min_box: { width: 0.1, height: 0.1 }"),
    ("half a box", "conf_threshold: 0.4", "min_box: { width: 10 }"),
    ("more detections than inferences", "conf_threshold: 0.4", "temporal_confirm: { frames: 4, window: 3 }"),
    ("an outbox too small", "snapshots:\n", "state: { max_bytes: 512KiB }\nsnapshots:\n"),
    ("an invalid size", "snapshots:\n", "state: { max_bytes: 2 gigs }\nsnapshots:\n"),
    ("days without a table", "  local_dir", "  ddb_ttl_days: 30\n  local_dir"),
    ("a table's name", "  local_dir", "  ddb_table: e/v\n  local_dir"),
    ("a filter without a topic", "  local_dir", "  sns_min_conf: 0.5\n  sns_labels: [person]\n  local_dir"),
    (
        "a FIFO topic",
        "  local_dir",
        "  sns_topic_arn: arn:aws:sns:eu-west-1:123456789012:alerts.fifo\n  local_dir",
    ),
    ("an HLS session too short", "snapshots:\n", "service: { hls_session_seconds: 59 }\nsnapshots:\n"),
    ("a mask of two corners", "fps_target: 5", "masks: [{ points: [[0, 0], [9, 9]] }]"),
    ("a mask with a name", "fps_target: 5", "masks: [{ name: door, points: [[0, 0], [9, 9], [0, 9]] }]"),
    (
        "a mask in fractions where pixels are expected",
        "fps_target: 5",
        "masks: [{ points: [[0, 0], [0.5, 0], [0.5, 0.5]] }]",
    ),
    ("a mask without area", "fps_target: 5", "masks: [{ points: [[0, 0], [5, 5], [9, 9]] }]"),
    ("a motion gate that is too sensitive", "fps_target: 5", "motion: { enabled: true, sensitivity: 5 }"),
    (
        "a motion gate with too long an interval",
        "fps_target: 5",
        "motion: { enabled: true, max_idle_seconds: 30 }",
    ),
    ("alpr without models", PIPELINE, "    pipeline: [{ type: alpr, alpr: { ocr_lang: en } }]\n"),
    ("alpr without a block", PIPELINE, "    pipeline: [{ type: alpr }]\n"),
    (
        "alpr with too large a margin",
        PIPELINE,
        "    pipeline:
      - type: alpr
        alpr: { plate_detector_weights: street, ocr_weights: street, crop_expand: 0.6 }
",
    ),
    (
        "invalid patterns",
        PIPELINE,
        "    pipeline:
      - type: alpr
        alpr:
          plate_detector_weights: street
          ocr_weights: street
          plate_patterns: [\"[A-Z]{3}\", \"[A-Z\", \"(\"]
",
    ),
    ("dwelling and updates", "conf_threshold: 0.4", "dwell_seconds: -2\n          update_seconds: 0.5"),
    (
        "an activity that ends too soon, and its updates",
        "conf_threshold: 0.4",
        "activity: { quiet_seconds: 5, update_seconds: 60 }",
    ),
    ("text for a list of masks", "fps_target: 5", "masks: none"),
    ("too many values", "", ALIASES),
    ("a prefix with a space", "  local_dir", "  s3_prefix: my pictures\n  local_dir"),
    ("a camera's prefix with a space", "prefix: ${camera_id}/", "prefix: ${camera_id} front/"),
    ("an invalid KMS key", "  local_dir", "  s3_sse: aws:kms\n  s3_kms_key: our key\n  local_dir"),
    ("a folder without a name", "local_dir: /tmp/events", "local_dir: ''"),
    ("a state without a folder", "snapshots:\n", "state: { dir: '' }\nsnapshots:\n"),
    ("a video stream by its ARN", "front-stream", "arn:aws:kinesisvideo:eu-west-1:1:stream/front/1"),
    ("a model's path that is empty", "path: models/street.onnx", "path: ''"),
    ("no models to choose from", "", NO_MODELS),
    ("a recognition model with a layout", "", OCR_WITH_LAYOUT),
    ("a recognition model with an input", "", OCR_WITH_INPUT),
    ("a recognition model with box units", "", OCR_WITH_BOX_UNITS),
    (
        "no polygons in a roi",
        "        - name: door\n          points: [[10, 10], [50, 10], [50, 60]]\n",
        "        []\n",
    ),
    ("a service of metrics with a space", "snapshots:\n", "metrics: { service: our cameras }\nsnapshots:\n"),
    ("snapshots of no event", "prefix: ${camera_id}/", "on_event_only: false"),
];

const PUBLISHERS: &str = "  kds_stream: events\n  s3_bucket: snapshots-of-ours\n  local_dir: /tmp/events\n";

const TWIN: &str = "cameras:
  - id: front
    kvs_stream_name: other-stream
    pipeline: [{ type: objects, objects: { yolo_weights: street } }]
";

const ONE_WITHOUT_SINK: &str = "publishers: { kds_stream: events }
cameras:
  - id: a
    kvs_stream_name: a
    pipeline: [{ type: objects, objects: { yolo_weights: m.onnx } }]
  - id: b
    kvs_stream_name: b
    pipeline: [{ type: objects, objects: { yolo_weights: m.onnx } }]
    routing: { events: { to_kds: false } }
";

const ALIASES: &str = "a: &a [x, x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]
cameras: [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]
";

const NO_MODELS: &str = "publishers: { local_dir: /tmp/events }
cameras:
  - id: front
    kvs_stream_name: front-stream
    pipeline: [{ type: objects, objects: { yolo_weights: street } }]
";

const OCR_WITH_INPUT: &str = "publishers: { local_dir: /tmp/events }
models:
  plate: { path: models/plate.onnx, classes: [plate] }
  text: { path: models/text.onnx, input: { order: bgr } }
cameras:
  - id: gate
    kvs_stream_name: gate-stream
    pipeline: [{ type: alpr, alpr: { plate_detector_weights: plate, ocr_weights: text } }]
";

const OCR_WITH_BOX_UNITS: &str = "publishers: { local_dir: /tmp/events }
models:
  plate: { path: models/plate.onnx, classes: [plate] }
  text: { path: models/text.onnx, box_units: normalized }
cameras:
  - id: gate
    kvs_stream_name: gate-stream
    pipeline: [{ type: alpr, alpr: { plate_detector_weights: plate, ocr_weights: text } }]
";

const OCR_WITH_LAYOUT: &str = "publishers: { local_dir: /tmp/events }
models:
  plate: { path: models/plate.onnx, classes: [plate] }
  text: { path: models/text.onnx, layout: yolov8 }
cameras:
  - id: gate
    kvs_stream_name: gate-stream
    pipeline: [{ type: alpr, alpr: { plate_detector_weights: plate, ocr_weights: text } }]
";

const ROI: &str = "    roi:
      units: pixels
      polygons:
        - name: door
          points: [[10, 10], [50, 10], [50, 60]]
      filter: center
";

const PIPELINE: &str = "    pipeline:
      - type: objects
        objects:
          yolo_weights: street
          classes: [person]
          conf_threshold: 0.4
";

const ROI_AND_PIPELINE: &str = "      units: pixels
      polygons:
        - name: door
          points: [[10, 10], [50, 10], [50, 60]]
      filter: center
    pipeline:
      - type: objects
        objects:
";

const NORMALIZED_MIN_BOX: &str = "      units: normalized
      polygons: [{ points: [[0.1, 0.1], [0.5, 0.1], [0.5, 0.6]] }]
    pipeline:
      - type: objects
        objects:
          min_box: { width: 40, height: 40 }
";

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn environment(name: &str) -> Option<String> {
    match name {
        "TEXT" => Some("five".to_owned()),
        "NINETY_NINE" => Some("99".to_owned()),
        "WITH_RETURN" => Some("/tmp/events\r".to_owned()),
        _ => None,
    }
}

fn refusal_of(text: &str) -> Result<(), ConfigErrors> {
    let content = ConfigContent { text: text.to_owned(), modified_ms: Ok(1) };
    parse_content("cameras.yaml", content, &environment, &Overrides::default()).map(drop)
}

fn base() -> String {
    std::fs::read_to_string(at_root("testdata/config/base.yaml")).unwrap()
}

#[test]
fn the_base_is_valid() {
    assert!(refusal_of(&base()).is_ok(), "{}", refusal_of(&base()).unwrap_err());
}

#[test]
fn every_mistake_is_reported_as_agreed() {
    let mut reports = String::new();
    for (name, old, new) in MISTAKES {
        let text = if old.is_empty() { (*new).to_owned() } else { base().replacen(old, new, 1) };
        assert_ne!(text, base(), "{name}: nothing was replaced");
        let refusal = refusal_of(&text).expect_err(name);
        writeln!(reports, "## {name}\n{refusal}\n").unwrap();
    }
    let golden = at_root("testdata/config/errors.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &reports).unwrap();
    }
    let agreed = std::fs::read_to_string(&golden).unwrap();
    let differs = reports.lines().zip(agreed.lines()).find(|(now, before)| now != before);
    assert!(
        reports == agreed,
        "the messages changed: check them, and run once with BLESS=1; first: {differs:?}"
    );
}

#[test]
fn every_value_of_the_schema_has_a_range() {
    let schema = config_schema();
    let mut open = Vec::new();
    for (name, section) in
        schema["$defs"].as_object().unwrap().iter().chain([(&"config".to_owned(), &schema)])
    {
        for (key, rule) in section["properties"].as_object().into_iter().flatten() {
            collect_open(&format!("{name}.{key}"), rule, &mut open);
        }
    }
    assert!(open.is_empty(), "no range: {open:?}");
}

/// Collects the values without a bound.
fn collect_open(name: &str, rule: &Value, open: &mut Vec<String>) {
    let types: Vec<&str> = match &rule["type"] {
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let has = |key: &str| rule.get(key).is_some();
    let bounded = match types.first() {
        Some(&"number" | &"integer") => has("minimum") && has("maximum"),
        Some(&"string") => has("pattern") || has("maxLength") || has("const") || has("enum"),
        Some(&"array") => has("maxItems"),
        _ => true,
    };
    if !bounded {
        open.push(name.to_owned());
    }
    if let Some(items) = rule.get("items") {
        collect_open(&format!("{name}[]"), items, open);
    }
}
