//! Replays the seeds of the fuzz target, and the inputs that it found, from `testdata/`.

use std::path::Path;

use kvs_config::read;
use test_support::invariants::configuration::{self, environment};

/// The seeds that are valid configurations; the others have mistakes.
const GOOD: &[&str] = &[
    "base",
    "base-crlf",
    "every-key",
    "every-key-otherwise",
    "json",
    "keys-without-values",
    "least",
    "merges",
    "references-that-fit",
    "tags-and-blocks",
];

/// Returns the names and texts of the seeds, in the order of the names.
fn seeds() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut seeds: Vec<_> = std::fs::read_dir(folder)
        .expect("seeds")
        .map(|entry| entry.expect("a file").path())
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a seed"))
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_prefix_of_the_seeds_keeps_the_invariants() {
    for (name, seed) in seeds() {
        eprintln!("{name}");
        configuration::check(seed.as_bytes());
        for (end, _) in seed.char_indices().step_by(1 + seed.len() / 400) {
            configuration::check(&seed.as_bytes()[..end]);
        }
    }
}

#[test]
fn exactly_the_valid_seeds_are_accepted() {
    let seeds = seeds();
    let accepted = seeds.iter().filter(|(_, seed)| read(seed, &environment).is_ok());
    let accepted: Vec<&str> = accepted.map(|(name, _)| name.as_str()).collect();
    assert_eq!(accepted, GOOD);
    assert!(seeds.len() >= GOOD.len() + 12, "{} seeds", seeds.len());
}
