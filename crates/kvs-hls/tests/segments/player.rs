//! The player against a model of KVS: a camera that sends a fragment per second, and LIVE sessions that
//! expire.

use std::time::{Duration, Instant};

use kvs_hls::player::{FetchFailure, Gap, HlsPlayer, PlayerAction, PlayerStart};
use kvs_hls::{HlsLimits, Link};
use proptest::prelude::*;

const LIFETIME: Duration = Duration::from_secs(300);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the number of the n-th fragment.
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

/// Returns a playlist of `fragments`; the first has the media sequence number `sequence`.
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

/// Returns a player that has read the master playlist of session 1.
fn with_master(start: PlayerStart, now: Instant) -> HlsPlayer {
    let mut player = HlsPlayer::new(start, LIFETIME, HlsLimits::default());
    assert_eq!(player.next(now), PlayerAction::Session);
    player.session(now, &url(1)).expect("a URL");
    let PlayerAction::Master(link) = player.next(now) else { panic!("{:?}", player.next(now)) };
    assert_eq!(link.secret(), url(1));
    player.master(&master(1)).expect("a master playlist");
    player
}

/// Reads all segments that the player requests now.
fn read_all(player: &mut HlsPlayer, now: Instant) -> Vec<String> {
    let mut read = Vec::new();
    while let PlayerAction::Segment(segment) = player.next(now) {
        read.push(segment.fragment_number.expect("a number"));
        player.read();
    }
    read
}

fn numbers(fragments: std::ops::Range<u64>) -> Vec<String> {
    fragments.map(number).collect()
}

#[test]
fn it_begins_at_the_given_position() {
    let gap = |after: u64, before: u64| Gap { after: number(after), before: number(before), fragments: None };
    let cases = [
        ("the newest", PlayerStart::Newest, 9..10, None),
        ("the oldest", PlayerStart::Oldest, 5..10, None),
        ("after a listed fragment", PlayerStart::After(number(6)), 7..10, None),
        ("after the newest", PlayerStart::After(number(9)), 10..10, None),
        ("after a fragment that is no longer listed", PlayerStart::After(number(2)), 5..10, Some(gap(2, 5))),
        (
            "after a shorter number",
            PlayerStart::After("999".to_owned()),
            5..10,
            Some(Gap { after: "999".to_owned(), ..gap(0, 5) }),
        ),
        ("after a future fragment", PlayerStart::After(number(12)), 10..10, None),
    ];
    for (name, start, expected, gap) in cases {
        let now = Instant::now();
        let mut player = with_master(start, now);
        assert!(matches!(player.next(now), PlayerAction::Media(_)), "{name}");
        assert_eq!(player.media(now, &media(1, 0, 5..10, false)), Ok(gap), "{name}");
        assert_eq!(read_all(&mut player, now), numbers(expected), "{name}");
    }
}

#[test]
fn a_fragment_is_returned_once_and_a_gap_is_reported() {
    let now = Instant::now();
    let mut player = with_master(PlayerStart::Oldest, now);
    let mut at = now;
    let gap = Gap { after: number(10), before: number(13), fragments: Some(2) };
    for (sequence, listed, expected, gap) in [
        (0, 0..5, 0..5, None),
        (1, 1..6, 5..6, None),
        (1, 1..6, 6..6, None),
        (6, 6..11, 6..11, None),
        (13, 13..18, 13..18, Some(gap)),
    ] {
        assert!(matches!(player.next(at), PlayerAction::Media(_)), "{listed:?}");
        assert_eq!(player.media(at, &media(1, sequence, listed.clone(), false)), Ok(gap), "{listed:?}");
        assert_eq!(read_all(&mut player, at), numbers(expected), "{listed:?}");
        assert_eq!(player.next(at), PlayerAction::Wait(at + seconds(1)), "half of the target duration");
        at += seconds(1);
    }
}

#[test]
fn a_session_is_renewed_while_the_old_one_is_used() {
    let now = Instant::now();
    let mut player = with_master(PlayerStart::Oldest, now);
    let last = now + seconds(240) - millis(1);
    assert_eq!(player.media(last, &media(1, 0, 0..3, false)), Ok(None));
    assert!(matches!(player.next(last), PlayerAction::Segment(_)));
    let renewal = now + seconds(240);
    assert_eq!(player.next(renewal), PlayerAction::Session);
    player.session_refused(renewal + seconds(5));
    assert_eq!(read_all(&mut player, renewal).len(), 3, "the old session is used until there is a new one");
    assert_eq!(player.next(renewal + seconds(5)), PlayerAction::Session);
    player.session(renewal + seconds(5), &url(2)).expect("a URL");
    assert!(matches!(player.next(renewal + seconds(5)), PlayerAction::Master(_)));
    player.master(&master(2)).expect("a master playlist");
    assert_eq!(
        player.media(renewal, &media(2, 0, 1..5, false)),
        Ok(None),
        "the last fragment that was read is listed"
    );
    assert_eq!(read_all(&mut player, renewal), numbers(3..5));
}

#[test]
fn a_wait_ends_when_the_session_must_be_renewed() {
    let now = Instant::now();
    let mut player = with_master(PlayerStart::Oldest, now);
    let text = String::from_utf8(media(1, 0, 0..0, false)).expect("text");
    player.media(now, text.replace("DURATION:2", "DURATION:600").as_bytes()).expect("a media playlist");
    assert_eq!(player.next(now), PlayerAction::Wait(now + seconds(240)), "not the 300 s of the playlist");
}

#[test]
fn without_a_new_session_the_old_one_expires() {
    let now = Instant::now();
    let mut player = with_master(PlayerStart::Oldest, now);
    player.session_refused(now + seconds(400));
    assert!(matches!(player.next(now + LIFETIME - millis(1)), PlayerAction::Media(_)));
    assert_eq!(player.next(now + LIFETIME), PlayerAction::Wait(now + seconds(400)));
    assert_eq!(player.next(now + seconds(400)), PlayerAction::Session);
}

#[test]
fn each_failure_leads_to_its_action() {
    let now = Instant::now();
    let with_queue = || {
        let mut player = with_master(PlayerStart::Oldest, now);
        player.media(now, &media(1, 0, 0..2, false)).expect("a media playlist");
        player
    };
    let renewed = || {
        let mut player = with_queue();
        player.session(now, &url(2)).expect("a URL");
        player
    };
    let mut player = with_queue();
    assert_eq!(player.failed(FetchFailure::Other), None);
    assert_eq!(read_all(&mut player, now), numbers(0..2), "the same segment again");

    let mut player = with_queue();
    assert_eq!(player.failed(FetchFailure::Gone), Some(number(0)), "a fragment whose retention has ended");
    assert_eq!(read_all(&mut player, now), numbers(1..2));

    let mut player = with_queue();
    player.read();
    assert_eq!(player.failed(FetchFailure::Expired), None);
    assert_eq!(player.next(now), PlayerAction::Session);
    player.session(now, &url(2)).expect("a URL");
    player.master(&master(2)).expect("a master playlist");
    assert_eq!(player.media(now, &media(2, 0, 0..2, false)), Ok(None));
    assert_eq!(read_all(&mut player, now), numbers(1..2), "the unread fragment is listed again");

    let mut player = with_master(PlayerStart::Oldest, now);
    assert_eq!(player.failed(FetchFailure::Gone), None);
    assert_eq!(player.next(now), PlayerAction::Session, "the camera paused");

    let mut player = renewed();
    assert_eq!(
        player.failed(FetchFailure::Gone),
        None,
        "the failure of the new master playlist, not of a segment"
    );
    assert_eq!(player.next(now), PlayerAction::Session);

    let mut player = renewed();
    player.master(&master(2)).expect("a master playlist");
    assert_eq!(player.failed(FetchFailure::Expired), None, "a segment of the old session");
    assert!(matches!(player.next(now), PlayerAction::Media(_)), "the new session is used");
}

#[test]
fn a_playlist_that_ended_is_read_to_its_end() {
    let now = Instant::now();
    let mut player = with_master(PlayerStart::Oldest, now);
    player.media(now, &media(1, 0, 0..3, true)).expect("a media playlist");
    assert!(
        matches!(player.next(now + seconds(290)), PlayerAction::Segment(_)),
        "an ended playlist needs no other session"
    );
    assert_eq!(read_all(&mut player, now), numbers(0..3));
    assert_eq!(player.next(now), PlayerAction::End);
    assert_eq!(player.next(now + seconds(1000)), PlayerAction::End);
}

#[test]
fn an_invalid_playlist_changes_nothing() {
    let now = Instant::now();
    let mut player = with_master(PlayerStart::Oldest, now);
    let unnumbered = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nx.ts\n";
    for text in [&b"<html>"[..], &master(1), unnumbered] {
        assert!(player.media(now, text).is_err());
        assert!(matches!(player.next(now), PlayerAction::Media(_)));
    }
    assert!(player.session(now, "no url").is_err());
    assert!(matches!(player.next(now), PlayerAction::Media(_)));
}

/// A KVS that produces a fragment per second and lists the newest ones.
struct KvsModel {
    began: Instant,
    lists: u64,
    sessions: Vec<(Instant, u64)>,
}

impl KvsModel {
    /// Returns the number of fragments that exist.
    fn produced(&self, now: Instant) -> u64 {
        (now - self.began).as_secs() + 1
    }

    fn open(&mut self, now: Instant) -> String {
        let first = self.produced(now).saturating_sub(self.lists);
        self.sessions.push((now + LIFETIME, first));
        url(self.sessions.len() as u64 - 1)
    }

    /// Returns the session of a URL, or `None` if it has expired.
    fn session(&self, link: &Link, now: Instant) -> Option<u64> {
        let session: u64 = link.parameter("SessionToken")?.parse().ok()?;
        self.sessions.get(session as usize).filter(|(ends, _)| now < *ends).map(|_| session)
    }

    fn media(&self, session: u64, now: Instant) -> Vec<u8> {
        let first = self.produced(now).saturating_sub(self.lists);
        media(session, first - self.sessions[session as usize].1, first..self.produced(now), false)
    }
}

/// Runs for half an hour with steps of these durations (ms) in turn; a step of more than 20 s fails.
fn run(steps: &[u64], lists: u64) -> (Vec<String>, Vec<Gap>, u32, usize) {
    let began = Instant::now();
    let mut model = KvsModel { began, lists, sessions: Vec::new() };
    let mut player = HlsPlayer::new(PlayerStart::Newest, LIFETIME, HlsLimits::default());
    let (mut now, mut read, mut gaps, mut expired) = (began, Vec::new(), Vec::new(), 0);
    for &step in steps.iter().cycle() {
        if now >= began + seconds(1800) {
            break;
        }
        let action = player.next(now);
        now += millis(step + 1);
        let link = match &action {
            PlayerAction::Master(link) | PlayerAction::Media(link) => Some(link.clone()),
            PlayerAction::Segment(segment) => Some(segment.link.clone()),
            PlayerAction::Session | PlayerAction::Wait(_) | PlayerAction::End => None,
        };
        let session = link.map(|link| model.session(&link, now));
        match (action, session) {
            (PlayerAction::Wait(until), _) => now = now.max(until),
            (PlayerAction::Session, _) if step > 20_000 => player.session_refused(now + seconds(1)),
            (PlayerAction::Session, _) => player.session(now, &model.open(now)).expect("a URL"),
            (_, Some(None)) => {
                assert_eq!(player.failed(FetchFailure::Expired), None);
                expired += 1;
            }
            _ if step > 20_000 => assert_eq!(player.failed(FetchFailure::Other), None),
            (PlayerAction::Master(_), Some(Some(session))) => {
                player.master(&master(session)).expect("a master playlist");
            }
            (PlayerAction::Media(_), Some(Some(session))) => {
                let gap = player.media(now, &model.media(session, now)).expect("a media playlist");
                gaps.extend(gap);
            }
            (PlayerAction::Segment(segment), _) => {
                read.push(segment.fragment_number.expect("a number"));
                player.read();
            }
            (action, _) => panic!("{action:?}"),
        }
    }
    (read, gaps, expired, model.sessions.len())
}

/// Checks that each jump in the fragments that were read is reported as a gap, with its length if that is
/// known.
fn assert_gaps(read: &[String], gaps: &[Gap]) {
    let value = |number: &String| number.parse::<u64>().expect("a number");
    for pair in read.windows(2) {
        let (last, next) = (value(&pair[0]), value(&pair[1]));
        assert!(last < next, "{last} then {next}");
        let gap = gaps.iter().find(|gap| gap.after == pair[0] && gap.before == pair[1]);
        assert!(next == last + 1 || gap.is_some(), "no gap is reported from {last} to {next}");
        if let Some(fragments) = gap.and_then(|gap| gap.fragments) {
            assert_eq!(fragments, next - last - 1, "from {last} to {next}");
        }
    }
}

#[test]
fn a_fast_reader_misses_nothing_across_renewals() {
    let (read, gaps, expired, sessions) = run(&[20], 5);
    assert_eq!(read.len(), 1800, "a fragment per second");
    assert_gaps(&read, &gaps);
    assert_eq!((gaps, expired), (Vec::new(), 0));
    assert_eq!(sessions, 8, "one per 240 s");
}

proptest! {
    #[test]
    fn a_slow_reader_gets_each_gap_reported(
        steps in prop::collection::vec(prop_oneof![8 => 0u64..500, 2 => 0u64..20_000, 1 => 20_000u64..400_000], 1..40),
        lists in 1u64..12,
    ) {
        let (read, gaps, _, _) = run(&steps, lists);
        assert_gaps(&read, &gaps);
    }
}
