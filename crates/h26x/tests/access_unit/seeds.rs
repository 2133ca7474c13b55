//! Replays the seeds of the fuzz target, and every input it found, from `testdata/`.
//!
//! The seeds are built here; `BLESS=1` writes them to `testdata/` again.

use std::path::{Path, PathBuf};

use h26x::{Codec, build_codec_private};
use test_support::invariants::access_unit;
use test_support::parameter_sets::{H264_SETS, H265_SETS, bytes_of};

/// Returns an avcC or hvcC for a picture of 320x178.
pub(crate) fn codec_private(codec: Codec) -> Vec<u8> {
    let sets = if codec == Codec::H264 { &H264_SETS[..] } else { &H265_SETS };
    let sets: Vec<Vec<u8>> = sets.iter().map(|set| bytes_of(set)).collect();
    build_codec_private(codec, &sets.iter().map(|set| &set[..]).collect::<Vec<_>>())
        .expect("valid parameter sets")
}

/// Returns NAL units, each after a length of `length_bytes` bytes.
pub(crate) fn length_prefixed(length_bytes: usize, nals: &[&[u8]]) -> Vec<u8> {
    let with_length = |nal: &&[u8]| [&(nal.len() as u32).to_be_bytes()[4 - length_bytes..], nal].concat();
    nals.iter().flat_map(with_length).collect()
}

/// Returns an input of the fuzz target.
pub(crate) fn input(codec: Codec, codec_private: &[u8], unit: &[u8]) -> Vec<u8> {
    [&[u8::from(codec == Codec::H265), codec_private.len() as u8], codec_private, unit].concat()
}

/// A delimiter, SEI and slices.
const H264_NALS: [&[u8]; 4] = [&[9, 0xF0], &[6, 5, 1, 7, 0x80], &[0x65, 0x88, 7], &[0x41, 0x9A, 7]];
const H265_NALS: [&[u8]; 5] =
    [&[0x46, 1, 0x50], &[0x4E, 1, 1, 200, 0x80], &[0x26, 1, 7], &[0x50, 1, 5, 1, 7, 0x80], &[2, 1, 7]];

/// Returns name and bytes of each seed.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let (avcc, hvcc) = (codec_private(Codec::H264), codec_private(Codec::H265));
    let short_lengths = [&hvcc[..21], &[hvcc[21] & !3 | 1], &hvcc[22..]].concat();
    let cut = length_prefixed(4, &H265_NALS);
    let start_codes = [&[0, 0, 0, 1][..], H265_NALS[1], &[0, 0, 1], H265_NALS[2], &[0]].concat();
    vec![
        ("h264", input(Codec::H264, &avcc, &length_prefixed(4, &H264_NALS))),
        ("h265", input(Codec::H265, &hvcc, &length_prefixed(4, &H265_NALS))),
        ("h265-lengths-of-2-bytes", input(Codec::H265, &short_lengths, &length_prefixed(2, &H265_NALS))),
        ("h265-sei-alone", input(Codec::H265, &hvcc, &length_prefixed(4, &[H265_NALS[1], H265_NALS[3]]))),
        ("h265-empty-unit", input(Codec::H265, &hvcc, &length_prefixed(4, &[&[], H265_NALS[1]]))),
        ("h265-cut", input(Codec::H265, &hvcc, &cut[..cut.len() - 1])),
        ("h265-start-codes", input(Codec::H265, &hvcc, &start_codes)),
        ("h265-private-of-h264", input(Codec::H265, &avcc, &length_prefixed(4, &H265_NALS))),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/access_unit")
}

fn write_or_compare_seeds() {
    for (name, seed) in seeds() {
        let path = folder().join(format!("{name}.seed"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(folder()).expect("the folder is created");
            std::fs::write(&path, &seed).expect("the file exists");
        }
        assert_eq!(std::fs::read(&path).ok(), Some(seed), "{name}: run with BLESS=1 to write it again");
    }
}

#[test]
fn stored_seeds_equal_the_built_ones_and_keep_the_invariants() {
    write_or_compare_seeds();
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder()).expect("the folder has seeds") {
        let seed = std::fs::read(entry.expect("the file exists").path()).expect("the seed is readable");
        for len in 0..=seed.len() {
            access_unit::check(&seed[..len]);
        }
        replayed += 1;
    }
    assert!(replayed >= seeds().len());
}
