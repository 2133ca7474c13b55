//! Captures of real GetMedia output, compared with an independent parser's result (`oracle.json`).
//!
//! The captures are not part of the project. Without them the tests print that they were skipped, and pass.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test panics on the first failure, and prints that it was skipped"
)]

use super::twin;
use std::path::{Path, PathBuf};

use kvs_mkv::{
    Block, BlockKind, FragmentEvent, FragmentReader, MkvError, MkvEvent, MkvLimits, MkvReader, Tag,
    TrackEntry, TrackKind,
};
use serde_json::Value;
use sha1::{Digest, Sha1};

fn captures() -> Option<PathBuf> {
    let mut above =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("shared/captures"));
    let named = std::env::var_os("KVS_CAPTURES_DIR").map(PathBuf::from);
    let folder = match named {
        Some(folder) => Some(folder).filter(|folder| folder.is_dir()),
        None => above.find(|folder| folder.is_dir()),
    };
    if folder.is_none() {
        println!("skipped: no captures in KVS_CAPTURES_DIR or in a shared/captures above the project");
    }
    folder
}

/// Passes each capture and its expected content to `check`.
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

fn document_events(bytes: &[u8], piece: usize) -> (Vec<MkvEvent>, Result<(), MkvError>) {
    let mut reader = MkvReader::new(MkvLimits::default());
    let mut events = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.push(piece);
        while let Some(event) = reader.next().unwrap() {
            events.push(event);
        }
    }
    (events, reader.finish())
}

fn fragment_events(bytes: &[u8], piece: usize) -> Vec<FragmentEvent> {
    let mut reader = FragmentReader::new(MkvLimits::default());
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

/// One document, collected from its events.
#[derive(Default)]
struct Document {
    tracks: Vec<TrackEntry>,
    before: Vec<Tag>,
    after: Vec<Tag>,
    clusters: Vec<(u64, Vec<Block>)>,
}

fn documents(events: Vec<MkvEvent>) -> Vec<Document> {
    let mut documents = Vec::new();
    for event in events {
        if event == MkvEvent::DocumentStart {
            documents.push(Document::default());
            continue;
        }
        let document = documents.last_mut().unwrap();
        match event {
            MkvEvent::Tracks(tracks) => document.tracks = tracks.to_vec(),
            MkvEvent::Tags(tags) if document.clusters.is_empty() => document.before.extend(tags),
            MkvEvent::Tags(tags) => document.after.extend(tags),
            MkvEvent::ClusterStart { timestamp } => document.clusters.push((timestamp, Vec::new())),
            MkvEvent::Block(block) => document.clusters.last_mut().unwrap().1.push(block),
            MkvEvent::DocumentStart | MkvEvent::Info { .. } | MkvEvent::ClusterEnd => {}
        }
    }
    documents
}

fn assert_tracks(tracks: &[TrackEntry], expected: &Value, place: &str) {
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
        let (events, end) = document_events(bytes, 1000);
        let segments = expected["segments"].as_array().unwrap();
        let cut = segments.iter().flat_map(|segment| segment["clusters"].as_array().unwrap());
        let cut = cut.filter(|cluster| cluster["truncated"] == true).count();
        assert_eq!(matches!(end, Err(MkvError::Truncated { .. })), cut > 0, "{name}: {end:?}");
        let documents = documents(events);
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
        let mut events = fragment_events(bytes, 4096).into_iter();
        for (index, segment) in expected["segments"].as_array().unwrap().iter().enumerate() {
            let place = format!("{name}, fragment {index}");
            assert_fragment(&mut events, segment, &place);
        }
        assert_eq!(events.next(), None, "{name}");
    });
}

fn assert_fragment(events: &mut impl Iterator<Item = FragmentEvent>, segment: &Value, place: &str) {
    let aws = |name: &str| segment["aws_tags"][format!("AWS_KINESISVIDEO_{name}")].as_str();
    let ms = |name| aws(name).map(|text: &str| (text.parse::<f64>().unwrap() * 1000.0).round() as i64);
    let Some(FragmentEvent::Start(start)) = events.next() else { panic!("{place}: no start") };
    assert_eq!(Some(start.number.as_str()), aws("FRAGMENT_NUMBER"), "{place}");
    assert_eq!(start.server_ms, ms("SERVER_TIMESTAMP"), "{place}");
    assert_eq!(start.producer_ms, ms("PRODUCER_TIMESTAMP"), "{place}");
    assert_tracks(&start.tracks, &segment["tracks"], place);
    assert!(start.tags.iter().all(|tag| !tag.name.starts_with("AWS_")), "{place}");
    let cluster = &segment["clusters"][0];
    assert_eq!(start.cluster_timestamp, cluster["timestamp"].as_u64(), "{place}");
    let frames = cluster["frames"].as_array().map_or(&[][..], Vec::as_slice);
    for (index, frame) in frames.iter().enumerate() {
        let Some(FragmentEvent::Block(block)) = events.next() else { panic!("{place}: no frame {index}") };
        assert_eq!(block.index as usize, index, "{place}");
        assert_eq!(block.relative_ms, frame["tc"], "{place}");
        assert_frame(&block.block, frame, place);
    }
    let Some(FragmentEvent::End(end)) = events.next() else { panic!("{place}: no end") };
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
        let (events, end) = document_events(bytes, 300);
        let (expected, ending) = twin::read(bytes, &MkvLimits::default());
        assert!(events == expected, "{name}");
        assert_eq!(end.is_ok(), ending == twin::Ending::Whole, "{name}: {end:?}, {ending:?}");
    });
}

#[test]
fn pieces_of_any_size_give_the_same_events() {
    each_capture(|name, bytes, _| {
        let whole = (document_events(bytes, bytes.len()), fragment_events(bytes, bytes.len()));
        for piece in [1, 7, 65_536] {
            let cut = (document_events(bytes, piece), fragment_events(bytes, piece));
            assert!(cut == whole, "{name} in pieces of {piece}");
        }
    });
}
