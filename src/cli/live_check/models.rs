//! The probes of the models: each must load, run, and know the classes that cameras use of it.

use std::sync::Arc;

use super::super::fetching::FetchedModel;
use crate::base::{Asks, Finding, Probe};
use crate::config::{CameraSpec, Settings};
use crate::detect::ocr::{TextModelInfo, TextReader};
use crate::detect::{
    CpuFallback, DetectError, Detector, Device, EngineInfo, ModelInfo, ModelSpec, NodePlacement, Purpose,
    usual_threads,
};
use crate::media::CameraId;
use crate::service::check_classes;

/// Returns one probe per model and device; `run` uses no more devices than there are cameras.
pub(super) fn probes(settings: &Settings, models: &[FetchedModel], devices: &[Device]) -> Vec<Probe> {
    let devices = &devices[..devices.len().min(settings.cameras.len().max(1))];
    let threads = usual_threads(models.len() * devices.len());
    let probe = |(purpose, spec, local): &FetchedModel, device: Device| {
        let (purpose, used, local) = (*purpose, used_classes(settings, spec), local.clone());
        let name = match device.gpu().filter(|_| devices.len() > 1) {
            Some(gpu) => format!("model {} on cuda:{gpu}", spec.name),
            None => format!("model {}", spec.name),
        };
        Probe::new(name, Asks::Model, async move {
            let local = match local {
                Ok(local) => local,
                Err(error) => return Finding::fail(error.to_string()),
            };
            let loading = tokio::task::spawn_blocking(move || match purpose {
                Purpose::Find => check_detector(&local, device, threads, &used),
                Purpose::Read => check_reader(&local, device, threads),
            });
            // A panic in the native library must not end the other probes.
            loading.await.unwrap_or_else(|_| {
                Finding::fail("loading it panicked; this is a bug of kvs-infer: report it with the file")
            })
        })
    };
    let on_device = |device: &Device| models.iter().map(|model| probe(model, *device)).collect::<Vec<_>>();
    devices.iter().flat_map(on_device).collect()
}

/// A camera, and the classes that it uses of a model.
type UsedClasses = (CameraId, Vec<Arc<str>>);

/// Returns the cameras that name classes of the model.
fn used_classes(settings: &Settings, spec: &ModelSpec) -> Vec<UsedClasses> {
    let classes = |camera: &CameraSpec| {
        let of_model = camera.pipeline.iter().filter(|entry| *entry.model == *spec);
        let classes = of_model.filter_map(|entry| entry.rules.classes.clone());
        classes.map(|classes| (camera.id.clone(), classes)).collect::<Vec<UsedClasses>>()
    };
    settings.cameras.iter().flat_map(classes).collect()
}

/// Loads a detection model and makes its first inferences, which blocks.
fn check_detector(spec: &ModelSpec, device: Device, threads: usize, used: &[UsedClasses]) -> Finding {
    match Detector::start(spec, device, threads) {
        Ok(detector) => detector_finding(&detector.info(), used),
        Err(error) => failed(&error),
    }
}

fn detector_finding(info: &ModelInfo, used: &[UsedClasses]) -> Finding {
    let known = used.iter().try_for_each(|(camera, classes)| check_classes(camera, classes, info));
    if let Err(error) = known {
        return failed(&error);
    }
    let ModelInfo { layout, layout_source, input, device, engine, infer_ms, classes, .. } = info;
    let nodes = node_text(info.nodes.as_ref());
    let text = format!(
        "{layout} (by {layout_source}), {input}, {} classes, on {device} ({engine}{nodes}), {infer_ms:.1} ms per inference",
        classes.len()
    );
    finding(with_note(text, engine), engine, info.fallback.as_ref())
}

/// Loads a text recognition model and makes its first inferences, which blocks.
fn check_reader(spec: &ModelSpec, device: Device, threads: usize) -> Finding {
    let reader = match TextReader::start(spec, device, threads) {
        Ok(reader) => reader,
        Err(error) => return failed(&error),
    };
    let info = reader.info();
    let TextModelInfo { input, characters, device, engine, nodes, infer_ms, fallback, .. } = &*info;
    let nodes = node_text(nodes.as_ref());
    let text = format!(
        "ctc, {input}, {characters} characters, on {device} ({engine}{nodes}), {infer_ms:.1} ms per inference"
    );
    finding(with_note(text, engine), engine, fallback.as_ref())
}

/// Returns the execution providers of a model's nodes, for a list after its engine.
fn node_text(nodes: Option<&NodePlacement>) -> String {
    nodes.map_or_else(String::new, |nodes| format!(", {nodes}"))
}

/// Returns the text with the notes about the engine.
fn with_note(text: String, engine: &EngineInfo) -> String {
    match engine.notes() {
        Some(note) => format!("{text}; {note}"),
        None => text,
    }
}

fn finding(text: String, engine: &EngineInfo, fallback: Option<&CpuFallback>) -> Finding {
    match fallback {
        None if engine.missing_libraries.is_some() => Finding::warn(text),
        None => Finding::ok(text),
        Some(CpuFallback { reason, .. }) => {
            // On a host without a GPU, `device: auto` is expected to use the CPU.
            let text = format!("{text}; CUDA was tried: {reason}");
            if has_gpu() { Finding::warn(text) } else { Finding::ok(text) }
        }
    }
}

fn failed(error: &DetectError) -> Finding {
    Finding::fail(error.to_string())
}

/// Returns `true` if NVIDIA's driver is loaded, so that a fallback to the CPU is unexpected.
fn has_gpu() -> bool {
    std::path::Path::new("/dev/nvidiactl").exists()
}
