//! What the host has to give: GPUs, and connections.

use rustix::process::{Resource, getrlimit};

use crate::base::{Asks, Finding, Probe};
use crate::config::Settings;
use crate::detect::Device;
use crate::telemetry::{GpuDriver, Gpus};

/// Files and connections that the program holds without a camera: the outbox, sinks, HTTP with its 64 connections.
const FILES_AT_LEAST: u64 = 192;
/// Of a camera: its connection, another while that is renewed, and HLS's.
const FILES_A_CAMERA: u64 = 8;
/// The driver's CUDA version that the libraries of the GPU image need, as NVML writes it: 13.0 (driver 580).
const CUDA_VERSION: i32 = 13_000;

/// GPUs and their driver, where one is wanted; the limit of open files.
pub(super) fn probes(settings: &Settings) -> Vec<Probe> {
    let (device, cameras) = (settings.device, settings.cameras.len());
    let files = async move { files(getrlimit(Resource::Nofile).current, cameras) };
    let gpu = Probe::new("gpu", Asks::Host, gpu(device));
    let wanted = (device != Device::Cpu).then_some(gpu);
    wanted.into_iter().chain([Probe::new("open files", Asks::Host, files)]).collect()
}

/// `limit`: how many this process may have open; `None`: as many as it likes.
fn files(limit: Option<u64>, cameras: usize) -> Finding {
    let wanted = FILES_AT_LEAST + FILES_A_CAMERA * cameras as u64;
    match limit {
        None => Finding::ok("as many as it likes"),
        Some(limit) if limit >= wanted => {
            Finding::ok(format!("{limit} may be open, {wanted} are enough (cameras: {cameras})"))
        }
        Some(limit) => Finding::fail(format!(
            "{limit} may be open, {wanted} are wanted (cameras: {cameras}); raise it (ulimit -n; in a task definition ulimits, nofile)"
        )),
    }
}

async fn gpu(device: Device) -> Finding {
    let told = tokio::task::spawn_blocking(|| Gpus::open().driver()).await;
    let Ok(told) = told else {
        return Finding::fail("NVIDIA's library broke down; look at the driver (nvidia-smi)");
    };
    match told {
        None if device == Device::Auto => Finding::ok("no NVIDIA driver here: models run on the CPU"),
        None => Finding::fail(
            "no NVIDIA driver here, and `device` asks for CUDA; give the container its GPU (docker run --gpus all, ECS \
             resourceRequirements GPU), or set device: auto or cpu",
        ),
        Some(facts) => driver(&facts),
    }
}

fn driver(facts: &GpuDriver) -> Finding {
    let GpuDriver { names, driver, cuda_version } = facts;
    let cuda = format!("{}.{}", cuda_version / 1000, cuda_version % 1000 / 10);
    let text = format!("{}, driver {driver} (CUDA up to {cuda})", names.join(", "));
    if names.is_empty() {
        return Finding::warn(format!("driver {driver}, but no GPU that answers; look at nvidia-smi"));
    }
    if *cuda_version < CUDA_VERSION {
        return Finding::warn(format!(
            "{text}: the libraries of our GPU image need CUDA 13, that is driver 580 or later; install a newer one"
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
            assert_eq!(files(limit, cameras).verdict, verdict, "{limit:?} {cameras}");
        }
        assert!(
            files(Some(256), 20).text.contains("256 may be open, 352 are wanted (cameras: 20); raise it")
        );
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
                "(CUDA up to 12.8): the libraries of our GPU image need CUDA 13",
            ),
            (facts(&[], 13_000), Verdict::Warn, "no GPU that answers"),
        ] {
            let finding = driver(&facts);
            assert_eq!(finding.verdict, verdict, "{}", finding.text);
            assert!(finding.text.contains(words), "{}", finding.text);
        }
    }
}
