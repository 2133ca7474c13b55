//! Decoding by NVDEC, with a driver in host memory (crates/gpu/tests/driver). None of this has run on a GPU.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it fails on")]

mod decoding;
mod faults;
mod pictures;
mod program;
mod thread;

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gpu::{CudaContext, CudaDriver};
use kvs_infer::config::DecodeDevice;
use kvs_infer::decode::{Decoder, GpuDecoders, NvdecGpu, Sampler};
use kvs_infer::media::{CameraId, Codec, Frame, Packet, SamplerState, Surface};
use kvs_infer::status::CameraStatus;
use test_support::gpu::FakeDriver;

use super::decode::clip::planes;

/// The environment variable that makes a process the child of the test that it names.
const CHILD: &str = "GPU_TEST_CHILD";
/// The environment variable with the folder of the driver.
const FOLDER: &str = "GPU_TEST_DRIVER";

/// Returns the driver in the process that runs the body of a test, and `None` in the one that starts it as a child.
///
/// The driver is found by the search path of libraries, which is set before a process starts. `test` is the path of the test, and
/// `faults` are those of the driver.
fn driver_in_child(test: &str, faults: &str) -> Option<FakeDriver> {
    if std::env::var(CHILD).is_ok_and(|child| child == test) {
        return Some(FakeDriver::in_folder(std::env::var_os(FOLDER).unwrap().into()));
    }
    let driver = FakeDriver::new();
    driver.set_faults(faults);
    run_child(&driver, test, &[]);
    None
}

/// Runs a test in a child process with these variables.
fn run_child(driver: &FakeDriver, test: &str, variables: &[(&str, &str)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).envs(variables.iter().copied());
    child.env(CHILD, test).env(FOLDER, driver.folder()).env("LD_LIBRARY_PATH", driver.folder());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// A GPU of the fake driver on which pictures stay, and the number of times that its loss was reported.
fn gpu() -> (Arc<NvdecGpu>, Arc<AtomicUsize>) {
    gpu_with(|index| {
        let context = CudaDriver::load().and_then(|driver| CudaContext::retain(&driver, index));
        context.map_err(|error| error.to_string())
    })
}

/// As [`gpu`], with other kernels.
fn gpu_with(
    kernels: impl Fn(u32) -> Result<CudaContext, String> + Send + Sync + 'static,
) -> (Arc<NvdecGpu>, Arc<AtomicUsize>) {
    let losses = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&losses);
    let gpus = GpuDecoders::new(DecodeDevice::Cuda, kernels, move |reason| {
        assert!(reason.contains("GPU cuda:0 is lost"), "{reason}");
        counted.fetch_add(1, Ordering::SeqCst);
    });
    (gpus.of_camera(None).unwrap(), losses)
}

/// A decoder of every frame on the GPU, and the status of its camera.
fn decoder_on(gpu: &Arc<NvdecGpu>) -> (Decoder, CameraStatus) {
    let camera = CameraStatus::alone(&CameraId::new("gate"));
    let sampler = Sampler::new(None, SamplerState::default());
    (Decoder::new(camera.clone(), sampler).with_gpu(Some(Arc::clone(gpu))), camera)
}

/// The number of a picture without references.
const FIRST_NUMBER: u32 = 2_166_136_261;

/// Returns the number of the picture that the driver makes of each access unit; the first is a keyframe.
///
/// It is FNV-1a of the slices, behind start codes, and of those of the reference pictures since the last keyframe.
fn numbers_of(packets: &[Packet]) -> Vec<u32> {
    let mut reference = FIRST_NUMBER;
    let number = |packet: &Packet| {
        let slices = slices_of(packet);
        let first = slices[0][3];
        let (is_keyframe, is_reference) = match packet.track.codec {
            Codec::H264 => (first & 31 == 5, first >> 5 & 3 != 0),
            Codec::H265 => {
                let kind = first >> 1 & 63;
                ((16..=21).contains(&kind), kind >= 16 || kind % 2 == 1)
            }
        };
        let seed = if is_keyframe { FIRST_NUMBER } else { reference };
        let bytes = slices.iter().flatten();
        let number = bytes.fold(seed, |number, byte| (number ^ u32::from(*byte)).wrapping_mul(16_777_619));
        if is_reference {
            reference = number;
        }
        number
    };
    packets.iter().map(number).collect()
}

/// Returns the slices of an access unit, each behind a start code.
fn slices_of(packet: &Packet) -> Vec<Vec<u8>> {
    let track = &packet.track;
    let (length_at, is_slice): (usize, fn(u8) -> bool) = match track.codec {
        Codec::H264 => (4, |first| matches!(first & 31, 1 | 5)),
        Codec::H265 => (21, |first| (first >> 1) & 63 < 32),
    };
    let length_bytes = usize::from(track.codec_private[length_at] & 3) + 1;
    let (mut rest, mut slices) = (&packet.unit[..], Vec::new());
    while rest.len() > length_bytes {
        let length = rest[..length_bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let nal = &rest[length_bytes..][..length];
        if is_slice(nal[0]) {
            slices.push([&[0, 0, 1], nal].concat());
        }
        rest = &rest[length_bytes + length..];
    }
    slices
}

/// Returns the driver's picture with this number, cropped to the size and from the place, px: Y, U and V without padding.
fn picture_of(number: u32, (width, height): (u32, u32), (left, top): (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::new();
    paint(&mut bytes, (left, width), (top, height), |x, y| (number >> (8 * ((x ^ y) & 3))) + 7 * x + 13 * y);
    let (across, down) = ((left / 2, width.div_ceil(2)), (top / 2, height.div_ceil(2)));
    paint(&mut bytes, across, down, |x, y| (number >> 8) + 3 * x + 5 * y);
    paint(&mut bytes, across, down, |x, y| (number >> 16) + 11 * x + 2 * y + 128);
    bytes
}

/// Appends the samples of a plane; the first of each pair is where it begins, the second its length.
fn paint(bytes: &mut Vec<u8>, across: (u32, u32), down: (u32, u32), sample: impl Fn(u32, u32) -> u32) {
    for y in down.0..down.0 + down.1 {
        bytes.extend((across.0..across.0 + across.1).map(|x| sample(x, y) as u8));
    }
}

/// Asserts that each frame is the driver's picture of its access unit.
fn assert_pictures(name: &str, frames: &[Arc<Frame>], packets: &[Packet]) {
    let of = packets.iter().map(|packet| (packet.fragment.number.clone(), packet.index));
    let numbers: HashMap<_, _> = of.zip(numbers_of(packets)).collect();
    for frame in frames {
        let number = numbers[&(frame.fragment.number.clone(), frame.index)];
        assert!(matches!(frame.surface, Surface::Cuda(_)), "{name}: {:?} stays on the GPU", frame.surface);
        let picture = picture_of(number, frame.surface.size_px(), (0, 0));
        assert!(planes(&frame.surface) == picture, "{name}: frame at {:?}", frame.media);
    }
}
