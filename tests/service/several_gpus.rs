//! The whole program on a host with two GPUs: our ONNX Runtime with CUDA (cuda.c) on our driver, which has two devices in host memory.
//! None of this has run on a GPU.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::{FRAMES, LABELS, camera, film, sim, store};
use test_support::kvs_infer_command;
use test_support::moto::Moto;
use test_support::polling::until_blocking;
use test_support::program::{Program, configure_run};

use super::cluster::tables;
use super::cuda::{FakeCuda, calls, lost};

/// Linux keeps 15 characters of a thread's name.
const ON_FIRST: &str = "detect-yolov8.o";
const ON_SECOND: &str = "detect@1-yolov8";

fn config(device: &str, cameras: &[&str]) -> String {
    let cameras: String = cameras.iter().map(|id| camera(id)).collect();
    format!("publishers:\n  local_dir: events\ndevice: {device}\ncameras:\n{cameras}")
}

/// Returns the threads of the models on CUDA so far, with the number of inferences of each.
fn inferences(cuda: &FakeCuda) -> Vec<(String, usize)> {
    let runs: Vec<String> = calls(cuda, &["run"]).into_iter().map(|(.., thread)| thread).collect();
    let threads: BTreeSet<String> = runs.iter().cloned().collect();
    let count = |thread: &String| runs.iter().filter(|run| *run == thread).count();
    threads.iter().map(|thread| (thread.clone(), count(thread))).collect()
}

/// Returns the values of the key in the rows of the models.
fn of_models(program: &Program, key: &str) -> Vec<Value> {
    let overview = program.overview();
    overview["models"].as_array().unwrap().iter().map(|model| model[key].clone()).collect()
}

/// Returns the device of each camera, once it has inferred this number of frames.
fn devices(program: &Program, cameras: &[&str], frames: u64) -> Vec<String> {
    let device = |id: &&str| program.camera_after(id, frames)["device"].as_str().unwrap().to_owned();
    cameras.iter().map(device).collect()
}

/// Returns identity and content of each event, by camera and number.
fn facts(events: &[Value]) -> BTreeSet<String> {
    let facts = |event: &Value| ["camera_id", "event_id", "payload"].map(|field| event[field].to_string());
    events.iter().map(|event| facts(event).join(" ")).collect()
}

/// Returns each pair of a camera and a label of the film.
fn objects<'a>(cameras: &[&'a str]) -> Vec<(&'a str, &'static str)> {
    cameras.iter().flat_map(|id| LABELS.map(|label| (*id, label))).collect()
}

async fn store_all(sim: &kvs_sim::Sim, clip: &Path, cameras: &[&str]) {
    for id in cameras {
        store(sim, &format!("{id}-stream"), clip).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_are_spread_over_the_gpus_and_their_events_are_those_of_the_cpu() {
    let (sim, clips, ids) = (sim(), TempDir::new().unwrap(), ["a", "b", "c", "d"]);
    store_all(&sim, &film(clips.path(), 0), &ids).await;
    let cuda = FakeCuda::new("works");
    let on_gpus = Program::start(cuda.command_with_driver(), &config("cuda", &ids), &sim.endpoint(), None);
    let events = on_gpus.events_until(&objects(&ids));
    assert_eq!(devices(&on_gpus, &ids, FRAMES), ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]);
    assert_eq!(of_models(&on_gpus, "name"), ["yolov8.onnx"; 2]);
    assert_eq!(of_models(&on_gpus, "device"), ["cuda:0", "cuda:1"]);
    let graphs = Value::from("ONNX Runtime, CUDA graphs");
    assert_eq!(of_models(&on_gpus, "engine"), [graphs.clone(), graphs]);
    let (_, metrics) = on_gpus.get("/metrics");
    let nodes = of_models(&on_gpus, "nodes");
    let of_one: u32 = nodes[0].as_str().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let line = |count| format!("kvs_infer_detect_nodes{{model=\"yolov8.onnx\",provider=\"cuda\"}} {count}\n");
    assert!(metrics.contains(&line(2 * of_one)), "the nodes on both: {metrics}");
    assert!(on_gpus.stop().status.success());
    let runs = inferences(&cuda);
    assert_eq!(runs.iter().map(|(thread, _)| thread.as_str()).collect::<Vec<_>>(), [ON_FIRST, ON_SECOND]);
    assert_eq!(runs[0].1, runs[1].1, "both have two cameras");
    assert!(runs[0].1 as u64 > 2 * FRAMES, "{runs:?}");

    let on_cpu = Program::start(kvs_infer_command!(), &config("cpu", &ids), &sim.endpoint(), None);
    let wanted = on_cpu.events_until(&objects(&ids));
    assert_eq!(devices(&on_cpu, &ids, FRAMES), ["cpu"; 4]);
    assert!(on_cpu.stop().status.success());
    assert_eq!(facts(&events), facts(&wanted));
    assert_eq!(wanted.len(), ids.len() * LABELS.len());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_by_its_index_has_all_cameras_and_one_camera_takes_one_gpu() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    let clip = film(clips.path(), 0);
    store_all(&sim, &clip, &["a", "b"]).await;
    for (device, ids, shown, thread) in
        [("cuda:1", vec!["a", "b"], "cuda:1", ON_SECOND), ("cuda", vec!["a"], "cuda:0", ON_FIRST)]
    {
        let cuda = FakeCuda::new("works");
        let config = config(device, &ids);
        let program = Program::start(cuda.command_with_driver(), &config, &sim.endpoint(), None);
        assert_eq!(devices(&program, &ids, FRAMES), vec![shown; ids.len()], "{device}");
        assert_eq!(of_models(&program, "device"), [shown], "{device}");
        assert!(program.stop().status.success());
        let threads: Vec<String> = inferences(&cuda).into_iter().map(|(thread, _)| thread).collect();
        assert_eq!(threads, [thread], "{device}");
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_each_camera_on_its_gpu_and_loads_a_model_where_it_is_new() {
    let (sim, clips) = (sim(), TempDir::new().unwrap());
    let clip = film(clips.path(), 0);
    store_all(&sim, &clip, &["a", "b", "c"]).await;
    let cuda = FakeCuda::new("works");
    let before = config("cuda", &["a", "b"]);
    let program = Program::start(cuda.command_with_driver(), &before, &sim.endpoint(), None);
    assert_eq!(devices(&program, &["a", "b"], FRAMES), ["cuda:0", "cuda:1"]);

    let slower = |id: &str| camera(id).replace("    pipeline:", "    fps_target: 5\n    pipeline:");
    program.rewrite(&config("cuda", &["c", "b"]).replace(&camera("b"), &slower("b")));
    program.metric_when("kvs_infer_config_reloads_total", 1);
    assert_eq!(devices(&program, &["c"], FRAMES), ["cuda:0"], "the GPU of the camera that is gone");
    store(&sim, "b-stream", &clip).await;
    let b = program.camera_when("b", |row| row["frames"]["inferred"].as_u64() > Some(FRAMES));
    assert_eq!(b["device"], "cuda:1");
    assert_eq!(calls(&cuda, &["session"]).len(), 2, "no model was loaded again");

    program.rewrite(&config("cuda", &["b"]).replace(&camera("b"), &slower("b")));
    program.metric_when("kvs_infer_config_reloads_total", 2);
    assert_eq!(of_models(&program, "device"), ["cuda:1"], "no camera is on the first GPU");
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_does_not_work_has_its_cameras_on_the_cpu_until_it_does() {
    let (sim, clips, ids) = (sim(), TempDir::new().unwrap(), ["a", "b"]);
    let clip = film(clips.path(), 0);
    store_all(&sim, &clip, &ids).await;
    let cuda = FakeCuda::new("gpu 1 absent");
    let program = Program::start(cuda.command_with_driver(), &config("auto", &ids), &sim.endpoint(), None);
    let said =
        "model yolov8.onnx runs on the CPU although this host has a GPU (cuda:1); it is tried there again: ";
    until_blocking("the fallback in the health", || match program.get("/healthz") {
        (200, health) if health.contains(said) => Ok(()),
        (_, health) => Err(health),
    });
    assert_eq!(of_models(&program, "device"), ["cuda:0", "cpu"]);
    assert_eq!(devices(&program, &ids, FRAMES), ["cuda:0", "cpu"]);
    let fell_back = |program: &Program| {
        let (_, metrics) = program.get("/metrics");
        let name = "kvs_infer_detect_cpu_fallback{model=\"yolov8.onnx\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
    };
    assert_eq!(fell_back(&program), "1", "one of both is enough");

    cuda.behave("works");
    until_blocking("the model on its own GPU", || {
        let devices = of_models(&program, "device");
        if devices == ["cuda:0", "cuda:1"] { Ok(()) } else { Err(format!("{devices:?}")) }
    });
    store_all(&sim, &clip, &ids).await;
    // Live by now: a busy host may drop a frame, so they are not counted.
    program.camera_when("b", |row| row["device"] == "cuda:1");
    assert_eq!(fell_back(&program), "0");
    assert!(program.stop().status.success());
    sim.stop().await;
}

/// Returns the output of a program that cannot start.
fn failed_start(mut command: Command, config: &str, kvs: &str) -> (Option<i32>, String) {
    let dir = TempDir::new().unwrap();
    configure_run(&mut command, dir.path(), config, kvs, None);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gpu_that_does_not_work_is_named_where_cuda_is_demanded() {
    let sim = sim();
    for (behaviour, device, words) in [
        ("gpu 1 absent", "cuda", vec!["cuda:1 does not work: CUDA failure 100"]),
        (
            "gpu 1 after 0 CUDA failure 1: invalid argument",
            "cuda",
            vec![
                "GPU cuda:1: model yolov8.onnx",
                "CUDA failure 1",
                "name the others in CUDA_VISIBLE_DEVICES",
            ],
        ),
        ("gpu 0 absent", "cuda", vec!["cuda:0 does not work: CUDA failure 100"]),
    ] {
        let cuda = FakeCuda::new(behaviour);
        let config = config(device, &["a", "b"]);
        let (code, said) = failed_start(cuda.command_with_driver(), &config, &sim.endpoint());
        assert_eq!(code, Some(78), "{behaviour}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{behaviour}: {said}");
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lost_gpu_ends_the_process() {
    let (sim, clips, ids) = (sim(), TempDir::new().unwrap(), ["a", "b"]);
    let cuda = FakeCuda::new("works");
    let program = Program::start(cuda.command_with_driver(), &config("cuda", &ids), &sim.endpoint(), None);
    cuda.behave("gpu 1 after 0 CUDA failure 719: unspecified launch failure");
    store_all(&sim, &film(clips.path(), 0), &ids).await;
    let (_, loss) = lost(program);
    assert!(loss.contains("GPU cuda:1 is lost") && loss.contains("CUDA failure 719"), "{loss}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_a_pool_spreads_the_cameras_that_it_gets_over_its_gpus() {
    let (moto, sim, clips, ids) = (Moto::start(), sim(), TempDir::new().unwrap(), ["a", "b", "c", "d"]);
    store_all(&sim, &film(clips.path(), 0), &ids).await;
    let _dynamodb = tables(&moto).await;
    let _kinesis = moto.stream("events").await;
    let shared = format!(
        "publishers: {{ kds_stream: events }}\nsnapshots: {{ enabled: false }}\nstate: {{ dir: state, ddb_table: positions }}\n\
         sharing: {{ table: workers, pool: north }}\ndevice: cuda\ncameras:\n{}",
        ids.map(camera).concat()
    );
    let cuda = FakeCuda::new("works");
    let program = Program::start(cuda.command_with_driver(), &shared, &sim.endpoint(), Some(&moto.url));
    let mut used: Vec<String> = ids
        .iter()
        .map(|id| {
            let row = until_blocking("a frame of the camera", || {
                let cameras = program.overview()["cameras"].take();
                let row = cameras.as_array().unwrap().iter().find(|row| row["id"] == *id).cloned();
                row.filter(|row| row["device"].is_string()).ok_or("none")
            });
            row["device"].as_str().unwrap().to_owned()
        })
        .collect();
    used.sort();
    assert_eq!(used, ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]);
    program.stop();
    sim.stop().await;
}
