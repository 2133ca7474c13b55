//! Faults of NVDEC: the camera is decoded on the CPU, with the reason, or the GPU is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvs_infer::decode::NvdecGpu;
use kvs_infer::media::{Codec, MediaMs, Packet};

use test_support::gpu::FakeDriver;

use super::{assert_pictures, decoder_on, driver_in_child, gpu, run_child};
use crate::decode::clip::{Clip, planes};
use crate::decode::decode;

const SMALL: &str = "size=320x240:rate=25:duration=2";

/// Asserts that the packets are decoded on the CPU, as the `ffmpeg` command decodes them, and that the status has the reason.
fn assert_on_cpu(name: &str, gpu: &Arc<NvdecGpu>, clip: &Clip, reason: &str) {
    let (mut decoder, camera) = decoder_on(gpu);
    let mut frames = Vec::new();
    for fragment in clip.fragments() {
        let (decoded, errors) = decode(&mut decoder, fragment);
        assert!(errors.is_empty(), "{name}: {errors:?}");
        frames.extend(decoded);
    }
    assert_eq!(frames.len(), clip.twin.len(), "{name}");
    for (frame, twin) in frames.iter().zip(&clip.twin) {
        let furthest = planes(&frame.surface).iter().zip(twin).map(|(a, b)| a.abs_diff(*b)).max();
        // A converted picture may differ by rounding.
        assert!(furthest.is_some_and(|furthest| furthest <= 1), "{name}: {furthest:?}");
    }
    let row = camera.row();
    let note = row.decoder_note.unwrap_or_default();
    assert!(row.decoder == Some("cpu") && note.contains(reason), "{name}: {note}");
}

#[test]
fn pictures_that_nvdec_does_not_decode_are_decoded_on_the_cpu() {
    let test = "gpu::faults::pictures_that_nvdec_does_not_decode_are_decoded_on_the_cpu";
    let Some(driver) = driver_in_child(test, "") else { return };
    let (gpu, losses) = gpu();
    for format in ["yuv422p", "yuv444p", "yuv420p10le"] {
        let arguments = format!("-pix_fmt {format} -c:v libx264 -g 10 -bf 2");
        let clip = Clip::make("size=320x240:rate=10:duration=2", Codec::H264, &arguments, "yuv420p");
        assert_on_cpu(format, &gpu, &clip, "NVDEC refused its pictures");
    }
    assert_eq!((driver.log("create").len(), losses.load(Ordering::SeqCst)), (0, 0));
}

#[test]
fn a_decoder_without_memory_is_on_the_cpu_until_there_is_some() {
    let test = "gpu::faults::a_decoder_without_memory_is_on_the_cpu_until_there_is_some";
    let Some(driver) = driver_in_child(test, "decoders 1") else { return };
    let (gpu, _) = gpu();
    // FFmpeg asks NVDEC again behind each fragment with B-frames, whatever this program does.
    let clip = Clip::h264(SMALL, "-bf 0");
    let (mut first, first_camera) = decoder_on(&gpu);
    decode(&mut first, clip.fragments()[0].clone());
    assert_eq!(first_camera.row().decoder, Some("nvdec"));
    assert_on_cpu("second", &gpu, &clip, "has no memory for another decoder");

    let (mut second, camera) = decoder_on(&gpu);
    decode(&mut second, clip.fragments()[0].clone());
    driver.set_faults("");
    let mut at = |seconds: i64| {
        let later =
            |packet: &Packet| Packet { media: MediaMs(packet.media.0 + seconds * 1_000), ..packet.clone() };
        let packets: Vec<_> = clip.fragments()[1].iter().map(later).collect();
        let (frames, errors) = decode(&mut second, packets.clone());
        assert!(errors.is_empty() && frames.len() == packets.len(), "{errors:?}");
        let decoder = camera.row().decoder;
        if decoder == Some("nvdec") {
            assert_pictures("second", &frames, &packets);
        }
        decoder
    };
    assert_eq!(
        [at(58), at(61), at(62)],
        [Some("cpu"), Some("nvdec"), Some("nvdec")],
        "a minute later at the earliest"
    );
}

#[test]
fn a_camera_without_a_ticket_is_on_the_cpu_until_one_is_free() {
    let test = "gpu::faults::a_camera_without_a_ticket_is_on_the_cpu_until_one_is_free";
    let Some(_driver) = driver_in_child(test, "") else { return };
    let (gpu, _) = gpu();
    // Two engines of a T4 decode 31 of them.
    let clip = Clip::h264("size=1920x1080:rate=30:duration=0.1", "-bf 0");
    let on = |packets: Vec<Packet>| {
        let (mut decoder, camera) = decoder_on(&gpu);
        decode(&mut decoder, packets);
        (decoder, camera)
    };
    let mut cameras: Vec<_> = (0..31).map(|_| on(clip.packets.clone())).collect();
    assert!(cameras.iter().all(|(_, camera)| camera.row().decoder == Some("nvdec")));
    assert_on_cpu("the 32nd", &gpu, &clip, "fully used by other cameras");
    let (mut last, camera) = on(clip.packets.clone());
    assert_eq!(camera.row().decoder, Some("cpu"));
    let later = |seconds: i64| {
        let later =
            |packet: &Packet| Packet { media: MediaMs(packet.media.0 + seconds * 1_000), ..packet.clone() };
        clip.packets.iter().map(later).collect::<Vec<_>>()
    };
    decode(&mut last, later(61));
    assert_eq!(camera.row().decoder, Some("cpu"), "none is free");
    cameras.pop();
    decode(&mut last, later(62));
    assert_eq!(camera.row().decoder, Some("cpu"), "it asks once per minute");
    let (frames, errors) = decode(&mut last, later(122));
    assert!(errors.is_empty());
    assert_pictures("the 32nd", &frames, &later(122));
    assert_eq!(camera.row().decoder_note, None);
}

/// Decodes a clip of five GOPs of ten frames; returns the number of frames by fragment, and of errors.
fn decode_with_errors(clip: &Clip) -> (Vec<usize>, usize) {
    let (gpu, losses) = gpu();
    let (mut decoder, camera) = decoder_on(&gpu);
    let (mut counts, mut errors) = (Vec::new(), 0);
    for fragment in clip.fragments() {
        let (frames, failed) = decode(&mut decoder, fragment.clone());
        assert_pictures("sound", &frames, &fragment);
        counts.push(frames.len());
        errors += failed.len();
        assert!(
            failed.iter().all(|error| error.kind() == "unit" && decoder.find_gpu_loss().is_none()),
            "{failed:?}"
        );
    }
    assert_eq!((camera.row().decoder, losses.load(Ordering::SeqCst)), (Some("nvdec"), 0));
    (counts, errors)
}

#[test]
fn a_picture_that_fails_costs_its_gop_only() {
    let test = "gpu::faults::a_picture_that_fails_costs_its_gop_only";
    let Some(_driver) = driver_in_child(test, "picture 15 1") else { return };
    // The fifth of the second GOP.
    assert_eq!(decode_with_errors(&Clip::h264(SMALL, "-bf 0")), (vec![10, 4, 10, 10, 10], 1));
}

#[test]
fn a_surface_that_cannot_be_mapped_costs_its_gop_only() {
    let test = "gpu::faults::a_surface_that_cannot_be_mapped_costs_its_gop_only";
    let Some(_driver) = driver_in_child(test, "map 15 205") else { return };
    let (counts, errors) = decode_with_errors(&Clip::h264(SMALL, "-bf 0"));
    assert_eq!((counts, errors), (vec![10, 4, 10, 10, 10], 1));
}

#[test]
fn frames_behind_a_failed_one_that_refer_to_it_do_not_come() {
    let test = "gpu::faults::frames_behind_a_failed_one_that_refer_to_it_do_not_come";
    let Some(_driver) = driver_in_child(test, "picture 15 1") else { return };
    let (counts, errors) = decode_with_errors(&Clip::h264(SMALL, "-bf 2 -b_strategy 0"));
    assert!(counts[1] < 5 && errors == 1, "{counts:?}");
    assert_eq!((counts[0], &counts[2..]), (10, &[10, 10, 10][..]));
}

#[test]
fn a_decoder_that_keeps_failing_is_left_for_the_cpu() {
    let test = "gpu::faults::a_decoder_that_keeps_failing_is_left_for_the_cpu";
    let Some(_driver) = driver_in_child(test, "broken 11 1") else { return };
    let (gpu, losses) = gpu();
    let (mut decoder, camera) = decoder_on(&gpu);
    let clip = Clip::h264("size=320x240:rate=25:duration=2.4", "-bf 0");
    let counts: Vec<_> =
        clip.fragments().into_iter().map(|fragment| decode(&mut decoder, fragment).0.len()).collect();
    assert_eq!(counts, [10, 0, 0, 0, 10, 10]);
    let row = camera.row();
    let note = row.decoder_note.unwrap_or_default();
    assert!(row.decoder == Some("cpu") && note.contains("failed 3 times"), "{note}");
    assert_eq!(losses.load(Ordering::SeqCst), 0);
}

#[test]
fn a_missing_library_or_gpu_is_a_reason_in_words() {
    let test = "gpu::faults::a_missing_library_or_gpu_is_a_reason_in_words";
    if let Ok(reason) = std::env::var("GPU_TEST_REASON") {
        let (gpu, _) = gpu();
        return assert_on_cpu(
            &reason,
            &gpu,
            &Clip::h264("size=320x240:rate=10:duration=1", "-bf 2"),
            &reason,
        );
    }
    for (name, faults, missing, reason) in [
        ("no GPU", "no_device", None, "no CUDA-capable device is detected"),
        (
            "wrong pictures",
            "wrong nvdec",
            None,
            "picture 0 of a built-in clip in H.264 differs from the CPU's",
        ),
        ("no libnvcuvid", "", Some("libnvcuvid.so.1"), "needs the driver capability `video`"),
        ("no driver", "", Some("libcuda.so.1"), "cannot load NVIDIA's driver library libcuda.so.1"),
    ] {
        let driver = FakeDriver::new();
        driver.set_faults(faults);
        if let Some(library) = missing {
            std::fs::remove_file(driver.folder().join(library)).expect(name);
        }
        run_child(&driver, test, &[("GPU_TEST_REASON", reason)]);
    }
}
