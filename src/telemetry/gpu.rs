//! Figures of the GPUs from NVIDIA's management library (NVML), read when `/metrics` is requested.
//!
//! The library belongs to the driver and is loaded at run time: without a driver these metrics are absent. A container sees
//! only the GPUs that it was given.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use metrics::gauge;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

use super::{Metric, MetricKind};
use crate::base::lock;

/// The driver's library. `libnvidia-ml.so`, without the number, comes with development packages only.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// The timeout of a query of the driver: it may hang with its GPU, and must not hold up the other metrics.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

const UTILIZATION: &str = "kvs_infer_gpu_utilization_ratio";
const DECODER: &str = "kvs_infer_gpu_decoder_utilization_ratio";
const MEMORY_USED: &str = "kvs_infer_gpu_memory_used_bytes";
const MEMORY: &str = "kvs_infer_gpu_memory_bytes";
const TEMPERATURE: &str = "kvs_infer_gpu_temperature_celsius";

/// The metrics of this file.
pub(super) const METRICS: &[Metric] = &[
    gauge_of(
        UTILIZATION,
        "Share of the driver's last sample period in which the GPU computed, 0 to 1; absent without a GPU.",
    ),
    gauge_of(
        DECODER,
        "Share of the driver's last sample period in which the GPU's video decoder worked, 0 to 1; absent without a GPU.",
    ),
    gauge_of(MEMORY_USED, "GPU memory in use, by all programs; absent without a GPU."),
    gauge_of(MEMORY, "Total GPU memory; absent without a GPU."),
    gauge_of(TEMPERATURE, "Temperature of the GPU; absent without a GPU."),
];

const fn gauge_of(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels: &["gpu"], help }
}

/// The GPUs of this host; none where NVML cannot be loaded.
#[derive(Clone, Default)]
pub(crate) struct Gpus {
    nvml: Option<Arc<Mutex<Nvml>>>,
    count: u32,
}

/// The driver and its GPUs.
#[derive(Debug)]
pub(crate) struct GpuDriver {
    /// The names of the GPUs that answer.
    pub(crate) names: Vec<String>,
    /// The driver's version.
    pub(crate) driver: String,
    /// The newest CUDA version that the driver supports: 1000 times the major version, plus 10 times the minor one.
    pub(crate) cuda_version: i32,
}

/// The current figures of one GPU.
pub(super) struct GpuFigures {
    /// Share of time in which it computed, 0 to 1.
    pub(super) utilization: f64,
    /// Share of time in which its video decoder worked, 0 to 1; `None`: it has none, or the driver does not say.
    pub(super) decoder_utilization: Option<f64>,
    pub(super) memory_used_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) temperature_celsius: u32,
}

impl Gpus {
    /// Loads NVML and counts the GPUs.
    pub(crate) fn open() -> Self {
        match load_nvml().and_then(|nvml| Ok((nvml.device_count()?, nvml))) {
            Ok((count, nvml)) => Self { nvml: Some(Arc::new(Mutex::new(nvml))), count },
            Err(error) => {
                tracing::debug!(stage = "telemetry", %error, library = LIBRARY, "NVML not available: no GPU metrics");
                Self::default()
            }
        }
    }

    /// Returns whether this host has a GPU that this process may use.
    pub(crate) fn has_gpu(&self) -> bool {
        self.count > 0
    }

    /// Returns the driver and its GPUs; `None` without a driver. Blocks for as long as the driver hangs.
    pub(crate) fn driver(&self) -> Option<GpuDriver> {
        let nvml = self.nvml.as_deref().map(lock)?;
        let name = |index| nvml.device_by_index(index).and_then(|gpu| gpu.name()).ok();
        Some(GpuDriver {
            // A GPU that fell off the bus has an index and no name.
            names: (0..self.count).filter_map(name).collect(),
            driver: nvml.sys_driver_version().ok()?,
            cuda_version: nvml.sys_cuda_driver_version().ok()?,
        })
    }

    /// Sets the gauges of each GPU, to NaN where the driver does not answer within [`QUERY_TIMEOUT`].
    pub(crate) async fn scrape(&self) {
        let figures = self.read().await;
        for index in 0..self.count {
            let of_this =
                figures.iter().find(|(gpu, _)| *gpu == index).and_then(|(_, figures)| figures.as_ref());
            set_gpu_gauges(index, of_this);
        }
    }

    /// Returns the figures of each GPU by index, or nothing where the driver does not answer within [`QUERY_TIMEOUT`].
    pub(super) async fn read(&self) -> Vec<(u32, Option<GpuFigures>)> {
        let Some(nvml) = self.nvml.clone() else { return Vec::new() };
        // NVML blocks, and hangs with the driver: the runtime of HTTP has one thread only.
        let query = tokio::task::spawn_blocking(move || query_all(&nvml));
        let answer = tokio::time::timeout(QUERY_TIMEOUT, query).await;
        answer.ok().and_then(Result::ok).flatten().unwrap_or_default()
    }
}

/// Loads the driver's library.
pub(super) fn load_nvml() -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(LIBRARY.as_ref()).init()
}

/// Returns the figures of each GPU; `None` while another scrape still waits for the driver.
fn query_all(nvml: &Mutex<Nvml>) -> Option<Vec<(u32, Option<GpuFigures>)>> {
    // A scrape that still waits for a hung driver holds the lock: further scrapes must not pile up blocked threads behind it.
    let nvml = match nvml.try_lock() {
        Ok(nvml) => nvml,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    // Asked each time: a GPU that fell off the bus is no longer counted.
    let count = nvml.device_count().ok()?;
    let all = (0..count).map(|index| {
        let figures = query(&nvml, index).map_err(|error| log_failed_query(index, &error));
        (index, figures.ok())
    });
    Some(all.collect())
}

fn query(nvml: &Nvml, index: u32) -> Result<GpuFigures, NvmlError> {
    let gpu = nvml.device_by_index(index)?;
    let memory = gpu.memory_info()?;
    Ok(GpuFigures {
        utilization: f64::from(gpu.utilization_rates()?.gpu) / 100.0,
        // Without an error: a GPU without a decoder has the other figures.
        decoder_utilization: gpu.decoder_utilization().ok().map(|of| f64::from(of.utilization) / 100.0),
        memory_used_bytes: memory.used,
        memory_bytes: memory.total,
        temperature_celsius: gpu.temperature(TemperatureSensor::Gpu)?,
    })
}

fn log_failed_query(gpu: u32, error: &NvmlError) {
    tracing::warn!(stage = "telemetry", gpu, %error, "GPU query failed");
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit f64 up to 8 PiB")]
fn set_gpu_gauges(index: u32, figures: Option<&GpuFigures>) {
    let gpu = || index.to_string();
    // NaN in place of the last value: a hung driver must not look like an idle GPU.
    let number = |of: fn(&GpuFigures) -> f64| figures.map_or(f64::NAN, of);
    gauge!(UTILIZATION, "gpu" => gpu()).set(number(|figures| figures.utilization));
    gauge!(DECODER, "gpu" => gpu()).set(number(|figures| figures.decoder_utilization.unwrap_or(f64::NAN)));
    gauge!(MEMORY_USED, "gpu" => gpu()).set(number(|figures| figures.memory_used_bytes as f64));
    gauge!(MEMORY, "gpu" => gpu()).set(number(|figures| figures.memory_bytes as f64));
    gauge!(TEMPERATURE, "gpu" => gpu()).set(number(|figures| f64::from(figures.temperature_celsius)));
}
