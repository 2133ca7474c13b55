//! The effect of one connection's faults on its bytes, piece by piece and without I/O.

use bytes::Bytes;
use tokio::time::Instant;

use crate::error_record::error_document;
use crate::faults::mix::mix64;
use crate::faults::model::{Fault, FaultKind, Limit};
use crate::identifiers::fragment_number::FragmentNumber;

/// Bytes of a connection's body, and their place in a fragment.
#[derive(Debug, Clone)]
pub(crate) struct BodyPiece {
    pub(crate) bytes: Bytes,
    /// The fragment; None for an error record.
    pub(crate) fragment: Option<FragmentNumber>,
    /// True if the piece begins with the fragment's first byte.
    pub(crate) begins: bool,
    /// True if the piece ends with the fragment's last byte.
    pub(crate) ends: bool,
}

impl BodyPiece {
    /// Returns bytes that belong to no fragment.
    pub(crate) fn outside(bytes: Bytes) -> Self {
        Self { bytes, fragment: None, begins: false, ends: false }
    }
}

/// The action of a connection after the bytes of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextAction {
    Continue,
    End,
    Break,
    Stall,
}

/// The bytes of a piece after all faults, and the action that follows them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PieceResult {
    pub(crate) bytes: Bytes,
    pub(crate) next: NextAction,
}

/// The faults of one connection, and the connection's progress.
#[derive(Debug)]
pub(crate) struct ConnectionFaults {
    faults: Vec<ConnectionFault>,
    whole_fragments: u64,
}

/// A fault of a connection, with the progress since the fault began.
#[derive(Debug)]
struct ConnectionFault {
    fault: Fault,
    /// None until `after` whole fragments were sent.
    began: Option<Instant>,
    bytes: u64,
    fragments: u64,
}

impl ConnectionFaults {
    pub(crate) fn new(faults: impl Iterator<Item = Fault>) -> Self {
        let faults = faults.map(|fault| ConnectionFault { fault, began: None, bytes: 0, fragments: 0 });
        let mut connection = Self { faults: faults.collect(), whole_fragments: 0 };
        connection.begin_due(Instant::now());
        connection
    }

    /// Returns the number of fragments by which the connection begins too early.
    pub(crate) fn repeats(&self) -> u64 {
        let repeats = self.faults.iter().map(|fault| match fault.fault.kind {
            FaultKind::Repeat(fragments) => fragments,
            _ => 0,
        });
        repeats.fold(0, u64::saturating_add)
    }

    /// Returns the earliest time at which a fault acts although no bytes come, and its action.
    pub(crate) fn deadline(&self) -> Option<(Instant, NextAction)> {
        self.faults.iter().filter_map(ConnectionFault::deadline).min_by_key(|(at, _)| *at)
    }

    /// Returns the limit on the connection's bytes per second.
    pub(crate) fn bytes_per_s(&self) -> Option<u64> {
        let begun = self.faults.iter().filter(|fault| fault.began.is_some());
        begun
            .filter_map(|fault| match fault.fault.kind {
                FaultKind::Drip(bytes_per_s) => Some(bytes_per_s),
                _ => None,
            })
            .min()
    }

    /// Applies all faults to a piece.
    pub(crate) fn apply(&mut self, piece: &BodyPiece, now: Instant) -> PieceResult {
        let mut result = PieceResult { bytes: piece.bytes.clone(), next: NextAction::Continue };
        for fault in self.faults.iter_mut().filter(|fault| fault.began.is_some()) {
            fault.apply(piece, &mut result);
        }
        // Counted afterwards: a fault with `after=N` begins with the piece that follows the Nth fragment.
        if piece.ends {
            self.whole_fragments += 1;
            self.begin_due(now);
        }
        result
    }

    fn begin_due(&mut self, now: Instant) {
        let whole = self.whole_fragments;
        for fault in self.faults.iter_mut().filter(|fault| fault.fault.after <= whole) {
            fault.began.get_or_insert(now);
        }
    }
}

impl ConnectionFault {
    fn deadline(&self) -> Option<(Instant, NextAction)> {
        match self.fault.kind {
            FaultKind::End(Limit::Time(after)) => Some((self.began?.checked_add(after)?, NextAction::End)),
            FaultKind::Break(Limit::Time(after)) => {
                Some((self.began?.checked_add(after)?, NextAction::Break))
            }
            FaultKind::Stall(Limit::Time(after)) => {
                Some((self.began?.checked_add(after)?, NextAction::Stall))
            }
            _ => None,
        }
    }

    fn apply(&mut self, piece: &BodyPiece, result: &mut PieceResult) {
        match self.fault.kind {
            FaultKind::ErrorTag(id) if piece.begins => *result = error_record(piece, id),
            FaultKind::Flip { share, seed } => {
                result.bytes = flip_bits(&result.bytes, share, seed, self.bytes);
            }
            FaultKind::Cut(at) => self.cut(piece, at, result),
            FaultKind::End(limit) => self.stop(piece, limit, NextAction::End, result),
            FaultKind::Break(limit) => self.stop(piece, limit, NextAction::Break, result),
            FaultKind::Stall(limit) => self.stop(piece, limit, NextAction::Stall, result),
            _ => {}
        }
        self.bytes += piece.bytes.len() as u64;
        self.fragments += u64::from(piece.ends);
    }

    /// Ends the connection inside a block, never at the edge of one.
    fn cut(&self, piece: &BodyPiece, at: u64, result: &mut PieceResult) {
        let len = piece.bytes.len() as u64;
        // The first and the last piece of a fragment are its opening and closing; those between are one block each.
        let is_block = piece.fragment.is_some() && !piece.begins && !piece.ends && len > 1;
        if is_block && self.bytes + len > at {
            let inside = at.saturating_sub(self.bytes).clamp(1, len - 1);
            result.stop_at(inside, NextAction::End);
        }
    }

    fn stop(&self, piece: &BodyPiece, limit: Limit, next: NextAction, result: &mut PieceResult) {
        let len = piece.bytes.len() as u64;
        let at = match limit {
            // A time is a deadline, which does not depend on pieces.
            Limit::Time(_) => return,
            Limit::Bytes(bytes) => bytes.saturating_sub(self.bytes),
            Limit::Fragments(fragments) if self.fragments >= fragments => 0,
            // The action follows the fragment's last byte at once, without waiting for the next fragment.
            Limit::Fragments(fragments) if piece.ends && self.fragments + 1 == fragments => len,
            Limit::Fragments(_) => return,
        };
        if at <= len {
            result.stop_at(at, next);
        }
    }
}

impl PieceResult {
    /// Cuts the piece to a length and sets the action that follows. Of two such calls the shorter length counts.
    fn stop_at(&mut self, len: u64, next: NextAction) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        // At the same length the fault that was given first wins.
        if self.next == NextAction::Continue || len < self.bytes.len() {
            self.bytes.truncate(len);
            self.next = next;
        }
    }
}

/// Returns the name of an error. Source: AWS, GetMedia and PutMedia, 2026, which give 3002 no name.
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

fn error_record(piece: &BodyPiece, id: u32) -> PieceResult {
    let fragment = piece.fragment.map_or_else(String::new, |number| number.to_string());
    PieceResult { bytes: error_document(&fragment, id, error_code(id)), next: NextAction::End }
}

/// Inverts one bit of a share of the bytes, the first of which is at `offset` of the connection.
fn flip_bits(bytes: &Bytes, share: f64, seed: u64, offset: u64) -> Bytes {
    // `as` saturates, so a share of 1 damages every byte.
    let limit = (share * u64::MAX as f64) as u64;
    let mut damaged = bytes.to_vec();
    for (byte, place) in damaged.iter_mut().zip(offset..) {
        // Drawn from the seed and the byte's place alone, so that the damage does not depend on how the pieces are cut.
        let drawn = mix64(seed ^ mix64(place));
        if drawn <= limit && limit > 0 {
            // Drawn once more: the low bits of `drawn` are not independent of its being below the limit.
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

    /// Returns the pieces of a fragment of 10 + 4 * 5 + 10 bytes.
    fn fragment() -> Vec<BodyPiece> {
        let number = Some(FragmentNumber::generate(1, 0));
        let piece = |len: usize, begins, ends| BodyPiece {
            bytes: vec![7; len].into(),
            fragment: number,
            begins,
            ends,
        };
        let mut pieces = vec![piece(10, true, false)];
        pieces.extend((0..4).map(|_| piece(5, false, false)));
        pieces.push(piece(10, false, true));
        pieces
    }

    fn connection_faults(text: &str) -> ConnectionFaults {
        let faults: Faults = text.parse().expect("faults");
        ConnectionFaults::new(faults.0.into_iter())
    }

    /// Returns the bytes that are sent of four fragments, and the connection's last action.
    fn run(text: &str) -> (usize, NextAction) {
        let (mut faults, mut sent) = (connection_faults(text), 0);
        for piece in (0..4).flat_map(|_| fragment()) {
            let result = faults.apply(&piece, Instant::now());
            sent += result.bytes.len();
            if result.next != NextAction::Continue {
                return (sent, result.next);
            }
        }
        (sent, NextAction::Continue)
    }

    #[test]
    fn connections_end_at_the_limits_of_their_faults() {
        for (text, sent, next) in [
            ("end=0b", 0, NextAction::End),
            ("end=1b", 1, NextAction::End),
            ("end=10b", 10, NextAction::End),
            ("end=57b", 57, NextAction::End),
            ("end=160b", 160, NextAction::End),
            ("end=161b", 160, NextAction::Continue),
            ("end=0f", 0, NextAction::End),
            ("end=2f", 80, NextAction::End),
            ("end=2f,after=1", 120, NextAction::End),
            ("end=3b,after=1", 43, NextAction::End),
            ("end=5f", 160, NextAction::Continue),
            ("break=2f", 80, NextAction::Break),
            ("break=0b", 0, NextAction::Break),
            ("stall=2f", 80, NextAction::Stall),
            ("stall=12b", 12, NextAction::Stall),
            ("cut=0", 11, NextAction::End),
            ("cut=10", 11, NextAction::End),
            ("cut=12", 12, NextAction::End),
            ("cut=15", 16, NextAction::End),
            ("cut=29", 29, NextAction::End),
            ("cut=30", 51, NextAction::End),
            ("cut=12,after=2", 92, NextAction::End),
            ("end=20b,stall=12b", 12, NextAction::Stall),
            ("stall=12b,end=20b", 12, NextAction::Stall),
            ("drip=3,repeat=2,end=5s", 160, NextAction::Continue),
        ] {
            assert_eq!(run(text), (sent, next), "{text}");
        }
    }

    #[test]
    fn an_error_record_takes_the_place_of_a_fragment() {
        let (whole, end) = run("error=4000,after=2");
        let record = error_document(&FragmentNumber::generate(1, 0).to_string(), 4000, "FRAGMENT_NOT_FOUND");
        assert_eq!((whole, end), (80 + record.len(), NextAction::End));
    }

    #[test]
    fn time_counts_from_the_start_of_the_fault() {
        let began = Instant::now();
        let mut faults = connection_faults("end=5s,after=1,stall=20s");
        let second = Duration::from_secs(1);
        let (at, next) = faults.deadline().expect("a time");
        assert!(at >= began + 20 * second && next == NextAction::Stall);
        for piece in fragment() {
            faults.apply(&piece, began + second);
        }
        assert_eq!(faults.deadline(), Some((began + 6 * second, NextAction::End)));
    }

    #[test]
    fn the_slowest_rate_counts_and_repeats_add_up() {
        let faults = connection_faults("drip=300,drip=200,repeat=2,repeat=1,drip=1,after=1");
        assert_eq!((faults.bytes_per_s(), faults.repeats()), (Some(200), 3));
    }

    proptest! {
        #[test]
        fn damage_does_not_depend_on_the_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..300,
            seed in any::<u64>(),
        ) {
            let whole = flip_bits(&bytes.clone().into(), 0.3, seed, 0);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let first = flip_bits(&Bytes::copy_from_slice(first), 0.3, seed, 0);
            let second = flip_bits(&Bytes::copy_from_slice(second), 0.3, seed, first.len() as u64);
            prop_assert_eq!([first, second].concat(), whole.to_vec());
        }
    }

    #[test]
    fn a_share_of_the_bytes_is_damaged_by_one_bit_each() {
        let bytes = Bytes::from(vec![0; 100_000]);
        let damaged = flip_bits(&bytes, 0.01, 1, 0);
        let bits: u32 = damaged.iter().map(|byte| byte.count_ones()).sum();
        let count = damaged.iter().filter(|&&byte| byte != 0).count();
        assert!((900..1100).contains(&count), "{count}");
        assert_eq!(bits as usize, count);
        assert_ne!(flip_bits(&bytes, 0.01, 2, 0), damaged, "another seed, other damage");
        assert_eq!(flip_bits(&bytes, 0.0, 1, 0), bytes);
        assert!(flip_bits(&bytes, 1.0, 1, 0).iter().all(|&byte| byte != 0));
    }
}
