//! What `/metrics` says of GPUs: by the driver's library, which is a small one of ours here (nvml.c), and nothing without it.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::colours::{camera, sim};
use super::program::Program;

/// The lines about GPUs that the program answers with, by a library that is compiled with `flag`.
fn told(flag: &str, kvs: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/nvml.c");
    let library = folder.path().join("libnvidia-ml.so.1");
    let flags = ["-shared", "-fPIC", "-Wall", "-Werror", flag, "-o"];
    let built = Command::new("cc").args(flags).arg(library).arg(source).status().unwrap();
    assert!(built.success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvs-infer"));
    command.env("LD_LIBRARY_PATH", folder.path());
    let config = format!("publishers: {{ local_dir: events }}\ndevice: cpu\ncameras:\n{}", camera("front"));
    let program = Program::launch(command, TempDir::new().unwrap(), &config, kvs, None);
    let (status, metrics) = program.get("/metrics");
    assert_eq!(status, 200);
    assert!(program.stop().status.success());
    let mut lines: Vec<String> =
        metrics.lines().filter(|line| line.starts_with("kvs_infer_gpu_")).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn each_gpu_tells_how_it_fares_and_a_lost_one_is_not_a_number() {
    let sim = sim();
    assert_eq!(
        told("-DDRIVER", &sim.endpoint()),
        [
            "kvs_infer_gpu_memory_bytes{gpu=\"0\"} 16106127360",
            "kvs_infer_gpu_memory_bytes{gpu=\"1\"} NaN",
            "kvs_infer_gpu_memory_used_bytes{gpu=\"0\"} 2147483648",
            "kvs_infer_gpu_memory_used_bytes{gpu=\"1\"} NaN",
            "kvs_infer_gpu_temperature_celsius{gpu=\"0\"} 61",
            "kvs_infer_gpu_temperature_celsius{gpu=\"1\"} NaN",
            "kvs_infer_gpu_utilization_ratio{gpu=\"0\"} 0.37",
            "kvs_infer_gpu_utilization_ratio{gpu=\"1\"} NaN",
        ]
    );
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_driver_there_are_no_such_metrics() {
    let sim = sim();
    assert_eq!(told("-DNO_DRIVER", &sim.endpoint()), Vec::<String>::new());
    sim.stop().await;
}
