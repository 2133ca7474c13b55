//! Tests of the queue of frames.

use proptest::prelude::*;

use super::*;
use crate::media::{
    CameraId, Color, Fragment, FragmentEnd, HostPicture, IdleQuery, Matrix, Position, Surface,
};

/// An item of the queue that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Frame(i64),
    End(i64),
    Query,
    Discontinuity,
}
use Seen::{Discontinuity, End, Frame as F, Query};

fn fragment(number: i64) -> Arc<Fragment> {
    Arc::new(Fragment { number: number.to_string().into(), producer_ms: None, server_ms: None })
}

fn frame(media_ms: i64, arrived: Instant) -> Decoded {
    let color = Color { matrix: Matrix::Bt601, full_range: false };
    let planes = [vec![0; 4], vec![0], vec![0]];
    let picture = HostPicture::from_planes((2, 2), planes, [2, 1, 1], color).expect("a picture");
    Decoded::Frame(Arc::new(Frame {
        camera: CameraId::new("gate"),
        fragment: fragment(0),
        index: 0,
        media: MediaMs(media_ms),
        arrived,
        surface: Surface::Host(picture),
    }))
}

fn item(seen: Seen) -> Decoded {
    match seen {
        F(number) => frame(number, Instant::now()),
        End(number) => {
            let fragment = fragment(number);
            let position = Position::after(&fragment);
            let end = FragmentEnd { fragment, position, behind_ms: None, caught_up: false };
            Decoded::FragmentEnd { end, sampler: Box::default() }
        }
        Query => Decoded::IdleQuery(IdleQuery::Woke { media: MediaMs(0), by_size: false }),
        Discontinuity => Decoded::Discontinuity,
    }
}

fn seen(item: &Decoded) -> Seen {
    match item {
        Decoded::Frame(frame) => F(frame.media.0),
        Decoded::FragmentEnd { end, .. } => End(end.fragment.number.parse().expect("a number")),
        Decoded::IdleQuery(_) => Query,
        Decoded::Discontinuity => Discontinuity,
    }
}

fn waiting(queue: &FrameQueueState) -> Vec<Seen> {
    queue.items.iter().map(|item| seen(&item.decoded)).collect()
}

/// Returns a time at which frames that arrive now are late.
fn too_late() -> Instant {
    Instant::now() + MAX_LATENESS + MAX_BURST
}

fn put_all(mode: Mode, now: Instant, items: &[Seen]) -> FrameQueueState {
    let mut queue = FrameQueueState::default();
    for seen in items {
        queue.put(item(*seen), true, mode, now);
    }
    queue
}

#[test]
fn a_lasting_frame_is_not_replaced_by_newer_ones() {
    let mut queue = FrameQueueState::default();
    for (seen, is_replaceable) in [(F(1), false), (F(2), true), (F(3), false), (F(4), true), (F(5), true)] {
        queue.put(item(seen), is_replaceable, Mode::Live, too_late());
    }
    assert_eq!(waiting(&queue), [F(1), F(3), F(5)]);
}

#[test]
fn queue_contents_by_table() {
    use Mode::{CatchUp, Live};
    let (in_time, too_late) = (Instant::now(), too_late());
    type Case<'a> = (&'a str, Mode, Instant, &'a [Seen], &'a [Seen]);
    let cases: [Case; 10] = [
        ("questions keep their place", Live, too_late, &[F(1), Query, Query, F(2)], &[Query, Query, F(2)]),
        ("in time nothing is replaced", Live, in_time, &[F(1), F(2), F(3)], &[F(1), F(2), F(3)]),
        ("newest frame wins", Live, too_late, &[F(1), F(2), F(3)], &[F(3)]),
        ("markers keep their place", Live, too_late, &[End(1), F(2), End(2)], &[End(1), F(2), End(2)]),
        ("ends that meet are the last", Live, too_late, &[End(1), F(2), End(2), F(3)], &[End(2), F(3)]),
        ("no frame is lost in catch-up", CatchUp, too_late, &[F(1), End(1), F(2)], &[F(1), End(1), F(2)]),
        ("ends without frames between", CatchUp, in_time, &[F(1), End(1), End(2)], &[F(1), End(2)]),
        (
            "the broken fragment is dropped",
            CatchUp,
            in_time,
            &[F(1), End(1), F(2), F(3), Discontinuity],
            &[F(1), End(1)],
        ),
        (
            "frames of it may have been taken",
            CatchUp,
            in_time,
            &[F(2), Discontinuity, Discontinuity],
            &[Discontinuity],
        ),
        (
            "read again",
            CatchUp,
            in_time,
            &[F(2), Discontinuity, F(2), End(2)],
            &[Discontinuity, F(2), End(2)],
        ),
    ];
    for (name, mode, now, put, left) in cases {
        assert_eq!(waiting(&put_all(mode, now, put)), left, "{name}");
    }
}

#[test]
fn dropped_frames_are_counted_with_their_reason() {
    let mut queue = put_all(Mode::CatchUp, Instant::now(), &[F(1), F(2), F(3)]);
    assert_eq!(queue.put(item(F(4)), true, Mode::Live, too_late()), Some((3, DropReason::Superseded)));
    assert_eq!(
        queue.put(item(Discontinuity), true, Mode::Live, too_late()),
        Some((1, DropReason::Discontinuity))
    );
}

/// Returns when each frame is due, ms after the start; `frames` are (media, arrived) in ms.
fn due_ms(frames: &[(i64, u64)]) -> Vec<u128> {
    let (start, mut playout) = (Instant::now(), Playout::default());
    let due = |(media_ms, arrived_ms): &(i64, u64)| {
        let Decoded::Frame(frame) = frame(*media_ms, start + Duration::from_millis(*arrived_ms)) else {
            panic!("a frame")
        };
        playout.due(&frame).duration_since(start).as_millis()
    };
    frames.iter().map(due).collect()
}

#[test]
fn a_burst_is_due_as_it_was_recorded_and_its_delay_is_recovered() {
    type Case<'a> = (&'a str, &'a [(i64, u64)], &'a [u128]);
    let cases: [Case; 6] = [
        ("in real time", &[(0, 0), (100, 100), (200, 210)], &[0, 100, 210]),
        ("at once", &[(0, 0), (100, 0), (200, 0)], &[0, 90, 180]),
        ("the next segment", &[(0, 0), (900, 0), (1000, 1000), (1900, 1000)], &[0, 810, 1000, 1810]),
        ("after a burst", &[(0, 0), (1000, 0), (2000, 0), (3000, 1000)], &[0, 900, 1800, 2700]),
        ("other footage, back in time", &[(5000, 0), (0, 10)], &[0, 10]),
        ("hours at once", &[(0, 0), (7_200_000, 5)], &[0, 18_000]),
    ];
    for (name, frames, due) in cases {
        assert_eq!(due_ms(frames), due, "{name}");
    }
    let long: Vec<_> = (0..100).map(|second| (second * 1000, 0)).collect();
    assert_eq!(due_ms(&long).last(), Some(&20_000), "no burst is longer than a fragment");
}

/// Returns the state of a task that follows the items: the committed end, the frames before it and those after it.
fn follow(items: impl IntoIterator<Item = Seen>) -> (i64, Vec<i64>, Vec<i64>) {
    let (mut committed, mut kept, mut open) = (0, Vec::new(), Vec::new());
    for item in items {
        match item {
            F(number) => open.push(number),
            End(number) => {
                committed = number;
                kept.append(&mut open);
            }
            Query => {}
            Discontinuity => open.clear(),
        }
    }
    (committed, kept, open)
}

fn any_items() -> impl Strategy<Value = Vec<(u8, bool)>> {
    prop::collection::vec((0..8_u8, any::<bool>()), 0..80)
}

proptest! {
    /// The receiver ends where it would without a queue; live and behind, with a subset of those frames.
    #[test]
    fn the_receiver_ends_as_without_a_queue(steps in any_items(), live in any::<bool>(), late in any::<bool>()) {
        let mode = if live { Mode::Live } else { Mode::CatchUp };
        let (mut queue, mut put, mut taken) = (FrameQueueState::default(), Vec::new(), Vec::new());
        for (number, (kind, takes)) in (1..).zip(steps) {
            let next = match kind { 0 => Discontinuity, 1 | 2 => End(number), _ => F(number) };
            let now = if late { too_late() } else { Instant::now() };
            while !(live && late) && queue.frames() >= MAX_FRAMES {
                taken.extend(queue.items.pop_front().map(|item| seen(&item.decoded)));
            }
            queue.put(item(next), true, mode, now);
            put.push(next);
            let (max_frames, max_items) = if live && late { (1, 4) } else { (MAX_FRAMES, 3 * MAX_FRAMES + 2) };
            prop_assert!(queue.frames() <= max_frames && queue.items.len() <= max_items, "{:?}", waiting(&queue));
            if takes {
                taken.extend(queue.items.pop_front().map(|item| seen(&item.decoded)));
            }
        }
        taken.extend(waiting(&queue));
        let (got, wanted) = (follow(taken), follow(put));
        prop_assert_eq!(got.0, wanted.0);
        if live && late {
            prop_assert!(got.1.iter().all(|frame| wanted.1.contains(frame)));
            prop_assert_eq!(got.2.last(), wanted.2.last());
        } else {
            prop_assert_eq!(got, wanted);
        }
    }
}

/// In live mode all are in time: they arrive together, and last 100 s.
#[tokio::test]
async fn a_push_waits_for_room() {
    for mode in [Mode::CatchUp, Mode::Live] {
        let mode = Arc::new(ModeCell::new(mode));
        let (sender, receiver) = frame_queue(CameraStatus::alone(&CameraId::new("gate")), mode);
        let pushing =
            std::thread::spawn(move || (0..100).try_for_each(|number| sender.push(item(F(number * 1000)))));
        let mut numbers = Vec::new();
        while let Some(item) = receiver.next().await {
            numbers.push(seen(&item));
        }
        assert_eq!(pushing.join().expect("no panic"), Ok(()));
        assert_eq!(numbers, (0..100).map(|number| F(number * 1000)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_live_push_that_waits_replaces_late_frames_and_then_never_waits() {
    let mode = Arc::new(ModeCell::new(Mode::Live));
    let (sender, receiver) = frame_queue(CameraStatus::alone(&CameraId::new("gate")), mode);
    let arrived = Instant::now().checked_sub(Duration::from_millis(980)).expect("the host runs for a second");
    let pushing =
        std::thread::spawn(move || (0..100).try_for_each(|number| sender.push(frame(number, arrived))));
    assert_eq!(pushing.join().expect("no panic"), Ok(()), "no item is taken");
    let mut numbers = Vec::new();
    while let Some(item) = receiver.next().await {
        numbers.push(seen(&item));
    }
    assert!(numbers.len() <= MAX_FRAMES && numbers.last() == Some(&F(99)), "{numbers:?}");
}

#[test]
fn a_push_fails_when_the_receiver_is_dropped_even_one_that_waits() {
    let mode = Arc::new(ModeCell::new(Mode::CatchUp));
    let (sender, receiver) = frame_queue(CameraStatus::alone(&CameraId::new("gate")), mode);
    (0..4).try_for_each(|number| sender.push(item(F(number)))).expect("room");
    let (waits, is_waiting) = std::sync::mpsc::channel();
    let pushing = std::thread::spawn(move || {
        waits.send(()).expect("the test listens");
        sender.push(item(F(4)))
    });
    is_waiting.recv().expect("the thread runs");
    drop(receiver);
    assert_eq!(pushing.join().expect("no panic"), Err(QueueClosed));
}
