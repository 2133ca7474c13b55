//! Models on a GPU: the whole program, with ONNX Runtime behind a small library of ours (cuda.c) whose CUDA provider computes on the
//! CPU and fails on request. None of this has run on a GPU.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::{FRAMES, LABELS, camera, film, sim, store};
use test_support::gpu::FakeDriver;
use test_support::kvs_infer_command;
use test_support::moto::{Moto, records};
use test_support::polling::until_blocking;
use test_support::program::{Ended, Program};
use test_support::setup::cached;

use super::gpu::compile_driver;
use super::stop::Gate;

/// ONNX Runtime with a CUDA provider of ours.
pub(crate) struct FakeCuda {
    folder: TempDir,
}

impl FakeCuda {
    /// Compiles the library; `behaviour` is one of those that cuda.c lists.
    pub(crate) fn new(behaviour: &str) -> Self {
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

    /// Returns the program on this runtime, on a host with NVIDIA's driver and the libraries of CUDA.
    pub(super) fn command_with_driver(&self) -> Command {
        let library = self.file("libnvidia-ml.so.1");
        compile_driver(&library, "-DDRIVER");
        std::fs::copy(FakeDriver::new().library(), self.file("libcuda.so.1")).unwrap();
        for name in OPENED_BY_NAME {
            std::fs::write(self.file(name), "").unwrap();
        }
        let mut command = self.command();
        command.env("LD_LIBRARY_PATH", self.folder.path());
        command
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
fn failed_health(program: &Program) -> Value {
    let health = until_blocking("503", || match program.get("/healthz") {
        (503, body) => Ok(body),
        (_, body) => Err(body),
    });
    serde_json::from_str(&health).unwrap()
}

/// Waits until the program ends because its GPU is lost; returns how, and the line of its log about it.
///
/// `/healthz` says it too, but only until the program has ended, which may be at once.
pub(super) fn lost(program: Program) -> (Ended, String) {
    let ended = program.wait(Instant::now());
    assert_eq!(ended.status.code(), Some(70), "{:#?}", ended.log);
    let lines: Vec<&String> = ended.log.iter().filter(|line| line.contains("\"GPU lost\"")).collect();
    assert_eq!(lines.len(), 1, "{:#?}", ended.log);
    let line = lines[0].clone();
    (ended, line)
}

/// The number of inferences before the GPU is lost: two of the warm-up, one of the self-test, and about half of the frames.
const SOUND_INFERENCES: u64 = 3 + FRAMES / 2;

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
    assert_eq!(health["status"], "failed");
    // The stop begins after the answer about the health.
    until_blocking("readiness that ends", || match program.get("/readyz") {
        (503, _) => Ok(()),
        (_, body) => Err(body),
    });
    let (_, metrics) = program.get("/metrics");
    assert!(metrics.contains("kvs_infer_detect_gpu_lost_total{model=\"yolov8.onnx\"} 1\n"), "{metrics}");
    gate.open();
    let (ended, _) = lost(program);

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
    assert_eq!((calls[0].0.as_str(), calls.len() as u64), ("session", 1 + 3 + FRAMES));
    // Linux keeps 15 characters of a thread's name.
    assert!(calls.iter().all(|(.., thread)| thread == "detect-yolov8.o"), "{calls:?}");
    sim.stop().await;
}

/// Returns the configuration of cameras whose model takes any number of frames per batch.
pub(super) fn batched(cameras: &[&str]) -> String {
    let cameras: String = cameras.iter().map(|id| camera(id)).collect();
    let any = cameras.replace("tiny/yolov8.onnx", "tiny/yolov8_dynamic.onnx");
    format!("publishers:\n  local_dir: events\ndevice: cuda\ndecode: cpu\ncameras:\n{any}")
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
    assert_eq!(batches(&cuda), [16, 8, 4, 2, 1, 1, 1]);
    assert_eq!(limited(&program), 2.0);
    assert!(program.stop().status.success());
    let log = std::fs::read_to_string(cuda.file("calls")).unwrap();
    assert!(log.contains("option arena_extend_strategy=kSameAsRequested"), "{log}");
    sim.stop().await;
}

/// Inferences before the first frame: one of each size, a second one of a single frame, and the self-test's.
pub(super) const WARM_UP: usize = 7;

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
async fn a_gpu_that_computes_other_numbers_than_the_cpu_is_not_used() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let cuda = FakeCuda::new("garbled 0");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("cameras.yaml");
    std::fs::write(&file, config("cuda")).unwrap();
    let output = cuda.command().args(["models", "--config"]).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    let reason = "the self-test of the GPU failed: for a built-in picture, output0 differs by ";
    assert!(!output.status.success() && said.contains(reason), "{said}");

    let program = Program::start(cuda.command_with_driver(), &auto(), &sim.endpoint(), None);
    let model = model_when(&program, |model| model["degraded"].is_string());
    assert_eq!(model["device"], "cpu");
    let (_, health) = program.get("/healthz");
    assert!(health.contains(TRIED_AGAIN) && health.contains(reason), "{health}");
    program.events_until(&LABELS.map(|label| ("front", label)));
    assert!(program.stop().status.success());
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

/// Returns the only model in `/api/cameras` once it is as `wanted`.
fn model_when(program: &Program, wanted: impl Fn(&Value) -> bool) -> Value {
    until_blocking("another state of the model", || {
        let model = program.overview()["models"][0].take();
        if wanted(&model) { Ok(model) } else { Err(model) }
    })
}

/// The reason of `/healthz` for a model that is tried on the GPU again: the driver of the tests has two.
const TRIED_AGAIN: &str =
    "model yolov8.onnx runs on the CPU although this host has a GPU (cuda:0); it is tried there again: ";

fn auto() -> String {
    format!("publishers:\n  local_dir: events\ndevice: auto\ncameras:\n{}", camera("front"))
}

/// Asserts that `/metrics` has the line.
fn assert_metric(program: &Program, line: &str) {
    let (_, metrics) = program.get("/metrics");
    assert!(metrics.lines().any(|of| of == line), "no {line}: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fell_back_moves_to_the_gpu_when_that_works_again() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    let film = film(clips.path(), 0);
    store(&sim, "front-stream", &film).await;
    let cuda = FakeCuda::new("absent");
    let program = Program::start(cuda.command_with_driver(), &auto(), &sim.endpoint(), None);
    let model = model_when(&program, |model| model["degraded"].is_string());
    assert_eq!(model["device"], "cpu");
    let (status, health) = program.get("/healthz");
    assert_eq!(status, 200, "a restart would not help: {health}");
    assert!(health.contains("\"degraded\"") && health.contains(TRIED_AGAIN), "{health}");
    assert!(health.contains("CUDA failure 100"), "{health}");
    assert_metric(&program, "kvs_infer_detect_cpu_fallback{model=\"yolov8.onnx\"} 1");
    program.camera_after("front", FRAMES);
    assert_eq!(batches(&cuda), [0; 0], "nothing ran on CUDA");

    cuda.behave("works");
    let model = model_when(&program, |model| model["device"] == "cuda:0" && model["degraded"].is_null());
    assert_eq!(model["engine"], "ONNX Runtime, CUDA graphs");
    assert!(!program.get("/healthz").1.contains("although this host has a GPU"));
    assert_metric(&program, "kvs_infer_detect_cpu_fallback{model=\"yolov8.onnx\"} 0");
    assert_metric(&program, "kvs_infer_detect_nodes{model=\"yolov8.onnx\",provider=\"cpu\"} 0");
    store(&sim, "front-stream", &film).await;
    program.camera_after("front", 2 * FRAMES);
    assert_eq!(batches(&cuda).len() as u64, 5 + FRAMES, "the warm-up, the self-test, and each frame since");

    cuda.behave("after 0 CUDA failure 719: unspecified launch failure");
    store(&sim, "front-stream", &film).await;
    let (_, loss) = lost(program);
    assert!(loss.contains("CUDA failure 719"), "the loss of the new GPU is reported: {loss}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_under_way_holds_up_neither_a_reload_nor_the_stop() {
    let sim = sim();
    let cuda = FakeCuda::new("absent");
    let program = Program::start(cuda.command_with_driver(), &auto(), &sim.endpoint(), None);
    model_when(&program, |model| model["degraded"].is_string());
    cuda.behave("hangs");
    until_blocking(
        "a try that hangs",
        || if calls(&cuda, &["hang"]).is_empty() { Err("none") } else { Ok(()) },
    );
    assert_eq!(model_when(&program, |_| true)["device"], "cpu", "the model runs on");

    program.rewrite(&auto().replace("yolov8.onnx", "yolov8_dynamic.onnx"));
    let model = model_when(&program, |model| model["name"] == "yolov8_dynamic.onnx");
    assert_eq!(model["device"], "cpu");
    let abandoned = "loading model yolov8.onnx was abandoned, and its thread `gpu-yolov8.onnx` still runs";
    until_blocking("an abandoned load", || match program.get("/healthz").1 {
        health if health.contains(abandoned) => Ok(()),
        health => Err(health),
    });
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_gpu_is_no_fault() {
    let sim = sim();
    let cuda = FakeCuda::new("absent");
    let program = Program::start(cuda.command(), &auto(), &sim.endpoint(), None);
    let model = program.overview()["models"][0].take();
    assert_eq!((&model["device"], &model["degraded"]), (&Value::from("cpu"), &Value::Null));
    assert!(!program.get("/healthz").1.contains("although this host has a GPU"));
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_only_a_new_process_ends_is_not_tried_again() {
    let sim = sim();
    let cuda = FakeCuda::new("after 0 CUDA failure 719: unspecified launch failure");
    let program = Program::start(cuda.command_with_driver(), &auto(), &sim.endpoint(), None);
    let model = model_when(&program, |model| model["degraded"].is_string());
    let said = model["degraded"].as_str().unwrap();
    assert!(said.contains("; restart kvs-infer, since CUDA works again only in a new process: "), "{said}");
    assert_eq!(program.get("/healthz").0, 200, "the model works, on the CPU");
    assert!(program.stop().status.success());
    sim.stop().await;
}

/// The libraries of CUDA that are opened by name while a model runs.
const OPENED_BY_NAME: [&str; 9] = [
    "libcudnn.so.9",
    "libcudnn_graph.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_engines_precompiled.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
    "libnvrtc.so.13",
    "libnvrtc-builtins.so.13.5",
];

#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_cuda_that_are_missing_are_named() {
    let (sim, cuda) = (sim(), FakeCuda::new("works"));
    let config = format!("publishers:\n  local_dir: events\ndevice: cuda\ncameras:\n{}", camera("front"));
    let program = Program::start(cuda.command_with_driver(), &config, &sim.endpoint(), None);
    assert_eq!(program.overview()["models"][0]["engine_note"], Value::Null);
    assert!(program.stop().status.success());

    let without_one = |cuda: &FakeCuda| {
        let command = cuda.command_with_driver();
        std::fs::remove_file(cuda.file("libcudnn_cnn.so.9")).unwrap();
        command
    };
    let program = Program::start(without_one(&cuda), &config, &sim.endpoint(), None);
    let model = program.overview()["models"][0].take();
    let said = "libraries of CUDA were not found: libcudnn_cnn.so.9; put them beside libonnxruntime.so";
    assert!(model["engine_note"].as_str().unwrap().starts_with(said), "{model:#}");
    assert!(program.stop().status.success());
    let file = cuda.file("cameras.yaml");
    std::fs::write(&file, &config).unwrap();
    let output = without_one(&cuda).args(["models", "--config"]).arg(file).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && shown.contains(said), "{shown}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_cudnn_names_the_libraries_that_are_missing() {
    let (sim, cuda) =
        (sim(), FakeCuda::new("after 0 CUDNN failure 1002: CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED"));
    let command = cuda.command_with_driver();
    for name in OPENED_BY_NAME {
        std::fs::remove_file(cuda.file(name)).unwrap();
    }
    let program = Program::start(command, &auto(), &sim.endpoint(), None);
    let model = model_when(&program, |model| model["degraded"].is_string());
    let said = model["degraded"].as_str().unwrap();
    assert!(
        said.contains("SUBLIBRARY_LOADING_FAILED; libraries of CUDA were not found: libcudnn.so.9, "),
        "{said}"
    );
    assert!(program.stop().status.success());
    sim.stop().await;
}
