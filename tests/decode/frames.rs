//! Sound streams: every frame equals the twin's and comes before its fragment's end.

use std::sync::Arc;

use kvs_infer::decode::{DecodeError, Decoder};
use kvs_infer::media::{Codec, Color, Frame, Matrix, Packet};

use super::clip::{Clip, planes};
use super::{decode, decoder, end_of, frames_of};

/// Decodes the fragments and compares each frame with the twin's, in order of media time.
fn assert_equals_twin(clip: &Clip) {
    let mut decoder = decoder();
    let mut at = 0;
    for fragment in clip.fragments() {
        let mut origins: Vec<_> = fragment.iter().map(|packet| (packet.media, packet.index)).collect();
        origins.sort();
        let number = Arc::clone(&fragment[0].fragment.number);
        let (frames, errors) = decode(&mut decoder, fragment);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(frames.iter().map(|frame| (frame.media, frame.index)).collect::<Vec<_>>(), origins);
        for frame in frames {
            assert_eq!(frame.fragment.number, number);
            assert!(planes(&frame.surface) == clip.twin[at], "frame {at}");
            at += 1;
        }
    }
    assert_eq!(at, clip.twin.len());
}

#[test]
fn h264_without_b_frames_equals_the_twin() {
    assert_equals_twin(&Clip::h264("size=322x242:rate=25:duration=2", "-bf 0"));
}

#[test]
fn h264_with_b_frames_equals_the_twin_and_is_out_by_the_fragments_end() {
    assert_equals_twin(&Clip::h264("size=322x242:rate=25:duration=2", "-bf 2"));
}

#[test]
fn h265_equals_the_twin() {
    assert_equals_twin(&Clip::h265("size=322x242:rate=25:duration=2", 0));
    assert_equals_twin(&Clip::h265("size=322x242:rate=25:duration=2", 2));
}

#[test]
fn a_fragment_does_not_depend_on_where_reading_started() {
    let clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 2");
    let mut throughout = decoder();
    for fragment in clip.fragments() {
        let (whole, _) = decode(&mut throughout, fragment.clone());
        let (alone, errors) = decode(&mut decoder(), fragment);
        assert!(errors.is_empty(), "{errors:?}");
        let of = |frames: &[Arc<Frame>]| {
            frames.iter().map(|frame| (frame.media, frame.index, planes(&frame.surface))).collect::<Vec<_>>()
        };
        assert!(of(&whole) == of(&alone) && !alone.is_empty());
    }
}

#[test]
fn without_b_frames_each_packet_gives_its_frame_at_once() {
    for clip in [
        Clip::h264("size=320x240:rate=25:duration=1", "-bf 0"),
        Clip::h265("size=320x240:rate=25:duration=1", 0),
    ] {
        let mut decoder = decoder();
        for packet in clip.packets {
            let (media, mut decoded) = (packet.media, Vec::new());
            decoder.push(packet, &mut decoded).expect("a sound packet");
            assert_eq!(frames_of(decoded).iter().map(|frame| frame.media).collect::<Vec<_>>(), [media]);
        }
    }
}

#[test]
fn other_pixel_formats_are_converted() {
    for (format, twin_format) in [
        ("yuv422p", "yuv420p"),
        ("yuv444p", "yuv420p"),
        ("yuv420p10le", "yuv420p"),
        ("yuvj420p", "yuvj420p"),
        ("yuvj422p", "yuvj420p"),
        ("gray", "yuvj420p"),
    ] {
        let arguments = format!("-pix_fmt {format} -c:v libx264 -g 10 -bf 0");
        let clip = Clip::make("size=322x242:rate=10:duration=1", Codec::H264, &arguments, twin_format);
        let (frames, errors) = decode(&mut decoder(), clip.packets.clone());
        assert!(errors.is_empty() && frames.len() == clip.twin.len(), "{format} {errors:?}");
        for (frame, twin) in frames.iter().zip(&clip.twin) {
            let furthest = planes(&frame.surface).iter().zip(twin).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(furthest.is_some_and(|furthest| furthest <= 1), "{format}: {furthest:?}");
            assert_eq!(color(frame).full_range, twin_format == "yuvj420p", "{format}");
        }
    }
}

fn color(frame: &Frame) -> Color {
    frame.surface.view().expect("a picture that can be read").color
}

#[test]
fn the_matrix_is_the_streams_or_depends_on_its_height() {
    let cases = [
        ("320x240", "", Matrix::Bt601),
        ("1280x720", "", Matrix::Bt709),
        ("320x240", "-colorspace bt709 -bsf:v h264_metadata=matrix_coefficients=1", Matrix::Bt709),
        ("1280x720", "-bsf:v h264_metadata=matrix_coefficients=6", Matrix::Bt601),
    ];
    for (size, extra, matrix) in cases {
        let clip = Clip::h264(&format!("size={size}:rate=10:duration=0.1"), extra);
        let (frames, _) = decode(&mut decoder(), clip.packets);
        assert_eq!(color(&frames[0]), Color { matrix, full_range: false }, "{size} {extra}");
    }
}

#[test]
fn codec_and_size_may_change_in_mid_stream() {
    let clips = [
        Clip::h264("size=320x240:rate=10:duration=0.5", "-bf 2"),
        Clip::h264("size=640x362:rate=10:duration=0.5", "-bf 2"),
        Clip::h265("size=320x240:rate=10:duration=0.5", 2),
    ];
    let mut decoder = decoder();
    let mut decoded = Vec::new();
    for packet in clips.iter().flat_map(|clip| clip.packets.clone()) {
        decoder.push(packet, &mut decoded).expect("a sound packet");
    }
    decoder.end_fragment(end_of(&clips[2].packets), &mut decoded).expect("a sound fragment");
    let frames = frames_of(decoded);
    let twins: Vec<_> = clips.iter().flat_map(|clip| &clip.twin).collect();
    assert_eq!(frames.len(), twins.len());
    assert!(frames.iter().zip(twins).all(|(frame, twin)| planes(&frame.surface) == *twin));
}

/// Some producers send decoding times: B-frames come out before the P-frame that was decoded, and timed, earlier.
#[test]
fn decoding_times_are_raised_from_frame_to_frame_and_cost_no_frame() {
    let mut clip = Clip::h264("size=320x240:rate=25:duration=0.8", "-bf 2");
    for (at, packet) in (0..).zip(&mut clip.packets) {
        packet.media.0 = super::clip::START_MS + at * 40;
    }
    let mut decoder = decoder();
    let mut media = Vec::new();
    for fragment in clip.packets.chunk_by(|_, packet| !packet.key) {
        let (frames, errors) = decode(&mut decoder, fragment.to_vec());
        assert!(errors.is_empty(), "{errors:?}");
        assert!(frames.is_sorted_by(|a, b| a.media < b.media), "times rise");
        media.extend(frames.iter().map(|frame| frame.media.0));
    }
    assert_eq!(media.len(), clip.twin.len());
    let furthest =
        media.iter().zip(0..).map(|(media, at)| (media - super::clip::START_MS - at * 40).abs()).max();
    assert!(furthest <= Some(120), "within the depth of reordering: {furthest:?} ms");
}

/// Returns `clip` with the parameter sets of `of` in front of each keyframe, and the codec private data of `under`.
fn in_band(clip: &Clip, of: &Clip, under: &Clip) -> Vec<Packet> {
    let (track, private) = (&under.packets[0].track, &of.packets[0].track.codec_private);
    let sets = h26x::DecoderConfig::read(Codec::H264, private).expect("an avcC").parameter_sets;
    let mut packets = clip.fragments().remove(0);
    for packet in &mut packets {
        packet.track = Arc::clone(track);
        if packet.key {
            let mut unit = Vec::new();
            sets.iter().for_each(|set| h26x::push_length_prefixed(&mut unit, set));
            unit.extend_from_slice(&packet.unit);
            packet.unit = unit.into();
        }
    }
    packets
}

#[test]
fn pictures_beyond_the_cameras_limit_are_refused_until_they_fit() {
    let source = |size: &str| format!("size={size}:rate=10:duration=1");
    let (small, large) = (Clip::h264(&source("320x180"), "-bf 0"), Clip::h264(&source("640x360"), "-bf 0"));
    for (name, clip) in [("H.264", large), ("H.265", Clip::h265(&source("640x360"), 0))] {
        let mut limited = decoder().with_max_pixels(320 * 180);
        for fragment in clip.fragments() {
            let (frames, errors) = decode(&mut limited, fragment);
            assert!(frames.is_empty(), "{name}");
            let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(
                said.len() == 1 && said[0].contains("640x360 px are larger than its `max_pixels` (57600)"),
                "{said:?}"
            );
        }
        let (frames, errors) = decode(&mut limited, small.fragments().remove(0));
        assert_eq!((frames.len(), errors.len()), (10, 0), "{name}: smaller ones come");
        let mut roomy = decoder().with_max_pixels(640 * 360);
        assert_eq!(decode(&mut roomy, clip.fragments().remove(0)).0.len(), 10, "{name}: up to the limit");
    }
}

#[test]
fn parameter_sets_in_the_stream_count_for_the_limit() {
    let source = |size: &str| format!("size={size}:rate=10:duration=1");
    let (small, large) = (Clip::h264(&source("320x180"), "-bf 0"), Clip::h264(&source("640x360"), "-bf 0"));
    let mut limited = decoder().with_max_pixels(320 * 180);
    let small_first = |limited: &mut Decoder| decode(limited, small.fragments().remove(0)).0.len();
    assert_eq!(small_first(&mut limited), 10);
    let grown = in_band(&large, &large, &small);
    let (frames, errors) = decode(&mut limited, grown);
    assert!(frames.is_empty() && matches!(errors[..], [DecodeError::TooLarge { .. }]), "{errors:?}");
    let (frames, errors) = decode(&mut limited, in_band(&large, &large, &small));
    assert!(frames.is_empty() && errors.is_empty(), "reported once: {errors:?}");
    assert_eq!(small_first(&mut limited), 10, "and open again");
    let mut roomy = decoder().with_max_pixels(640 * 360);
    assert_eq!(small_first(&mut roomy), 10);
    assert_eq!(
        decode(&mut roomy, in_band(&large, &large, &small)).0.len(),
        10,
        "within the limit they are decoded"
    );
}
