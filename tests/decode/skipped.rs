//! Access units that nothing needs are not decoded, and the sampled frames are the same.

use kvs_infer::decode::{Decoder, Sampler};
use kvs_infer::media::{CameraId, Codec, Decoded, SamplerState};
use kvs_infer::status::CameraStatus;

use super::clip::{Clip, planes};
use super::open_gop::open_clips;
use super::{decode, end_of, frames_of, sampling, watched};

/// Returns clips of 2 s whose pictures refer to one another in different ways.
fn clips() -> [(&'static str, Clip); 5] {
    let h265 = |arguments: &str| {
        let encoder = format!(
            "-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=none:keyint=10:{arguments}"
        );
        Clip::make(
            "size=320x240:rate=25:duration=2",
            Codec::H265,
            &format!("-pix_fmt yuv420p {encoder}"),
            "yuv420p",
        )
    };
    let h264 = |arguments: &str| Clip::h264("size=320x240:rate=25:duration=2", arguments);
    [
        ("H.264 without B-frames", h264("-bf 0")),
        ("H.264 with B-frames", h264("-bf 2 -b_strategy 0")),
        (
            "H.264 with B-frames that others refer to",
            h264("-bf 5 -b_strategy 0 -x264-params b-pyramid=normal"),
        ),
        ("H.265 with B-frames", h265("open-gop=0:bframes=3:b-adapt=0")),
        ("H.265 with temporal layers", h265("open-gop=0:bframes=4:b-adapt=0:temporal-layers=3")),
    ]
}

/// The twin: decodes all frames, and samples them afterwards. Returns the time and the picture of each sampled frame.
fn sampled_after_decoding(clip: &Clip, fps: f64) -> Vec<(i64, Vec<u8>)> {
    let mut decoder = sampling(None);
    let mut sampler = Sampler::new(Some(fps), SamplerState::default());
    let mut sampled = Vec::new();
    for fragment in clip.fragments() {
        let (frames, _) = decode(&mut decoder, fragment);
        let picked = frames.iter().filter(|frame| sampler.picks(frame.media));
        sampled.extend(picked.map(|frame| (frame.media.0, planes(&frame.surface).to_vec())));
    }
    sampled
}

#[test]
fn the_same_frames_are_sampled_as_if_every_one_were_decoded() {
    for (name, clip) in clips() {
        // Above the rate of keyframes, which is 2.5 per second: below it, keyframes alone serve.
        for fps in [2.9, 3.3, 5.0, 8.0, 25.0] {
            let camera = CameraStatus::alone(&CameraId::new("gate"));
            let mut decoder = Decoder::new(camera.clone(), Sampler::new(Some(fps), SamplerState::default()));
            let mut sampled = Vec::new();
            for fragment in clip.fragments() {
                let (frames, errors) = decode(&mut decoder, fragment);
                assert!(errors.is_empty(), "{name}: {errors:?}");
                sampled.extend(frames.iter().map(|frame| (frame.media.0, planes(&frame.surface).to_vec())));
            }
            assert!(sampled == sampled_after_decoding(&clip, fps), "{name}, {fps} frames/s");
            let (decoded, all) = (camera.row().frames.decoded, clip.packets.len() as u64);
            let has_disposable = name != "H.264 without B-frames" && fps < 25.0;
            assert_eq!(decoded < all, has_disposable, "{name}, {fps} frames/s: {decoded} of {all} decoded");
        }
    }
}

#[test]
fn keyframes_alone_are_decoded_where_the_period_is_no_shorter_than_a_gop() {
    for (name, clip) in clips() {
        let camera = CameraStatus::alone(&CameraId::new("gate"));
        let mut decoder = Decoder::new(camera.clone(), Sampler::new(Some(2.5), SamplerState::default()));
        let (mut media, mut keyframes) = (Vec::new(), Vec::new());
        for fragment in clip.fragments() {
            keyframes.push(fragment[0].media.0);
            let (frames, errors) = decode(&mut decoder, fragment);
            assert!(errors.is_empty(), "{name}: {errors:?}");
            media.extend(frames.iter().map(|frame| frame.media.0));
        }
        assert_eq!(media, keyframes, "{name}: each GOP of 400 ms has one tick");
        // The first GOP is decoded as a whole, since its length is not known yet.
        let decoded = camera.row().frames.decoded;
        assert!((5..=14).contains(&decoded), "{name}: {decoded} frames decoded");
    }
}

#[test]
fn leading_pictures_that_are_not_due_are_no_loss() {
    for (name, clip) in open_clips() {
        let camera = CameraStatus::alone(&CameraId::new("gate"));
        let mut decoder = Decoder::new(camera.clone(), Sampler::new(Some(2.5), SamplerState::default()));
        for fragment in clip.fragments() {
            let (_, errors) = decode(&mut decoder, fragment);
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
        assert!(camera.row().frames.dropped.is_empty(), "{name}: {:?}", camera.row().frames.dropped);
    }
}

#[test]
fn a_stream_that_sends_decoding_times_is_decoded_as_a_whole() {
    let mut clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 2 -b_strategy 0");
    for fragment in clip.packets.chunk_by_mut(|a, b| a.fragment.number == b.fragment.number) {
        let mut times: Vec<_> = fragment.iter().map(|packet| packet.media).collect();
        times.sort();
        fragment.iter_mut().zip(times).for_each(|(packet, media)| packet.media = media);
    }
    let camera = CameraStatus::alone(&CameraId::new("gate"));
    let mut decoder = watched(camera.clone());
    let mut slow = Decoder::new(camera, Sampler::new(Some(5.0), SamplerState::default()));
    let mut sampler = Sampler::new(Some(5.0), SamplerState::default());
    for fragment in clip.fragments() {
        let (all, _) = decode(&mut decoder, fragment.clone());
        let twin: Vec<_> =
            all.iter().map(|frame| frame.media).filter(|media| sampler.picks(*media)).collect();
        let mut out: Vec<Decoded> = Vec::new();
        let end = end_of(&fragment);
        fragment.into_iter().for_each(|packet| slow.push(packet, &mut out).expect("a sound packet"));
        slow.end_fragment(end, &mut out).expect("a sound fragment");
        let media: Vec<_> = frames_of(out).iter().map(|frame| frame.media).collect();
        assert_eq!(media, twin);
    }
}
