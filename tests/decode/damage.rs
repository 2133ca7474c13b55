//! Damaged and broken-off streams: no unsound frame comes out, and the next sound GOP decodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kvs_infer::media::{CameraId, Frame, Packet, VideoTrack};
use kvs_infer::status::CameraStatus;
use proptest::prelude::*;

use super::clip::{Clip, planes};
use super::{decode, decoder, frames_of, sampling, watched};

/// Returns the frames of `clip` that come out when packet `at` is replaced by `unit`, as places in the twin, and the
/// number of errors.
fn survivors(clip: &Clip, at: usize, unit: &[u8]) -> (Vec<usize>, usize) {
    let mut media: Vec<_> = clip.packets.iter().map(|packet| packet.media).collect();
    media.sort();
    let mut packets = clip.packets.clone();
    packets[at].unit = Bytes::copy_from_slice(unit);
    let (mut decoder, mut errors, mut places) = (decoder(), 0, Vec::new());
    for fragment in packets.chunk_by(|_, packet| !packet.key) {
        let (frames, reported) = decode(&mut decoder, fragment.to_vec());
        errors += reported.len();
        for frame in frames {
            let place = media.iter().position(|media| *media == frame.media).expect("its time");
            assert!(planes(&frame.surface) == clip.twin[place], "frame {place} is not sound");
            places.push(place);
        }
    }
    (places, errors)
}

/// Returns `unit` with its last slice truncated, and the lengths right.
fn shortened(unit: &[u8]) -> Vec<u8> {
    let (mut start, mut size) = (0, 0);
    while start + size < unit.len() {
        start += size;
        size = 4 + u32::from_be_bytes(unit[start..start + 4].try_into().expect("4 bytes")) as usize;
    }
    let slice = &unit[start + 4..];
    let kept = &slice[..slice.len() / 3 + 2];
    [&unit[..start], &(kept.len() as u32).to_be_bytes(), kept].concat()
}

#[test]
fn a_damaged_unit_costs_the_frames_to_the_next_keyframe_and_no_other() {
    let clips = [
        ("H.264", Clip::h264("size=320x240:rate=25:duration=1.2", "-bf 0")),
        ("H.265", Clip::h265("size=320x240:rate=25:duration=1.2", 0)),
    ];
    for (name, clip) in clips {
        let unit = &clip.packets[14].unit;
        let damages: [(&str, &[u8]); 5] = [
            ("short slice", &shortened(unit)),
            ("empty", &[]),
            ("cut", &unit[..unit.len() / 2]),
            ("length", &[0xff; 64]),
            ("malformed", &[0, 0, 0, 3, 1, 2]),
        ];
        for (damage, bytes) in damages {
            let (places, errors) = survivors(&clip, 14, bytes);
            assert_eq!(places, (0..14).chain(20..30).collect::<Vec<_>>(), "{name}, {damage}");
            assert_eq!(errors, 1, "{name}, {damage}");
        }
    }
}

#[test]
fn frames_that_depend_on_a_damaged_unit_are_counted_as_damaged() {
    let clip = Clip::h264("size=320x240:rate=25:duration=1.2", "-bf 0");
    let board = CameraStatus::alone(&CameraId::new("gate"));
    let mut decoder = watched(board.clone());
    let mut packets = clip.packets;
    packets[10].unit = Bytes::from_static(&[0xff; 64]);
    for fragment in packets.chunk_by(|_, packet| !packet.key) {
        decode(&mut decoder, fragment.to_vec());
    }
    assert_eq!(board.row().frames.dropped, BTreeMap::from([("damaged", 10)]));
}

#[test]
fn a_damaged_unit_among_b_frames_costs_no_other_fragment() {
    let clips = [
        ("H.264", Clip::h264("size=320x240:rate=25:duration=1.2", "-bf 2")),
        ("H.265", Clip::h265("size=320x240:rate=25:duration=1.2", 2)),
    ];
    for (name, clip) in clips {
        for at in 10..20 {
            let unit = &clip.packets[at].unit;
            for (damage, bytes) in [("length", &[0xff; 64][..]), ("short slice", &shortened(unit))] {
                let (places, errors) = survivors(&clip, at, bytes);
                let elsewhere: Vec<_> =
                    places.iter().copied().filter(|place| !(10..20).contains(place)).collect();
                assert_eq!(elsewhere, (0..10).chain(20..30).collect::<Vec<_>>(), "{name}, {damage} at {at}");
                assert!(
                    places.len() < 30 && errors == 1,
                    "{name}, {damage} at {at}: {places:?}, {errors} errors"
                );
            }
        }
    }
}

#[test]
fn damage_at_the_end_of_a_track_costs_the_next_track_nothing() {
    let mut old = Clip::h264("size=320x240:rate=25:duration=0.4", "-bf 2").packets;
    let new = Clip::h264("size=640x360:rate=25:duration=0.4", "-bf 0");
    let last_p = old.iter().rposition(|packet| packet.unit.len() > 1000).expect("a large unit");
    old.truncate(last_p + 1);
    old[last_p].unit = shortened(&old[last_p].unit).into();
    let mut decoder = decoder();
    let (mut decoded, mut errors) = (Vec::new(), Vec::new());
    for packet in old.into_iter().chain(new.packets) {
        errors.extend(decoder.push(packet, &mut decoded).err());
    }
    assert_eq!(errors.len(), 1, "{errors:?}");
    let frames = frames_of(decoded);
    let sound: Vec<_> = frames.iter().filter(|frame| frame.surface.size_px() == (640, 360)).collect();
    assert_eq!(sound.len(), new.twin.len());
    assert!(sound.iter().zip(&new.twin).all(|(frame, twin)| planes(&frame.surface) == *twin));
}

#[test]
fn a_truncated_codec_private_is_reported_once_and_the_next_track_decodes() {
    for (clip, wanted) in [
        (Clip::h264("size=320x240:rate=25:duration=0.4", "-bf 0"), "a whole avcC"),
        (Clip::h265("size=320x240:rate=25:duration=0.4", 0), "a whole hvcC"),
    ] {
        let whole = &clip.packets[0].track;
        let bad = Arc::new(VideoTrack {
            codec_private: whole.codec_private.slice(..20),
            ..VideoTrack::clone(whole)
        });
        let on_bad = |packet: &Packet| Packet { track: Arc::clone(&bad), ..packet.clone() };
        let mut decoder = decoder();
        let (frames, errors) = decode(&mut decoder, clip.packets.iter().map(on_bad).collect());
        let [error] = &errors[..] else { panic!("{errors:?}") };
        let error = error.to_string();
        let says = ["camera gate", "it ends too early", "20 bytes", wanted];
        assert!(says.iter().all(|words| error.contains(words)), "{error}");
        assert!(frames.is_empty());
        let (frames, errors) = decode(&mut decoder, clip.packets.clone());
        assert!(errors.is_empty() && frames.len() == clip.twin.len());
    }
}

#[test]
fn a_picture_beyond_level_6_2_is_refused() {
    let clip = Clip::h264("size=8208x4400:rate=25:duration=0.04", "-preset ultrafast");
    let (frames, errors) = decode(&mut decoder(), clip.packets);
    let [error] = &errors[..] else { panic!("{errors:?}") };
    let error = error.to_string();
    let says =
        ["camera gate", "8208x4400 px", "`max_pixels` (35651584)"].iter().all(|words| error.contains(words));
    assert!(frames.is_empty() && says, "{error}");
}

#[test]
fn after_a_discontinuity_the_fragment_is_read_again_with_the_same_picks() {
    let clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 2");
    let fragments = clip.fragments();
    let media = |frames: Vec<Arc<Frame>>| frames.iter().map(|frame| frame.media.0).collect::<Vec<_>>();
    let mut steady = sampling(Some(7.0));
    let wanted: Vec<_> =
        fragments.iter().map(|fragment| media(decode(&mut steady, fragment.clone()).0)).collect();

    let mut broken = sampling(Some(7.0));
    for (fragment, wanted) in fragments.into_iter().zip(wanted) {
        let mut lost = Vec::new();
        for packet in fragment[..6].iter().cloned() {
            broken.push(packet, &mut lost).expect("a sound packet");
        }
        broken.handle_discontinuity(&mut lost).expect("nothing is held back");
        let (frames, errors) = decode(&mut broken, fragment);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(media(frames), wanted);
    }
}

#[test]
fn packets_before_the_first_keyframe_are_skipped() {
    let clip = Clip::h264("size=320x240:rate=25:duration=0.8", "-bf 0");
    let (frames, errors) = decode(&mut decoder(), clip.packets[3..].to_vec());
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(frames.iter().map(|frame| frame.index).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert!(planes(&frames[0].surface) == clip.twin[10]);
}

#[test]
fn whatever_the_units_hold_the_next_sound_group_decodes() {
    let clips = [
        Clip::h264("size=160x120:rate=25:duration=0.8", "-bf 2"),
        Clip::h265("size=160x120:rate=25:duration=0.8", 2),
    ];
    let mutation = (0..10_usize, any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    let mutations = prop::collection::vec(mutation, 1..12);
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(which in 0..2_usize, mutations in mutations)| {
        let clip = &clips[which];
        let mut packets = clip.packets.clone();
        for (at, place, byte, cuts) in mutations {
            let mut unit = packets[at].unit.to_vec();
            let place = place.index(unit.len().max(1));
            unit.truncate(if cuts { place } else { unit.len() });
            unit.iter_mut().skip(place).take(1).for_each(|old| *old = byte);
            packets[at].unit = unit.into();
        }
        let mut decoder = decoder();
        decode(&mut decoder, packets[..10].to_vec());
        let (frames, errors) = decode(&mut decoder, packets[10..].to_vec());
        prop_assert!(errors.is_empty(), "{:?}", errors);
        prop_assert_eq!(frames.len(), 10);
        prop_assert!(frames.iter().zip(&clip.twin[10..]).all(|(frame, twin)| planes(&frame.surface) == *twin));
    });
}

#[test]
fn whatever_the_codec_private_holds_the_next_track_decodes() {
    let clips = [
        Clip::h264("size=160x120:rate=25:duration=0.2", "-bf 0"),
        Clip::h265("size=160x120:rate=25:duration=0.2", 0),
    ];
    let mutations = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(which in 0..2_usize, mutations in mutations)| {
        let clip = &clips[which];
        let track = &clip.packets[0].track;
        let mut bytes = track.codec_private.to_vec();
        for (place, byte) in mutations {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let track = Arc::new(VideoTrack { codec_private: bytes.into(), ..VideoTrack::clone(track) });
        let on_track = |packet: &Packet| Packet { track: Arc::clone(&track), ..packet.clone() };
        let mut decoder = decoder();
        decode(&mut decoder, clip.packets.iter().map(on_track).collect());
        let (frames, errors) = decode(&mut decoder, clip.packets.clone());
        prop_assert!(errors.is_empty(), "{:?}", errors);
        prop_assert!(frames.iter().map(|frame| planes(&frame.surface)).eq(clip.twin.iter().cloned()));
    });
}

#[test]
fn a_malformed_sei_message_beside_a_sound_picture_costs_nothing() {
    // An SEI message whose payload size exceeds the NAL unit.
    let (h264, h265) = (&[0, 0, 0, 4, 6, 1, 200, 0x80][..], &[0, 0, 0, 5, 0x4e, 1, 1, 200, 0x80][..]);
    for (name, message, clip) in [
        ("H.264", h264, Clip::h264("size=320x240:rate=25:duration=0.4", "-bf 0")),
        ("H.265", h265, Clip::h265("size=320x240:rate=25:duration=0.4", 0)),
    ] {
        let with =
            |packet: &Packet| Packet { unit: [message, &packet.unit].concat().into(), ..packet.clone() };
        let (frames, errors) = decode(&mut decoder(), clip.packets.iter().map(with).collect());
        assert!(errors.is_empty(), "{name}: {errors:?}");
        assert!(frames.iter().map(|frame| planes(&frame.surface)).eq(clip.twin), "{name}");
    }
}
