//! The whole program with NVDEC: the same events as on the CPU, the choice by configuration, and a GPU that is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kvs_infer::media::Codec;
use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::{FRAMES, LABELS, camera, film, sim, store};
use test_support::gpu::FakeDriver;
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::polling::until_blocking;
use test_support::program::Program;

use super::numbers_of;
use crate::decode::clip::packets;
use crate::service::cuda::FakeCuda;
use crate::service::gpu_path;
use crate::service::stop::Gate;

/// Gives the driver the pictures of a film of 128 x 128 px, as the `ffmpeg` command decodes them.
fn show(driver: &FakeDriver, film: &Path) {
    let folder = driver.folder().join("pictures");
    let to_raw = "-vsync passthrough -pix_fmt nv12 -f rawvideo -".split(' ');
    let decoded = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(film).args(to_raw).output();
    let raw = decoded.unwrap().stdout;
    let packets = packets(film, Codec::H264);
    let mut numbers: Vec<_> = packets.iter().map(|packet| packet.media).zip(numbers_of(&packets)).collect();
    // The pictures are in order of presentation.
    numbers.sort_by_key(|(media, _)| *media);
    let pictures = raw.chunks(128 * 128 * 3 / 2);
    assert_eq!((packets.len() as u64, pictures.len() as u64), (FRAMES, FRAMES));
    for ((_, number), picture) in numbers.iter().zip(pictures) {
        std::fs::write(folder.join(format!("{number:08x}")), picture).unwrap();
    }
}

fn config(decode: &str) -> String {
    format!("publishers:\n  kds_stream: events\ndevice: cpu\ndecode: {decode}\ncameras:\n{}", camera("front"))
}

fn command(driver: &FakeDriver) -> Command {
    let mut command = kvs_infer_command!();
    command.env("LD_LIBRARY_PATH", driver.folder());
    command
}

async fn events_at(moto: &Moto, kinesis: &aws_sdk_kinesis::Client) -> Vec<Value> {
    assert!(moto.url.starts_with("http"));
    let records = records(kinesis, "events").await;
    records.iter().map(|(_, record)| serde_json::from_str(record).unwrap()).collect()
}

/// Returns the ids of the events that a run on the CPU delivers.
async fn ids_on_cpu(kvs: &str) -> BTreeSet<String> {
    let moto = Moto::start();
    let kinesis = moto.stream("events").await;
    let program = Program::start(kvs_infer_command!(), &config("cpu"), kvs, Some(&moto.url));
    program.events_until(&LABELS.map(|label| ("front", label)));
    assert!(program.stop().status.success());
    ids(&events_at(&moto, &kinesis).await)
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_are_those_of_the_cpu() {
    let (sim, clips, driver) = (sim(), TempDir::new().unwrap(), FakeDriver::new());
    let film = film(clips.path(), 2);
    store(&sim, "front-stream", &film).await;
    show(&driver, &film);
    let moto = Moto::start();
    let kinesis = moto.stream("events").await;
    let program = Program::start(command(&driver), &config("cuda"), &sim.endpoint(), Some(&moto.url));
    let row = program.camera_after("front", FRAMES);
    assert_eq!((&row["decoder"], &row["decoder_note"]), (&Value::from("nvdec"), &Value::Null));
    let (_, metrics) = program.get("/metrics");
    assert!(metrics.contains("kvs_infer_decode_cameras{decoder=\"nvdec\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("kvs_infer_decode_fallbacks_total{"), "{metrics}");
    program.events_until(&LABELS.map(|label| ("front", label)));
    assert!(program.stop().status.success());
    assert_eq!(ids(&events_at(&moto, &kinesis).await), ids_on_cpu(&sim.endpoint()).await);
    assert_eq!(driver.log("destroy").len(), driver.log("create").len());
    sim.stop().await;
}

/// Pictures are decoded, masked, painted and inferred without a copy in host memory, but for those with objects.
#[tokio::test(flavor = "multi_thread")]
async fn the_events_are_those_of_the_cpu_where_the_models_run_on_the_same_gpu() {
    let (sim, clips, driver) = (sim(), TempDir::new().unwrap(), FakeDriver::new());
    let film = film(clips.path(), 2);
    store(&sim, "front-stream", &film).await;
    show(&driver, &film);
    let moto = Moto::start();
    let kinesis = moto.stream("events").await;
    let cuda = FakeCuda::new("works");
    // `auto`: the GPU of the models.
    let config = config("auto").replace("device: cpu", "device: cuda");
    let program =
        Program::start(gpu_path::command(&cuda, &driver), &config, &sim.endpoint(), Some(&moto.url));
    let row = program.camera_after("front", FRAMES);
    assert_eq!((&row["decoder"], &row["decoder_note"]), (&Value::from("nvdec"), &Value::Null));
    assert_eq!(program.overview()["models"][0]["engine"], "ONNX Runtime, CUDA graphs");
    program.events_until(&LABELS.map(|label| ("front", label)));
    let ended = program.stop();
    assert!(ended.status.success());
    assert!(!ended.log.iter().any(|line| line.contains("copied to host memory")), "{:#?}", ended.log);
    assert_eq!(ids(&events_at(&moto, &kinesis).await), ids_on_cpu(&sim.endpoint()).await);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_decodes_wrong_is_not_used_and_the_health_has_the_reason() {
    let (sim, clips, driver) = (sim(), TempDir::new().unwrap(), FakeDriver::new());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    driver.set_faults("wrong nvdec");
    let config = config("auto").replace("device: cpu", "device: cuda");
    let config = config.replace("kds_stream: events", "local_dir: events");
    let cuda = FakeCuda::new("works");
    let program = Program::start(gpu_path::command(&cuda, &driver), &config, &sim.endpoint(), None);
    program.events_until(&LABELS.map(|label| ("front", label)));
    let row = program.camera("front");
    let note = row["decoder_note"].as_str().unwrap();
    assert!(row["decoder"] == "cpu" && note.contains("the self-test of NVDEC failed: picture 0"), "{row:#}");
    let (status, health) = program.get("/healthz");
    let reason = "cameras are decoded on the CPU, not by NVDEC of cuda:0: the self-test of NVDEC failed";
    assert!(status == 200 && health.contains(reason), "{health}");
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_is_lost_while_it_decodes_ends_the_process_and_no_event_is_lost() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    // About half of the pictures.
    let driver = FakeDriver::new();
    driver.set_faults(&format!("lost {}", FRAMES / 2));
    let film = film(clips.path(), 0);
    store(&sim, "front-stream", &film).await;
    show(&driver, &film);
    let moto = Moto::start();
    let kinesis = moto.stream("events").await;
    let began = Instant::now();
    let program = Program::start(command(&driver), &config("cuda"), &sim.endpoint(), Some(&moto.url));
    let ended = program.wait(began);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(ended.status.code(), Some(70), "{:#?}", ended.log);
    // By the camera, and by the model on the CPU if a picture was left on the GPU.
    let mut lost = ended.log.iter().filter(|line| line.contains("\"GPU lost\""));
    assert!(lost.any(|line| line.contains("CUDA_ERROR_LAUNCH_FAILED (719)")), "{:#?}", ended.log);

    driver.set_faults("");
    let again =
        Program::start_in(command(&driver), ended.dir, &config("cuda"), &sim.endpoint(), Some(&moto.url));
    again.events_until(&[("front", LABELS[2])]);
    assert!(again.stop().status.success());
    let delivered = events_at(&moto, &kinesis).await;
    assert_eq!(delivered.len(), LABELS.len(), "each object once: {delivered:#?}");
    assert_eq!(ids(&delivered), ids_on_cpu(&sim.endpoint()).await);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_gpu_fails_the_health_while_the_service_stops() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    let driver = FakeDriver::new();
    driver.set_faults("lost 20");
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let moto = Moto::start();
    moto.stream("events").await;
    // Without an answer of the sink the stop takes long enough to be seen.
    let gate = Gate::before(moto.url.trim_start_matches("http://").parse().unwrap());
    let config = config("cuda").replace("publishers:\n", "publishers:\n  local_dir: events\n");
    show(&driver, &film(clips.path(), 0));
    let program = Program::start(command(&driver), &config, &sim.endpoint(), Some(&gate.url));
    let began = Instant::now();
    let health: Value = serde_json::from_str(&until_blocking("503", || match program.get("/healthz") {
        (503, body) => Ok(body),
        (_, body) => Err(body),
    }))
    .unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let said = health["reasons"][0].as_str().unwrap();
    assert!(
        said.starts_with("camera front: GPU cuda:0 is lost, and CUDA works again only in a new process: ")
            && said.contains("ends with exit code 70"),
        "{said}"
    );
    gate.open();
    assert_eq!(program.wait(Instant::now()).status.code(), Some(70));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_chooses_and_cuda_is_refused_where_it_does_not_work() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let local = |decode: &str| config(decode).replace("kds_stream: events", "local_dir: events");
    let driver = FakeDriver::new();
    // The models run on the CPU: `auto` follows them.
    for decode in ["cpu", "auto"] {
        let program = Program::start(command(&driver), &local(decode), &sim.endpoint(), None);
        let row = program.camera_after("front", FRAMES);
        assert_eq!((&row["decoder"], &row["decoder_note"]), (&Value::from("cpu"), &Value::Null), "{decode}");
        assert!(program.stop().status.success());
    }
    assert!(driver.log("create").is_empty());
    driver.set_faults("no_device");
    let folder = TempDir::new().unwrap();
    let mut refused = command(&driver);
    test_support::program::configure_run(&mut refused, folder.path(), &local("cuda"), &sim.endpoint(), None);
    let output = refused.stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("decode: cuda does not work") && said.contains("CUDA_ERROR_NO_DEVICE"), "{said}");
    sim.stop().await;
}
