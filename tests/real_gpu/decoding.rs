//! NVDEC: its pictures, and many decoders at once.

use std::sync::{Arc, Barrier};

use kvs_infer::config::DecodeDevice;
use kvs_infer::decode::{Decoder, GpuDecoders, NvdecGpu, Sampler};
use kvs_infer::detect::proved_context;
use kvs_infer::media::{CameraId, Frame, Packet, SamplerState};
use kvs_infer::status::CameraStatus;
use test_support::polling::until_blocking;

use super::clip::fragments;
use super::{memory_used, nvml};
use crate::decode::clip::planes;
use crate::decode::{decode, decoder};

/// The clips of the demo and of the tests, and those that `scripts/setup gpu` makes.
const CLIPS: [&str; 6] = ["street", "gate", "yard", "hd", "hd-b-frames", "hd-h265"];
/// Decoders at once: more than a T4 has capacity for, fewer than an H100.
const DECODERS: usize = 64;

/// Returns the first GPU.
fn nvdec() -> Arc<NvdecGpu> {
    let gpus = GpuDecoders::new(DecodeDevice::Cuda, proved_context, |reason| panic!("{reason}"));
    gpus.open(None).unwrap_or_else(|reason| panic!("no GPU decodes: {reason}"));
    gpus.of_camera(None).unwrap()
}

/// A decoder on the GPU, and the status of its camera.
fn decoder_on(gpu: &Arc<NvdecGpu>, camera: &str) -> (Decoder, CameraStatus) {
    let camera = CameraStatus::alone(&CameraId::new(camera));
    let sampler = Sampler::new(None, SamplerState::default());
    (Decoder::new(camera.clone(), sampler).with_gpu(Some(Arc::clone(gpu))), camera)
}

/// Asserts that the frames are the same ones, in the same order and to the bit, and returns their number.
fn assert_same(name: &str, by_gpu: &[Arc<Frame>], by_cpu: &[Arc<Frame>]) -> usize {
    let place = |frame: &Arc<Frame>| (frame.media, frame.index, frame.surface.size_px());
    assert_eq!(
        by_gpu.iter().map(place).collect::<Vec<_>>(),
        by_cpu.iter().map(place).collect::<Vec<_>>(),
        "{name}"
    );
    for (gpu, cpu) in by_gpu.iter().zip(by_cpu) {
        let (gpu_planes, cpu_planes) = (planes(&gpu.surface), planes(&cpu.surface));
        let different = gpu_planes.iter().zip(&cpu_planes).filter(|(a, b)| a != b).count();
        assert_eq!(
            (different, gpu_planes.len()),
            (0, cpu_planes.len()),
            "{name}: samples that differ in the frame at {:?}",
            gpu.media
        );
    }
    by_gpu.len()
}

#[test]
#[ignore = "needs a GPU: make gpu-test"]
fn nvdec_decodes_the_pictures_of_the_software_decoder() {
    let gpu = nvdec();
    for clip in CLIPS {
        let ((mut by_gpu, camera), mut by_cpu) = (decoder_on(&gpu, clip), decoder());
        let (mut units, mut frames) = (0, 0);
        for fragment in fragments(clip) {
            units += fragment.len();
            let (on_gpu, failed) = decode(&mut by_gpu, fragment.clone());
            assert!(failed.is_empty(), "{clip}: {failed:?}");
            let row = camera.row();
            assert_eq!((row.decoder, row.decoder_note), (Some("nvdec"), None), "{clip}");
            let (on_cpu, failed) = decode(&mut by_cpu, fragment);
            assert!(failed.is_empty(), "{clip}: {failed:?}");
            frames += assert_same(clip, &on_gpu, &on_cpu);
        }
        println!("figure: {clip}: {frames} frames of NVDEC are those of the CPU");
        assert!(units > 0 && frames == units, "{clip}: {frames} frames of {units} access units");
    }
}

/// Decodes a clip with a decoder of its own, and stops behind the first fragment until all others are there.
///
/// Returns the decoder's name and the reason if it is not NVDEC.
fn decode_beside(
    gpu: &Arc<NvdecGpu>,
    number: usize,
    fragments: &[Vec<Packet>],
    halts: &[Barrier; 2],
) -> (Option<&'static str>, Option<String>) {
    let (mut decoder, camera) = decoder_on(gpu, &format!("camera-{number}"));
    let mut errors = Vec::new();
    for (index, fragment) in fragments.iter().enumerate() {
        let (frames, failed) = decode(&mut decoder, fragment.clone());
        errors.extend(failed);
        if frames.len() != fragment.len() {
            println!("camera {number}: {} frames of {} access units", frames.len(), fragment.len());
        }
        if index == 0 {
            for halt in halts {
                halt.wait();
            }
        }
    }
    assert!(errors.is_empty(), "camera {number}: {errors:?}");
    let row = camera.row();
    (row.decoder, row.decoder_note)
}

#[test]
#[ignore = "needs a GPU: make gpu-test"]
fn many_decoders_at_once_work_or_say_why_and_give_their_memory_back() {
    let nvml = nvml();
    let (gpu, fragments) = (nvdec(), fragments("hd"));
    // What the driver keeps from the first decoder on is not a decoder's.
    decode(&mut decoder_on(&gpu, "first").0, fragments[0].clone());
    let before = memory_used(&nvml);
    // All decoders are open between the two.
    let halts = [DECODERS + 1; 2].map(Barrier::new);
    let (at_peak, decoded) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..DECODERS)
            .map(|number| {
                scope.spawn({
                    let (gpu, fragments, halts) = (&gpu, &fragments[..2], &halts);
                    move || decode_beside(gpu, number, fragments, halts)
                })
            })
            .collect();
        halts[0].wait();
        let at_peak = memory_used(&nvml);
        halts[1].wait();
        (at_peak, threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>())
    });
    let on_gpu = decoded.iter().filter(|(decoder, _)| *decoder == Some("nvdec")).count();
    for (decoder, note) in &decoded {
        let is_reasoned = (*decoder == Some("nvdec")) == note.is_none();
        assert!(is_reasoned, "a camera on {decoder:?} with the reason {note:?}");
    }
    let reasons: std::collections::BTreeSet<_> =
        decoded.iter().filter_map(|(_, note)| note.as_ref()).collect();
    let each_mb = at_peak.saturating_sub(before) as f64 / 1e6 / on_gpu.max(1) as f64;
    println!(
        "figure: {on_gpu} of {DECODERS} decoders on NVDEC, {each_mb:.1} MB of the GPU each; on the CPU because of {reasons:?}"
    );
    assert!(on_gpu > 0, "none on the GPU: {reasons:?}");
    assert!(
        at_peak > before,
        "no memory of {on_gpu} decoders was seen: {before} bytes before and {at_peak} with them"
    );
    // The driver may give it back a moment later.
    let left = until_blocking("the memory of the decoders", || {
        let left = memory_used(&nvml).saturating_sub(before);
        if left * 20 <= at_peak - before { Ok(left) } else { Err(left) }
    });
    println!(
        "figure: {:.1} of {:.1} MB are left after closing all",
        left as f64 / 1e6,
        (at_peak - before) as f64 / 1e6
    );
}
