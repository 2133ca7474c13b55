//! Footage with exact truth: coloured rectangles on black, stored in a local KVS, and a model that answers to colours.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what a test cannot set up, it fails on")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, Sim, SimConfig, append_clip};

use crate::setup::cached;

/// Frames of the clip: 9 s at 10 frames per second, a key frame each second.
pub const FRAMES: u64 = 90;
/// The objects in view, in order; each for two seconds, from seconds 1, 4 and 7 on.
pub const LABELS: [&str; 3] = ["red", "green", "blue"];

/// Returns the model that answers to red, green and blue.
pub fn model() -> PathBuf {
    cached("models/tiny/yolov8.onnx")
}

/// Writes the clip; `b_frames` between references.
pub fn film(dir: &Path, b_frames: u32) -> PathBuf {
    let clip = dir.join(format!("colours-{b_frames}.mp4"));
    let boxes = "drawbox=x=16:y=16:w=32:h=32:c=0xFF0000:t=fill:enable='between(t,1,2.95)',\
                 drawbox=x=64:y=16:w=48:h=32:c=0x00FF00:t=fill:enable='between(t,4,5.95)',\
                 drawbox=x=32:y=64:w=32:h=48:c=0x0000FF:t=fill:enable='between(t,7,8.95)',format=yuv420p";
    paint(&clip, 9, boxes, b_frames);
    clip
}

/// Writes a clip of `length_s` seconds at 10 frames per second, black but for what `filter` draws, in H.264 with a key frame each second.
pub fn paint(clip: &Path, length_s: u32, filter: &str, b_frames: u32) {
    let encoder = format!("-c:v libx264 -crf 12 -g 10 -keyint_min 10 -sc_threshold 0 -bf {b_frames}");
    paint_by(clip, length_s, filter, &encoder);
}

/// Writes the same by another encoder, with its arguments.
pub fn paint_by(clip: &Path, length_s: u32, filter: &str, encoder: &str) {
    let black = format!("color=black:s=128x128:r=10:d={length_s},format=rgb24");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &black, "-vf", filter, "-pix_fmt", "yuv420p"])
        .args(encoder.split(' '))
        .arg(clip)
        .status()
        .expect("ffmpeg is needed: run scripts/setup test");
    assert!(made.success());
}

/// Starts a local KVS that answers on a port of its own.
pub fn sim() -> Sim {
    Sim::start(SimConfig::default()).unwrap()
}

/// Stores the clip as the footage of `stream`, made an hour ago.
pub async fn store(sim: &Sim, stream: &str, clip: &Path) {
    let stream = sim.store().stream_or_create(stream).unwrap();
    let start = SystemTime::now() - Duration::from_secs(3600);
    append_clip(&stream, clip, ClipPace::Asap, start).await.unwrap();
}

/// Returns the configuration of a camera that reads all that is stored.
pub fn camera(id: &str) -> String {
    format!(
        "  - id: {id}\n    kvs_stream_name: {id}-stream\n    playback: {{ start: EARLIEST }}\n    pipeline:\n      - type: objects\n        \
         objects: {{ max_disappeared_seconds: 30, yolo_weights: {} }}\n",
        model().display()
    )
}
