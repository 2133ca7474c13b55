//! Sound streams: every frame is the driver's picture of its access unit, in order of presentation.

use std::sync::Arc;

use kvs_infer::decode::Decoder;
use kvs_infer::media::{Codec, Frame, Packet, VideoTrack};
use test_support::setup::cached;

use super::{assert_pictures, decoder_on, driver_in_child, gpu, numbers_of, picture_of};
use crate::decode::clip::{Clip, packets, planes};
use crate::decode::{decode, decoder, end_of, frames_of};

const HD: &str = "size=1920x1080:rate=25:duration=0.4";

fn x265(extra: &str) -> String {
    let options = "log-level=none:keyint=10:min-keyint=10:scenecut=0:open-gop=0";
    format!("-c:v libx265 -preset ultrafast -pix_fmt yuv420p -tag:v hvc1 -x265-params {options}:{extra}")
}

/// Decodes packets fragment by fragment; returns the frames and asserts that each packet gave one, in order.
fn decode_all(name: &str, decoder: &mut Decoder, packets: &[Packet]) -> Vec<Arc<Frame>> {
    let mut frames = Vec::new();
    for fragment in packets.chunk_by(|_, packet| !packet.key) {
        let mut origins: Vec<_> = fragment.iter().map(|packet| (packet.media, packet.index)).collect();
        origins.sort();
        let (decoded, errors) = decode(decoder, fragment.to_vec());
        assert!(errors.is_empty(), "{name}: {errors:?}");
        let come: Vec<_> = decoded.iter().map(|frame| (frame.media, frame.index)).collect();
        assert_eq!(come, origins, "{name}");
        frames.extend(decoded);
    }
    frames
}

#[test]
fn every_frame_of_every_clip_comes_from_nvdec_in_order() {
    let Some(driver) =
        driver_in_child("gpu::decoding::every_frame_of_every_clip_comes_from_nvdec_in_order", "")
    else {
        return;
    };
    let (gpu, _) = gpu();
    let made = "size=322x242:rate=25:duration=12";
    let clips = [
        ("street", packets(&cached("clips/street.mp4"), Codec::H264)),
        ("gate", packets(&cached("clips/gate.mp4"), Codec::H264)),
        ("yard", packets(&cached("clips/yard.mp4"), Codec::H264)),
        ("H.264 with B-frames", Clip::h264(made, "-bf 3 -b_strategy 0 -refs 4").packets),
        ("H.265", Clip::make(made, Codec::H265, &x265("bframes=0"), "yuv420p").packets),
        (
            "H.265 with B-frames",
            Clip::make(made, Codec::H265, &x265("bframes=4:b-adapt=0"), "yuv420p").packets,
        ),
        ("1080p, whose coded picture is higher", Clip::h264(HD, "-bf 2").packets),
    ];
    let mut opened = Vec::new();
    for (name, packets) in &clips {
        let (before, (mut decoder, camera)) = (driver.log("create").len(), decoder_on(&gpu));
        let frames = decode_all(name, &mut decoder, packets);
        assert_eq!(frames.len(), packets.len(), "{name}");
        assert_pictures(name, &frames, packets);
        let row = camera.row();
        assert_eq!((row.decoder, row.decoder_note), (Some("nvdec"), None), "{name}");
        opened.push(driver.log("create").len() - before);
    }
    // At the end of a fragment with B-frames the decoder is drained and flushed, behind which FFmpeg opens NVDEC's decoder of H.264 again.
    assert_eq!(opened, [10, 1, 1, 30, 1, 1, 1]);
    assert_eq!(clips.map(|(_, packets)| packets.len()), [250, 300, 300, 300, 300, 300, 10]);
    // FFmpeg maps a surface for each frame that it returns. Frames that wait for others hold none.
    for destroyed in driver.log("destroy") {
        let mapped = destroyed.split_once("mapped ").unwrap().1;
        assert!(mapped.starts_with("1 of ") || mapped.starts_with("2 of "), "{destroyed}");
    }
    assert_eq!(driver.log("create").len(), driver.log("destroy").len(), "each decoder was closed");
}

#[test]
fn the_size_may_change_in_mid_stream_with_a_new_track_or_without() {
    let test = "gpu::decoding::the_size_may_change_in_mid_stream_with_a_new_track_or_without";
    let Some(driver) = driver_in_child(test, "") else { return };
    let (gpu, _) = gpu();
    let in_band = "-bf 2 -x264-params repeat-headers=1";
    let [small, large] =
        ["320x240", "640x362"].map(|size| Clip::h264(&format!("size={size}:rate=10:duration=1"), in_band));
    let other = Clip::h265("size=320x240:rate=10:duration=1", 2);
    // The second clip under the track of the first: only its parameter sets in the stream state the new size.
    let track: &Arc<VideoTrack> = &small.packets[0].track;
    let hidden: Vec<_> =
        large.packets.iter().map(|packet| Packet { track: Arc::clone(track), ..packet.clone() }).collect();
    for (name, parts, decoders) in [
        ("new tracks", [&small.packets, &large.packets, &other.packets], 3),
        ("one track", [&small.packets, &hidden, &small.packets], 3),
    ] {
        let before = driver.log("create").len();
        let (mut decoder, _) = decoder_on(&gpu);
        for packets in parts {
            let (frames, errors) = decode(&mut decoder, packets.clone());
            assert!(errors.is_empty() && frames.len() == packets.len(), "{name}: {errors:?}");
            assert_pictures(name, &frames, packets);
        }
        assert_eq!(driver.log("create").len() - before, decoders, "{name}");
    }
}

#[test]
fn frames_come_at_once_without_b_frames_and_the_last_ones_at_the_end() {
    let test = "gpu::decoding::frames_come_at_once_without_b_frames_and_the_last_ones_at_the_end";
    let Some(_driver) = driver_in_child(test, "") else { return };
    let (gpu, _) = gpu();
    let (mut decoder, _) = decoder_on(&gpu);
    for packet in Clip::h264("size=320x240:rate=25:duration=1", "-bf 0").packets {
        let (media, mut decoded) = (packet.media, Vec::new());
        decoder.push(packet, &mut decoded).expect("a sound packet");
        assert_eq!(frames_of(decoded).iter().map(|frame| frame.media).collect::<Vec<_>>(), [media]);
    }
    let clip = Clip::h264("size=320x240:rate=25:duration=0.4", "-bf 3 -b_strategy 0");
    let (mut decoder, mut decoded) = (decoder_on(&gpu).0, Vec::new());
    for packet in clip.packets.clone() {
        decoder.push(packet, &mut decoded).expect("a sound packet");
    }
    let pushed = frames_of(std::mem::take(&mut decoded));
    decoder.end_fragment(end_of(&clip.packets), &mut decoded).expect("a sound fragment");
    let drained = frames_of(decoded);
    assert!(!drained.is_empty() && pushed.len() + drained.len() == 10);
    assert_pictures("drained", &[pushed, drained].concat(), &clip.packets);
}

#[test]
fn ten_bits_are_reduced_as_those_of_the_software_decoder_are() {
    let test = "gpu::decoding::ten_bits_are_reduced_as_those_of_the_software_decoder_are";
    let Some(_driver) = driver_in_child(test, "") else { return };
    let (gpu, _) = gpu();
    let arguments = x265("bframes=2").replace("yuv420p", "yuv420p10le");
    let clip = Clip::make("size=320x240:rate=10:duration=1", Codec::H265, &arguments, "yuv420p");
    let (mut decoder, camera) = decoder_on(&gpu);
    let numbers = numbers_of(&clip.packets);
    for frame in decode_all("10 bits", &mut decoder, &clip.packets) {
        let at = clip.packets.iter().position(|packet| packet.media == frame.media).expect("its packet");
        let (picture, size_px) = (planes(&frame.surface), frame.surface.size_px());
        let made = picture_of(numbers[at], size_px, (0, 0));
        let furthest = picture.iter().zip(&made).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(furthest.is_some_and(|furthest| furthest <= 1), "{furthest:?}");
    }
    assert_eq!(camera.row().decoder, Some("nvdec"));
}

#[test]
fn a_picture_that_is_cropped_at_the_left_and_at_the_top_is_that_of_the_software_decoder() {
    let test =
        "gpu::decoding::a_picture_that_is_cropped_at_the_left_and_at_the_top_is_that_of_the_software_decoder";
    let Some(_driver) = driver_in_child(test, "") else { return };
    let (gpu, _) = gpu();
    let crop = "-bf 0 -bsf:v h264_metadata=crop_left=18:crop_top=6:crop_right=4:crop_bottom=2";
    let clip = Clip::h264("size=352x288:rate=10:duration=0.5", crop);
    let (on_cpu, _) = decode(&mut decoder(), clip.packets.clone());
    let frames = decode_all("cropped", &mut decoder_on(&gpu).0, &clip.packets);
    for ((frame, number), on_cpu) in frames.iter().zip(numbers_of(&clip.packets)).zip(on_cpu) {
        assert_eq!((frame.surface.size_px(), on_cpu.surface.size_px()), ((330, 280), (330, 280)));
        assert!(planes(&frame.surface) == picture_of(number, (330, 280), (18, 6)));
    }
}

#[test]
fn full_range_stays_so() {
    let Some(_driver) = driver_in_child("gpu::decoding::full_range_stays_so", "") else { return };
    let (gpu, _) = gpu();
    for (format, full_range) in [("yuv420p", false), ("yuvj420p", true)] {
        let arguments = format!("-pix_fmt {format} -c:v libx264 -g 10 -bf 0");
        let clip = Clip::make("size=320x240:rate=10:duration=0.5", Codec::H264, &arguments, "yuv420p");
        let frames = decode_all(format, &mut decoder_on(&gpu).0, &clip.packets);
        assert_eq!(frames[0].surface.view().unwrap().color.full_range, full_range, "{format}");
    }
}
