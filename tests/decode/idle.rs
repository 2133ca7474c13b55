//! Idle decode in the decode thread, with scripted verdicts: which frames come out, and in which order.

use std::sync::Arc;

use kvs_infer::decode::{DecodeSettings, NvdecGpu, Sampler, frame_queue, packet_queue, spawn};
use kvs_infer::media::{
    CameraId, Codec, Decoded, Demuxed, FragmentEnd, IdleQuery, KeyframeVerdict, Mode, ModeCell, Packet,
    QuietAnswer, SamplerState,
};
use kvs_infer::status::CameraStatus;

use super::clip::{Clip, START_MS};
use super::end_of;
use super::open_gop::open_end;

/// An item that the decode thread returned; times are ms since the start of the clip.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Asked(i64),
    Judged(i64, bool),
    Frame(i64),
    Woke(i64),
    End(usize),
}
use Seen::{Asked, End, Frame, Judged, Woke};

const GOP_MS: i64 = 400;

/// Returns a clip of 2 s whose fragments have one GOP of 10 frames each, and whether they refer to one another.
pub(crate) fn clips() -> [(&'static str, Clip, bool); 4] {
    let make =
        |codec, arguments: &str| Clip::make("size=320x240:rate=25:duration=2", codec, arguments, "yuv420p");
    let x265 = "-pix_fmt yuv420p -c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=none:keyint=10:min-keyint=10:scenecut=0";
    [
        ("closed GOPs", Clip::h264("size=320x240:rate=25:duration=2", "-bf 0"), false),
        ("B-frames", Clip::h264("size=320x240:rate=25:duration=2", "-bf 2"), false),
        ("H.265", make(Codec::H265, &format!("{x265}:open-gop=0:bframes=2")), false),
        ("open GOPs", make(Codec::H265, &format!("{x265}:open-gop=1:bframes=3")), true),
    ]
}

fn fragment_items(fragment: Vec<Packet>, is_open: bool) -> Vec<Demuxed> {
    let end: FragmentEnd = if is_open { open_end(&fragment) } else { end_of(&fragment) };
    fragment.into_iter().map(Demuxed::Packet).chain([Demuxed::FragmentEnd(end)]).collect()
}

pub(crate) fn items(clip: &Clip, is_open: bool) -> Vec<Demuxed> {
    clip.fragments().into_iter().flat_map(|fragment| fragment_items(fragment, is_open)).collect()
}

fn idle_settings(gpu: Option<Arc<NvdecGpu>>) -> DecodeSettings {
    let sampler = Sampler::new(Some(5.0), SamplerState::default());
    DecodeSettings { sampler, masks: None, max_pixels: u32::MAX, decodes_idly: true, gpu }
}

/// Sends `items` through a decode thread at 5 frames/s; `verdicts` are those on the keyframes of the fragments.
async fn decode_idly(items: Vec<Demuxed>, verdicts: &[KeyframeVerdict]) -> Vec<Seen> {
    decode_idly_by(None, items, verdicts).await
}

/// Does the same with this GPU.
pub(crate) async fn decode_idly_by(
    gpu: Option<Arc<NvdecGpu>>,
    items: Vec<Demuxed>,
    verdicts: &[KeyframeVerdict],
) -> Vec<Seen> {
    let camera = CameraStatus::alone(&CameraId::new("gate"));
    let (input, packets) = packet_queue(4);
    let (output, frames) = frame_queue(camera.clone(), Arc::new(ModeCell::new(Mode::CatchUp)));
    let thread = spawn(camera, idle_settings(gpu), packets, output).expect("a thread");
    let feeding = tokio::spawn(async move {
        for item in items {
            input.send(item).await.expect("the thread runs");
        }
    });
    let mut seen = Vec::new();
    while let Some(item) = frames.next().await {
        let ended = seen.iter().filter(|seen| matches!(seen, End(_))).count();
        // The queue joins a break to an end that waits before it, so whether it comes out depends on the pace of this loop.
        seen.extend(see(item, verdicts, ended));
    }
    feeding.await.expect("all fed");
    thread.join().expect("no panic");
    seen
}

/// Answers a question by the script.
fn see(item: Decoded, verdicts: &[KeyframeVerdict], ended: usize) -> Option<Seen> {
    let verdict_at = |media: i64| verdicts[usize::try_from(media / GOP_MS).expect("a fragment")];
    Some(match item {
        Decoded::Frame(frame) => Frame(frame.media.0 - START_MS),
        Decoded::FragmentEnd { .. } => End(ended),
        Decoded::Discontinuity => return None,
        Decoded::IdleQuery(IdleQuery::Woke { media, .. }) => Woke(media.0 - START_MS),
        Decoded::IdleQuery(IdleQuery::Quiet { media, answer, .. }) => {
            let at = media.0 - START_MS;
            let is_quiet = verdict_at(at) != KeyframeVerdict::Active;
            answer.send(QuietAnswer { is_quiet, size_wake_found: None }).expect("the thread waits");
            Asked(at)
        }
        Decoded::IdleQuery(IdleQuery::Keyframe { media, can_rewind, answer, .. }) => {
            let at = media.0 - START_MS;
            answer.send(verdict_at(at)).expect("the thread waits");
            Judged(at, can_rewind)
        }
    })
}

const ACTIVE: KeyframeVerdict = KeyframeVerdict::Active;
const STILL: KeyframeVerdict = KeyframeVerdict::Still;
const REWIND: KeyframeVerdict = KeyframeVerdict::Rewind;
const RESUME: KeyframeVerdict = KeyframeVerdict::Resume;

/// Returns what comes out of a camera that is never quiet: two frames per fragment.
fn active(fragments: std::ops::Range<i64>) -> Vec<Seen> {
    let of = |at: i64| {
        [Asked(at * 400), Frame(at * 400), Frame(at * 400 + 200), End(usize::try_from(at).expect("small"))]
    };
    fragments.flat_map(of).collect()
}

#[tokio::test]
async fn a_camera_that_is_not_quiet_decodes_everything() {
    for (name, clip, is_open) in clips().into_iter().filter(|(_, _, is_open)| !is_open) {
        assert_eq!(decode_idly(items(&clip, is_open), &[ACTIVE; 5]).await, active(0..5), "{name}");
    }
}

#[tokio::test]
async fn a_still_camera_decodes_keyframes_and_ends_a_fragment_at_the_next_verdict() {
    for (name, clip, is_open) in clips() {
        let seen = decode_idly(items(&clip, is_open), &[STILL; 5]).await;
        let judged = |at: i64| [Judged(at * 400, true), End(usize::try_from(at - 1).expect("small"))];
        let want: Vec<_> = [Asked(0), Judged(0, false)].into_iter().chain((1..5).flat_map(judged)).collect();
        // The last fragment is not ended: no keyframe has shown that nothing moved in it.
        assert_eq!(seen, want, "{name}");
    }
}

#[tokio::test]
async fn a_keyframe_that_shows_motion_brings_the_frames_before_it() {
    for (name, clip, is_open) in clips() {
        let seen = decode_idly(items(&clip, is_open), &[STILL, STILL, REWIND, ACTIVE, ACTIVE]).await;
        let begins = [
            Asked(0),
            Judged(0, false),
            Judged(400, true),
            End(0),
            // The keyframe at 400 was judged; the frame at 600 is of the retained access units.
            Judged(800, true),
            Frame(600),
        ];
        assert_eq!(seen[..6], begins, "{name}");
        let frames: Vec<_> = seen.iter().filter(|seen| matches!(seen, Frame(_))).collect();
        assert_eq!(
            frames,
            [600, 800, 1000, 1200, 1400, 1600, 1800].map(Frame).iter().collect::<Vec<_>>(),
            "{name}"
        );
        let ends: Vec<_> = seen.iter().filter(|seen| matches!(seen, End(_))).collect();
        assert_eq!(ends, [0, 1, 2, 3, 4].map(End).iter().collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn decoding_resumes_at_a_keyframe_without_the_frames_before_it() {
    for (name, clip, is_open) in clips() {
        let seen = decode_idly(items(&clip, is_open), &[STILL, STILL, RESUME, ACTIVE, ACTIVE]).await;
        let frames: Vec<_> = seen.iter().filter(|seen| matches!(seen, Frame(_))).collect();
        assert_eq!(
            frames,
            [800, 1000, 1200, 1400, 1600, 1800].map(Frame).iter().collect::<Vec<_>>(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_break_keeps_the_complete_fragment_and_forgets_the_one_that_began() {
    for (name, clip, is_open) in clips() {
        let fragments = clip.fragments();
        let of = |at: usize| fragment_items(fragments[at].clone(), is_open);
        let begun = fragments[2][..4].iter().cloned().map(Demuxed::Packet);
        // The third fragment breaks off after its keyframe was judged, and is read again.
        let items: Vec<_> = [of(0), of(1)]
            .concat()
            .into_iter()
            .chain(begun)
            .chain([Demuxed::Discontinuity])
            .chain([of(2), of(3)].concat())
            .collect();
        let seen = decode_idly(items, &[STILL; 5]).await;
        let want = [
            Asked(0),
            Judged(0, false),
            Judged(400, true),
            End(0),
            Judged(800, true),
            End(1),
            Asked(800),
            Judged(800, false),
            Judged(1200, true),
            End(2),
        ];
        assert_eq!(seen, want, "{name}");
        // The second is complete when the stream breaks: it stays retained for the verdict on the third.
        let items = [of(0), of(1), vec![Demuxed::Discontinuity], of(2)].concat();
        let seen = decode_idly(items, &[STILL, STILL, REWIND, ACTIVE, ACTIVE]).await;
        let want = [Asked(0), Judged(0, false), Judged(400, true), End(0), Judged(800, true), Frame(600)];
        assert_eq!(seen[..6], want, "{name}");
    }
}

#[tokio::test]
async fn a_keyframe_that_cannot_be_decoded_wakes_the_camera() {
    for (name, clip, is_open) in clips() {
        let mut fragments = clip.fragments();
        let keyframe = &mut fragments[2][0];
        let half = keyframe.unit.len() / 2;
        keyframe.unit = keyframe.unit.slice(..half);
        let items = fragments.into_iter().flat_map(|fragment| fragment_items(fragment, is_open)).collect();
        let seen = decode_idly(items, &[STILL; 5]).await;
        let woke = [Asked(0), Judged(0, false), Judged(400, true), End(0), Woke(800), Frame(600)];
        assert_eq!(seen[..6], woke, "{name}");
        assert!(
            seen.contains(&Asked(1200)) && seen.contains(&End(2)),
            "{name}: it is quiet again after the damage"
        );
    }
}

#[tokio::test]
async fn what_is_retained_is_decoded_when_no_more_footage_comes() {
    let clip = Clip::h264("size=320x240:rate=25:duration=2", "-bf 2");
    let camera = CameraStatus::alone(&CameraId::new("gate"));
    let (input, packets) = packet_queue(64);
    let (output, frames) = frame_queue(camera.clone(), Arc::new(ModeCell::new(Mode::Live)));
    let thread = spawn(camera.clone(), idle_settings(None), packets, output).expect("a thread");
    for item in fragment_items(clip.fragments()[0].clone(), false) {
        input.send(item).await.expect("the thread runs");
    }
    // The input stays open.
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(End(_))) {
        seen.extend(see(frames.next().await.expect("the thread runs"), &[STILL; 5], 0));
    }
    assert_eq!(seen, [Asked(0), Judged(0, false), Woke(360), Frame(200), End(0)]);
    assert!(!camera.row().idle);
    drop(input);
    assert!(frames.next().await.is_none());
    thread.join().expect("no panic");
}
