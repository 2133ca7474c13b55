//! The decode thread and its queues: items come out in order, and each end closes the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvs_infer::decode::{
    DecodeSettings, FrameReceiver, PacketSender, Sampler, frame_queue, packet_queue, spawn,
};
use kvs_infer::media::{CameraId, Decoded, Demuxed, Mode, ModeCell, Packet, SamplerState};
use kvs_infer::status::CameraStatus;

use super::clip::{Clip, START_MS};
use super::end_of;
use super::open_gop::{open_clips, open_end};

fn items(clip: &Clip) -> Vec<Demuxed> {
    let with_end = |packets: Vec<Packet>| {
        let end = end_of(&packets);
        packets.into_iter().map(Demuxed::Packet).chain([Demuxed::FragmentEnd(end)]).collect::<Vec<_>>()
    };
    clip.fragments().into_iter().flat_map(with_end).collect()
}

fn start(fps: f64, mode: Mode) -> (PacketSender, FrameReceiver, std::thread::JoinHandle<()>) {
    let camera = CameraStatus::alone(&CameraId::new("gate"));
    let (input, packets) = packet_queue(4);
    let (output, frames) = frame_queue(camera.clone(), Arc::new(ModeCell::new(mode)));
    let sampler = Sampler::new(Some(fps), SamplerState::default());
    let settings =
        DecodeSettings { sampler, masks: None, max_pixels: u32::MAX, decodes_idly: false, gpu: None };
    (input, frames, spawn(camera, settings, packets, output).expect("a thread"))
}

/// Returns the media times of the frames before each fragment end.
async fn take_all(frames: &FrameReceiver) -> Vec<Vec<i64>> {
    let (mut fragments, mut media) = (Vec::new(), Vec::new());
    while let Some(item) = frames.next().await {
        match item {
            Decoded::Frame(frame) => media.push(frame.media.0),
            Decoded::FragmentEnd { .. } => fragments.push(std::mem::take(&mut media)),
            Decoded::IdleQuery(_) => panic!("idle decode is off"),
            Decoded::Discontinuity => media.clear(),
        }
    }
    assert!(media.is_empty(), "frames after the last end");
    fragments
}

#[tokio::test]
async fn in_catch_up_every_sampled_frame_comes_before_its_fragments_end() {
    let clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 2");
    let (input, frames, thread) = start(5.0, Mode::CatchUp);
    let feeding = tokio::spawn(async move {
        for item in items(&clip) {
            input.send(item).await.expect("the thread runs");
        }
    });
    let fragments = take_all(&frames).await;
    feeding.await.expect("all fed");
    assert_eq!(fragments, (0..5).map(picks_of).collect::<Vec<_>>());
    thread.join().expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_open_gops_a_pause_ends_the_last_complete_fragment_and_a_broken_one_is_dropped() {
    for (name, clip) in open_clips() {
        let (input, frames, thread) = start(25.0, Mode::Live);
        let fragments = clip.fragments();
        for fragment in &fragments[..2] {
            for packet in fragment {
                input.send(Demuxed::Packet(packet.clone())).await.expect("the thread runs");
            }
            input.send(Demuxed::FragmentEnd(open_end(fragment))).await.expect("the thread runs");
        }
        // The input stays open and brings nothing: the pause ends the second fragment.
        let mut ended = Vec::new();
        while ended.len() < 2 {
            match frames.next().await.expect("the thread runs") {
                Decoded::FragmentEnd { end, .. } => ended.push(end.fragment),
                Decoded::Frame(frame) => assert!(!ended.contains(&frame.fragment), "{name}"),
                Decoded::IdleQuery(_) | Decoded::Discontinuity => panic!("{name}: none was sent"),
            }
        }
        for packet in &fragments[2][..4] {
            input.send(Demuxed::Packet(packet.clone())).await.expect("the thread runs");
        }
        drop(input);
        let rest = take_all_broken(&frames).await;
        assert!(
            rest < 4,
            "{name}: {rest} frames of 4 packets: what is held back of a broken fragment stays there"
        );
        thread.join().expect("no panic");
    }
}

/// Counts the frames until the thread ends.
async fn take_all_broken(frames: &FrameReceiver) -> usize {
    let mut count = 0;
    while let Some(item) = frames.next().await {
        count += usize::from(matches!(item, Decoded::Frame(_)));
    }
    count
}

/// Returns the picks of a fragment of 400 ms, one per 200 ms.
fn picks_of(fragment: i64) -> Vec<i64> {
    let at = START_MS + fragment * 400;
    vec![at, at + 200]
}

#[tokio::test]
async fn live_and_behind_a_slow_task_gets_the_newest_frame_and_the_last_commit() {
    let mut clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 0");
    let long_ago =
        Instant::now().checked_sub(Duration::from_secs(10)).expect("the host has run for ten seconds");
    for packet in &mut clip.packets {
        // Late for detection alone: its delivery explains that it is decoded only now.
        (packet.arrived, packet.lag.explained) = (long_ago, Duration::from_secs(60));
    }
    let (input, frames, thread) = start(25.0, Mode::Live);
    for item in items(&clip) {
        input.send(item).await.expect("the thread runs");
    }
    drop(input);
    thread.join().expect("no panic");
    assert_eq!(take_all(&frames).await, [vec![], vec![START_MS + 49 * 40]]);
}

#[tokio::test]
async fn live_and_in_time_every_sampled_frame_comes() {
    let clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 2");
    let (input, frames, thread) = start(25.0, Mode::Live);
    let feeding = tokio::spawn(async move {
        for item in items(&clip) {
            input.send(item).await.expect("the thread runs");
        }
    });
    let fragments = take_all(&frames).await;
    feeding.await.expect("all fed");
    assert_eq!(fragments.concat(), (0..50).map(|frame| START_MS + frame * 40).collect::<Vec<_>>());
    thread.join().expect("no panic");
}

#[tokio::test]
async fn a_camera_whose_pictures_are_too_large_says_so_until_they_are_not() {
    let clip = |size: &str| Clip::h264(&format!("size={size}:rate=10:duration=1"), "-bf 0");
    let camera = CameraStatus::alone(&CameraId::new("gate"));
    let (input, packets) = packet_queue(64);
    let (output, frames) = frame_queue(camera.clone(), Arc::new(ModeCell::new(Mode::CatchUp)));
    let sampler = Sampler::new(Some(1.0), SamplerState::default());
    let settings =
        DecodeSettings { sampler, masks: None, max_pixels: 320 * 180, decodes_idly: false, gpu: None };
    let thread = spawn(camera.clone(), settings, packets, output).expect("a thread");
    for item in items(&clip("640x360")) {
        input.send(item).await.expect("the thread runs");
    }
    assert!(matches!(frames.next().await, Some(Decoded::FragmentEnd { .. })), "no frame, and an end");
    let error = camera.row().error.expect("it is blind");
    assert!(error.contains("640x360 px") && error.contains("max_pixels"), "{error}");
    for item in items(&clip("320x180")) {
        input.send(item).await.expect("the thread runs");
    }
    assert!(matches!(frames.next().await, Some(Decoded::Frame(_))), "the next pictures are within the limit");
    assert_eq!(camera.row().error, None);
    drop(input);
    while frames.next().await.is_some() {}
    thread.join().expect("no panic");
}

#[tokio::test]
async fn the_thread_ends_when_its_receiver_is_dropped() {
    let clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 0");
    let (input, frames, thread) = start(25.0, Mode::CatchUp);
    drop(frames);
    let mut refused = false;
    for item in items(&clip) {
        refused |= input.send(item).await.is_err();
    }
    assert!(refused, "the thread took all packets although the receiver is dropped");
    thread.join().expect("no panic");
}
