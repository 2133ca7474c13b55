//! The probes of the host: GPUs, their video decoders, and the limit of open files.

use std::collections::BTreeSet;

use rustix::process::{Resource, getrlimit};

use crate::base::{Asks, Finding, Probe};
use crate::config::{DecodeDevice, Settings};
use crate::decode::GpuDecoders;
use crate::detect::{DeviceChoice, proved_context};
use crate::telemetry::{GpuDriver, Gpus};

/// Files and connections of a program without cameras: outbox, sinks, 64 connections of HTTP.
const BASE_FILES: u64 = 192;
/// Files per camera: its connection, a second one while that is renewed, and those of HLS.
const FILES_PER_CAMERA: u64 = 8;
/// Minimum CUDA version of the driver for the libraries of the GPU image, as NVML encodes it: 13.0 (driver 580).
const MIN_CUDA_VERSION: i32 = 13_000;

/// Returns the probes of the limit of open files and, unless `device` is `cpu`, of the GPUs and their driver; and of NVDEC where it may
/// decode.
pub(super) fn probes(settings: &Settings) -> Vec<Probe> {
    let (device, decode, cameras) = (settings.device, settings.decode, settings.cameras.len());
    let open_files = async move { open_files(getrlimit(Resource::Nofile).current, cameras) };
    let gpu = Probe::new("gpu", Asks::Host, check_gpu(device));
    let gpu = (device != DeviceChoice::Cpu).then_some(gpu);
    // `auto` decodes where the models run.
    let decodes =
        decode == DecodeDevice::Cuda || (decode == DecodeDevice::Auto && device != DeviceChoice::Cpu);
    // As a model: driver and self-tests take time, and a model that is loaded meanwhile would hold them up.
    let nvdec = decodes.then(|| Probe::new("nvdec", Asks::Model, check_nvdec(device, decode)));
    gpu.into_iter().chain(nvdec).chain([Probe::new("open files", Asks::Host, open_files)]).collect()
}

/// Returns the finding about the limit of open files; `None` is no limit.
fn open_files(limit: Option<u64>, cameras: usize) -> Finding {
    let needed = BASE_FILES + FILES_PER_CAMERA * cameras as u64;
    match limit {
        None => Finding::ok("no limit"),
        Some(limit) if limit >= needed => {
            Finding::ok(format!("the limit is {limit}, {needed} are needed (cameras: {cameras})"))
        }
        Some(limit) => Finding::fail(format!(
            "the limit is {limit}, {needed} are needed (cameras: {cameras}); raise it (ulimit -n; in a task definition ulimits, nofile)"
        )),
    }
}

async fn check_gpu(device: DeviceChoice) -> Finding {
    // NVML blocks, for seconds where the driver wakes up.
    let facts = tokio::task::spawn_blocking(|| Gpus::open().driver()).await;
    let Ok(facts) = facts else {
        return Finding::fail("NVIDIA's library panicked; check the driver (nvidia-smi)");
    };
    match facts {
        // `auto` falls back to the CPU, so a missing GPU is not a fault.
        None if device == DeviceChoice::Auto => Finding::ok("no NVIDIA driver: models run on the CPU"),
        None => Finding::fail(
            "no NVIDIA driver, and `device` requires CUDA; give the container its GPU (docker run --gpus all, ECS \
             resourceRequirements GPU), or set device: auto or cpu",
        ),
        Some(facts) => check_driver(&facts),
    }
}

async fn check_nvdec(device: DeviceChoice, decode: DecodeDevice) -> Finding {
    let tested = tokio::task::spawn_blocking(move || {
        let gpus = GpuDecoders::new(decode, proved_context, |_| {});
        // Without a GPU for the models, `cuda` means the first one.
        let indices: BTreeSet<u32> =
            device.on_this_host().into_iter().map(|device| device.gpu().unwrap_or_default()).collect();
        let opened: Vec<Result<u64, String>> = indices.iter().map(|index| gpus.cameras_of(*index)).collect();
        (opened, gpus.fault(), Gpus::open().driver().is_some())
    });
    let Ok((opened, fault, has_driver)) = tested.await else {
        return Finding::fail("NVIDIA's or FFmpeg's library panicked; set decode: cpu, and report it");
    };
    let cameras: u64 = opened.iter().flatten().sum();
    let text = format!(
        "NVDEC decodes built-in clips as the CPU does; counted with room for {cameras} cameras of 1920x1080 px at 30 frames per second"
    );
    match fault {
        None => Finding::ok(text),
        Some(_) if decode == DecodeDevice::Auto && !has_driver => {
            Finding::ok("no NVIDIA driver: cameras are decoded on the CPU")
        }
        Some(fault) if decode == DecodeDevice::Cuda && opened.iter().any(Result::is_err) => {
            Finding::fail(format!("decode: cuda does not work: {fault}; fix that, or write `decode: auto`"))
        }
        Some(fault) if cameras > 0 => Finding::warn(format!("{text}; {fault}")),
        Some(fault) => Finding::warn(fault),
    }
}

fn check_driver(facts: &GpuDriver) -> Finding {
    let GpuDriver { names, driver, cuda_version } = facts;
    // NVML encodes 12.8 as 12080.
    let cuda = format!("{}.{}", cuda_version / 1000, cuda_version % 1000 / 10);
    let text = format!("{}, driver {driver} (CUDA up to {cuda})", names.join(", "));
    if names.is_empty() {
        return Finding::warn(format!("driver {driver}, but no GPU answers; check with nvidia-smi"));
    }
    if *cuda_version < MIN_CUDA_VERSION {
        return Finding::warn(format!(
            "{text}: the libraries of the GPU image need CUDA 13, driver 580 or later; install a newer driver"
        ));
    }
    Finding::ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Verdict;

    #[test]
    fn open_files_by_table() {
        for (limit, cameras, verdict) in [
            (None, 10_000, Verdict::Ok),
            (Some(1_024), 104, Verdict::Ok),
            (Some(1_024), 105, Verdict::Fail),
            (Some(256), 8, Verdict::Ok),
        ] {
            assert_eq!(open_files(limit, cameras).verdict, verdict, "{limit:?} {cameras}");
        }
        let text = open_files(Some(256), 20).text;
        assert!(text.contains("the limit is 256, 352 are needed (cameras: 20); raise it"), "{text}");
    }

    #[test]
    fn drivers_by_table() {
        let facts = |names: &[&str], cuda_version| GpuDriver {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            driver: "580.178".to_owned(),
            cuda_version,
        };
        for (facts, verdict, words) in [
            (facts(&["Tesla T4"], 13_000), Verdict::Ok, "Tesla T4, driver 580.178 (CUDA up to 13.0)"),
            (
                facts(&["Tesla T4"], 12_080),
                Verdict::Warn,
                "(CUDA up to 12.8): the libraries of the GPU image need CUDA 13",
            ),
            (facts(&[], 13_000), Verdict::Warn, "no GPU answers"),
        ] {
            let finding = check_driver(&facts);
            assert_eq!(finding.verdict, verdict, "{}", finding.text);
            assert!(finding.text.contains(words), "{}", finding.text);
        }
    }
}
