//! Live cameras send more than this host can decode.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kvs_sim::{Play, Sim, SimConfig};
use serde_json::Value;
use test_support::colours::model;
use test_support::footage::{LOCAL, camera_with, config};
use test_support::program::Program;

use super::table::{Row, TOO_MANY};
use super::watch::{figure, is_full, metric, metrics, reasons, until};

/// Decoding needs this many times the core that the program gets.
const OVERLOAD: f64 = 2.0;
/// Age of frames when they were inferred, p99, s: as for R5.
const MAX_AGE: f64 = 2.0;
/// The allowance for other work on this machine.
const NOISE: f64 = 0.5;
/// The figure shown is true within this, s.
const TRUE_WITHIN: f64 = 1.0;

fn span() -> Duration {
    Duration::from_secs(if is_full() { 60 } else { 15 })
}

/// Writes a clip that is dear to decode, with a key frame each second.
fn dear_clip(folder: &Path) -> PathBuf {
    let clip = folder.join("dear.mp4");
    let noise = "testsrc2=size=1280x720:rate=30:duration=2,noise=alls=20:allf=t";
    let coded = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -crf 26 -coder 1 -bf 0 -g 30";
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", noise])
        .args(coded.split(' '))
        .arg(&clip)
        .status()
        .expect("ffmpeg is needed: run scripts/setup test");
    assert!(made.success());
    clip
}

/// CPU time that decoding the clip takes, s for each second of it.
fn cost(clip: &Path) -> f64 {
    let decoded = Command::new("ffmpeg")
        .args(["-v", "info", "-threads", "1", "-benchmark", "-i"])
        .arg(clip)
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8(decoded.stderr).unwrap();
    let (_, time) = text.rsplit_once("utime=").unwrap_or_else(|| panic!("{text}"));
    let (time, _) = time.split_once('s').unwrap();
    time.parse::<f64>().unwrap() / 2.0
}

/// The program on the first core alone.
fn on_one_core() -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", env!("CARGO_BIN_EXE_kvs-infer")]);
    command
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A row of `/api/cameras`, at a time of this host's clock, which is the camera's as well.
struct Sample {
    /// The lag that the row shows, s.
    shown: f64,
    /// The age of its newest inferred frame, s.
    age: f64,
    /// The age of that frame at its inference, s.
    age_when_inferred: f64,
}

impl Sample {
    fn of(row: &Value, at_s: f64) -> Option<Self> {
        let s = |key: &str| row[key].as_f64().map(|ms| ms / 1000.0);
        let age = at_s - s("last_frame_ts_ms")?;
        Some(Self { shown: s("behind_ms")?, age, age_when_inferred: age - s("last_frame_age_ms")? })
    }
}

/// Samples of all cameras, several per second of each.
async fn samples(program: &Program) -> Vec<Sample> {
    let (began, mut asked) = (Instant::now(), Instant::now());
    let mut samples = Vec::new();
    until("end of the watch", || {
        if asked.elapsed() >= Duration::from_millis(150) {
            asked = Instant::now();
            let before_s = now_s();
            let overview = program.overview();
            let at_s = f64::midpoint(before_s, now_s());
            samples.extend(
                overview["cameras"].as_array().unwrap().iter().filter_map(|row| Sample::of(row, at_s)),
            );
        }
        (began.elapsed() >= span()).then_some(())
    })
    .await;
    samples
}

fn percentile(mut values: Vec<f64>, rank: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * rank).div_ceil(100).max(1) - 1]
}

fn dropped(scrape: &str, row: &Row, camera: &str) -> f64 {
    let (name, reason) = row.metric.trim_end_matches('}').split_once('{').unwrap();
    metric(scrape, name, &[&format!("camera=\"{camera}\""), reason])
}

#[tokio::test(flavor = "multi_thread")]
async fn live_cameras_that_are_too_dear_to_decode_stay_live_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let clip = dear_clip(folder.path());
    let count = ((OVERLOAD * 1.1 / cost(&clip)).ceil() as usize).clamp(4, 16);
    let ids: Vec<String> = (0..count).map(|camera| format!("camera-{camera}")).collect();
    let sim = Sim::start(SimConfig { stream_bytes: 32 << 20, ..SimConfig::default() }).unwrap();
    for camera in &ids {
        let stream = format!("{camera}-stream");
        sim.play(Play { stream, path: clip.clone(), looped: true }).await.unwrap();
    }
    let cameras: String =
        ids.iter().map(|id| camera_with(id, &model(), "NOW", "    fps_target: 10\n")).collect();
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start_in(on_one_core(), dir, &config(LOCAL, &cameras), &sim.endpoint(), None);
    ids.iter().for_each(|id| drop(program.camera_when(id, |row| row["frames"]["dropped"]["late"].is_u64())));
    let samples = samples(&program).await;
    let (scrape, reasons) = (metrics(&program), reasons(&program));
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    sim.stop().await;

    let read = metric(&scrape, "kvs_infer_demux_frames_total", &[]);
    let late: Vec<f64> = ids.iter().map(|id| dropped(&scrape, &TOO_MANY, id)).collect();
    let jumps = metric(&scrape, "kvs_infer_source_skipped_seconds_total", &[]);
    let (least, most) =
        late.iter().fold((f64::MAX, 0.0_f64), |(least, most), &n| (least.min(n), most.max(n)));
    let off = percentile(samples.iter().map(|sample| (sample.shown - sample.age).abs()).collect(), 95);
    let age = percentile(samples.iter().map(|sample| sample.age_when_inferred).collect(), 99);
    let shown = percentile(samples.iter().map(|sample| sample.shown).collect(), 50);
    let share = late.iter().sum::<f64>() / read;
    let text = format!(
        "R5 {count} cameras of 720p on one core: {:.0} % left out as late, by camera {late:?}; frames p99 {age:.2} s old when \
         inferred (limit {MAX_AGE} s); lag shown p50 {shown:.2} s, within {off:.2} s of the true age of frames at p95",
        share * 100.0
    );
    assert!(share >= 0.15, "no overload here: {text}");
    assert!(age <= MAX_AGE + NOISE, "{text}");
    assert!(off <= TRUE_WITHIN, "{text}");
    assert!(least >= 0.5 * most, "uneven: {text}");
    assert_eq!(jumps, 0.0, "{text}");
    assert!(reasons.iter().any(|reason| reason.contains(TOO_MANY.reason)), "{reasons:?}");
    let warned = ended.log.iter().filter(|line| line.contains(TOO_MANY.reason)).count();
    assert_eq!(warned, 1, "{:#?}", ended.log);
    figure(&text);
}
