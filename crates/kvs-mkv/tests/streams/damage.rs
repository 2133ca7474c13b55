//! Damaged and oversized streams: each kind of error is reported with its offset.

use super::wire::{self, block, document, el, header, sized, tags, unsized_};
use kvs_mkv::{ElementId, MkvError, MkvLimits, MkvReader};

/// Pushes the bytes one by one and returns how reading ends.
fn read(bytes: &[u8], limits: MkvLimits) -> Result<(), MkvError> {
    let mut reader = MkvReader::new(limits);
    for byte in bytes {
        reader.push(&[*byte]);
        while reader.next()?.is_some() {}
    }
    reader.finish()
}

/// Returns the offset of the first element of the Segment.
fn first() -> u64 {
    document(&[]).len() as u64
}

/// Returns the offset of the first element after the Timestamp of the first Cluster.
fn in_cluster() -> u64 {
    first() + 8 + 3
}

fn cluster(parts: &[Vec<u8>]) -> Vec<u8> {
    document(&[el(wire::CLUSTER, &parts.concat())])
}

fn timestamp(value: u8) -> Vec<u8> {
    sized(wire::TIMESTAMP, 1, &[value])
}

fn simple(payload: &[u8]) -> Vec<u8> {
    el(wire::SIMPLE_BLOCK, &block(1, 0, 0x80, payload))
}

fn info(body: &[u8]) -> Vec<u8> {
    document(&[el(wire::INFO, body)])
}

fn assert_message(name: &str, bytes: &[u8], at: u64, message: &str) {
    let Err(error) = read(bytes, MkvLimits::default()) else { unreachable!("{name} is accepted") };
    let error = error.to_string();
    let place = [format!("byte {at}: "), format!("the stream ends at byte {at}, ")];
    let rest = place.iter().find_map(|place| error.strip_prefix(place.as_str()));
    assert!(rest.is_some_and(|rest| rest.starts_with(message)), "{name}: {error:?}, not {message:?} at {at}");
}

#[test]
fn misplaced_elements_are_reported() {
    let avi = sized(wire::EBML, 1, &sized(wire::DOC_TYPE, 1, b"avi"));
    let long_ids = sized(wire::EBML, 1, &sized(0x42F2, 1, &[5]));
    let table = [
        ("text", b"<html>".to_vec(), 0, "found an element (0x3C6874), expected an EBML header"),
        ("zeros", vec![0; 9], 0, "0x00 does not begin an element id"),
        ("another DocType", avi, 5, "DocType (0x4282) must hold matroska or webm"),
        ("long ids", long_ids, 5, "EBMLMaxIDLength (0x42F2) must hold at most 4"),
        (
            "no header",
            unsized_(wire::SEGMENT, 8, &[]),
            0,
            "found Segment (0x18538067), expected an EBML header",
        ),
        (
            "no Segment",
            [header(), tags(&[])].concat(),
            first() - 12,
            "found Tags (0x1254C367), expected a Segment",
        ),
        (
            "block outside",
            document(&[simple(b"")]),
            first(),
            "found SimpleBlock (0xA3), expected a child of the Segment",
        ),
        (
            "Tags unsized",
            document(&[unsized_(wire::TAGS, 1, &[])]),
            first(),
            "Tags (0x1254C367) has an unknown size",
        ),
        (
            "no Timestamp",
            cluster(&[simple(b"")]),
            first() + 8,
            "Cluster (0x1F43B675) has no Timestamp (0xE7)",
        ),
        ("empty Cluster", cluster(&[]), first() + 8, "Cluster (0x1F43B675) has no Timestamp (0xE7)"),
        (
            "two Timestamps",
            cluster(&[timestamp(7), timestamp(7)]),
            in_cluster(),
            "found Timestamp (0xE7), expected one",
        ),
        (
            "Tags in a Cluster",
            cluster(&[timestamp(7), tags(&[])]),
            in_cluster(),
            "found Tags (0x1254C367), expected a child",
        ),
    ];
    for (name, bytes, at, message) in table {
        assert_message(name, &bytes, at, message);
    }
}

#[test]
fn bodies_with_invalid_values_are_reported() {
    let scale = |body| info(&el(wire::TIMESTAMP_SCALE, body));
    let track = document(&[el(wire::TRACKS, &el(wire::TRACK_ENTRY, &[]))]);
    let width = el(wire::VIDEO, &el(wire::PIXEL_WIDTH, &[1, 0, 0, 0, 0]));
    let wide = document(&[el(wire::TRACKS, &el(wire::TRACK_ENTRY, &width))]);
    let long = cluster(&[timestamp(7), vec![0xA3, 0x89]]);
    let one_more = [cluster(&[timestamp(7), vec![0xEC, 0x81]]), vec![0; 3]].concat();
    let bare_group = cluster(&[timestamp(7), el(wire::BLOCK_GROUP, &[])]);
    let two = el(wire::BLOCK, &block(1, 0, 0, b"")).repeat(2);
    let group = cluster(&[timestamp(7), el(wire::BLOCK_GROUP, &two)]);
    let table = [
        ("one byte beyond", one_more, in_cluster(), "Void (0xEC) ends at byte "),
        ("beyond its parent", long, in_cluster(), "SimpleBlock (0xA3) ends at byte "),
        (
            "9 bytes",
            scale(&[0; 9]),
            first() + 8,
            "TimestampScale (0x2AD7B1) must hold an integer of at most 8 bytes",
        ),
        ("scale of 0", scale(&[0]), first() + 8, "TimestampScale (0x2AD7B1) must hold nanoseconds above 0"),
        ("child cut", info(&[0x2A, 0xD7]), first() + 8, "Info (0x1549A966) must hold whole elements"),
        ("child too long", info(&[0xEC, 0x85, 0]), first() + 8, "Void (0xEC) ends at byte "),
        ("child unsized", info(&[0xEC, 0xFF, 0]), first() + 8, "Void (0xEC) has an unknown size"),
        ("no number", track, first() + 8, "TrackEntry (0xAE) has no TrackNumber (0xD7)"),
        ("too wide", wide, first() + 8 + 5 + 5, "PixelWidth (0xB0) must hold a length in pixels below 2^32"),
        ("no Block", bare_group, in_cluster(), "BlockGroup (0xA0) has no Block (0xA1)"),
        ("two Blocks", group, in_cluster(), "BlockGroup (0xA0) must hold one Block"),
    ];
    for (name, bytes, at, message) in table {
        assert_message(name, &bytes, at, message);
    }
}

#[test]
fn damaged_blocks_are_reported() {
    let of = |body: &[u8]| cluster(&[timestamp(7), el(wire::SIMPLE_BLOCK, body)]);
    let laced = |flags, payload: &[u8]| of(&block(1, 0, flags, payload));
    let sizes = "SimpleBlock (0xA3) must hold laced frames whose sizes fill the block";
    let head = "SimpleBlock (0xA3) must hold a track number, a timestamp and flags";
    let number = "SimpleBlock (0xA3) holds an integer of more than 8 bytes";
    let table = [
        ("empty", of(&[]), in_cluster(), head),
        ("short", of(&[0x81, 0, 0]), in_cluster(), head),
        ("bad track number", of(&[0, 0, 0, 0]), in_cluster() + 5, number),
        ("xiph, too long", laced(2, &[1, 200, 0]), in_cluster(), sizes),
        ("xiph, cut", laced(2, &[1, 255]), in_cluster(), sizes),
        ("ebml, below 0", laced(6, &[2, 0x81, 0x80, 0, 0]), in_cluster(), sizes),
        ("ebml, too long", laced(6, &[1, 0x85, 0]), in_cluster(), sizes),
        ("fixed, uneven", laced(4, &[1, 0, 0, 0]), in_cluster(), sizes),
        ("fixed, of nothing", laced(4, &[255]), in_cluster(), sizes),
        ("no count", laced(4, &[]), in_cluster(), sizes),
    ];
    for (name, bytes, at, message) in table {
        assert_message(name, &bytes, at, message);
    }
}

#[test]
fn streams_that_end_inside_an_element_are_reported() {
    let known = |id: u32, size: u8, body: &[u8]| [wire::id(id), vec![0x80 | size], body.to_vec()].concat();
    let in_segment = [header(), known(wire::SEGMENT, 9, &[])].concat();
    let table = [
        ("a head", document(&[vec![0xE7]]), 1, "inside Timestamp (0xE7)"),
        ("an id", document(&[vec![0x1F, 0x43]]), 2, "inside Segment (0x18538067)"),
        ("a Cluster", document(&[known(wire::CLUSTER, 5, &[])]), 5, "inside Cluster (0x1F43B675)"),
        ("a Void", document(&[known(wire::VOID, 5, &[0])]), 3, "inside Void (0xEC)"),
        (
            "a block",
            document(&[unsized_(wire::CLUSTER, 1, &[timestamp(7), vec![0xA3, 0x85, 0x81]].concat())]),
            11,
            "inside SimpleBlock (0xA3)",
        ),
    ];
    for (name, bytes, more, message) in table {
        assert_message(name, &bytes, first() + more, message);
    }
    assert_message("a Segment", &in_segment, in_segment.len() as u64, "inside Segment (0x18538067)");
}

fn limits() -> MkvLimits {
    MkvLimits { element_bytes: 100, fragment_bytes: 300, header_bytes: 50, tags: 3, tracks: 2, depth: 2 }
}

#[test]
fn limits_are_checked_before_the_bytes_arrive() {
    let big = |id: u32, size| [wire::id(id), wire::vint(size, 8)].concat();
    let in_cluster =
        |parts: &[Vec<u8>]| document(&[unsized_(wire::CLUSTER, 1, &[timestamp(7), parts.concat()].concat())]);
    let entry = el(wire::TRACK_ENTRY, &sized(wire::TRACK_NUMBER, 1, &[1]));
    let pair = sized(wire::SIMPLE_TAG, 1, &[]);
    let deep = sized(wire::SIMPLE_TAG, 1, &sized(wire::SIMPLE_TAG, 1, &pair));
    let table = [
        ("header", big(wire::EBML, 39), "header_bytes"),
        ("huge header", big(wire::EBML, (1 << 56) - 2), "header_bytes"),
        ("Tags", document(&[big(wire::TAGS, 39)]), "header_bytes"),
        ("block", in_cluster(&[big(wire::SIMPLE_BLOCK, 92)]), "element_bytes"),
        ("group", in_cluster(&[big(wire::BLOCK_GROUP, 1 << 40)]), "element_bytes"),
        ("Void", document(&[big(wire::VOID, 300)]), "fragment_bytes"),
        ("Void before the header", big(wire::VOID, 300), "fragment_bytes"),
        ("known Cluster", document(&[big(wire::CLUSTER, 300)]), "fragment_bytes"),
        ("many blocks", in_cluster(&vec![simple(&[0; 60]); 5]), "fragment_bytes"),
        ("many Tags", document(&vec![tags(&[("a", "")]); 12]), "fragment_bytes"),
        ("tag count", document(&[sized(wire::TAGS, 1, &sized(wire::TAG, 1, &pair.repeat(4)))]), "tags"),
        ("depth", document(&[sized(wire::TAGS, 1, &sized(wire::TAG, 1, &deep))]), "depth"),
        ("track count", document(&[sized(wire::TRACKS, 1, &entry.repeat(3))]), "tracks"),
    ];
    for (name, bytes, expected) in table {
        match read(&bytes, limits()) {
            Err(MkvError::TooLarge { limit, .. } | MkvError::TooMany { limit, .. }) => {
                assert_eq!(limit, expected, "{name}");
            }
            other => unreachable!("{name}: {other:?}"),
        }
    }
    let many = document(&vec![el(wire::CLUSTER, &[timestamp(7), simple(&[0; 60])].concat()); 50]);
    assert_eq!(read(&many, limits()), Ok(()), "the limit is per fragment");
    let heads = document(&[tags(&[("a", "")])]).repeat(50);
    assert_eq!(read(&heads, limits()), Ok(()), "the limit is per document");
}

#[test]
fn a_failed_reader_returns_the_same_error_again() {
    let mut reader = MkvReader::new(MkvLimits::default());
    reader.push(&[0]);
    let error = MkvError::InvalidId { offset: 0, first_byte: 0 };
    assert_eq!(reader.next(), Err(error.clone()));
    reader.push(&document(&[]));
    assert_eq!(reader.next(), Err(error.clone()));
    assert_eq!(reader.finish(), Err(error));
    assert_eq!(ElementId(0xA3).to_string(), "SimpleBlock (0xA3)");
}
