//! Real GetMedia output against an independent reading of it (`oracle.json`), read in pieces of many sizes.
//!
//! The captures are no part of the project: where they are absent the tests say so and pass.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by them")]

mod twin;

use std::path::{Path, PathBuf};

use kvs_mkv::{Block, BlockKind, Error, Event, FragmentReader, Item, Limits, Reader, Tag, Track, TrackKind};
use serde_json::Value;
use sha1::{Digest, Sha1};

fn captures() -> Option<PathBuf> {
    let mut above =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/captures"));
    let named = std::env::var_os("KVS_CAPTURES_DIR").map(PathBuf::from);
    let found = match named {
        Some(folder) => Some(folder).filter(|folder| folder.is_dir()),
        None => above.find(|folder| folder.is_dir()),
    };
    if found.is_none() {
        println!("skipped: no captures in KVS_CAPTURES_DIR or in a shared/captures above the project");
    }
    found
}

/// Each capture with what the oracle says of it.
fn each_capture(check: impl Fn(&str, &[u8], &Value)) {
    let Some(folder) = captures() else { return };
    let oracle = std::fs::read_to_string(folder.join("oracle.json")).unwrap();
    let oracle: Value = serde_json::from_str(&oracle).unwrap();
    let files = oracle.as_object().unwrap();
    assert!(!files.is_empty());
    for (name, expected) in files {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        assert_eq!(bytes.len() as u64, expected["bytes"].as_u64().unwrap(), "{name}");
        check(name, &bytes, expected);
    }
}

fn items(bytes: &[u8], piece: usize) -> (Vec<Item>, Result<(), Error>) {
    let mut reader = Reader::new(Limits::default());
    let mut items = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.push(piece);
        while let Some(item) = reader.next().unwrap() {
            items.push(item);
        }
    }
    (items, reader.finish())
}

fn events(bytes: &[u8], piece: usize) -> Vec<Event> {
    let mut reader = FragmentReader::new(Limits::default());
    let mut events = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.push(piece);
        while let Some(event) = reader.next().unwrap() {
            events.push(event);
        }
    }
    while let Some(event) = reader.finish().unwrap() {
        events.push(event);
    }
    events
}

/// One document as layer 1 gives it.
#[derive(Default)]
struct Document {
    tracks: Vec<Track>,
    before: Vec<Tag>,
    after: Vec<Tag>,
    clusters: Vec<(u64, Vec<Block>)>,
}

fn documents(items: Vec<Item>) -> Vec<Document> {
    let mut documents = Vec::new();
    for item in items {
        if item == Item::Document {
            documents.push(Document::default());
            continue;
        }
        let document = documents.last_mut().unwrap();
        match item {
            Item::Tracks(tracks) => document.tracks = tracks.to_vec(),
            Item::Tags(tags) if document.clusters.is_empty() => document.before.extend(tags),
            Item::Tags(tags) => document.after.extend(tags),
            Item::ClusterStart { timestamp } => document.clusters.push((timestamp, Vec::new())),
            Item::Block(block) => document.clusters.last_mut().unwrap().1.push(block),
            Item::Document | Item::Info { .. } | Item::ClusterEnd => {}
        }
    }
    documents
}

fn assert_tracks(tracks: &[Track], expected: &Value, place: &str) {
    let expected = expected.as_array().unwrap();
    assert_eq!(tracks.len(), expected.len(), "{place}");
    for (track, expected) in tracks.iter().zip(expected) {
        let private: String = track.codec_private.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(track.number, expected["TrackNumber"], "{place}");
        assert_eq!(track.kind.code(), expected["TrackType"], "{place}");
        assert_eq!(track.kind, TrackKind::Video, "{place}");
        assert_eq!(track.codec_id, expected["CodecID"], "{place}");
        assert_eq!(private, expected["CodecPrivate_hex"], "{place}");
        assert_eq!(track.width_px, expected["PixelWidth"], "{place}");
        assert_eq!(track.height_px, expected["PixelHeight"], "{place}");
        assert_eq!(track.default_duration_ns, expected["DefaultDuration"].as_u64(), "{place}");
        assert!(!track.is_encoded(), "{place}");
    }
}

fn assert_tags(tags: &[Tag], expected: &Value, place: &str) {
    let pairs: Vec<_> = tags.iter().map(|tag| [tag.name.as_str(), tag.value.as_str()]).collect();
    assert_eq!(serde_json::json!(pairs), *expected, "{place}");
}

fn assert_frame(frame: &Block, expected: &Value, place: &str) {
    let digest: String = Sha1::digest(&frame.data).iter().map(|byte| format!("{byte:02x}")).collect();
    let kind = match frame.kind {
        BlockKind::Simple => "SimpleBlock",
        BlockKind::Group => "BlockGroup",
    };
    assert_eq!(frame.track, expected["track"], "{place}");
    assert_eq!(frame.relative, expected["tc"], "{place}");
    assert_eq!(frame.key, expected["key"], "{place}");
    assert_eq!(frame.flags, expected["flags"], "{place}");
    assert_eq!(frame.data.len(), expected["size"], "{place}");
    assert_eq!(digest[..12], *expected["sha1"].as_str().unwrap(), "{place}");
    assert_eq!(kind, expected["kind"], "{place}");
}

#[test]
fn documents_equal_the_oracle() {
    each_capture(|name, bytes, expected| {
        let (items, end) = items(bytes, 1000);
        let segments = expected["segments"].as_array().unwrap();
        let cut = segments.iter().flat_map(|segment| segment["clusters"].as_array().unwrap());
        let cut = cut.filter(|cluster| cluster["truncated"] == true).count();
        assert_eq!(matches!(end, Err(Error::Truncated { .. })), cut > 0, "{name}: {end:?}");
        let documents = documents(items);
        assert_eq!(documents.len(), segments.len(), "{name}");
        for (index, (document, expected)) in documents.iter().zip(segments).enumerate() {
            let place = format!("{name}, document {index}");
            assert_tracks(&document.tracks, &expected["tracks"], &place);
            assert_tags(&document.before, &expected["tags_before_cluster"], &place);
            assert_tags(&document.after, &expected["tags_after_cluster"], &place);
            let clusters = expected["clusters"].as_array().unwrap();
            assert_eq!(document.clusters.len(), clusters.len(), "{place}");
            for ((timestamp, frames), expected) in document.clusters.iter().zip(clusters) {
                assert_eq!(*timestamp, expected["timestamp"], "{place}");
                let expected = expected["frames"].as_array().unwrap();
                assert_eq!(frames.len(), expected.len(), "{place}");
                for (index, (frame, expected)) in frames.iter().zip(expected).enumerate() {
                    assert_frame(frame, expected, &format!("{place}, frame {index}"));
                }
            }
        }
    });
}

#[test]
fn fragments_equal_the_oracle() {
    each_capture(|name, bytes, expected| {
        let mut events = events(bytes, 4096).into_iter();
        for (index, segment) in expected["segments"].as_array().unwrap().iter().enumerate() {
            let place = format!("{name}, fragment {index}");
            assert_fragment(&mut events, segment, &place);
        }
        assert_eq!(events.next(), None, "{name}");
    });
}

fn assert_fragment(events: &mut impl Iterator<Item = Event>, segment: &Value, place: &str) {
    let aws = |name: &str| segment["aws_tags"][format!("AWS_KINESISVIDEO_{name}")].as_str();
    let ms = |name| aws(name).map(|text: &str| (text.parse::<f64>().unwrap() * 1000.0).round() as i64);
    let Some(Event::Start(start)) = events.next() else { panic!("{place}: no start") };
    assert_eq!(Some(start.number.as_str()), aws("FRAGMENT_NUMBER"), "{place}");
    assert_eq!(start.server_ms, ms("SERVER_TIMESTAMP"), "{place}");
    assert_eq!(start.producer_ms, ms("PRODUCER_TIMESTAMP"), "{place}");
    assert_tracks(&start.tracks, &segment["tracks"], place);
    assert!(start.tags.iter().all(|tag| !tag.name.starts_with("AWS_")), "{place}");
    let cluster = &segment["clusters"][0];
    assert_eq!(start.cluster_timestamp, cluster["timestamp"].as_u64(), "{place}");
    let frames = cluster["frames"].as_array().map_or(&[][..], Vec::as_slice);
    for (index, frame) in frames.iter().enumerate() {
        let Some(Event::Block(block)) = events.next() else { panic!("{place}: no frame {index}") };
        assert_eq!(block.index as usize, index, "{place}");
        assert_eq!(block.relative_ms, frame["tc"], "{place}");
        assert_frame(&block.block, frame, place);
    }
    let Some(Event::End(end)) = events.next() else { panic!("{place}: no end") };
    assert_eq!(end.number, start.number, "{place}");
    assert_eq!(end.complete, aws("CONTINUATION_TOKEN").is_some(), "{place}");
    assert_eq!(end.continuation_token.as_deref(), aws("CONTINUATION_TOKEN"), "{place}");
    let behind = aws("MILLIS_BEHIND_NOW").map(|text| text.parse::<u64>().unwrap());
    assert_eq!(end.millis_behind_now, behind, "{place}");
    assert_eq!(end.frames as usize, frames.len(), "{place}");
    let keyframes = frames.iter().filter(|frame| frame["key"] == true).count();
    assert_eq!(end.keyframes as usize, keyframes, "{place}");
    let bytes: u64 = frames.iter().map(|frame| frame["size"].as_u64().unwrap()).sum();
    assert_eq!(end.bytes, bytes, "{place}");
}

#[test]
fn documents_equal_the_slow_twin() {
    each_capture(|name, bytes, _| {
        let (found, end) = items(bytes, 300);
        let (expected, ending) = twin::read(bytes, &Limits::default());
        assert!(found == expected, "{name}");
        assert_eq!(end.is_ok(), ending == twin::Ending::Whole, "{name}: {end:?}, {ending:?}");
    });
}

#[test]
fn pieces_of_any_size_give_the_same() {
    each_capture(|name, bytes, _| {
        let whole = (items(bytes, bytes.len()), events(bytes, bytes.len()));
        for piece in [1, 7, 65_536] {
            assert!((items(bytes, piece), events(bytes, piece)) == whole, "{name} in pieces of {piece}");
        }
    });
}
