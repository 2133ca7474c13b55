//! The devices of the cameras: on a host with several GPUs, all of a camera is on one of them: its models, decoder and pictures.

use std::collections::HashMap;
use std::slice;
use std::sync::Arc;

use crate::camera::EntryModels;
use crate::detect::{Device, ModelInfo};
use crate::media::CameraId;

/// The devices that cameras may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CameraDevices {
    /// The device of each camera, of which this process runs all.
    Fixed(HashMap<CameraId, Device>),
    /// The devices of every camera: a worker of a pool runs some of the cameras, and chooses when it starts one.
    Open(Vec<Device>),
}

/// The models of a camera's pipeline entries on one device.
#[derive(Clone)]
pub(super) struct DeviceModels {
    pub(super) device: Device,
    pub(super) entries: Vec<EntryModels>,
}

impl DeviceModels {
    /// Returns the facts about the detector of each entry.
    pub(super) fn infos(&self) -> impl Iterator<Item = Arc<ModelInfo>> {
        self.entries.iter().map(|entry| entry.detector.info())
    }
}

impl CameraDevices {
    /// Returns the devices before the first configuration; `is_shared`: other workers run a part of the cameras.
    pub(super) fn new(is_shared: bool) -> Self {
        if is_shared { Self::Open(Vec::new()) } else { Self::Fixed(HashMap::new()) }
    }

    /// Returns the devices for the cameras of a newer configuration, of these `devices`. No more of them are used than there are cameras.
    pub(super) fn for_cameras(&self, cameras: &[&CameraId], devices: &[Device]) -> Self {
        match self {
            Self::Fixed(before) => Self::Fixed(placed(cameras, before, devices)),
            Self::Open(before) => {
                // The cameras of this worker may be on any of the devices before.
                let wanted = cameras.len().max(before.len()).clamp(1, devices.len().max(1));
                Self::Open(devices.iter().copied().take(wanted).collect())
            }
        }
    }

    /// Returns the devices that the camera may run on.
    pub(super) fn of(&self, camera: &CameraId) -> &[Device] {
        match self {
            Self::Fixed(devices) => devices.get(camera).map(slice::from_ref).unwrap_or_default(),
            Self::Open(devices) => devices,
        }
    }
}

fn placed(
    cameras: &[&CameraId],
    before: &HashMap<CameraId, Device>,
    devices: &[Device],
) -> HashMap<CameraId, Device> {
    let mut counts: HashMap<Device, usize> = HashMap::new();
    // Those that stay are counted first: a new camera may be before them in the file.
    for device in cameras.iter().filter_map(|camera| before.get(*camera)) {
        *counts.entry(*device).or_default() += 1;
    }
    let mut placed = HashMap::new();
    for camera in cameras {
        let before = before.get(*camera).copied();
        let count = |device| counts.get(&device).copied().unwrap_or(0);
        let Some(device) = choose_device(devices, before, count) else { continue };
        if before != Some(device) {
            *counts.entry(device).or_default() += 1;
        }
        placed.insert((*camera).clone(), device);
    }
    placed
}

/// Returns the device of a camera: the one `before` if it is there, else the one with the fewest cameras by `count`, and the first of equals.
pub(super) fn choose_device(
    devices: &[Device],
    before: Option<Device>,
    count: impl Fn(Device) -> usize,
) -> Option<Device> {
    let kept = before.filter(|device| devices.contains(device));
    kept.or_else(|| devices.iter().copied().min_by_key(|device| count(*device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &str) -> Vec<CameraId> {
        names.split_whitespace().map(CameraId::new).collect()
    }

    fn gpus(count: u32) -> Vec<Device> {
        (0..count).map(Device::Cuda).collect()
    }

    /// Returns the devices of the cameras after `before`, on this number of GPUs.
    fn after(before: &CameraDevices, names: &str, count: u32) -> CameraDevices {
        let ids = ids(names);
        before.for_cameras(&ids.iter().collect::<Vec<_>>(), &gpus(count))
    }

    /// Returns each camera with its GPU: `a0 b1`.
    fn shown(devices: &CameraDevices, names: &str) -> String {
        let gpu = |id: &CameraId| match devices.of(id) {
            [device] => format!("{id}{}", device.gpu().unwrap()),
            other => format!("{id}{other:?}"),
        };
        ids(names).iter().map(gpu).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn cameras_are_spread_evenly_in_the_order_of_the_configuration() {
        let none = CameraDevices::new(false);
        for (names, count, expected) in [
            ("a", 4, "a0"),
            ("a b c", 1, "a0 b0 c0"),
            ("a b c d", 2, "a0 b1 c0 d1"),
            ("a b c d e", 4, "a0 b1 c2 d3 e0"),
        ] {
            assert_eq!(shown(&after(&none, names, count), names), expected);
        }
        assert_eq!(none.for_cameras(&[], &gpus(2)), none);
        let cpu = none.for_cameras(&[&CameraId::new("a")], &[Device::Cpu]);
        assert_eq!(cpu.of(&CameraId::new("a")), [Device::Cpu]);
    }

    #[test]
    fn a_camera_keeps_its_gpu_and_new_ones_go_where_the_fewest_are() {
        let none = CameraDevices::new(false);
        for (name, first, then, count, expected) in [
            ("another order", "a b c d", "d c b a", 2, "d1 c0 b1 a0"),
            ("one comes", "a b c", "a b c d", 2, "a0 b1 c0 d1"),
            ("one comes first in the file", "a b c", "d a b c", 2, "d1 a0 b1 c0"),
            ("one goes", "a b c d", "b c d", 2, "b1 c0 d1"),
            ("one goes and another comes", "a b c d", "b c d e", 2, "b1 c0 d1 e0"),
            ("all of one GPU go, none is moved", "a b c d", "b d", 2, "b1 d1"),
            ("and two come", "a b c d", "b d e f", 2, "b1 d1 e0 f0"),
            ("a GPU is gone", "a b c d", "a b c d", 1, "a0 b0 c0 d0"),
        ] {
            let before = after(&none, first, 2);
            assert_eq!(shown(&after(&before, then, count), then), expected, "{name}");
        }
    }

    #[test]
    fn a_camera_that_comes_back_is_a_new_one() {
        let first = after(&CameraDevices::new(false), "a b", 2);
        let without = after(&first, "a", 2);
        assert_eq!(without.of(&CameraId::new("b")), []);
        assert_eq!(shown(&after(&without, "c a b", 2), "c a b"), "c1 a0 b0");
    }

    #[test]
    fn a_worker_of_a_pool_has_each_camera_on_any_gpu_but_on_no_more_than_there_are_cameras() {
        let none = CameraDevices::new(true);
        let two = after(&none, "a b", 4);
        assert_eq!(two, CameraDevices::Open(gpus(2)));
        assert_eq!(two.of(&CameraId::new("a")), gpus(2));
        assert_eq!(after(&two, "a b c d e", 4), CameraDevices::Open(gpus(4)));
        assert_eq!(after(&two, "a", 4), two, "the one that is left may be on the second");
        assert_eq!(after(&none, "", 4), CameraDevices::Open(gpus(1)));
    }

    #[test]
    fn a_camera_that_starts_again_keeps_its_gpu_and_another_takes_the_first_with_the_fewest() {
        let used = [Device::Cuda(0), Device::Cuda(2), Device::Cuda(2)];
        let count = |device| used.iter().filter(|of| **of == device).count();
        let (all, second) = (gpus(3), Some(Device::Cuda(1)));
        assert_eq!(choose_device(&all, None, count), second);
        assert_eq!(choose_device(&all, Some(Device::Cuda(2)), count), Some(Device::Cuda(2)));
        assert_eq!(choose_device(&all, Some(Device::Cuda(3)), count), second, "its GPU is gone");
        assert_eq!(choose_device(&all, None, |_| 7), Some(Device::Cuda(0)));
        assert_eq!(choose_device(&[], second, count), None);
    }
}
