//! Models on a GPU: the whole program, with ONNX Runtime behind a small library of ours (cuda.c) whose CUDA provider computes on the
//! CPU and fails on request. None of this has run on a GPU.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::{FRAMES, LABELS, camera, film, sim, store};
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::polling::until_blocking;
use test_support::program::Program;
use test_support::setup::cached;

use super::stop::Gate;

/// ONNX Runtime with a CUDA provider of ours.
pub(super) struct FakeCuda {
    folder: TempDir,
}

impl FakeCuda {
    /// Compiles the library; `behaviour` is one of those that cuda.c lists.
    pub(super) fn new(behaviour: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/cuda.c");
        let library = folder.path().join("libonnxruntime.so");
        let flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"];
        let built = Command::new("cc").args(flags).arg(library).arg(source).arg("-ldl").status().unwrap();
        assert!(built.success());
        let fake = Self { folder };
        fake.behave(behaviour);
        fake
    }

    /// Changes the behaviour of the calls from now on.
    pub(super) fn behave(&self, behaviour: &str) {
        // In one step, because the library may be reading.
        let next = self.file("next");
        std::fs::write(&next, behaviour).unwrap();
        std::fs::rename(next, self.file("behaviour")).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the program on this runtime.
    pub(super) fn command(&self) -> Command {
        let real = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
        let mut command = kvs_infer_command!();
        command
            .env("ORT_DYLIB_PATH", self.file("libonnxruntime.so"))
            .env("REAL_RUNTIME", real.unwrap_or_else(|| cached("onnxruntime/libonnxruntime.so")))
            .env("FAKE_CUDA", self.file("behaviour"))
            .env("FAKE_CUDA_LOG", self.file("calls"));
        command
    }
}

/// Returns the calls of sessions on CUDA so far: the function, a number and the thread.
pub(super) fn calls(cuda: &FakeCuda, functions: &[&str]) -> Vec<(String, u32, String)> {
    let log = std::fs::read_to_string(cuda.file("calls")).unwrap();
    let call = |line: &str| {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        Some((words.next()?, words.next()?.parse().ok()?, words.next()?))
    };
    log.lines().filter_map(call).filter(|(function, ..)| functions.contains(&function.as_str())).collect()
}

fn config(device: &str) -> String {
    format!("publishers:\n  kds_stream: events\ndevice: {device}\ncameras:\n{}", camera("front"))
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    events.into_iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

/// Returns `/healthz` once it answers 503.
pub(super) fn failed_health(program: &Program) -> Value {
    let health = until_blocking("503", || match program.get("/healthz") {
        (503, body) => Ok(body),
        (_, body) => Err(body),
    });
    serde_json::from_str(&health).unwrap()
}

/// The number of inferences before the GPU is lost: two of the warm-up, and about half of the frames.
const SOUND_INFERENCES: u64 = 2 + FRAMES / 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_gpu_fails_the_health_and_ends_the_process_in_order_and_no_event_is_lost() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let moto = Moto::start();
    let kinesis = moto.stream("events").await;
    // Without an answer of the sink the stop takes long enough to be seen.
    let gate = Gate::before(moto.url.trim_start_matches("http://").parse().unwrap());
    let cuda = FakeCuda::new(&format!(
        "after {SOUND_INFERENCES} CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=h ; file=f"
    ));

    let program = Program::start(cuda.command(), &config("cuda"), &sim.endpoint(), Some(&gate.url));
    let began = Instant::now();
    let health = failed_health(&program);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let said = health["reasons"][0].as_str().unwrap();
    assert!(
        said.starts_with(
            "model yolov8.onnx: GPU cuda:0 is lost, and CUDA works again only in a new process: "
        ) && said.contains("CUDA failure 719: unspecified launch failure")
            && said.contains("ends with exit code 70"),
        "{said}"
    );
    assert_eq!((&health["status"], program.get("/readyz").0), (&Value::from("failed"), 503));
    let (_, metrics) = program.get("/metrics");
    assert!(metrics.contains("kvs_infer_detect_gpu_lost_total{model=\"yolov8.onnx\"} 1\n"), "{metrics}");
    gate.open();
    let ended = program.wait(Instant::now());
    assert_eq!(ended.status.code(), Some(70), "{:#?}", ended.log);
    assert_eq!(ended.log.iter().filter(|line| line.contains("\"GPU lost\"")).count(), 1, "{:#?}", ended.log);

    cuda.behave("works");
    let again =
        Program::start_in(cuda.command(), ended.dir, &config("cuda"), &sim.endpoint(), Some(&gate.url));
    again.events_until(&[("front", LABELS[2])]);
    assert!(again.stop().status.success());
    let delivered: Vec<Value> = events_at(&kinesis).await;
    assert_eq!(delivered.len(), LABELS.len(), "each object once: {delivered:#?}");

    let undisturbed = Moto::start();
    let kinesis = undisturbed.stream("events").await;
    let program =
        Program::start(kvs_infer_command!(), &config("cpu"), &sim.endpoint(), Some(&undisturbed.url));
    program.events_until(&LABELS.map(|label| ("front", label)));
    assert!(program.stop().status.success());
    assert_eq!(
        ids(&delivered),
        ids(&events_at(&kinesis).await),
        "no frame counts as seen that was not inferred"
    );
    sim.stop().await;
}

async fn events_at(kinesis: &aws_sdk_kinesis::Client) -> Vec<Value> {
    let records = records(kinesis, "events").await;
    records.iter().map(|(_, record)| serde_json::from_str(record).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_one_call_skips_its_frame_only() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let cuda =
        FakeCuda::new(&format!("after {SOUND_INFERENCES} CUDA failure 701: too many resources requested"));
    let config = format!("publishers:\n  local_dir: events\ndevice: cuda\ncameras:\n{}", camera("front"));
    let program = Program::start(cuda.command(), &config, &sim.endpoint(), None);
    let row = program.camera_when("front", |row| row["error"].is_string());
    assert!(row["error"].as_str().unwrap().contains("CUDA failure 701"), "{row:#}");
    assert_eq!(program.get("/healthz").0, 200);
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_made_and_warmed_up_by_the_thread_that_runs_it() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let cuda = FakeCuda::new("works");
    let config = format!("publishers:\n  local_dir: events\ndevice: cuda\ncameras:\n{}", camera("front"));
    let program = Program::start(cuda.command(), &config, &sim.endpoint(), None);
    program.camera_after("front", FRAMES);
    assert!(program.stop().status.success());
    let calls = calls(&cuda, &["session", "run"]);
    assert_eq!((calls[0].0.as_str(), calls.len() as u64), ("session", 1 + 2 + FRAMES));
    // Linux keeps 15 characters of a thread's name.
    assert!(calls.iter().all(|(.., thread)| thread == "detect-yolov8.o"), "{calls:?}");
    sim.stop().await;
}

/// Returns the configuration of cameras whose model takes any number of frames per batch.
pub(super) fn batched(cameras: &[&str]) -> String {
    let cameras: String = cameras.iter().map(|id| camera(id)).collect();
    let any = cameras.replace("tiny/yolov8.onnx", "tiny/yolov8_dynamic.onnx");
    format!("publishers:\n  local_dir: events\ndevice: cuda\ncameras:\n{any}")
}

/// Returns the sizes of the batches so far, in order.
pub(super) fn batches(cuda: &FakeCuda) -> Vec<u32> {
    calls(cuda, &["run"]).into_iter().map(|(_, batch, _)| batch).collect()
}

fn limited(program: &Program) -> f64 {
    let (_, metrics) = program.get("/metrics");
    let name = "kvs_infer_detect_batches_limited_total{model=\"yolov8_dynamic.onnx\"} ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warm_up_begins_with_the_largest_batch_and_halves_what_does_not_fit() {
    let sim = sim();
    let cuda = FakeCuda::new("memory 4 0");
    let program = Program::start(cuda.command(), &batched(&["front"]), &sim.endpoint(), None);
    assert_eq!(batches(&cuda), [16, 8, 4, 2, 1, 1]);
    assert_eq!(limited(&program), 2.0);
    assert!(program.stop().status.success());
    let log = std::fs::read_to_string(cuda.file("calls")).unwrap();
    assert!(log.contains("option arena_extend_strategy=kSameAsRequested"), "{log}");
    sim.stop().await;
}

/// Inferences of the warm-up: one of each size, and a second one of a single frame.
pub(super) const WARM_UP: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_runs_out_of_memory_costs_no_frame() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    let (film, cameras) = (film(clips.path(), 0), ["a", "b", "c", "d"]);
    for camera in cameras {
        store(&sim, &format!("{camera}-stream"), &film).await;
    }
    let cuda = FakeCuda::new(&format!("memory 1 {WARM_UP}"));
    let program = Program::start(cuda.command(), &batched(&cameras), &sim.endpoint(), None);
    for camera in cameras {
        program.camera_after(camera, FRAMES);
    }
    let limited = limited(&program);
    assert!(limited >= 1.0, "no batch had two frames: {:?}", batches(&cuda));
    let (_, metrics) = program.get("/metrics");
    assert!(!metrics.contains("kvs_infer_detect_errors_total{"), "{metrics}");
    assert!(program.stop().status.success());
    let larger = batches(&cuda)[WARM_UP..].iter().filter(|batch| **batch > 1).count();
    assert_eq!(larger as f64, limited, "each size fails once");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_of_a_models_nodes_are_shown() {
    let sim = sim();
    let cuda = FakeCuda::new("works");
    for (device, provider) in [("cuda", "cuda"), ("cpu", "cpu")] {
        let config =
            format!("publishers:\n  local_dir: events\ndevice: {device}\ncameras:\n{}", camera("front"));
        let program = Program::start(cuda.command(), &config, &sim.endpoint(), None);
        let nodes = program.overview()["models"][0]["nodes"].as_str().unwrap().to_owned();
        let count = nodes.strip_prefix(&format!("{provider} ")).and_then(|rest| rest.strip_suffix(" nodes"));
        let (some, all) = count.and_then(|count| count.split_once(" of ")).unwrap();
        assert!(some == all && all.parse::<u32>().unwrap() > 0, "{nodes}");
        let (_, metrics) = program.get("/metrics");
        let labels = format!("{{model=\"yolov8.onnx\",provider=\"{provider}\"}}");
        assert!(metrics.contains(&format!("kvs_infer_detect_nodes{labels} {all}\n")), "{metrics}");
        assert!(program.stop().status.success());
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_node_on_cuda_is_refused_there() {
    let sim = sim();
    let cuda = FakeCuda::new("nodes");
    let folder = TempDir::new().unwrap();
    let config = format!("publishers:\n  local_dir: events\ndevice: cuda\ncameras:\n{}", camera("front"));
    let file = folder.path().join("cameras.yaml");
    std::fs::write(&file, &config).unwrap();
    let mut command = cuda.command();
    let output = command.args(["models", "--config"]).arg(file).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("cuda:0 does not work: ONNX Runtime assigned none of the model's"), "{said}");
    let auto = config.replace("device: cuda", "device: auto");
    let program = Program::start(cuda.command(), &auto, &sim.endpoint(), None);
    assert_eq!(program.overview()["models"][0]["device"], "cpu");
    assert!(program.stop().status.success());
    sim.stop().await;
}
