//! Replays the seeds of the fuzz target, and every input it found, from `testdata/`.
//!
//! A seed is 8 bytes of piece lengths, then a stream. The seeds are built here; `BLESS=1` writes them to
//! `testdata/` again.

#![expect(clippy::unwrap_used, reason = "a test panics on the first failure")]

use std::path::{Path, PathBuf};

use test_support::invariants::matroska;

use super::wire::{self, Lacing, block, document, el, lace, lacing_flags, sized, tags, unsized_};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn leading() -> Vec<u8> {
    tags(&[
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "91343852333181432392682062607743920146159169392"),
        ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1511852109.126"),
        ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "0.000"),
    ])
}

fn trailing() -> Vec<u8> {
    tags(&[("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "0"), ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", "9")])
}

fn frames() -> Vec<u8> {
    let laced = |how| {
        let frames = [vec![1; 7], vec![2; 7], vec![3; 7]];
        el(wire::SIMPLE_BLOCK, &block(2, 40, lacing_flags(how), &lace(how, &frames)))
    };
    let group = [el(wire::BLOCK, &block(1, 33, 0, b"delta")), sized(wire::REFERENCE_BLOCK, 1, &[0xDF])];
    let parts = [
        sized(wire::TIMESTAMP, 8, &7u64.to_be_bytes()),
        sized(wire::SIMPLE_BLOCK, 8, &block(1, 0, 0x80, b"key")),
        el(wire::BLOCK_GROUP, &group.concat()),
        laced(Lacing::Xiph),
        laced(Lacing::Ebml),
        laced(Lacing::Fixed),
    ];
    parts.concat()
}

fn head() -> Vec<u8> {
    let video = [sized(wire::PIXEL_WIDTH, 1, &[2, 128]), sized(wire::PIXEL_HEIGHT, 1, &[1, 224])];
    let entry = [
        sized(wire::TRACK_NUMBER, 1, &[1]),
        sized(wire::TRACK_TYPE, 1, &[1]),
        sized(wire::CODEC_ID, 1, b"V_MPEG4/ISO/AVC\0"),
        sized(wire::CODEC_PRIVATE, 1, &[1, 77, 64, 30, 3, 1, 0]),
        sized(wire::VIDEO, 1, &video.concat()),
    ];
    let info = sized(wire::INFO, 1, &sized(wire::TIMESTAMP_SCALE, 1, &1_000_000u64.to_be_bytes()));
    [info, sized(wire::TRACKS, 8, &sized(wire::TRACK_ENTRY, 4, &entry.concat()))].concat()
}

/// Returns name and stream of each seed.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let known =
        document(&[head(), leading(), el(wire::CLUSTER, &frames()), el(wire::CUES, &[0; 5]), trailing()]);
    let open = document(&[
        head(),
        leading(),
        unsized_(wire::CLUSTER, 8, &frames()),
        tags(&[("user", "a\0")]),
        trailing(),
    ]);
    let error = tags(&[("AWS_KINESISVIDEO_ERROR_ID", "4000"), ("AWS_KINESISVIDEO_ERROR_CODE", "x")]);
    let end = tags(&[("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")]);
    let put = [unsized_(wire::CLUSTER, 1, &frames()), tags(&[("user", "a")]), end].concat();
    let nested = wire::simple_tag("a", "b", &wire::simple_tag("c", "d", &[]));
    let void = sized(wire::VOID, 8, &[0; 300]);
    vec![
        ("known-size", known.clone()),
        ("unknown-size", open.clone()),
        ("two-documents", [known.clone(), open].concat()),
        ("cut-in-a-block", known[..known.len() - 200].to_vec()),
        ("error-record", document(&[leading(), error.clone()])),
        ("error-in-a-fragment", document(&[leading(), unsized_(wire::CLUSTER, 1, &frames()), error])),
        ("put-media", document(&[head(), put.clone(), put])),
        ("nested-tags-and-void", document(&[void, el(wire::TAGS, &el(wire::TAG, &nested))])),
        ("huge-size", document(&[[wire::id(wire::TAGS), wire::vint((1 << 56) - 2, 8)].concat()])),
        ("no-matroska", b"HTTP/1.1 200 OK".to_vec()),
        ("empty", Vec::new()),
    ]
}

fn write_or_compare_seeds() {
    for (at, (name, stream)) in seeds().into_iter().enumerate() {
        let cuts = [at as u8, 0, 3, 200, 11, 1, 60, 7];
        let seed = [&cuts[..], &stream].concat();
        let path = folder().join(format!("{name}.seed"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &seed).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), seed, "{name}: run with BLESS=1 to write it again");
    }
}

#[test]
fn stored_seeds_equal_the_built_ones_and_keep_the_invariants() {
    write_or_compare_seeds();
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        for len in 0..=seed.len() {
            matroska::check(&seed[..len]);
        }
        replayed += 1;
    }
    assert!(replayed >= seeds().len());
}
