//! Unusual but valid encodings, one table row each.

use super::wire::{self, Lacing, block, document, el, header, lace, lacing_flags, sized, tags, unsized_};
use kvs_mkv::{Block, BlockKind, MkvError, MkvEvent, MkvLimits, MkvReader, Tag, TrackKind, writer};

/// Pushes the bytes one by one, and returns the events and the final result.
fn read(bytes: &[u8]) -> (Vec<MkvEvent>, Result<(), MkvError>) {
    let mut reader = MkvReader::new(MkvLimits::default());
    let mut events = Vec::new();
    for byte in bytes {
        reader.push(&[*byte]);
        loop {
            match reader.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Err(error)),
            }
        }
    }
    (events, reader.finish())
}

fn timestamp(value: u8) -> Vec<u8> {
    sized(wire::TIMESTAMP, 1, &[value])
}

fn simple(payload: &[u8]) -> Vec<u8> {
    el(wire::SIMPLE_BLOCK, &block(1, 0, 0x80, payload))
}

/// The events of the one Cluster that these tests encode.
fn one_frame() -> Vec<MkvEvent> {
    let data = b"frame"[..].into();
    let frame = Block { track: 1, relative: 0, key: true, flags: 0x80, kind: BlockKind::Simple, data };
    vec![
        MkvEvent::DocumentStart,
        MkvEvent::ClusterStart { timestamp: 7 },
        MkvEvent::Block(frame),
        MkvEvent::ClusterEnd,
    ]
}

#[test]
fn one_frame_is_read_in_each_encoding() {
    let body = [timestamp(7), simple(b"frame")].concat();
    let long = sized(wire::SIMPLE_BLOCK, 8, &block(1, 0, 0x80, b"frame"));
    let void = |len| sized(wire::VOID, len, &[0; 20]);
    let crc = sized(wire::CRC32, 1, &[1, 2, 3, 4]);
    let known = el(wire::CLUSTER, &body);
    let cues = el(wire::CUES, &[0; 9]);
    let seek = el(wire::SEEK_HEAD, &[0xFF; 9]);
    let in_segment =
        |len| [header(), unsized_(wire::SEGMENT, len, &[known.clone(), cues.clone()].concat())].concat();
    let table = [
        ("known size", document(std::slice::from_ref(&known))),
        ("unknown size, FF", document(&[unsized_(wire::CLUSTER, 1, &body), cues.clone()])),
        ("unknown size, 8 bytes", document(&[unsized_(wire::CLUSTER, 8, &body), cues.clone()])),
        ("unknown size, 4 bytes", document(&[unsized_(wire::CLUSTER, 4, &body), cues.clone()])),
        ("Segment of unknown size, FF", in_segment(1)),
        ("Segment of unknown size, 4 bytes", in_segment(4)),
        ("Segment of known size", [header(), el(wire::SEGMENT, &known)].concat()),
        (
            "unknown size in a Segment of known size",
            [header(), el(wire::SEGMENT, &unsized_(wire::CLUSTER, 1, &body))].concat(),
        ),
        ("block size of 8 bytes", document(&[el(wire::CLUSTER, &[timestamp(7), long].concat())])),
        (
            "timestamp of 8 bytes",
            document(&[el(
                wire::CLUSTER,
                &[el(wire::TIMESTAMP, &7u64.to_be_bytes()), simple(b"frame")].concat(),
            )]),
        ),
        (
            "Void and CRC-32 everywhere",
            document(&[
                void(1),
                crc.clone(),
                void(8),
                unsized_(
                    wire::CLUSTER,
                    1,
                    &[crc, void(4), timestamp(7), void(8), simple(b"frame"), void(1)].concat(),
                ),
                cues.clone(),
                void(2),
            ]),
        ),
        ("Void before the header", [void(4), document(std::slice::from_ref(&known))].concat()),
        ("SeekHead after the Cluster", document(&[seek.clone(), known.clone(), seek])),
        ("unknown elements", document(&[el(0x4444, b"?"), known.clone(), el(0x2A_0001, b"?")])),
        (
            "Position and PrevSize",
            document(&[el(
                wire::CLUSTER,
                &[timestamp(7), el(wire::POSITION, &[0]), el(0xAB, &[9]), simple(b"frame")].concat(),
            )]),
        ),
    ];
    for (name, bytes) in table {
        assert_eq!(read(&bytes), (one_frame(), Ok(())), "{name}");
    }
}

#[test]
fn a_cluster_of_unknown_size_ends_at_the_next_id() {
    let body = [timestamp(7), simple(b"frame")].concat();
    let cluster = document(&[unsized_(wire::CLUSTER, 1, &body)]);
    for next in [wire::TAGS, wire::CLUSTER, wire::CUES, wire::INFO, wire::TRACKS, wire::SEEK_HEAD, wire::EBML]
    {
        let mut reader = MkvReader::new(MkvLimits::default());
        reader.push(&cluster);
        let events: Vec<_> = std::iter::from_fn(|| reader.next().unwrap()).collect();
        assert_eq!(events, one_frame()[..3], "0x{next:X}");
        let (head, tail) = (&wire::id(next)[..3], &wire::id(next)[3..]);
        reader.push(head);
        assert_eq!(reader.next(), Ok(None), "0x{next:X}");
        reader.push(tail);
        assert_eq!(reader.next(), Ok(Some(MkvEvent::ClusterEnd)), "0x{next:X}");
        assert_eq!(reader.next(), Ok(None), "0x{next:X}");
    }
}

#[test]
fn a_frame_is_available_with_its_last_byte() {
    let mut bytes = Vec::new();
    writer::document_header(&mut bytes);
    writer::cluster_start(&mut bytes, 7);
    writer::simple_block(&mut bytes, 1, 0, true, b"frame");
    let (last, before) = bytes.split_last().unwrap();
    let mut reader = MkvReader::new(MkvLimits::default());
    reader.push(before);
    let events: Vec<_> = std::iter::from_fn(|| reader.next().unwrap()).collect();
    assert_eq!(events, one_frame()[..2]);
    assert!(matches!(reader.finish(), Err(MkvError::Truncated { .. })));
    reader.push(&[*last]);
    assert_eq!(reader.next(), Ok(Some(one_frame()[2].clone())));
    assert_eq!(reader.offset(), bytes.len() as u64);
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn a_put_media_stream_is_read() {
    let mut bytes = Vec::new();
    writer::document_header(&mut bytes);
    writer::info(&mut bytes, 1_000_000, "producer");
    let end = [Tag::new("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")];
    for at in 0..3 {
        writer::cluster_start(&mut bytes, 7);
        writer::simple_block(&mut bytes, 1, 0, true, b"frame");
        writer::tags(&mut bytes, &[Tag::new("user", at.to_string())]);
        writer::tags(&mut bytes, &end);
    }
    let (events, ending) = read(&bytes);
    assert_eq!(ending, Ok(()));
    let fragments: Vec<_> = events[2..].chunks(5).collect();
    assert_eq!(fragments.len(), 3);
    for (at, fragment) in fragments.into_iter().enumerate() {
        assert_eq!(fragment[..3], one_frame()[1..]);
        assert_eq!(fragment[3], MkvEvent::Tags(vec![Tag::new("user", at.to_string())]));
        assert_eq!(fragment[4], MkvEvent::Tags(end.to_vec()));
    }
}

#[test]
fn tags_of_every_shape_are_read() {
    let nested = wire::simple_tag("outer", "1", &wire::simple_tag("inner", "2", &[]));
    let targets = el(wire::TARGETS, &el(0x68CA, &[50]));
    let table = [
        ("without Targets", tags(&[("a", "1")]), vec![Tag::new("a", "1")]),
        (
            "with Targets",
            el(wire::TAGS, &el(wire::TAG, &[targets, wire::simple_tag("a", "1", &[])].concat())),
            vec![Tag::new("a", "1")],
        ),
        ("repeated names", tags(&[("a", "1"), ("a", "2")]), vec![Tag::new("a", "1"), Tag::new("a", "2")]),
        ("padded with NUL", tags(&[("a\0\0\0", "1\0rest")]), vec![Tag::new("a", "1")]),
        ("empty", tags(&[("", "")]), vec![Tag::new("", "")]),
        (
            "no value",
            el(wire::TAGS, &el(wire::TAG, &el(wire::SIMPLE_TAG, &el(wire::TAG_NAME, b"a")))),
            vec![Tag::new("a", "")],
        ),
        (
            "nested",
            el(wire::TAGS, &el(wire::TAG, &nested)),
            vec![Tag::new("outer", "1"), Tag::new("inner", "2")],
        ),
        (
            "sizes of 8 bytes",
            sized(wire::TAGS, 8, &sized(wire::TAG, 8, &wire::simple_tag("a", "1", &[]))),
            vec![Tag::new("a", "1")],
        ),
        (
            "invalid UTF-8",
            el(wire::TAGS, &el(wire::TAG, &el(wire::SIMPLE_TAG, &el(wire::TAG_NAME, b"a\xFF")))),
            vec![Tag::new("a\u{FFFD}", "")],
        ),
        ("no Tag", el(wire::TAGS, &[]), vec![]),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(
            read(&document(&[bytes])),
            (vec![MkvEvent::DocumentStart, MkvEvent::Tags(expected)], Ok(())),
            "{name}"
        );
    }
}

#[test]
fn tracks_of_every_kind_are_read() {
    let video = el(
        wire::VIDEO,
        &[sized(wire::PIXEL_WIDTH, 1, &[0x02, 0x80]), sized(wire::PIXEL_HEIGHT, 1, &[0, 0, 1, 0xE0])]
            .concat(),
    );
    let entry = |number: u8, kind: u8, codec: &[u8], more: &[u8]| {
        let fields = [
            sized(wire::TRACK_NUMBER, 1, &[number]),
            sized(wire::TRACK_TYPE, 1, &[kind]),
            el(wire::CODEC_ID, codec),
            more.to_vec(),
        ];
        el(wire::TRACK_ENTRY, &fields.concat())
    };
    let duration = sized(wire::DEFAULT_DURATION, 1, &33_333_333u64.to_be_bytes());
    let private = el(wire::CODEC_PRIVATE, b"\x01\0\0");
    let raw = entry(1, 1, b"V_MS/VFW/FOURCC\0\0\0", &[video, duration, private].concat());
    let audio = entry(2, 2, b"A_AAC", &el(wire::CONTENT_ENCODINGS, &[]));
    let (events, ending) =
        read(&document(&[el(wire::TRACKS, &[raw.clone(), audio, entry(3, 17, b"", &[])].concat())]));
    assert_eq!(ending, Ok(()));
    let MkvEvent::Tracks(tracks) = &events[1] else { unreachable!("{events:?}") };
    assert_eq!(tracks.iter().map(|track| track.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        tracks.iter().map(|track| track.kind).collect::<Vec<_>>(),
        [TrackKind::Video, TrackKind::Audio, TrackKind::Other(17)]
    );
    assert_eq!(tracks.iter().map(|track| track.is_encoded()).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(
        (tracks[0].codec_id.as_str(), &tracks[0].codec_private[..]),
        ("V_MS/VFW/FOURCC", &b"\x01\0\0"[..])
    );
    assert_eq!((tracks[0].width_px, tracks[0].height_px, tracks[1].width_px), (640, 480, 0));
    assert_eq!((tracks[0].default_duration_ns, tracks[1].default_duration_ns), (Some(33_333_333), None));
    assert_eq!(tracks[0].raw, raw);
}

#[test]
fn laced_frames_are_separated() {
    let frames =
        |lens: &[usize]| lens.iter().enumerate().map(|(at, &len)| vec![at as u8; len]).collect::<Vec<_>>();
    let table = [
        (Lacing::Xiph, frames(&[3, 300, 255, 0, 9])),
        (Lacing::Xiph, frames(&[9])),
        (Lacing::Ebml, frames(&[800, 500, 1000, 0, 7])),
        (Lacing::Ebml, frames(&[9, 1])),
        (Lacing::Fixed, frames(&[5, 5, 5])),
        (Lacing::Fixed, frames(&[5])),
    ];
    for (lacing, frames) in table {
        let payload = lace(lacing, &frames);
        let body = block(2, -5, lacing_flags(lacing), &payload);
        let alone = el(wire::SIMPLE_BLOCK, &body);
        let group = el(wire::BLOCK_GROUP, &el(wire::BLOCK, &body));
        let cluster = el(wire::CLUSTER, &[timestamp(7), alone, group].concat());
        let (events, ending) = read(&document(&[cluster]));
        assert_eq!(ending, Ok(()), "{lacing:?}");
        let blocks: Vec<_> = events
            .iter()
            .filter_map(|event| if let MkvEvent::Block(block) = event { Some(block) } else { None })
            .collect();
        assert_eq!(blocks.len(), 2 * frames.len(), "{lacing:?}");
        for (at, block) in blocks.iter().enumerate() {
            assert_eq!(block.data, frames[at % frames.len()], "{lacing:?}, frame {at}");
            assert_eq!(
                (block.track, block.relative, block.key),
                (2, -5, at >= frames.len()),
                "{lacing:?}, frame {at}"
            );
        }
    }
}

#[test]
fn a_block_group_without_a_reference_is_a_keyframe() {
    let group = |flags, more: &[u8]| {
        el(wire::BLOCK_GROUP, &[el(wire::BLOCK, &block(1, 0, flags, b"f")), more.to_vec()].concat())
    };
    let reference = sized(wire::REFERENCE_BLOCK, 1, &[0xFF]);
    let cluster = el(wire::CLUSTER, &[timestamp(7), group(0, &[]), group(0x80, &reference)].concat());
    let (events, _) = read(&document(&[cluster]));
    let keys: Vec<_> = events
        .iter()
        .filter_map(
            |event| {
                if let MkvEvent::Block(block) = event { Some((block.key, block.kind)) } else { None }
            },
        )
        .collect();
    assert_eq!(keys, [(true, BlockKind::Group), (false, BlockKind::Group)]);
}

#[test]
fn the_timestamp_scale_is_read() {
    let info = |body: &[u8]| document(&[el(wire::INFO, body)]);
    let scale = |bytes: &[u8]| match &read(&info(bytes)).0[..] {
        [MkvEvent::DocumentStart, MkvEvent::Info { timestamp_scale_ns, raw }] => {
            assert_eq!(*raw, el(wire::INFO, bytes));
            *timestamp_scale_ns
        }
        other => unreachable!("{other:?}"),
    };
    assert_eq!(scale(&[]), 1_000_000, "absent");
    assert_eq!(scale(&el(wire::TIMESTAMP_SCALE, &[])), 1_000_000, "empty");
    assert_eq!(scale(&el(wire::TIMESTAMP_SCALE, &[0, 0, 0, 0, 0, 1, 0, 0])), 65_536, "8 bytes");
}

#[test]
fn frames_are_slices_of_the_received_bytes() {
    let mut bytes = Vec::new();
    writer::document_header(&mut bytes);
    writer::cluster_start(&mut bytes, 0);
    for _ in 0..2 {
        writer::simple_block(&mut bytes, 1, 0, true, &[7; 1000]);
    }
    let mut reader = MkvReader::new(MkvLimits::default());
    reader.push(&bytes);
    let events: Vec<_> = std::iter::from_fn(|| reader.next().unwrap()).collect();
    let [MkvEvent::Block(first), MkvEvent::Block(second)] = &events[2..] else { unreachable!("{events:?}") };
    let apart = second.data.as_ptr() as usize - first.data.as_ptr() as usize;
    assert_eq!(apart, 1000 + 1 + 4 + 4, "one allocation holds both");
}
