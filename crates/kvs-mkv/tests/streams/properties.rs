//! Any stream, cut anywhere, gives the same events, and those that the simple twin finds.

#![expect(clippy::unwrap_used, reason = "a test panics on the first failure")]

use kvs_mkv::{Block, BlockKind, MkvError, MkvEvent, MkvLimits, MkvReader, Tag, writer};
use proptest::collection::vec;
use proptest::prelude::*;
use test_support::invariants::matroska;

use super::twin::{self, Ending};
use super::wire::{self, Lacing, block, document, el, lace, lacing_flags, sized, unsized_};

type Coded = BoxedStrategy<Vec<u8>>;

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

/// An element that readers must skip in any place.
fn global() -> Coded {
    prop_oneof![
        (1usize..9, 0usize..30).prop_map(|(len, fill)| sized(wire::VOID, len, &vec![0; fill])),
        vec(any::<u8>(), 4).prop_map(|sum| sized(wire::CRC32, 1, &sum)),
        payload().prop_map(|body| sized(0x4444, 2, &body)),
    ]
    .boxed()
}

fn one_block() -> Coded {
    let lacing = prop_oneof![Just(Lacing::Xiph), Just(Lacing::Ebml)];
    let long = vec(any::<u8>(), 0..700);
    let laced = (lacing, vec(long, 1..5)).prop_map(|(how, frames)| (lacing_flags(how), lace(how, &frames)));
    let fixed = (1usize..9, 1usize..5).prop_map(|(len, count)| {
        (lacing_flags(Lacing::Fixed), lace(Lacing::Fixed, &vec![vec![7; len]; count]))
    });
    let plain = payload().prop_map(|frame| (0, frame));
    let body = prop_oneof![4 => plain, 1 => laced, 1 => fixed];
    (1u64..4, any::<i16>(), any::<bool>(), body)
        .prop_map(|(track, at, key, (lacing, body))| {
            block(track, at, lacing | if key { 0x80 } else { 0 }, &body)
        })
        .boxed()
}

fn in_cluster() -> Coded {
    let simple = (one_block(), 2usize..9).prop_map(|(body, len)| sized(wire::SIMPLE_BLOCK, len, &body));
    let group = (one_block(), any::<bool>(), any::<bool>()).prop_map(|(body, key, duration)| {
        let duration = if duration { sized(wire::BLOCK_DURATION, 1, &[33]) } else { Vec::new() };
        let reference = if key { Vec::new() } else { sized(wire::REFERENCE_BLOCK, 1, &[0xFF]) };
        el(wire::BLOCK_GROUP, &[duration, el(wire::BLOCK, &body), reference].concat())
    });
    let position = any::<u16>().prop_map(|at| sized(wire::POSITION, 8, &at.to_be_bytes()));
    prop_oneof![4 => simple, 2 => group, 1 => position, 1 => global()].boxed()
}

fn cluster() -> Coded {
    let timestamp = (any::<u64>(), any::<bool>()).prop_map(|(at, short)| {
        sized(wire::TIMESTAMP, 1, &if short { wire::uint(at) } else { at.to_be_bytes().to_vec() })
    });
    (any::<bool>(), 1usize..9, timestamp, vec(in_cluster(), 0..6), prop::option::of(global()))
        .prop_map(|(known, len, timestamp, children, first)| {
            let body = [first.unwrap_or_default(), timestamp, children.concat()].concat();
            if known { sized(wire::CLUSTER, len.max(3), &body) } else { unsized_(wire::CLUSTER, len, &body) }
        })
        .boxed()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{0,12}\0{0,20}",
        Just("AWS_KINESISVIDEO_FRAGMENT_NUMBER".to_owned()),
        Just("AWS_KINESISVIDEO_SERVER_TIMESTAMP".to_owned()),
        Just("AWS_KINESISVIDEO_CONTINUATION_TOKEN".to_owned()),
        Just("AWS_KINESISVIDEO_ERROR_CODE".to_owned()),
        Just("1511852109.126".to_owned()),
        ".{0,6}",
    ]
}

fn tags() -> Coded {
    let simple = (text(), text(), prop::option::of((text(), text()))).prop_map(|(name, value, inner)| {
        let inner = inner.map(|(name, value)| wire::simple_tag(&name, &value, &[]));
        wire::simple_tag(&name, &value, &inner.unwrap_or_default())
    });
    (vec(simple, 0..4), any::<bool>(), 4usize..9)
        .prop_map(|(simple, targets, len)| {
            let targets = if targets { el(wire::TARGETS, &[]) } else { Vec::new() };
            sized(wire::TAGS, len, &el(wire::TAG, &[targets, simple.concat()].concat()))
        })
        .boxed()
}

/// Returns the tags that make a Cluster a fragment.
fn aws_tags() -> Vec<u8> {
    wire::tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "91"), ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "0.000")])
}

fn tracks() -> Coded {
    let entry = (0u64..300, 0u64..4, payload(), any::<u16>()).prop_map(|(number, kind, private, side)| {
        let side = el(wire::PIXEL_WIDTH, &side.to_be_bytes());
        let fields = [
            el(wire::TRACK_NUMBER, &wire::uint(number)),
            el(wire::TRACK_TYPE, &wire::uint(kind)),
            el(wire::CODEC_ID, b"V_MS/VFW/FOURCC\0\0\0\0"),
            el(wire::CODEC_PRIVATE, &private),
            el(wire::VIDEO, &side),
        ];
        el(wire::TRACK_ENTRY, &fields.concat())
    });
    vec(entry, 0..3).prop_map(|entries| el(wire::TRACKS, &entries.concat())).boxed()
}

fn part() -> Coded {
    let info = (1u64..100_000_000).prop_map(|ns| el(wire::INFO, &el(wire::TIMESTAMP_SCALE, &wire::uint(ns))));
    let ignored = (prop_oneof![Just(wire::SEEK_HEAD), Just(wire::CUES)], payload());
    let ignored = ignored.prop_map(|(id, body)| sized(id, 4, &body));
    let fragment = cluster().prop_map(|cluster| [aws_tags(), cluster].concat());
    prop_oneof![1 => info, 1 => ignored, 1 => tracks(), 2 => tags(), 2 => fragment, 2 => cluster(), 1 => global()].boxed()
}

fn stream() -> Coded {
    let one = (vec(part(), 0..7), any::<bool>()).prop_map(|(parts, known)| match known {
        true => [wire::header(), sized(wire::SEGMENT, 8, &parts.concat())].concat(),
        false => document(&parts),
    });
    vec(one, 1..4).prop_map(|documents| documents.concat()).boxed()
}

/// Returns the events and the ending that the reader finds, with the bytes cut into pieces of these lengths
/// in turn.
fn read(bytes: &[u8], lengths: &[usize]) -> (Vec<MkvEvent>, Ending) {
    let mut reader = MkvReader::new(MkvLimits::default());
    let mut events = Vec::new();
    let mut lengths = lengths.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, next) = rest.split_at((*lengths.next().unwrap()).min(rest.len()));
        rest = next;
        reader.push(piece);
        loop {
            match reader.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return (events, Ending::Bad),
            }
        }
    }
    match reader.finish() {
        Ok(()) => (events, Ending::Whole),
        Err(MkvError::Truncated { .. }) => (events, Ending::Cut),
        Err(_) => (events, Ending::Bad),
    }
}

fn check_all(bytes: &[u8], lengths: &[usize]) -> Result<(), TestCaseError> {
    let twin = twin::read(bytes, &MkvLimits::default());
    prop_assert_eq!(&read(bytes, &[bytes.len().max(1)]), &twin);
    prop_assert_eq!(&read(bytes, lengths), &twin);
    let cuts: Vec<u8> = lengths.iter().map(|&len| len as u8).chain([0; matroska::CUTS]).collect();
    matroska::check(&[&cuts[..matroska::CUTS], bytes].concat());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_streams_equal_the_twin_at_any_cut(bytes in stream(), lengths in vec(1usize..60, 1..8)) {
        prop_assert_eq!(twin::read(&bytes, &MkvLimits::default()).1, Ending::Whole);
        check_all(&bytes, &lengths)?;
        check_all(&bytes, &[1])?;
    }

    #[test]
    fn truncated_streams_equal_the_twin(bytes in stream(), end in any::<prop::sample::Index>(), lengths in vec(1usize..60, 1..8)) {
        check_all(&bytes[..end.index(bytes.len())], &lengths)?;
    }

    #[test]
    fn damaged_streams_equal_the_twin(
        mut bytes in stream(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        lengths in vec(1usize..60, 1..8),
    ) {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check_all(&bytes, &lengths)?;
    }

    #[test]
    fn lost_and_doubled_bytes_equal_the_twin(
        bytes in stream(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        lengths in vec(1usize..60, 1..8),
    ) {
        let (head, tail) = (&bytes[..from.index(bytes.len())], &bytes[to.index(bytes.len())..]);
        check_all(&[head, tail].concat(), &lengths)?;
    }

    #[test]
    fn any_bytes_equal_the_twin(noise in vec(any::<u8>(), 0..300), begun in any::<bool>(), lengths in vec(1usize..60, 1..8)) {
        let head = if begun { document(&[]) } else { Vec::new() };
        check_all(&[head, noise].concat(), &lengths)?;
    }

    #[test]
    fn a_written_stream_is_read_back(
        timestamp in any::<u64>(),
        scale in 1u64..1_000_000_000,
        pairs in vec(("[a-zA-Z_]{1,20}", "[^\0]{0,20}"), 0..5),
        frames in vec((1u64..20_000, any::<i16>(), any::<bool>(), any::<bool>(), payload()), 0..8),
        known in any::<bool>(),
    ) {
        let track = writer::video_track(1, "V_MPEGH/ISO/HEVC", &[1, 2, 3], 3840, 2160);
        let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| Tag::new(name, value)).collect();
        let blocks: Vec<_> = frames.into_iter().map(|frame| frame_block(frame, known)).collect();
        let mut bytes = Vec::new();
        writer::document_header(&mut bytes);
        let from = bytes.len();
        writer::info(&mut bytes, scale, "test");
        let raw = bytes[from..].to_vec().into();
        writer::tracks(&mut bytes, std::slice::from_ref(&track));
        writer::tags(&mut bytes, &pairs);
        if known {
            writer::cluster(&mut bytes, timestamp, &blocks);
        } else {
            writer::cluster_start(&mut bytes, timestamp);
            for block in &blocks {
                writer::simple_block(&mut bytes, block.track, block.relative, block.key, &block.data);
            }
        }
        writer::tags(&mut bytes, &pairs);
        let head = [
            MkvEvent::DocumentStart,
            MkvEvent::Info { timestamp_scale_ns: scale, raw },
            MkvEvent::Tracks([track].into()),
            MkvEvent::Tags(pairs.clone()),
            MkvEvent::ClusterStart { timestamp },
        ];
        let blocks = blocks.into_iter().map(MkvEvent::Block);
        let expected: Vec<_> = head.into_iter().chain(blocks).chain([MkvEvent::ClusterEnd, MkvEvent::Tags(pairs)]).collect();
        prop_assert_eq!(read(&bytes, &[13]), (expected, Ending::Whole));
    }
}

fn frame_block(
    (track, relative, key, group, payload): (u64, i16, bool, bool, Vec<u8>),
    known: bool,
) -> Block {
    let kind = if group && known { BlockKind::Group } else { BlockKind::Simple };
    let flags = if key && kind == BlockKind::Simple { 0x80 } else { 0 };
    Block { track, relative, key, flags, kind, data: payload.into() }
}
