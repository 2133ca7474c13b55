//! The models: does each load, run, and know the classes that the cameras count?

use std::sync::Arc;

use super::super::fetching::Fetched;
use crate::base::{Asks, Finding, Probe};
use crate::config::{CameraSpec, Settings};
use crate::detect::ocr::{TextModelInfo, TextReader};
use crate::detect::{DetectError, Detector, Device, ModelInfo, ModelSpec, Purpose, usual_threads};
use crate::media::CameraId;
use crate::service::check_classes;

/// A question a model.
pub(super) fn probes(settings: &Settings, models: &[Fetched]) -> Vec<Probe> {
    let threads = usual_threads(models.len());
    let probe = |(purpose, spec, local): &Fetched| {
        let (purpose, wanted, local) = (*purpose, wanted(settings, spec), local.clone());
        let (name, device) = (format!("model {}", spec.name), settings.device);
        Probe::new(name, Asks::Model, async move {
            let local = match local {
                Ok(local) => local,
                Err(error) => return Finding::fail(error.to_string()),
            };
            let looking = tokio::task::spawn_blocking(move || match purpose {
                Purpose::Find => look(&local, device, threads, &wanted),
                Purpose::Read => read(&local, device, threads),
            });
            looking.await.unwrap_or_else(|_| {
                Finding::fail("loading it broke down; this is a bug of kvs-infer: report it with the file")
            })
        })
    };
    models.iter().map(probe).collect()
}

/// The classes that a camera counts.
type Wanted = (CameraId, Vec<Arc<str>>);

/// Who counts what of a model.
fn wanted(settings: &Settings, spec: &ModelSpec) -> Vec<Wanted> {
    let classes = |camera: &CameraSpec| {
        let of_model = camera.pipeline.iter().filter(|entry| *entry.model == *spec);
        let classes = of_model.filter_map(|entry| entry.rules.classes.clone());
        classes.map(|classes| (camera.id.clone(), classes)).collect::<Vec<Wanted>>()
    };
    settings.cameras.iter().flat_map(classes).collect()
}

/// Blocks while the model loads and makes its first inferences.
fn look(spec: &ModelSpec, device: Device, threads: usize, wanted: &[Wanted]) -> Finding {
    match Detector::start(spec, device, threads) {
        Ok(detector) => judged(detector.info(), wanted),
        Err(error) => failed(&error),
    }
}

fn judged(info: &ModelInfo, wanted: &[Wanted]) -> Finding {
    let known = wanted.iter().try_for_each(|(camera, classes)| check_classes(camera, classes, info));
    if let Err(error) = known {
        return failed(&error);
    }
    let ModelInfo { layout, layout_source, input, device, infer_ms, classes, .. } = info;
    let text = format!(
        "{layout} (by {layout_source}), {input}, {} classes, on {device}, {infer_ms:.1} ms an inference",
        classes.len()
    );
    with_fallback(text, info.fallback.as_deref())
}

/// Blocks while the recognition model loads and makes its first inferences.
fn read(spec: &ModelSpec, device: Device, threads: usize) -> Finding {
    let reader = match TextReader::start(spec, device, threads) {
        Ok(reader) => reader,
        Err(error) => return failed(&error),
    };
    let TextModelInfo { input, characters, device, infer_ms, fallback, .. } = reader.info();
    let text = format!("ctc, {input}, {characters} characters, on {device}, {infer_ms:.1} ms an inference");
    with_fallback(text, fallback.as_deref())
}

fn with_fallback(text: String, fallback: Option<&str>) -> Finding {
    match fallback {
        None => Finding::ok(text),
        Some(why) => {
            let text = format!("{text}; CUDA was tried: {why}");
            if has_gpu() { Finding::warn(text) } else { Finding::ok(text) }
        }
    }
}

fn failed(error: &DetectError) -> Finding {
    Finding::fail(error.to_string())
}

/// Whether NVIDIA's driver is at work here, so that falling back to the CPU is a pity.
fn has_gpu() -> bool {
    std::path::Path::new("/dev/nvidiactl").exists()
}
