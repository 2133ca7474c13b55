//! Open GOPs (x265's default), whose fragments refer to the previous one, and keyframes that the container does not flag.

use std::sync::Arc;

use kvs_infer::decode::Decoder;
use kvs_infer::media::{Codec, Decoded, FragmentEnd, MediaMs, Packet};
use kvs_infer::status::CameraStatus;

use super::clip::{Clip, START_MS, planes};
use super::{decode, decoder, end_of, frames_of, watched};

/// Returns clips with GOPs of 10 pictures that begin with a CRA or a recovery point, whose leading pictures refer to the previous GOP.
pub(crate) fn open_clips() -> [(&'static str, Clip); 2] {
    let clip = |codec, encoder: &str| {
        let arguments = format!("-pix_fmt yuv420p -bf 3 -g 10 {encoder}");
        Clip::make("size=320x240:rate=25:duration=2", codec, &arguments, "yuv420p")
    };
    let h265 = "keyint=10:min-keyint=10:open-gop=1:scenecut=0:bframes=3:log-level=none";
    let h265 = clip(Codec::H265, &format!("-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params {h265}"));
    let h264 = "open-gop=1:keyint=10:min-keyint=10:scenecut=0:b-adapt=0";
    [("H.265", h265), ("H.264", clip(Codec::H264, &format!("-c:v libx264 -x264-params {h264}")))]
}

/// Returns the twin's frame of `clip` at a media time.
fn twin_at(clip: &Clip, media: MediaMs) -> &[u8] {
    let mut times: Vec<_> = clip.packets.iter().map(|packet| packet.media).collect();
    times.sort();
    &clip.twin[times.binary_search(&media).expect("a packet's time")]
}

/// Returns the end of a fragment that is read again as a primer on a resume.
pub(crate) fn open_end(fragment: &[Packet]) -> FragmentEnd {
    let mut end = end_of(fragment);
    end.position.primer = Some("the fragment before".into());
    end
}

/// Counts the leading pictures of a fragment, which are shown before its keyframe.
fn leading(fragment: &[Packet]) -> usize {
    fragment.iter().filter(|packet| packet.media < fragment[0].media).count()
}

fn media_of(decoded: &[Decoded]) -> Vec<i64> {
    let media = |item: &Decoded| match item {
        Decoded::Frame(frame) => Some(frame.media.0),
        Decoded::FragmentEnd { .. } | Decoded::IdleQuery(_) | Decoded::Discontinuity => None,
    };
    decoded.iter().filter_map(media).collect()
}

/// Decodes a fragment that may refer to the one before, and that the next may refer to.
fn decode_open(decoder: &mut Decoder, fragment: &[Packet], out: &mut Vec<Decoded>) {
    for packet in fragment {
        decoder.push(packet.clone(), out).expect("a sound packet");
    }
    decoder.end_fragment(open_end(fragment), out).expect("a sound fragment");
}

fn assert_sound(name: &str, clip: &Clip, decoded: Vec<Decoded>) {
    for frame in frames_of(decoded) {
        assert!(planes(&frame.surface) == twin_at(clip, frame.media), "{name}: frame at {:?}", frame.media);
    }
}

#[test]
fn a_fragment_that_continues_the_last_one_decodes_with_its_references() {
    for (name, clip) in open_clips() {
        let (mut decoder, mut out) = (decoder(), Vec::new());
        let fragments = clip.fragments();
        assert!(leading(&fragments[1]) > 0, "{name}: the clip has leading pictures");
        fragments.iter().for_each(|fragment| decode_open(&mut decoder, fragment, &mut out));
        decoder.pause(&mut out).expect("sound frames");
        let mut media: Vec<_> = clip.packets.iter().map(|packet| packet.media.0).collect();
        media.sort_unstable();
        assert_eq!(media_of(&out), media, "{name}: every picture, in order of presentation");
        assert_ends_follow_their_frames(name, &out);
        assert_sound(name, &clip, out);
    }
}

/// Asserts that each end comes after all frames of its fragment and before those of the next.
fn assert_ends_follow_their_frames(name: &str, decoded: &[Decoded]) {
    let mut ended: Vec<Arc<str>> = Vec::new();
    for item in decoded {
        match item {
            Decoded::Frame(frame) => {
                assert!(!ended.contains(&frame.fragment.number), "{name}: a frame after its end");
            }
            Decoded::FragmentEnd { end, .. } => ended.push(Arc::clone(&end.fragment.number)),
            Decoded::IdleQuery(_) | Decoded::Discontinuity => panic!("{name}: none was made"),
        }
    }
    assert_eq!(ended.len(), 5, "{name}");
}

#[test]
fn a_resume_with_a_primer_gives_the_same_frames() {
    for (name, clip) in open_clips() {
        let fragments = clip.fragments();
        for at in 1..fragments.len() {
            let (mut decoder, mut out) = (decoder(), Vec::new());
            for packet in &fragments[at - 1] {
                decoder.prime(packet.clone(), &mut out).expect("a sound packet");
            }
            decode_open(&mut decoder, &fragments[at], &mut out);
            decoder.pause(&mut out).expect("sound frames");
            let mut media: Vec<_> = fragments[at].iter().map(|packet| packet.media.0).collect();
            media.sort_unstable();
            assert_eq!(media_of(&out), media, "{name}, fragment {at}: all of it and none of its primer");
            assert_sound(name, &clip, out);
        }
    }
}

#[test]
fn leading_pictures_without_references_are_counted_and_hold_nothing_back() {
    for (name, clip) in open_clips() {
        let board = CameraStatus::alone(&kvs_infer::media::CameraId::new("gate"));
        let mut decoder = watched(board.clone());
        let mut left_out = 0;
        for fragment in clip.fragments() {
            let mut out = Vec::new();
            for (sent, packet) in (1..).zip(&fragment) {
                decoder.push(packet.clone(), &mut out).expect("a sound packet");
                let behind = sent - out.len() - leading(&fragment[..sent]);
                assert!(behind <= 5, "{name}: {behind} frames are held back after {sent} packets");
            }
            decoder.end_fragment(end_of(&fragment), &mut out).expect("a sound fragment");
            left_out += leading(&fragment) as u64;
            assert_eq!(media_of(&out).len(), fragment.len() - leading(&fragment), "{name}");
            assert_sound(name, &clip, out);
        }
        let frames = board.row().frames;
        assert_eq!(frames.dropped.get("leading"), Some(&left_out), "{name}: {:?}", frames.dropped);
        assert_eq!(frames.decoded + left_out, clip.packets.len() as u64, "{name}: none is uncounted");
    }
}

/// The second fragment is an exception: before it nothing shows that the stream has open GOPs.
#[test]
fn a_pause_emits_the_rest_and_costs_the_next_fragments_nothing() {
    for (name, clip) in open_clips() {
        let (mut decoder, fragments) = (decoder(), clip.fragments());
        let (mut out, mut wanted) = (Vec::new(), 0);
        for (at, fragment) in fragments.iter().enumerate() {
            decode_open(&mut decoder, fragment, &mut out);
            wanted += fragment.len() - if at == 1 { leading(fragment) } else { 0 };
            assert!(decoder.awaits_next_fragment() && media_of(&out).len() < wanted, "{name}");
            decoder.pause(&mut out).expect("sound frames");
            assert_eq!((decoder.awaits_next_fragment(), media_of(&out).len()), (false, wanted), "{name}");
        }
        assert_ends_follow_their_frames(name, &out);
        assert_sound(name, &clip, out);
    }
}

#[test]
fn after_a_pause_other_footage_refers_to_nothing() {
    for (name, clip) in open_clips() {
        let (mut decoder, mut fragments) = (decoder(), clip.fragments());
        let mut out = Vec::new();
        decode_open(&mut decoder, &fragments[0], &mut out);
        decoder.pause(&mut out).expect("sound frames");
        fragments[1].iter_mut().for_each(|packet| packet.media.0 += 10_000);
        decode_open(&mut decoder, &fragments[1], &mut out);
        decoder.pause(&mut out).expect("sound frames");
        let wanted = fragments[0].len() + fragments[1].len() - leading(&fragments[1]);
        assert_eq!(media_of(&out).len(), wanted, "{name}");
    }
}

#[test]
fn a_discontinuity_emits_the_complete_fragment_and_drops_the_broken_one() {
    for (name, clip) in open_clips() {
        let (mut decoder, fragments) = (decoder(), clip.fragments());
        let mut out = Vec::new();
        decode_open(&mut decoder, &fragments[0], &mut out);
        decoder.push(fragments[1][0].clone(), &mut out).expect("a sound packet");
        assert!(!decoder.awaits_next_fragment(), "{name}: it has begun, and a pause would break it off");
        decoder.handle_discontinuity(&mut out).expect("sound frames");
        assert_eq!(media_of(&out).len(), fragments[0].len(), "{name}");
        assert!(matches!(out.last(), Some(Decoded::FragmentEnd { .. })), "{name}");
    }
}

/// Ten seconds are missing after an open fragment: the leading pictures refer to pictures that were not read.
#[test]
fn a_jump_in_time_is_not_a_continuation() {
    for (name, clip) in open_clips() {
        let (mut decoder, mut fragments) = (decoder(), clip.fragments());
        let mut out = Vec::new();
        decode_open(&mut decoder, &fragments[0], &mut out);
        fragments[4].iter_mut().for_each(|packet| packet.media.0 += 10_000);
        decode_open(&mut decoder, &fragments[4], &mut out);
        decoder.pause(&mut out).expect("sound frames");
        let wanted = fragments[0].len() + fragments[4].len() - leading(&fragments[4]);
        assert_eq!(media_of(&out).len(), wanted, "{name}");
    }
}

#[test]
fn keyframes_are_identified_by_their_nal_units() {
    let closed = [
        ("H.264", Clip::h264("size=320x240:rate=25:duration=1.2", "-bf 2")),
        ("H.265", Clip::h265("size=320x240:rate=25:duration=1.2", 2)),
    ];
    for (name, clip) in closed {
        let (mut decoder, mut media) = (decoder(), Vec::new());
        for mut fragment in clip.fragments() {
            fragment.iter_mut().for_each(|packet| packet.key = false);
            let (frames, errors) = decode(&mut decoder, fragment);
            assert!(errors.is_empty(), "{name}: {errors:?}");
            media.extend(frames.iter().map(|frame| frame.media));
        }
        assert_eq!(media.len(), clip.twin.len(), "{name}");
    }
    for (name, clip) in open_clips() {
        let mut fragment = clip.fragments().swap_remove(1);
        fragment.iter_mut().for_each(|packet| packet.key = false);
        let wanted = fragment.len() - leading(&fragment);
        assert_eq!(decode(&mut decoder(), fragment).0.len(), wanted, "{name}, open GOP");
    }
}

#[test]
fn after_a_start_within_an_intra_refresh_packets_without_frames_delay_none() {
    let x264 = "intra-refresh=1:keyint=15:scenecut=0:bframes=3:b-adapt=0";
    let arguments = format!("-pix_fmt yuv420p -c:v libx264 -x264-params {x264}");
    let clip = Clip::make("size=320x240:rate=25:duration=6", Codec::H264, &arguments, "yuv420p");
    // Decoding times, as some producers send them.
    let with_times = |(at, packet): (usize, &Packet)| Packet {
        media: MediaMs(START_MS + at as i64 * 40),
        ..packet.clone()
    };
    let packets: Vec<Packet> = clip.packets.iter().enumerate().map(with_times).collect();
    let fragments: Vec<&[Packet]> = packets.chunk_by(|_, packet| !packet.key).skip(1).collect();
    let (mut decoder, mut out, mut sent) = (decoder(), Vec::new(), 0);
    let mut waiting = Vec::new();
    for fragment in fragments {
        for packet in fragment {
            decoder.push(packet.clone(), &mut out).expect("a sound packet");
            sent += 1;
            waiting.push(sent - media_of(&out).len());
        }
        decoder.end_fragment(open_end(fragment), &mut out).expect("a sound fragment");
    }
    let without_picture = *waiting.iter().skip(60).min().expect("packets");
    assert!((1..50).contains(&without_picture), "the clip begins with some that give none: {waiting:?}");
    assert!(waiting[60..].iter().all(|waiting| *waiting <= without_picture + 4), "{waiting:?}");
}
