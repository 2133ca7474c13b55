//! The player against a model of a KVS: a camera that makes a fragment a second, LIVE sessions that expire.

use std::time::{Duration, Instant};

use kvs_hls::player::{Failure, Gap, Player, Start, Want};
use kvs_hls::{Limits, Link};
use proptest::prelude::*;

const LASTS: Duration = Duration::from_secs(300);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The number of the n-th fragment.
fn number(fragment: u64) -> String {
    format!("{}", 10_000_000 + fragment)
}

fn url(session: u64) -> String {
    format!("https://kvs.test/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken={session}")
}

fn master(session: u64) -> Vec<u8> {
    format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ngetHLSMediaPlaylist.m3u8?SessionToken={session}\n")
        .into()
}

/// Lists `fragments`; the first has the sequence number `sequence`.
fn media(session: u64, sequence: u64, fragments: std::ops::Range<u64>, ended: bool) -> Vec<u8> {
    let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n");
    for fragment in fragments {
        let number = number(fragment);
        text += &format!("#EXTINF:1.000,\ngetTSFragment.ts?FragmentNumber={number}&SessionToken={session}\n");
    }
    if ended {
        text += "#EXT-X-ENDLIST\n";
    }
    text.into()
}

/// A player that has read the master playlist of session 1.
fn begun(start: Start, now: Instant) -> Player {
    let mut player = Player::new(start, LASTS, Limits::default());
    assert_eq!(player.next(now), Want::Session);
    player.session(now, &url(1)).expect("a URL");
    let Want::Master(link) = player.next(now) else { panic!("{:?}", player.next(now)) };
    assert_eq!(link.secret(), url(1));
    player.master(&master(1)).expect("a master playlist");
    player
}

/// Reads all segments that are wanted now.
fn read_all(player: &mut Player, now: Instant) -> Vec<String> {
    let mut read = Vec::new();
    while let Want::Segment(segment) = player.next(now) {
        read.push(segment.fragment_number.expect("a number"));
        player.read();
    }
    read
}

fn numbers(fragments: std::ops::Range<u64>) -> Vec<String> {
    fragments.map(number).collect()
}

#[test]
fn it_begins_where_it_is_told_to() {
    let gap = |after: u64, before: u64| Gap { after: number(after), before: number(before), fragments: None };
    let cases = [
        ("the newest", Start::Newest, 9..10, None),
        ("the oldest", Start::Oldest, 5..10, None),
        ("after one that is listed", Start::After(number(6)), 7..10, None),
        ("after the newest", Start::After(number(9)), 10..10, None),
        ("after one that is not listed any more", Start::After(number(2)), 5..10, Some(gap(2, 5))),
        (
            "after one that is shorter",
            Start::After("999".to_owned()),
            5..10,
            Some(Gap { after: "999".to_owned(), ..gap(0, 5) }),
        ),
        ("after one that is to come", Start::After(number(12)), 10..10, None),
    ];
    for (name, start, expected, gap) in cases {
        let now = Instant::now();
        let mut player = begun(start, now);
        assert!(matches!(player.next(now), Want::Media(_)), "{name}");
        assert_eq!(player.media(now, &media(1, 0, 5..10, false)), Ok(gap), "{name}");
        assert_eq!(read_all(&mut player, now), numbers(expected), "{name}");
    }
}

#[test]
fn a_fragment_comes_once_and_what_was_listed_in_between_is_told() {
    let now = Instant::now();
    let mut player = begun(Start::Oldest, now);
    let mut at = now;
    let gap = Gap { after: number(10), before: number(13), fragments: Some(2) };
    for (sequence, listed, expected, told) in [
        (0, 0..5, 0..5, None),
        (1, 1..6, 5..6, None),
        (1, 1..6, 6..6, None),
        (6, 6..11, 6..11, None),
        (13, 13..18, 13..18, Some(gap)),
    ] {
        assert!(matches!(player.next(at), Want::Media(_)), "{listed:?}");
        assert_eq!(player.media(at, &media(1, sequence, listed.clone(), false)), Ok(told), "{listed:?}");
        assert_eq!(read_all(&mut player, at), numbers(expected), "{listed:?}");
        assert_eq!(player.next(at), Want::Wait(at + seconds(1)), "half of the target duration");
        at += seconds(1);
    }
}

#[test]
fn a_session_is_renewed_while_the_old_one_goes_on() {
    let now = Instant::now();
    let mut player = begun(Start::Oldest, now);
    let last = now + seconds(240) - millis(1);
    assert_eq!(player.media(last, &media(1, 0, 0..3, false)), Ok(None));
    assert!(matches!(player.next(last), Want::Segment(_)));
    let renewal = now + seconds(240);
    assert_eq!(player.next(renewal), Want::Session);
    player.session_refused(renewal + seconds(5));
    assert_eq!(read_all(&mut player, renewal).len(), 3, "the old one is used until there is a new one");
    assert_eq!(player.next(renewal + seconds(5)), Want::Session);
    player.session(renewal + seconds(5), &url(2)).expect("a URL");
    assert!(matches!(player.next(renewal + seconds(5)), Want::Master(_)));
    player.master(&master(2)).expect("a master playlist");
    assert_eq!(player.media(renewal, &media(2, 0, 1..5, false)), Ok(None), "what was read last is listed");
    assert_eq!(read_all(&mut player, renewal), numbers(3..5));
}

#[test]
fn waiting_ends_when_a_session_is_to_be_renewed() {
    let now = Instant::now();
    let mut player = begun(Start::Oldest, now);
    let text = String::from_utf8(media(1, 0, 0..0, false)).expect("text");
    player.media(now, text.replace("DURATION:2", "DURATION:600").as_bytes()).expect("a media playlist");
    assert_eq!(player.next(now), Want::Wait(now + seconds(240)), "not 300 s, as the playlist has it");
}

#[test]
fn without_a_new_session_the_old_one_ends() {
    let now = Instant::now();
    let mut player = begun(Start::Oldest, now);
    player.session_refused(now + seconds(400));
    assert!(matches!(player.next(now + LASTS - millis(1)), Want::Media(_)));
    assert_eq!(player.next(now + LASTS), Want::Wait(now + seconds(400)));
    assert_eq!(player.next(now + seconds(400)), Want::Session);
}

#[test]
fn each_failure_has_its_remedy() {
    let now = Instant::now();
    let with_queue = || {
        let mut player = begun(Start::Oldest, now);
        player.media(now, &media(1, 0, 0..2, false)).expect("a media playlist");
        player
    };
    let renewed = || {
        let mut player = with_queue();
        player.session(now, &url(2)).expect("a URL");
        player
    };
    let mut player = with_queue();
    assert_eq!(player.failed(Failure::Other), None);
    assert_eq!(read_all(&mut player, now), numbers(0..2), "the same again");

    let mut player = with_queue();
    assert_eq!(player.failed(Failure::Gone), Some(number(0)), "a fragment that is kept no longer");
    assert_eq!(read_all(&mut player, now), numbers(1..2));

    let mut player = with_queue();
    player.read();
    assert_eq!(player.failed(Failure::Expired), None);
    assert_eq!(player.next(now), Want::Session);
    player.session(now, &url(2)).expect("a URL");
    player.master(&master(2)).expect("a master playlist");
    assert_eq!(player.media(now, &media(2, 0, 0..2, false)), Ok(None));
    assert_eq!(read_all(&mut player, now), numbers(1..2), "what was not read is listed again");

    let mut player = begun(Start::Oldest, now);
    assert_eq!(player.failed(Failure::Gone), None);
    assert_eq!(player.next(now), Want::Session, "the camera paused");

    let mut player = renewed();
    assert_eq!(player.failed(Failure::Gone), None, "of the new master playlist, not of a segment");
    assert_eq!(player.next(now), Want::Session);

    let mut player = renewed();
    player.master(&master(2)).expect("a master playlist");
    assert_eq!(player.failed(Failure::Expired), None, "a segment of the old session");
    assert!(matches!(player.next(now), Want::Media(_)), "the new one goes on");
}

#[test]
fn a_playlist_that_ended_is_read_to_its_end() {
    let now = Instant::now();
    let mut player = begun(Start::Oldest, now);
    player.media(now, &media(1, 0, 0..3, true)).expect("a media playlist");
    assert!(matches!(player.next(now + seconds(290)), Want::Segment(_)), "it needs no other session");
    assert_eq!(read_all(&mut player, now), numbers(0..3));
    assert_eq!(player.next(now), Want::End);
    assert_eq!(player.next(now + seconds(1000)), Want::End);
}

#[test]
fn what_is_no_playlist_changes_nothing() {
    let now = Instant::now();
    let mut player = begun(Start::Oldest, now);
    let unnumbered = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nx.ts\n";
    for text in [&b"<html>"[..], &master(1), unnumbered] {
        assert!(player.media(now, text).is_err());
        assert!(matches!(player.next(now), Want::Media(_)));
    }
    assert!(player.session(now, "no url").is_err());
    assert!(matches!(player.next(now), Want::Media(_)));
}

/// A KVS that makes a fragment a second and lists the newest.
struct Model {
    began: Instant,
    lists: u64,
    sessions: Vec<(Instant, u64)>,
}

impl Model {
    fn made(&self, now: Instant) -> u64 {
        (now - self.began).as_secs() + 1
    }

    fn open(&mut self, now: Instant) -> String {
        let first = self.made(now).saturating_sub(self.lists);
        self.sessions.push((now + LASTS, first));
        url(self.sessions.len() as u64 - 1)
    }

    /// The session that a URL is of; none once it has expired.
    fn session(&self, link: &Link, now: Instant) -> Option<u64> {
        let session: u64 = link.parameter("SessionToken")?.parse().ok()?;
        self.sessions.get(session as usize).filter(|(ends, _)| now < *ends).map(|_| session)
    }

    fn media(&self, session: u64, now: Instant) -> Vec<u8> {
        let first = self.made(now).saturating_sub(self.lists);
        media(session, first - self.sessions[session as usize].1, first..self.made(now), false)
    }
}

/// Runs for half an hour, each step as long as `steps` says in turn; a step of more than 20 s fails.
fn run(steps: &[u64], lists: u64) -> (Vec<String>, Vec<Gap>, u32, usize) {
    let began = Instant::now();
    let mut model = Model { began, lists, sessions: Vec::new() };
    let mut player = Player::new(Start::Newest, LASTS, Limits::default());
    let (mut now, mut read, mut gaps, mut expired) = (began, Vec::new(), Vec::new(), 0);
    for &step in steps.iter().cycle() {
        if now >= began + seconds(1800) {
            break;
        }
        let want = player.next(now);
        now += millis(step + 1);
        let link = match &want {
            Want::Master(link) | Want::Media(link) => Some(link.clone()),
            Want::Segment(segment) => Some(segment.link.clone()),
            Want::Session | Want::Wait(_) | Want::End => None,
        };
        let session = link.map(|link| model.session(&link, now));
        match (want, session) {
            (Want::Wait(until), _) => now = now.max(until),
            (Want::Session, _) if step > 20_000 => player.session_refused(now + seconds(1)),
            (Want::Session, _) => player.session(now, &model.open(now)).expect("a URL"),
            (_, Some(None)) => {
                assert_eq!(player.failed(Failure::Expired), None);
                expired += 1;
            }
            _ if step > 20_000 => assert_eq!(player.failed(Failure::Other), None),
            (Want::Master(_), Some(Some(session))) => {
                player.master(&master(session)).expect("a master playlist");
            }
            (Want::Media(_), Some(Some(session))) => {
                let gap = player.media(now, &model.media(session, now)).expect("a media playlist");
                gaps.extend(gap);
            }
            (Want::Segment(segment), _) => {
                read.push(segment.fragment_number.expect("a number"));
                player.read();
            }
            (want, _) => panic!("{want:?}"),
        }
    }
    (read, gaps, expired, model.sessions.len())
}

/// Every jump in what was read is told as a gap, with its length where that is known.
fn assert_told(read: &[String], gaps: &[Gap]) {
    let value = |number: &String| number.parse::<u64>().expect("a number");
    for pair in read.windows(2) {
        let (last, next) = (value(&pair[0]), value(&pair[1]));
        assert!(last < next, "{last} then {next}");
        let told = gaps.iter().find(|gap| gap.after == pair[0] && gap.before == pair[1]);
        assert!(next == last + 1 || told.is_some(), "nobody told of a gap from {last} to {next}");
        if let Some(fragments) = told.and_then(|gap| gap.fragments) {
            assert_eq!(fragments, next - last - 1, "from {last} to {next}");
        }
    }
}

#[test]
fn a_quick_reader_misses_nothing_over_all_renewals() {
    let (read, gaps, expired, sessions) = run(&[20], 5);
    assert_eq!(read.len(), 1800, "a fragment a second");
    assert_told(&read, &gaps);
    assert_eq!((gaps, expired), (Vec::new(), 0));
    assert_eq!(sessions, 8, "one each 240 s");
}

proptest! {
    #[test]
    fn a_slow_reader_is_told_what_it_misses(
        steps in prop::collection::vec(prop_oneof![8 => 0u64..500, 2 => 0u64..20_000, 1 => 20_000u64..400_000], 1..40),
        lists in 1u64..12,
    ) {
        let (read, gaps, _, _) = run(&steps, lists);
        assert_told(&read, &gaps);
    }
}
