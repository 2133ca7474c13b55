//! Tests of a real GPU and its driver, which no other test can show. `make gpu-test` runs these; without a GPU they fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by the first ones, and prints figures by the last"
)]

mod clip;
mod decoding;
mod detections;
mod events;
mod loss;
mod lost_program;

use kvs_infer::detect::{Detector, Device, EngineChoice, GpuLevel, ModelSpec};
use nvml_wrapper::Nvml;
use test_support::setup::cached;

/// Returns a detector of the cache, such as `street`.
fn model(name: &str) -> ModelSpec {
    // The boxes of the CPU are to be those of ONNX Runtime, not of OpenVINO.
    let engine = EngineChoice::Onnxruntime;
    let path = cached(&format!("models/{name}.onnx"));
    ModelSpec { name: name.to_owned(), path, engine, ..ModelSpec::default() }
}

/// Returns the detector on the first GPU, which does all of its work.
fn on_gpu(name: &str) -> Detector {
    let detector = Detector::start(&model(name), Device::Cuda(0), 1).unwrap();
    let info = detector.info();
    assert_eq!(info.engine.gpu, Some(GpuLevel::Graphs), "{name}: {:?}", info.engine.note);
    let nodes = info.nodes.as_ref().unwrap();
    assert_eq!(nodes.elsewhere(), 0, "{name}: {nodes}");
    println!("figure: {name}: {nodes}, warm-up {:.0} ms, one frame {:.2} ms", info.warmup_ms, info.infer_ms);
    detector
}

/// Returns NVIDIA's management library.
fn nvml() -> Nvml {
    let nvml = Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init();
    nvml.expect("libnvidia-ml.so.1, by which the memory of the GPU is measured")
}

/// Returns the memory in use on all GPUs that answer, bytes.
fn memory_used(nvml: &Nvml) -> u64 {
    let used =
        |index| nvml.device_by_index(index).and_then(|gpu| gpu.memory_info()).map(|memory| memory.used);
    let all: Vec<u64> = (0..nvml.device_count().unwrap()).flat_map(used).collect();
    assert!(!all.is_empty(), "no GPU says how much of its memory is used");
    all.iter().sum()
}
