//! The whole program with its pictures and batches in the memory of a GPU: our ONNX Runtime with CUDA (cuda.c) on our driver
//! (crates/gpu/tests/driver), whose memory is the host's. None of this has run on a GPU.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::{FRAMES, LABELS, camera, film, sim, store};
use test_support::gpu::FakeDriver;
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::cuda::{FakeCuda, batched, batches, calls, lost};

/// Returns the program on both libraries.
pub(crate) fn command(cuda: &FakeCuda, driver: &FakeDriver) -> Command {
    let mut command = cuda.command_with_driver();
    command.env("LD_LIBRARY_PATH", driver.folder());
    command
}

fn config(device: &str) -> String {
    // NVDEC is tested in `crate::gpu`.
    format!("publishers:\n  local_dir: events\ndevice: {device}\ndecode: cpu\ncameras:\n{}", camera("front"))
}

/// Returns the events of the film.
fn events(program: &Program) -> Vec<Value> {
    program.events_until(&LABELS.map(|label| ("front", label)))
}

/// Returns identity and content of an event.
fn facts(event: &Value) -> [Value; 2] {
    let facts = ["event_id", "payload"].map(|field| event[field].clone());
    assert!(facts.iter().all(|fact| !fact.is_null()), "{event:#}");
    facts
}

fn engine(program: &Program) -> (String, Option<String>) {
    let model = program.overview()["models"][0].take();
    (model["engine"].as_str().unwrap().to_owned(), model["engine_note"].as_str().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_a_gpu_paints_give_the_events_of_the_cpu() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let (cuda, driver) = (FakeCuda::new("works"), FakeDriver::new());
    let on_gpu = Program::start(command(&cuda, &driver), &config("cuda"), &sim.endpoint(), None);
    let painted = events(&on_gpu);
    on_gpu.camera_after("front", FRAMES);
    let expected = "ONNX Runtime, CUDA graphs";
    assert_eq!(engine(&on_gpu), (expected.to_owned(), None));
    assert!(on_gpu.stop().status.success());
    let graphs = calls(&cuda, &["graph"]);
    assert!(graphs.len() as u64 > FRAMES && graphs.iter().all(|(_, graph, _)| *graph == 1), "{graphs:?}");

    let on_cpu = Program::start(kvs_infer_command!(), &config("cpu"), &sim.endpoint(), None);
    let want: Vec<_> = events(&on_cpu).iter().map(facts).collect();
    assert!(on_cpu.stop().status.success());
    assert_eq!(painted.iter().map(facts).collect::<Vec<_>>(), want);
    assert_eq!(want.len(), LABELS.len());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_may_fix_a_batch_that_is_larger_than_a_launch() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let (cuda, driver) = (FakeCuda::new("works"), FakeDriver::new());
    let config = config("cuda").replace("tiny/yolov8.onnx", "tiny/yolov8_batch20.onnx");
    let program = Program::start(command(&cuda, &driver), &config, &sim.endpoint(), None);
    assert_eq!(engine(&program), ("ONNX Runtime, CUDA graphs".to_owned(), None));
    assert_eq!(events(&program).len(), LABELS.len());
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_size_of_a_batch_has_a_graph_of_its_own() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    let (film, cameras) = (film(clips.path(), 0), ["a", "b", "c", "d", "e"]);
    for camera in cameras {
        store(&sim, &format!("{camera}-stream"), &film).await;
    }
    let (cuda, driver) = (FakeCuda::new("works"), FakeDriver::new());
    let config = batched(&cameras).replace("device: cuda\n", "device: cuda:0\n");
    let program = Program::start(command(&cuda, &driver), &config, &sim.endpoint(), None);
    for camera in cameras {
        program.camera_after(camera, FRAMES);
    }
    let (_, metrics) = program.get("/metrics");
    assert!(!metrics.contains("kvs_infer_detect_errors_total{"), "{metrics}");
    assert!(program.stop().status.success());
    let graphs: Vec<u32> = calls(&cuda, &["graph"]).into_iter().map(|(_, graph, _)| graph).collect();
    assert_eq!(
        graphs[..8],
        [1, 16, 8, 4, 2, 1, 1, 1],
        "the warm-up captures each, and the self-test runs one"
    );
    // The first inference, from host memory, shows the shapes of the outputs.
    assert_eq!(batches(&cuda)[1..], graphs, "a batch of each size replays its graph");
    sim.stop().await;
}

/// A reason for which the GPU does not do a part of the work: a name, ONNX Runtime's behaviour, the driver's faults, the engine and words of the reason.
type LevelCase<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str]);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gpu_cannot_do_is_done_one_level_below_with_the_reason() {
    const ON_CPU: &str = "ONNX Runtime, input by CPU";
    const PLAIN: &str = "ONNX Runtime, no CUDA graphs";
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    const DIFFERS: &str = "the self-test of the GPU failed: for a built-in picture, output0 differs by";
    let paints = "the CPU paints the pictures: ";
    let table: [LevelCase<'_>; 9] = [
        ("no device", "works", "no_device", ON_CPU, &[paints, "CUDA failure 100"]),
        ("an old driver", "works", "driver 12040", ON_CPU, &[paints, "12.4", "install driver 580"]),
        ("kernels that do not compile", "works", "ptx", ON_CPU, &[paints, "cuModuleLoadDataEx"]),
        (
            "a wrong bit",
            "works",
            "wrong paint_f32",
            ON_CPU,
            &[paints, "the self-test of the GPU failed", "paint_f32"],
        ),
        ("wrong boxes", "works", "wrong candidates", ON_CPU, &[paints, "candidates"]),
        (
            "no graphs",
            "ungraphed",
            "",
            PLAIN,
            &["there are no CUDA graphs: ", "cannot use the graph capture"],
        ),
        ("no capture", "uncaptured", "", PLAIN, &["there are no CUDA graphs: ", "CUDA failure 900"]),
        ("graphs compute wrong", "garbled 2", "", PLAIN, &["there are no CUDA graphs: ", DIFFERS]),
        ("batches compute wrong", "garbled 1", "", ON_CPU, &[paints, DIFFERS]),
    ];
    for (name, behaviour, faults, wanted, words) in table {
        let (cuda, driver) = (FakeCuda::new(behaviour), FakeDriver::new());
        driver.set_faults(faults);
        let program = Program::start(command(&cuda, &driver), &config("cuda"), &sim.endpoint(), None);
        let (engine, note) = engine(&program);
        assert_eq!(engine, wanted, "{name}: {note:?}");
        let note = note.unwrap();
        assert!(words.iter().all(|word| note.contains(word)), "{name}: {note}");
        let health = program.get("/healthz").1;
        // With the number of the GPU where the driver counts two.
        let shown =
            health.contains("runs on the GPU") && health.contains(", but the CPU paints the pictures");
        assert_eq!(shown, wanted == ON_CPU, "{name}: {health}");
        events(&program);
        assert!(program.stop().status.success(), "{name}");
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_is_lost_while_it_paints_ends_the_process_in_order() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    let (cuda, driver) = (FakeCuda::new("works"), FakeDriver::new());
    let program = Program::start(command(&cuda, &driver), &config("cuda"), &sim.endpoint(), None);
    driver.set_faults("sticky 0 719");
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    let (_, loss) = lost(program);
    assert!(loss.contains("cuda:0") && loss.contains("CUDA failure 719"), "{loss}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_for_which_the_gpu_has_no_room_fail_alone() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    let film = film(clips.path(), 0);
    let (cuda, driver) = (FakeCuda::new("works"), FakeDriver::new());
    let program = Program::start(command(&cuda, &driver), &config("cuda"), &sim.endpoint(), None);
    driver.set_faults("memory 1");
    store(&sim, "front-stream", &film).await;
    let row = program.camera_when("front", |row| row["error"].is_string());
    assert!(row["error"].as_str().unwrap().contains("CUDA failure 2"), "{row:#}");
    driver.set_faults("");
    store(&sim, "front-stream", &film).await;
    events(&program);
    assert_eq!(program.get("/healthz").0, 200);
    assert!(program.stop().status.success());
    sim.stop().await;
}
