//! Figures of this process and of the GPUs.

use std::fs::read_to_string;

use nvml_wrapper::{Device, Nvml};

/// NVIDIA's management library, if there is one.
pub(crate) struct Gpus(Option<Nvml>);

impl Gpus {
    /// Loads the library.
    pub(crate) fn open() -> Self {
        Self(Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init().ok())
    }

    /// Returns the memory in use on all GPUs, MB.
    pub(crate) fn memory_mb(&self) -> Option<f64> {
        let used = self.each(|gpu| Some(gpu.memory_info().ok()?.used as f64 / 1e6))?;
        Some(used.iter().sum())
    }

    /// Returns the utilisation of the video decoders of the GPU that uses its most, per cent.
    pub(crate) fn decoder_percent(&self) -> Option<u32> {
        self.each(|gpu| Some(gpu.decoder_utilization().ok()?.utilization))?.into_iter().max()
    }

    /// Returns a figure of each GPU, if all have it.
    fn each<T>(&self, figure: impl Fn(&Device) -> Option<T>) -> Option<Vec<T>> {
        let nvml = self.0.as_ref()?;
        (0..nvml.device_count().ok()?).map(|index| figure(&nvml.device_by_index(index).ok()?)).collect()
    }
}

/// Returns the CPU time of this process, seconds.
pub(crate) fn cpu_s() -> f64 {
    // utime and stime, in the hundredths of a second that Linux shows to programs; the name before them may have spaces.
    let stat = read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Returns the resident memory of this process, MB.
pub(crate) fn resident_mb() -> f64 {
    let status = read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1.024e-3
}

/// Returns a figure as text, `-` if there is none.
pub(crate) fn or_dash(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.decimals$}"))
}
