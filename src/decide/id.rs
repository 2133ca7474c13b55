//! The id of an event: a hash of where it occurred, without any number that differs between machines.

use sha2::{Digest, Sha256};

use crate::media::Phase;

/// Number of hash bytes in an id: 128 bits, so that a billion records collide with a chance of 1 in 10^21.
const ID_BYTES: usize = 16;

/// The parts of an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdParts<'a> {
    pub(super) stream: &'a str,
    pub(super) fragment: &'a str,
    pub(super) index: u32,
    pub(super) detector: &'a str,
    pub(super) label: &'a str,
    pub(super) phase: Phase,
    pub(super) rank: u32,
}

/// Returns 32 lower-case hex characters: the first half of SHA-256 over the parts, each after its length (8 bytes, big-endian).
pub(super) fn event_id(parts: &IdParts<'_>) -> String {
    let phase = parts.phase.as_str();
    let (index, rank) = (parts.index.to_string(), parts.rank.to_string());
    let mut hash = Sha256::new();
    for part in [parts.stream, parts.fragment, &index, parts.detector, parts.label, phase, &rank] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: IdParts<'static> = IdParts {
        stream: "front",
        fragment: "91343852333181432392682062607743920000000000001",
        index: 3,
        detector: "objects",
        label: "person",
        phase: Phase::Start,
        rank: 0,
    };

    /// Compares an id with one that another program computed: ids are a promise to users who stored them.
    #[test]
    fn an_id_never_changes() {
        assert_eq!(event_id(&PARTS), "a33694248aaa7ccc94c6050dea9fb6db");
    }

    #[test]
    fn every_part_counts_and_so_do_their_borders() {
        let table = [
            ("stream", IdParts { stream: "front2", ..PARTS }),
            ("fragment", IdParts { fragment: "9", ..PARTS }),
            ("index", IdParts { index: 4, ..PARTS }),
            ("detector", IdParts { detector: "objects#2", ..PARTS }),
            ("label", IdParts { label: "car", ..PARTS }),
            ("phase", IdParts { phase: Phase::End, ..PARTS }),
            ("rank", IdParts { rank: 1, ..PARTS }),
            ("border", IdParts { detector: "objectsp", label: "erson", ..PARTS }),
        ];
        for (name, parts) in table {
            assert_ne!(event_id(&parts), event_id(&PARTS), "{name}");
        }
    }
}
