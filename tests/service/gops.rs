//! No sampled frame is lost while there is time for it: codecs and GOP structures, by each interface and delivery, at each rate.

use std::path::{Path, PathBuf};
use std::process::Command;

use kvs_sim::{LiveDelivery, Play, Sim, SimConfig};
use serde_json::Value;
use test_support::colours::model;
use test_support::kvs_infer_command;
use test_support::program::Program;

/// A stream: its name, the arguments of the encoder, and whether its GOPs are open.
type Coding = (&'static str, &'static str, bool);

const CODINGS: [Coding; 6] = [
    ("h264-p", "-c:v libx264 -bf 0", false),
    ("h264-b", "-c:v libx264 -bf 3 -x264-params open-gop=0", false),
    ("h264-open", "-c:v libx264 -bf 3 -x264-params open-gop=1:b-adapt=0", true),
    ("h265-p", "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:open-gop=0:bframes=0", false),
    ("h265-b", "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:open-gop=0:bframes=3", false),
    ("h265-open", "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:open-gop=1:bframes=3", true),
];

/// `fps_target`, and how many frames are to be inferred. The clips have ten frames per second, so `None` is every one.
const RATES: [(Option<u32>, u64); 3] = [(Some(1), 5), (Some(5), 25), (None, 50)];

/// Four seconds in fragments of one second.
fn clip(folder: &Path, (name, encoder, _): Coding) -> PathBuf {
    let clip = folder.join(format!("{name}.mp4"));
    let input =
        "-v error -y -f lavfi -i testsrc2=size=160x128:rate=10:duration=4 -pix_fmt yuv420p -preset ultrafast";
    let made = Command::new("ffmpeg")
        .args(input.split(' '))
        .args("-g 10 -keyint_min 10 -sc_threshold 0".split(' '))
        .args(encoder.split(' '))
        .arg(&clip)
        .status();
    assert!(made.expect("ffmpeg is needed: run scripts/setup test").success(), "{name}");
    clip
}

fn id(name: &str, fps: Option<u32>) -> String {
    fps.map_or_else(|| format!("{name}-all"), |fps| format!("{name}-{fps}"))
}

fn camera(name: &str, fps: Option<u32>, mode: &str) -> String {
    let rate = fps.map_or_else(String::new, |fps| format!("    fps_target: {fps}\n"));
    format!(
        "  - id: {}\n    kvs_stream_name: {name}\n{rate}    playback: {{ mode: {mode}, start: NOW }}\n    pipeline:\n      \
         - type: objects\n        objects: {{ yolo_weights: {} }}\n",
        id(name, fps),
        model().display()
    )
}

/// Streams all codings, reads each at all rates, and holds what became of the frames against what should.
async fn each_sampled_frame_is_inferred(mode: &str, delivery: LiveDelivery) {
    let folder = tempfile::tempdir().unwrap();
    let sim = Sim::start(SimConfig { delivery, ..SimConfig::default() }).unwrap();
    for coding in CODINGS {
        let path = clip(folder.path(), coding);
        sim.play(Play { stream: coding.0.to_owned(), path, looped: true }).await.unwrap();
    }
    let cameras: String =
        CODINGS.iter().flat_map(|(name, ..)| RATES.map(|(fps, _)| camera(name, fps, mode))).collect();
    let config = format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{cameras}");
    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
    for (name, _, is_open) in CODINGS {
        for (fps, wanted) in RATES {
            // Frames on their way are sampled and not inferred yet: there is a moment at which none is.
            let row = program.camera_when(&id(name, fps), |row| {
                let frames = &row["frames"];
                frames["inferred"].as_u64() >= Some(wanted) && frames["inferred"] == frames["sampled"]
            });
            assert_eq!(row["mode"], "live", "{row:#}");
            assert_only_leading_pictures_are_dropped(&row, is_open);
        }
    }
    assert!(program.stop().status.success());
    sim.stop().await;
}

/// Leading pictures of an open GOP lack their references where reading began, and nowhere else: there are three in a fragment, and
/// neither the first fragment nor its successor has a primer.
fn assert_only_leading_pictures_are_dropped(row: &Value, is_open: bool) {
    let dropped = row["frames"]["dropped"].as_object().unwrap();
    let leading = dropped.get("leading").and_then(Value::as_u64).unwrap_or(0);
    let all: u64 = dropped.values().filter_map(Value::as_u64).sum();
    assert_eq!(all, leading, "{row:#}");
    let most = if is_open { 2 * 3 } else { 0 };
    assert!(leading <= most, "{leading}: {row:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_get_media_each_sampled_frame_is_inferred() {
    each_sampled_frame_is_inferred("GETMEDIA", LiveDelivery::Block).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_get_media_with_whole_fragments_each_sampled_frame_is_inferred() {
    each_sampled_frame_is_inferred("GETMEDIA", LiveDelivery::Fragment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_hls_each_sampled_frame_is_inferred() {
    each_sampled_frame_is_inferred("HLS", LiveDelivery::Block).await;
}
