//! Fragments: starts, ends, errors, and streams cut at each byte.

#![expect(clippy::unwrap_used, reason = "a test panics on the first failure")]

use super::wire::{self, block, document, el, sized, tags, unsized_};
use kvs_mkv::{
    FragmentBlock, FragmentEvent, FragmentReader, FragmentStart, FragmentSummary, MkvError, MkvLimits,
    StreamError, Tag, writer,
};

const NUMBER: &str = "91343852333181432392682062607743920146159169392";
const NEXT: &str = "91343852333181432397634012660010580022434373917";

fn read_next(reader: &mut FragmentReader) -> Vec<FragmentEvent> {
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// Returns all events of the bytes, those of their end included, and the final result.
fn read(bytes: &[u8]) -> (Vec<FragmentEvent>, Result<(), MkvError>) {
    let mut reader = FragmentReader::new(MkvLimits::default());
    reader.push(bytes);
    let mut events = Vec::new();
    while let Ok(Some(event)) = reader.next() {
        events.push(event);
    }
    loop {
        match reader.finish() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, Ok(())),
            Err(error) => return (events, Err(error)),
        }
    }
}

fn leading(number: &str) -> Vec<u8> {
    tags(&[
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number),
        ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1511852109.126"),
        ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "0.000"),
    ])
}

fn trailing(token: &str) -> Vec<u8> {
    tags(&[("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "15858"), ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", token)])
}

fn cluster(at: u8) -> Vec<u8> {
    let frame = |relative, flags| el(wire::SIMPLE_BLOCK, &block(1, relative, flags, b"frame"));
    unsized_(wire::CLUSTER, 1, &[sized(wire::TIMESTAMP, 1, &[at]), frame(0, 0x80), frame(33, 0)].concat())
}

fn fragment(number: &str) -> Vec<u8> {
    document(&[leading(number), cluster(9), trailing(number)])
}

fn start(event: &FragmentEvent) -> &FragmentStart {
    let FragmentEvent::Start(start) = event else { unreachable!("{event:?}") };
    start
}

fn end(event: &FragmentEvent) -> &FragmentSummary {
    let FragmentEvent::End(end) = event else { unreachable!("{event:?}") };
    end
}

fn frame(event: &FragmentEvent) -> &FragmentBlock {
    let FragmentEvent::Block(block) = event else { unreachable!("{event:?}") };
    block
}

/// Returns one letter per event: S start, B block, E end of a complete fragment, e other end, X error.
fn shape(events: &[FragmentEvent]) -> String {
    let letter = |event: &FragmentEvent| match event {
        FragmentEvent::Start(_) => 'S',
        FragmentEvent::Block(_) => 'B',
        FragmentEvent::End(end) if end.complete => 'E',
        FragmentEvent::End(_) => 'e',
        FragmentEvent::Error(_) => 'X',
    };
    events.iter().map(letter).collect()
}

#[test]
fn a_complete_fragment_is_read_in_full() {
    let (events, ending) = read(&fragment(NUMBER));
    assert_eq!((shape(&events).as_str(), ending), ("SBBE", Ok(())));
    let first = start(&events[0]);
    assert_eq!(first.number, NUMBER);
    assert_eq!((first.server_ms, first.producer_ms), (Some(1_511_852_109_126), Some(0)));
    assert_eq!((first.cluster_timestamp, first.tags.len()), (Some(9), 0));
    assert_eq!((frame(&events[1]).index, frame(&events[2]).index), (0, 1));
    assert_eq!((frame(&events[1]).relative_ms, frame(&events[2]).relative_ms), (0, 33));
    let expected = FragmentSummary {
        number: NUMBER.into(),
        complete: true,
        millis_behind_now: Some(15_858),
        continuation_token: Some(NUMBER.into()),
        tags: vec![],
        frames: 2,
        keyframes: 1,
        bytes: 10,
    };
    assert_eq!(*end(&events[3]), expected);
}

#[test]
fn the_end_comes_with_the_last_byte_of_the_trailing_tags() {
    let bytes = fragment(NUMBER);
    let (last, before) = bytes.split_last().unwrap();
    let mut reader = FragmentReader::new(MkvLimits::default());
    reader.push(before);
    assert_eq!(shape(&read_next(&mut reader)), "SBB");
    reader.push(&[*last]);
    assert_eq!(shape(&read_next(&mut reader)), "E");
    assert_eq!(reader.finish(), Ok(None));
}

#[test]
fn each_cut_keeps_the_complete_frames() {
    let bytes = fragment(NUMBER);
    let whole = read(&bytes).0;
    let begins = document(&[leading(NUMBER)]).len() + 4 + 1 + 3;
    for len in 0..bytes.len() {
        let (events, ending) = read(&bytes[..len]);
        let frames = (len.max(begins) - begins) / (5 + 4 + 5);
        let expected = match len {
            _ if len < document(&[leading(NUMBER)]).len() => String::new(),
            _ => format!("S{}e", "B".repeat(frames.min(2))),
        };
        assert_eq!(shape(&events), expected, "cut at {len}");
        assert_eq!(ending.is_err(), expected.is_empty() && !may_end(len), "cut at {len}: {ending:?}");
        let blocks = events.iter().filter(|event| matches!(event, FragmentEvent::Block(_)));
        assert!(blocks.eq(whole[1..].iter().take(frames.min(2))), "cut at {len}");
        if let Some(last) = events.last() {
            assert_eq!(end(last).frames as usize, frames.min(2), "cut at {len}");
        }
    }
}

/// Returns true if a stream of one fragment may end at `len`: between two elements before its tags.
fn may_end(len: usize) -> bool {
    [0, wire::header().len(), document(&[]).len()].contains(&len)
}

#[test]
fn documents_of_every_shape_give_their_events() {
    let error = tags(&[("AWS_KINESISVIDEO_ERROR_CODE", "x"), ("AWS_KINESISVIDEO_ERROR_ID", "4000")]);
    let record = tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", NUMBER)]);
    let user = tags(&[("user", "tag")]);
    let behind = tags(&[("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "0")]);
    let token = tags(&[("AWS_KINESISVIDEO_CONTINUATION_TOKEN", NEXT)]);
    let void = sized(wire::VOID, 8, &[0; 9]);
    let cues = el(wire::CUES, &[0; 9]);
    let table = [
        ("two documents", [fragment(NUMBER), fragment(NEXT)].concat(), "SBBESBBE"),
        (
            "the first has no trailing tags",
            [document(&[leading(NUMBER), cluster(9)]), fragment(NEXT)].concat(),
            "SBBeSBBE",
        ),
        ("no Cluster", [document(&[leading(NUMBER)]), fragment(NEXT)].concat(), "SeSBBE"),
        ("no Cluster, then the end", document(&[leading(NUMBER)]), "Se"),
        ("only a header", document(&[]), ""),
        ("trailing tags, no Cluster", document(&[leading(NUMBER), trailing(NUMBER)]), "Se"),
        ("only MILLIS_BEHIND_NOW", document(&[leading(NUMBER), cluster(9), behind]), "SBBE"),
        ("only CONTINUATION_TOKEN", document(&[leading(NUMBER), cluster(9), token]), "SBBE"),
        ("user tags do not end a fragment", document(&[leading(NUMBER), cluster(9), user.clone()]), "SBBe"),
        (
            "Cues and Void between",
            document(&[leading(NUMBER), cluster(9), cues, void, trailing(NUMBER)]),
            "SBBE",
        ),
        (
            "user tags between",
            document(&[user.clone(), leading(NUMBER), user.clone(), cluster(9), user, trailing(NUMBER)]),
            "SBBE",
        ),
        ("two Clusters", document(&[leading(NUMBER), cluster(9), cluster(10), trailing(NUMBER)]), "SBBBBE"),
        ("error record alone", document(std::slice::from_ref(&error)), "X"),
        (
            "error after a fragment",
            [fragment(NUMBER), document(std::slice::from_ref(&error))].concat(),
            "SBBEX",
        ),
        (
            "error in the fragment's document",
            document(&[leading(NUMBER), cluster(9), error.clone()]),
            "SBBeX",
        ),
        ("error instead of the Cluster", document(&[leading(NUMBER), error.clone()]), "X"),
        ("error after the end", document(&[leading(NUMBER), cluster(9), trailing(NUMBER), error]), "SBBEX"),
        ("number without server timestamp", document(std::slice::from_ref(&record)), "X"),
        (
            "number repeated in the trailing tags",
            document(&[leading(NUMBER), cluster(9), record, trailing(NUMBER)]),
            "SBBE",
        ),
    ];
    for (name, bytes, expected) in table {
        let (events, ending) = read(&bytes);
        assert_eq!((shape(&events).as_str(), ending), (expected, Ok(())), "{name}");
    }
}

#[test]
fn error_records_are_read_by_either_naming() {
    let record = |id, code: Option<&str>, fragment: Option<&str>| StreamError {
        id,
        code: code.map(str::to_owned),
        fragment: fragment.map(str::to_owned),
    };
    let id = ("AWS_KINESISVIDEO_ERROR_ID", "4000");
    let code = ("AWS_KINESISVIDEO_ERROR_CODE", "FRAGMENT_NOT_FOUND");
    let number = ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", NUMBER);
    let listed = ("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", "4501");
    let message = ("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", "key disabled");
    let table = [
        (vec![code, id], record(Some(4000), Some("FRAGMENT_NOT_FOUND"), None)),
        (vec![id], record(Some(4000), None, None)),
        (vec![number, id, code], record(Some(4000), Some("FRAGMENT_NOT_FOUND"), Some(NUMBER))),
        (vec![number], record(None, None, Some(NUMBER))),
        (vec![number, listed, message], record(Some(4501), Some("4501: key disabled"), Some(NUMBER))),
        (vec![("AWS_KINESISVIDEO_ERROR_CODE", "3002")], record(Some(3002), Some("3002"), None)),
        (vec![("AWS_KINESISVIDEO_ERROR_ID", "many")], record(None, None, None)),
    ];
    for (pairs, expected) in table {
        let (events, _) = read(&document(&[tags(&pairs)]));
        assert_eq!(events, [FragmentEvent::Error(expected)], "{pairs:?}");
    }
    let (events, _) = read(&document(&[leading(NUMBER), cluster(9), tags(&[id])]));
    assert_eq!(events[4], FragmentEvent::Error(record(Some(4000), None, Some(NUMBER))));
    let (events, _) = read(&document(&[leading(NUMBER), tags(&[id])]));
    assert_eq!(events, [FragmentEvent::Error(record(Some(4000), None, Some(NUMBER)))]);
}

#[test]
fn the_tag_names_of_get_media_for_fragment_list_are_read() {
    let listed = tags(&[
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", NUMBER),
        ("AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP", "1511852109.126"),
        ("AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP", "1511852108.513"),
    ]);
    let (events, _) = read(&document(&[listed, cluster(9)]));
    assert_eq!(shape(&events), "SBBe");
    assert_eq!(start(&events[0]).server_ms, Some(1_511_852_109_126));
    assert_eq!(start(&events[0]).producer_ms, Some(1_511_852_108_513));
    assert_eq!((end(&events[3]).millis_behind_now, &end(&events[3]).continuation_token), (None, &None));
}

#[test]
fn producers_tags_go_to_the_start_and_to_the_end() {
    let mut bytes = Vec::new();
    let pair = |value: &str| [Tag::new("same", value), Tag::new("same", value)];
    writer::document_header(&mut bytes);
    writer::tags(&mut bytes, &pair("before"));
    bytes.extend(leading(NUMBER));
    writer::tags(&mut bytes, &pair("between"));
    bytes.extend(cluster(9));
    writer::tags(&mut bytes, &pair("after"));
    bytes.extend(trailing(NUMBER));
    writer::tags(&mut bytes, &pair("after the end"));
    bytes.extend(fragment(NEXT));
    let (events, _) = read(&bytes);
    assert_eq!(start(&events[0]).tags, [pair("before"), pair("between")].concat());
    assert_eq!(end(&events[3]).tags, pair("after"));
    assert_eq!((start(&events[4]).tags.len(), end(&events[7]).tags.len()), (0, 0));
}

#[test]
fn missing_and_invalid_timestamps_are_none() {
    let table = [("1.5", Some(1500)), ("0.000", Some(0)), ("soon", None), ("", None)];
    for (text, expected) in table {
        let pairs =
            [("AWS_KINESISVIDEO_FRAGMENT_NUMBER", NUMBER), ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", text)];
        let (events, _) = read(&document(&[tags(&pairs), cluster(9)]));
        assert_eq!(
            (start(&events[0]).server_ms, start(&events[0]).producer_ms),
            (expected, None),
            "{text:?}"
        );
    }
}

#[test]
fn relative_time_follows_the_scale_and_the_first_cluster() {
    let read_times = |scale: u64, clusters: &[(u64, i16)]| {
        let mut bytes = Vec::new();
        writer::document_header(&mut bytes);
        writer::info(&mut bytes, scale, "test");
        bytes.extend(leading(NUMBER));
        for &(timestamp, relative) in clusters {
            writer::cluster_start(&mut bytes, timestamp);
            writer::simple_block(&mut bytes, 1, relative, true, b"");
        }
        let events = read(&bytes).0;
        let times = events.iter().filter(|event| matches!(event, FragmentEvent::Block(_)));
        times.map(|event| frame(event).relative_ms).collect::<Vec<_>>()
    };
    assert_eq!(read_times(1_000_000, &[(5000, 33)]), [33]);
    assert_eq!(read_times(1_000_000, &[(5000, -33)]), [-33]);
    assert_eq!(read_times(100_000, &[(5000, 335)]), [34], "rounded to the nearest");
    assert_eq!(read_times(11_111, &[(5000, 3000)]), [33]);
    assert_eq!(read_times(1_000_000_000, &[(5000, -2)]), [-2000]);
    assert_eq!(read_times(1_000_000, &[(5000, 0), (6000, 10), (4000, 0)]), [0, 1010, -1000]);
    assert_eq!(read_times(u64::MAX, &[(0, 1), (u64::MAX, 1)]), [18_446_744_073_710, i64::MAX]);
}

#[test]
fn audio_frames_are_counted_but_not_as_keyframes() {
    let entry = |number, kind| {
        let fields = [sized(wire::TRACK_NUMBER, 1, &[number]), sized(wire::TRACK_TYPE, 1, &[kind])];
        el(wire::TRACK_ENTRY, &fields.concat())
    };
    let tracks = el(wire::TRACKS, &[entry(1, 1), entry(2, 2)].concat());
    let key = |track| el(wire::SIMPLE_BLOCK, &block(track, 0, 0x80, b"frame"));
    let body = [sized(wire::TIMESTAMP, 1, &[0]), key(1), key(2), key(2)].concat();
    let (events, _) = read(&document(&[tracks, leading(NUMBER), el(wire::CLUSTER, &body)]));
    let end = end(events.last().unwrap());
    assert_eq!((end.frames, end.keyframes, end.bytes), (3, 1, 15));
    assert_eq!(start(&events[0]).tracks.len(), 2);
}

#[test]
fn tracks_and_scale_of_one_document_do_not_apply_to_the_next() {
    let tracks = el(wire::TRACKS, &el(wire::TRACK_ENTRY, &sized(wire::TRACK_NUMBER, 1, &[1])));
    let info = el(wire::INFO, &el(wire::TIMESTAMP_SCALE, &wire::uint(2_000_000)));
    let first = document(&[info, tracks, leading(NUMBER), cluster(9), trailing(NUMBER)]);
    let (events, _) = read(&[first, fragment(NEXT)].concat());
    assert_eq!((start(&events[0]).tracks.len(), start(&events[4]).tracks.len()), (1, 0));
    assert_eq!((frame(&events[2]).relative_ms, frame(&events[6]).relative_ms), (66, 33));
}

#[test]
fn a_cluster_without_a_fragment_number_is_rejected() {
    let (events, ending) = read(&document(&[cluster(9)]));
    assert_eq!(events, []);
    let message = ending.unwrap_err().to_string();
    assert!(message.contains("without AWS_KINESISVIDEO_FRAGMENT_NUMBER before it"), "{message}");
    let again = document(&[leading(NUMBER), cluster(9), trailing(NUMBER), cluster(9)]);
    let (events, ending) = read(&again);
    assert_eq!(shape(&events), "SBBE");
    assert!(matches!(ending, Err(MkvError::NoFragmentNumber { .. })));
}

#[test]
fn damage_ends_the_fragment_before_the_error() {
    let bytes = [document(&[leading(NUMBER), cluster(9)]), vec![0]].concat();
    let (events, ending) = read(&bytes);
    assert_eq!(shape(&events), "SBBe");
    assert_eq!(ending, Err(MkvError::InvalidId { offset: bytes.len() as u64 - 1, first_byte: 0 }));
}

#[test]
fn producer_tags_per_fragment_are_limited() {
    let limits = MkvLimits { tags: 3, ..MkvLimits::default() };
    let pair = tags(&[("a", ""), ("b", "")]);
    for bytes in [
        document(&[pair.clone(), pair.clone()]),
        document(&[leading(NUMBER), cluster(9), pair.clone(), pair]),
    ] {
        let mut reader = FragmentReader::new(limits.clone());
        reader.push(&bytes);
        let error = std::iter::from_fn(|| reader.next().transpose()).find_map(Result::err);
        assert!(matches!(error, Some(MkvError::TooMany { limit: "tags", count: 3, .. })), "{error:?}");
    }
}
