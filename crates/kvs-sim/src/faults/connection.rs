//! What the faults of one connection do to its pieces: pure, piece for piece.

use bytes::Bytes;
use tokio::time::Instant;

use crate::error_record::error_document;
use crate::faults::mix::mix64;
use crate::faults::model::{Fault, FaultKind, Limit};
use crate::identifiers::fragment_number::FragmentNumber;

/// Bytes of a connection, and where in a fragment they stand.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// Of which fragment; None of an error record.
    pub(crate) fragment: Option<FragmentNumber>,
    /// Whether it begins with the fragment's first byte.
    pub(crate) begins: bool,
    /// Whether it ends with the fragment's last byte.
    pub(crate) ends: bool,
}

impl Piece {
    /// Bytes that belong to no fragment.
    pub(crate) fn outside(bytes: Bytes) -> Self {
        Self { bytes, fragment: None, begins: false, ends: false }
    }
}

/// How a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    End,
    Break,
    Stall,
}

/// What is left of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) bytes: Bytes,
    pub(crate) then: Then,
}

/// The faults of one connection and how far it has come.
#[derive(Debug)]
pub(crate) struct Course {
    faults: Vec<Running>,
    whole_fragments: u64,
}

/// A fault, counted from where it began.
#[derive(Debug)]
struct Running {
    fault: Fault,
    began: Option<Instant>,
    bytes: u64,
    fragments: u64,
}

impl Course {
    pub(crate) fn new(faults: impl Iterator<Item = Fault>) -> Self {
        let faults = faults.map(|fault| Running { fault, began: None, bytes: 0, fragments: 0 }).collect();
        let mut course = Self { faults, whole_fragments: 0 };
        course.begin_those_due(Instant::now());
        course
    }

    /// So many fragments before its own beginning the connection begins.
    pub(crate) fn repeats(&self) -> u64 {
        let repeats = self.faults.iter().map(|running| match running.fault.kind {
            FaultKind::Repeat(fragments) => fragments,
            _ => 0,
        });
        repeats.fold(0, u64::saturating_add)
    }

    /// When it ends or stalls whatever comes.
    pub(crate) fn deadline(&self) -> Option<(Instant, Then)> {
        self.faults.iter().filter_map(Running::deadline).min_by_key(|(at, _)| *at)
    }

    /// Bytes a second that it sends at most.
    pub(crate) fn bytes_per_s(&self) -> Option<u64> {
        let begun = self.faults.iter().filter(|running| running.began.is_some());
        begun
            .filter_map(|running| match running.fault.kind {
                FaultKind::Drip(bytes_per_s) => Some(bytes_per_s),
                _ => None,
            })
            .min()
    }

    /// The piece after all faults.
    pub(crate) fn meet(&mut self, piece: &Piece, now: Instant) -> Passed {
        let mut passed = Passed { bytes: piece.bytes.clone(), then: Then::GoOn };
        for running in self.faults.iter_mut().filter(|running| running.began.is_some()) {
            running.meet(piece, &mut passed);
        }
        if piece.ends {
            self.whole_fragments += 1;
            self.begin_those_due(now);
        }
        passed
    }

    fn begin_those_due(&mut self, now: Instant) {
        let whole = self.whole_fragments;
        for running in self.faults.iter_mut().filter(|running| running.fault.after <= whole) {
            running.began.get_or_insert(now);
        }
    }
}

impl Running {
    fn deadline(&self) -> Option<(Instant, Then)> {
        match self.fault.kind {
            FaultKind::End(Limit::Time(after)) => Some((self.began?.checked_add(after)?, Then::End)),
            FaultKind::Break(Limit::Time(after)) => Some((self.began?.checked_add(after)?, Then::Break)),
            FaultKind::Stall(Limit::Time(after)) => Some((self.began?.checked_add(after)?, Then::Stall)),
            _ => None,
        }
    }

    fn meet(&mut self, piece: &Piece, passed: &mut Passed) {
        match self.fault.kind {
            FaultKind::ErrorTag(id) if piece.begins => *passed = error_record(piece, id),
            FaultKind::Flip { share, seed } => passed.bytes = flipped(&passed.bytes, share, seed, self.bytes),
            FaultKind::Cut(at) => self.cut(piece, at, passed),
            FaultKind::End(limit) => self.stop(piece, limit, Then::End, passed),
            FaultKind::Break(limit) => self.stop(piece, limit, Then::Break, passed),
            FaultKind::Stall(limit) => self.stop(piece, limit, Then::Stall, passed),
            _ => {}
        }
        self.bytes += piece.bytes.len() as u64;
        self.fragments += u64::from(piece.ends);
    }

    /// Ends inside a block, never at the edge of one.
    fn cut(&self, piece: &Piece, at: u64, passed: &mut Passed) {
        let len = piece.bytes.len() as u64;
        let is_block = piece.fragment.is_some() && !piece.begins && !piece.ends && len > 1;
        if is_block && self.bytes + len > at {
            let inside = at.saturating_sub(self.bytes).clamp(1, len - 1);
            passed.stop_at(inside, Then::End);
        }
    }

    fn stop(&self, piece: &Piece, limit: Limit, then: Then, passed: &mut Passed) {
        let len = piece.bytes.len() as u64;
        let at = match limit {
            Limit::Time(_) => return,
            Limit::Bytes(bytes) => bytes.saturating_sub(self.bytes),
            Limit::Fragments(fragments) if self.fragments >= fragments => 0,
            Limit::Fragments(fragments) if piece.ends && self.fragments + 1 == fragments => len,
            Limit::Fragments(_) => return,
        };
        if at <= len {
            passed.stop_at(at, then);
        }
    }
}

impl Passed {
    /// Nothing comes after so many bytes; of two such ends the earlier counts.
    fn stop_at(&mut self, len: u64, then: Then) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if self.then == Then::GoOn || len < self.bytes.len() {
            self.bytes.truncate(len);
            self.then = then;
        }
    }
}

/// Source: GetMedia and PutMedia in the AWS developer guide; the guide gives 3002 no name.
fn error_code(id: u32) -> &'static str {
    match id {
        3002 => "STREAM_WRITE_ERROR",
        4000 => "FRAGMENT_NOT_FOUND",
        4500 => "KMS_KEY_ACCESS_DENIED",
        4501 => "KMS_KEY_DISABLED",
        4502 => "KMS_KEY_VALIDATION_ERROR",
        4503 => "KMS_KEY_UNAVAILABLE",
        4504 => "KMS_KEY_INVALID_USAGE",
        4505 => "KMS_KEY_INVALID_STATE",
        4506 => "KMS_KEY_NOT_FOUND",
        5000 => "INTERNAL_ERROR",
        _ => "UNKNOWN_ERROR",
    }
}

fn error_record(piece: &Piece, id: u32) -> Passed {
    let fragment = piece.fragment.map_or_else(String::new, |number| number.to_string());
    Passed { bytes: error_document(&fragment, id, error_code(id)), then: Then::End }
}

/// Whether and how a byte is damaged depends on the seed and its place alone, not on how the bytes come.
fn flipped(bytes: &Bytes, share: f64, seed: u64, begins_at: u64) -> Bytes {
    let limit = (share * u64::MAX as f64) as u64;
    let mut damaged = bytes.to_vec();
    for (byte, place) in damaged.iter_mut().zip(begins_at..) {
        let drawn = mix64(seed ^ mix64(place));
        if drawn <= limit && limit > 0 {
            *byte ^= 1 << (mix64(drawn) & 7);
        }
    }
    damaged.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::model::Faults;
    use proptest::prelude::*;
    use std::time::Duration;

    /// A fragment of 10 + 4 * 5 + 10 bytes.
    fn fragment() -> Vec<Piece> {
        let number = Some(FragmentNumber::mint(1, 0));
        let piece =
            |len: usize, begins, ends| Piece { bytes: vec![7; len].into(), fragment: number, begins, ends };
        let mut pieces = vec![piece(10, true, false)];
        pieces.extend((0..4).map(|_| piece(5, false, false)));
        pieces.push(piece(10, false, true));
        pieces
    }

    fn course(text: &str) -> Course {
        let faults: Faults = text.parse().expect("faults");
        Course::new(faults.0.into_iter())
    }

    /// Bytes that come of four fragments, and how it ends.
    fn run(text: &str) -> (usize, Then) {
        let (mut course, mut sent) = (course(text), 0);
        for piece in (0..4).flat_map(|_| fragment()) {
            let passed = course.meet(&piece, Instant::now());
            sent += passed.bytes.len();
            if passed.then != Then::GoOn {
                return (sent, passed.then);
            }
        }
        (sent, Then::GoOn)
    }

    #[test]
    fn connections_come_as_far_as_they_are_let() {
        for (text, sent, then) in [
            ("end=0b", 0, Then::End),
            ("end=1b", 1, Then::End),
            ("end=10b", 10, Then::End),
            ("end=57b", 57, Then::End),
            ("end=160b", 160, Then::End),
            ("end=161b", 160, Then::GoOn),
            ("end=0f", 0, Then::End),
            ("end=2f", 80, Then::End),
            ("end=2f,after=1", 120, Then::End),
            ("end=3b,after=1", 43, Then::End),
            ("end=5f", 160, Then::GoOn),
            ("break=2f", 80, Then::Break),
            ("break=0b", 0, Then::Break),
            ("stall=2f", 80, Then::Stall),
            ("stall=12b", 12, Then::Stall),
            ("cut=0", 11, Then::End),
            ("cut=10", 11, Then::End),
            ("cut=12", 12, Then::End),
            ("cut=15", 16, Then::End),
            ("cut=29", 29, Then::End),
            ("cut=30", 51, Then::End),
            ("cut=12,after=2", 92, Then::End),
            ("end=20b,stall=12b", 12, Then::Stall),
            ("stall=12b,end=20b", 12, Then::Stall),
            ("drip=3,repeat=2,end=5s", 160, Then::GoOn),
        ] {
            assert_eq!(run(text), (sent, then), "{text}");
        }
    }

    #[test]
    fn an_error_record_stands_in_place_of_a_fragment() {
        let (whole, end) = run("error=4000,after=2");
        let record = error_document(&FragmentNumber::mint(1, 0).to_string(), 4000, "FRAGMENT_NOT_FOUND");
        assert_eq!((whole, end), (80 + record.len(), Then::End));
    }

    #[test]
    fn time_counts_from_where_the_fault_begins() {
        let began = Instant::now();
        let mut course = course("end=5s,after=1,stall=20s");
        let second = Duration::from_secs(1);
        let (at, then) = course.deadline().expect("a time");
        assert!(at >= began + 20 * second && then == Then::Stall);
        for piece in fragment() {
            course.meet(&piece, began + second);
        }
        assert_eq!(course.deadline(), Some((began + 6 * second, Then::End)));
    }

    #[test]
    fn what_is_slow_and_what_is_repeated_is_told() {
        let course = course("drip=300,drip=200,repeat=2,repeat=1,drip=1,after=1");
        assert_eq!((course.bytes_per_s(), course.repeats()), (Some(200), 3));
    }

    proptest! {
        #[test]
        fn damage_does_not_depend_on_the_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..300,
            seed in any::<u64>(),
        ) {
            let whole = flipped(&bytes.clone().into(), 0.3, seed, 0);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let first = flipped(&Bytes::copy_from_slice(first), 0.3, seed, 0);
            let second = flipped(&Bytes::copy_from_slice(second), 0.3, seed, first.len() as u64);
            prop_assert_eq!([first, second].concat(), whole.to_vec());
        }
    }

    #[test]
    fn a_share_of_the_bytes_is_damaged_by_one_bit_each() {
        let bytes = Bytes::from(vec![0; 100_000]);
        let damaged = flipped(&bytes, 0.01, 1, 0);
        let bits: u32 = damaged.iter().map(|byte| byte.count_ones()).sum();
        let count = damaged.iter().filter(|&&byte| byte != 0).count();
        assert!((900..1100).contains(&count), "{count}");
        assert_eq!(bits as usize, count);
        assert_ne!(flipped(&bytes, 0.01, 2, 0), damaged, "another seed, other damage");
        assert_eq!(flipped(&bytes, 0.0, 1, 0), bytes);
        assert!(flipped(&bytes, 1.0, 1, 0).iter().all(|&byte| byte != 0));
    }
}
