//! GPUs in `/metrics` and in the metrics for CloudWatch: by the driver's library, which is a small one of ours here
//! (nvml.c), and nothing without it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::colours::{camera, sim};
use test_support::kvs_infer_command;
use test_support::polling::until_blocking;
use test_support::program::Program;

/// Compiles a driver's library with `flag`.
pub(super) fn compile_driver(library: &Path, flag: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/nvml.c");
    let flags = ["-shared", "-fPIC", "-Wall", "-Werror", flag, "-o"];
    let built = Command::new("cc").args(flags).arg(library).arg(source).status().unwrap();
    assert!(built.success());
}

/// The program with a driver's library that is compiled with `flag`, and the folder of that.
fn program(flag: &str, kvs: &str) -> (Program, TempDir) {
    let folder = TempDir::new().unwrap();
    compile_driver(&folder.path().join("libnvidia-ml.so.1"), flag);
    let mut command = kvs_infer_command!();
    command.env("LD_LIBRARY_PATH", folder.path());
    let all = "publishers: { local_dir: events }\ndevice: cpu\nmetrics: { emf: true, service: yard }\n";
    let config = format!("{all}cameras:\n{}", camera("front"));
    (Program::start_in(command, TempDir::new().unwrap(), &config, kvs, None), folder)
}

/// The lines about GPUs that the program answers with.
fn gpu_lines(flag: &str, kvs: &str) -> Vec<String> {
    let (program, _library) = program(flag, kvs);
    let (status, metrics) = program.get("/metrics");
    assert_eq!(status, 200);
    assert!(program.stop().status.success());
    let mut lines: Vec<String> =
        metrics.lines().filter(|line| line.starts_with("kvs_infer_gpu_")).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn each_gpu_is_reported_and_a_lost_one_is_not_a_number() {
    let sim = sim();
    assert_eq!(
        gpu_lines("-DDRIVER", &sim.endpoint()),
        [
            "kvs_infer_gpu_decoder_utilization_ratio{gpu=\"0\"} 0.12",
            "kvs_infer_gpu_decoder_utilization_ratio{gpu=\"1\"} NaN",
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

/// The metrics for CloudWatch that the program writes when it is asked to stop.
fn last_words(flag: &str, kvs: &str) -> Vec<Value> {
    let (program, _library) = program(flag, kvs);
    let ended = program.stop();
    assert!(ended.status.success());
    let lines = ended.log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("_aws").is_some()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_for_cloudwatch_are_lines_of_the_log() {
    let sim = sim();
    let lines = last_words("-DDRIVER", &sim.endpoint());
    assert_eq!(lines.len(), 2, "the service and its one camera");
    let about = &lines[0]["_aws"]["CloudWatchMetrics"][0];
    assert_eq!((&about["Namespace"], &about["Dimensions"]), (&json!("KVS/Inference"), &json!([["Service"]])));
    assert_eq!((&lines[0]["Service"], &lines[0]["GpuUtilization"]), (&json!("yard"), &json!(37.0)));
    assert_eq!(
        (&lines[0]["GpuMemoryUsed"], &lines[0]["OutboxBytes"]),
        (&json!(2_147_483_648.0), &json!(0.0))
    );
    assert_eq!(lines[1]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Service", "Camera"]]));
    assert_eq!((&lines[1]["Service"], &lines[1]["Camera"]), (&json!("yard"), &json!("front")));
    assert!(lines[1]["CameraUp"].is_f64(), "{}", lines[1]);
    let without = last_words("-DNO_DRIVER", &sim.endpoint());
    assert!(without[0].get("GpuUtilization").is_none(), "{}", without[0]);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_driver_there_are_no_such_metrics() {
    let sim = sim();
    assert_eq!(gpu_lines("-DNO_DRIVER", &sim.endpoint()), Vec::<String>::new());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xid_error_is_counted_and_logged() {
    let sim = sim();
    let (program, _library) = program("-DXID", &sim.endpoint());
    until_blocking("an Xid error", || {
        let (_, metrics) = program.get("/metrics");
        let counted = metrics.contains("kvs_infer_gpu_xid_errors_total{gpu=\"0\"} 1\n");
        if counted { Ok(()) } else { Err(metrics) }
    });
    let ended = program.stop();
    assert!(ended.status.success());
    let lines = ended.log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let logged: Vec<Value> = lines.filter(|line| line["message"] == "GPU reported an Xid error").collect();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert_eq!(
        (&logged[0]["gpu"], &logged[0]["xid"], &logged[0]["level"]),
        (&json!("0"), &json!(79), &json!("ERROR"))
    );
    sim.stop().await;
}
