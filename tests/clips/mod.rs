//! Clips of stored footage, from a real local KVS: listed, made, served over HTTP and stored by their sink.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test cannot set up, it fails on"
)]

mod archive;
mod gone;
mod made;
mod named;
mod served;
mod stored;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kvs_infer::source::Kvs;
use kvs_sim::{ClipPace, KvsStream, Sim, append_clip, epoch_ms};
use test_support::moto;

/// Frames per second of all clips; their GOPs, and so their fragments, have a second.
const FPS: usize = 10;

/// Returns the clients for a local KVS.
fn kvs(sim: &Sim) -> Kvs {
    Kvs::new(&moto::config(&sim.endpoint()))
}

/// Writes a film of `seconds`, each frame of which is another picture.
fn film(folder: &Path, name: &str, seconds: u32, encoder: &str) -> PathBuf {
    let film = folder.join(name);
    let input = format!(
        "-v error -y -f lavfi -i testsrc2=size=160x128:rate={FPS}:duration={seconds} -pix_fmt yuv420p -preset ultrafast \
         -g {FPS} -keyint_min {FPS} -sc_threshold 0 {encoder}"
    );
    let made = Command::new("ffmpeg").args(input.split_whitespace()).arg(&film).status();
    assert!(made.expect("ffmpeg is needed: run scripts/setup test").success(), "{name}");
    film
}

/// Returns the time at which the footage of a test begins, an hour ago, and the same in ms since the epoch.
fn an_hour_ago() -> (SystemTime, i64) {
    let ms = epoch_ms(SystemTime::now()) - 3_600_000;
    (SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap()), ms)
}

/// Stores a film as the footage of a stream.
async fn store(sim: &Sim, stream: &str, film: &Path, start: SystemTime) -> Arc<KvsStream> {
    let stream = sim.store().stream_or_create(stream).unwrap();
    append_clip(&stream, film, ClipPace::Asap, start).await.unwrap();
    stream
}

/// Returns the checksum of each decoded frame of a file, in the order of presentation.
fn checksums(file: &Path) -> Vec<String> {
    let framemd5 = "-an -fps_mode passthrough -f framemd5 -";
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(framemd5.split(' '))
        .output()
        .unwrap();
    // A clip that begins at an open GOP asks the decoder to drop a picture of the GOP before it.
    let errors = String::from_utf8_lossy(&output.stderr);
    let errors: String = errors.lines().filter(|line| !line.ends_with("mmco: unref short failure")).collect();
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", file.display());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// Returns the four-character code of a file's video, by which players choose a decoder.
fn code(file: &Path) -> String {
    let entries = "-v error -select_streams v -show_entries stream=codec_tag_string -of csv=p=0";
    let output = Command::new("ffprobe").args(entries.split(' ')).arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns the presentation times of a file's frames, ms, in their order, and its duration, ms.
fn times_ms(file: &Path) -> (Vec<i64>, i64) {
    let read = |entries: &str| {
        let arguments = ["-v", "error", "-select_streams", "v", "-show_entries", entries, "-of", "csv=p=0"];
        let output = Command::new("ffprobe").args(arguments).arg(file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let ms = |text: &str| {
        let text = text.trim().trim_end_matches(',');
        (text.parse::<f64>().unwrap_or_else(|_| panic!("{text:?} is no time")) * 1000.0).round() as i64
    };
    let mut times: Vec<i64> = read("packet=pts_time").lines().map(ms).collect();
    times.sort_unstable();
    (times, ms(&read("format=duration")))
}
