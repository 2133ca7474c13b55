//! The decode thread with NVDEC: idle decode, and the end at a lost GPU.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kvs_infer::decode::{DecodeSettings, Sampler, frame_queue, packet_queue, spawn};
use kvs_infer::media::{CameraId, Decoded, Demuxed, KeyframeVerdict, Mode, ModeCell, SamplerState};
use kvs_infer::status::CameraStatus;

use super::{driver_in_child, gpu};
use crate::decode::clip::Clip;
use crate::decode::end_of;
use crate::decode::idle::{clips, decode_idly_by, items};

/// Runs the future on a runtime of its own, in the child process.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

#[test]
fn idle_decode_does_the_same_in_front_of_nvdec() {
    let test = "gpu::thread::idle_decode_does_the_same_in_front_of_nvdec";
    let Some(driver) = driver_in_child(test, "") else { return };
    use KeyframeVerdict::{Active, Resume, Rewind, Still};
    let (gpu, _) = gpu();
    for (name, clip, is_open) in clips() {
        for verdicts in [
            [Active; 5],
            [Still; 5],
            [Still, Still, Rewind, Active, Active],
            [Still, Still, Resume, Still, Active],
        ] {
            let by_nvdec = block_on(decode_idly_by(Some(Arc::clone(&gpu)), items(&clip, is_open), &verdicts));
            let on_cpu = block_on(decode_idly_by(None, items(&clip, is_open), &verdicts));
            assert_eq!(by_nvdec, on_cpu, "{name}: {verdicts:?}");
        }
    }
    assert_eq!(driver.log("create").len(), driver.log("destroy").len(), "each decoder was closed");
}

fn pictures(line: &str) -> usize {
    line.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn an_idle_camera_decodes_keyframes_only_with_one_decoder() {
    let test = "gpu::thread::an_idle_camera_decodes_keyframes_only_with_one_decoder";
    let Some(driver) = driver_in_child(test, "") else { return };
    let (gpu, _) = gpu();
    let clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 0");
    block_on(decode_idly_by(Some(gpu), items(&clip, false), &[KeyframeVerdict::Still; 5]));
    // The first keyframe, after which the decoder is opened again; then the other four.
    assert_eq!(driver.log("destroy pictures").iter().map(|line| pictures(line)).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn a_lost_gpu_ends_the_thread_and_the_broken_fragment_gets_no_end() {
    let test = "gpu::thread::a_lost_gpu_ends_the_thread_and_the_broken_fragment_gets_no_end";
    let Some(_driver) = driver_in_child(test, "lost 25") else { return };
    let (gpu, losses) = gpu();
    for (extra, camera, frames) in [("-bf 0", "a", 20..25), ("-bf 2", "b", 0..1)] {
        let clip = Clip::h264("size=320x240:rate=25:duration=2", extra);
        let status = CameraStatus::alone(&CameraId::new(camera));
        let (input, packets) = packet_queue(64);
        let (output, decoded) = frame_queue(status.clone(), Arc::new(ModeCell::new(Mode::CatchUp)));
        let settings = DecodeSettings {
            sampler: Sampler::new(None, SamplerState::default()),
            masks: None,
            max_pixels: u32::MAX,
            decodes_idly: false,
            gpu: Some(Arc::clone(&gpu)),
        };
        let (ends, count) = block_on(async {
            let thread = spawn(status, settings, packets, output).unwrap();
            for fragment in clip.fragments() {
                let end = end_of(&fragment);
                for item in fragment.into_iter().map(Demuxed::Packet).chain([Demuxed::FragmentEnd(end)]) {
                    // Refused once the thread has ended.
                    let _refused = input.send(item).await;
                }
            }
            drop(input);
            let (mut ends, mut count) = (0, 0);
            while let Some(item) = decoded.next().await {
                match item {
                    Decoded::Frame(_) => count += 1,
                    Decoded::FragmentEnd { .. } => ends += 1,
                    Decoded::Discontinuity | Decoded::IdleQuery(_) => panic!("none was made"),
                }
            }
            thread.join().unwrap();
            (ends, count)
        });
        assert_eq!(ends, frames.start / 10, "{camera}");
        assert!(frames.contains(&count), "{camera}: {count} frames");
    }
    assert_eq!(losses.load(Ordering::SeqCst), 2, "each camera reports it");
}
