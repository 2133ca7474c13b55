//! decode against the `ffmpeg` command's own frames of the same clips.

mod decode_clip;

use std::sync::Arc;

use decode_clip::{Clip, planes};
use kvs_infer::decode::{DecodeError, Decoder, Sampler, SamplerState};
use kvs_infer::frame::{CameraId, Frame, Packet};

fn decoder() -> Decoder {
    sampling(None)
}

fn sampling(fps: Option<f64>) -> Decoder {
    Decoder::new(CameraId::new("gate"), Sampler::new(fps, SamplerState::default()))
}

/// What `fragment` gives, with its end.
fn decode(decoder: &mut Decoder, fragment: Vec<Packet>) -> (Vec<Arc<Frame>>, Vec<DecodeError>) {
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    for packet in fragment {
        errors.extend(decoder.push(packet, &mut frames).err());
    }
    errors.extend(decoder.end_fragment(&mut frames).err());
    (frames, errors)
}

/// Decodes the fragments and holds each frame against the twin, which goes by `media`.
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
fn a_fragment_does_not_depend_on_where_the_reading_started() {
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
