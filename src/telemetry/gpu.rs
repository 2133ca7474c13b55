//! What NVIDIA's management library (NVML) says of the GPUs, when `/metrics` is asked for.
//!
//! The library is the driver's and is loaded at run time: without a driver there are no such metrics. A container sees
//! the GPUs that it was given.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use metrics::gauge;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

use super::{Kind, Metric};

/// The driver's file. `libnvidia-ml.so`, without the number, comes with development packages only.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// How long a scrape waits for the driver, which may hang with its GPU; the rest of the metrics shall not.
const PATIENCE: Duration = Duration::from_secs(1);

const UTILIZATION: &str = "kvs_infer_gpu_utilization_ratio";
const MEMORY_USED: &str = "kvs_infer_gpu_memory_used_bytes";
const MEMORY: &str = "kvs_infer_gpu_memory_bytes";
const TEMPERATURE: &str = "kvs_infer_gpu_temperature_celsius";

/// The metrics of this file.
pub(super) const METRICS: &[Metric] = &[
    gauge_of(
        UTILIZATION,
        "Share of the last moments in which the GPU computed, 0 to 1; absent without a GPU.",
    ),
    gauge_of(MEMORY_USED, "Memory of the GPU that is in use, by all programs; absent without a GPU."),
    gauge_of(MEMORY, "Memory that the GPU has; absent without a GPU."),
    gauge_of(TEMPERATURE, "Temperature of the GPU's chip; absent without a GPU."),
];

const fn gauge_of(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels: &["gpu"], help }
}

/// The GPUs of this machine; none where NVML cannot be had.
#[derive(Clone, Default)]
pub(crate) struct Gpus {
    nvml: Option<Arc<Mutex<Nvml>>>,
    count: u32,
}

/// The driver and its GPUs.
#[derive(Debug)]
pub(crate) struct GpuFacts {
    /// Of the GPUs that answer.
    pub(crate) names: Vec<String>,
    /// Its version.
    pub(crate) driver: String,
    /// The newest CUDA that it can run: 1000 times the major version, and 10 times the minor one.
    pub(crate) cuda_version: i32,
}

/// What one GPU says of itself.
pub(super) struct Facts {
    /// 0 to 1.
    pub(super) utilization: f64,
    pub(super) memory_used_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) temperature_celsius: u32,
}

impl Gpus {
    /// Loads the library.
    pub(crate) fn open() -> Self {
        match Nvml::builder()
            .lib_path(LIBRARY.as_ref())
            .init()
            .and_then(|nvml| Ok((nvml.device_count()?, nvml)))
        {
            Ok((count, nvml)) => Self { nvml: Some(Arc::new(Mutex::new(nvml))), count },
            Err(error) => {
                tracing::debug!(stage = "telemetry", %error, library = LIBRARY, "no metrics of a GPU");
                Self::default()
            }
        }
    }

    /// What the driver is; `None` where there is none. May block where it hangs.
    pub(crate) fn driver(&self) -> Option<GpuFacts> {
        let nvml = self.nvml.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |index| nvml.device_by_index(index).and_then(|gpu| gpu.name()).ok();
        Some(GpuFacts {
            names: (0..self.count).filter_map(name).collect(),
            driver: nvml.sys_driver_version().ok()?,
            cuda_version: nvml.sys_cuda_driver_version().ok()?,
        })
    }

    /// Sets the gauges of each GPU. What the driver does not say, or not within a second, is not a number.
    pub(crate) async fn scrape(&self) {
        let facts = self.read().await;
        for index in 0..self.count {
            let of_this = facts.iter().find(|(gpu, _)| *gpu == index).and_then(|(_, facts)| facts.as_ref());
            about_gpu(index, of_this);
        }
    }

    /// What each GPU says, by index, within a second.
    pub(super) async fn read(&self) -> Vec<(u32, Option<Facts>)> {
        let Some(nvml) = self.nvml.clone() else { return Vec::new() };
        let reading = tokio::task::spawn_blocking(move || read_all(&nvml));
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.ok().and_then(Result::ok).flatten().unwrap_or_default()
    }
}

/// What each GPU says; `None` while another scrape still waits for the driver.
fn read_all(nvml: &Mutex<Nvml>) -> Option<Vec<(u32, Option<Facts>)>> {
    let nvml = match nvml.try_lock() {
        Ok(nvml) => nvml,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    let count = nvml.device_count().ok()?;
    let facts =
        (0..count).map(|index| (index, facts(&nvml, index).map_err(|error| unread(index, &error)).ok()));
    Some(facts.collect())
}

fn facts(nvml: &Nvml, index: u32) -> Result<Facts, NvmlError> {
    let gpu = nvml.device_by_index(index)?;
    let memory = gpu.memory_info()?;
    Ok(Facts {
        utilization: f64::from(gpu.utilization_rates()?.gpu) / 100.0,
        memory_used_bytes: memory.used,
        memory_bytes: memory.total,
        temperature_celsius: gpu.temperature(TemperatureSensor::Gpu)?,
    })
}

fn unread(gpu: u32, error: &NvmlError) {
    tracing::warn!(stage = "telemetry", gpu, %error, "the GPU does not say how it fares");
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit f64 up to 8 PiB")]
fn about_gpu(index: u32, facts: Option<&Facts>) {
    let gpu = || index.to_string();
    let number = |of: fn(&Facts) -> f64| facts.map_or(f64::NAN, of);
    gauge!(UTILIZATION, "gpu" => gpu()).set(number(|facts| facts.utilization));
    gauge!(MEMORY_USED, "gpu" => gpu()).set(number(|facts| facts.memory_used_bytes as f64));
    gauge!(MEMORY, "gpu" => gpu()).set(number(|facts| facts.memory_bytes as f64));
    gauge!(TEMPERATURE, "gpu" => gpu()).set(number(|facts| f64::from(facts.temperature_celsius)));
}
