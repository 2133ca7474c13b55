//! The devices that models run on: as configured, and as one load of a model takes them.

use std::fmt;
use std::str::FromStr;

/// The devices that models may run on, as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// All GPUs where CUDA works, else the CPU, with the reason in the log.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// All GPUs; an error if CUDA does not work on one of them.
    AllGpus,
    /// The CUDA device with this index; an error if it does not work.
    Gpu(u32),
}

impl DeviceChoice {
    /// Returns the devices that are meant on a host with this number of GPUs, at least one.
    #[must_use]
    pub fn devices(self, gpus: u32) -> Vec<Device> {
        // Without a GPU one is tried, so that the error, or the reason for the CPU, is ONNX Runtime's.
        let all = 0..gpus.max(1);
        match self {
            Self::Auto => all.map(Device::Auto).collect(),
            Self::AllGpus => all.map(Device::Cuda).collect(),
            Self::Cpu => vec![Device::Cpu],
            Self::Gpu(index) => vec![Device::Cuda(index)],
        }
    }

    /// Returns the device of a command that uses one.
    #[must_use]
    pub fn first(self) -> Device {
        match self {
            Self::Auto => Device::Auto(0),
            Self::Cpu => Device::Cpu,
            Self::AllGpus => Device::Cuda(0),
            Self::Gpu(index) => Device::Cuda(index),
        }
    }
}

/// The device that a model is loaded for, and on which it runs then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The CUDA device with this index if it works, else the CPU, with the reason in the log.
    Auto(u32),
    /// The CPU.
    Cpu,
    /// The CUDA device with this index; an error if it does not work.
    Cuda(u32),
}

impl Device {
    /// Returns the index of the GPU that is meant; `None`: the CPU.
    #[must_use]
    pub fn gpu(self) -> Option<u32> {
        match self {
            Self::Auto(index) | Self::Cuda(index) => Some(index),
            Self::Cpu => None,
        }
    }

    /// Returns the name of the task of a model's thread on this device: `TASK`, and `TASK@N` on GPU N, from 1.
    ///
    /// The number is not at the end of a thread's name: the system shows 15 characters.
    pub(crate) fn task(self, task: &str) -> String {
        match self.gpu() {
            None | Some(0) => task.to_owned(),
            Some(index) => format!("{task}@{index}"),
        }
    }
}

/// The text is no [`DeviceChoice`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device {0:?} is unknown: give auto, cpu, cuda or cuda:N, N the index of the GPU from 0")]
pub struct UnknownDevice(String);

impl FromStr for DeviceChoice {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, UnknownDevice> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::AllGpus),
            _ => cuda_index(text).map(Self::Gpu).ok_or_else(|| UnknownDevice(text.to_owned())),
        }
    }
}

fn cuda_index(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("cuda:")?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::AllGpus => f.write_str("cuda"),
            Self::Gpu(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto(index) => write!(f, "cuda:{index} or cpu"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_what_it_writes_and_refuses_the_rest() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::AllGpus),
            ("cuda:0", DeviceChoice::Gpu(0)),
            ("cuda:12", DeviceChoice::Gpu(12)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        for text in ["", "CPU", "gpu", "cuda:", "cuda:+1", "cuda:-1", "cuda:x", "cuda:99999999999"] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.to_string().contains("give auto, cpu, cuda or cuda:N"), "{text}: {error}");
        }
    }

    #[test]
    fn a_choice_means_all_gpus_of_the_host_or_one_device() {
        let (auto, cuda) = (Device::Auto, Device::Cuda);
        for (choice, gpus, devices) in [
            (DeviceChoice::Auto, 0, vec![auto(0)]),
            (DeviceChoice::Auto, 1, vec![auto(0)]),
            (DeviceChoice::Auto, 3, vec![auto(0), auto(1), auto(2)]),
            (DeviceChoice::AllGpus, 0, vec![cuda(0)]),
            (DeviceChoice::AllGpus, 2, vec![cuda(0), cuda(1)]),
            (DeviceChoice::Gpu(1), 4, vec![cuda(1)]),
            (DeviceChoice::Gpu(7), 4, vec![cuda(7)]),
            (DeviceChoice::Cpu, 4, vec![Device::Cpu]),
        ] {
            assert_eq!(choice.devices(gpus), devices, "{choice} {gpus}");
            assert_eq!(choice.first(), devices[0], "{choice}");
        }
    }

    #[test]
    fn threads_on_the_first_gpu_have_the_names_of_a_host_with_one() {
        for (device, name) in [
            (Device::Cpu, "detect"),
            (Device::Cuda(0), "detect"),
            (Device::Auto(0), "detect"),
            (Device::Cuda(1), "detect@1"),
            (Device::Auto(12), "detect@12"),
        ] {
            assert_eq!(device.task("detect"), name);
        }
    }
}
