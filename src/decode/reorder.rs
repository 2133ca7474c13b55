//! Packets whose frames are still to come, and frames that wait for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::media::{Fragment, MediaMs};

/// How many packets may wait for their frames; H.264 and H.265 hold back 16 at most.
const AWAITED_MAX: usize = 20;
/// By how many packets the frame of an earlier packet may come after that of a later one, for the same reason.
const REORDERED_MAX: i64 = 20;

/// The packet that a frame comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Rises in order of decoding.
    pub(super) number: i64,
    pub(super) fragment: Arc<Fragment>,
    pub(super) index: u32,
    pub(super) media: MediaMs,
    pub(super) arrived: Instant,
    /// Whether its frame was given out by an earlier reading: it is decoded again for those that refer to it.
    pub(super) primes: bool,
}

/// Gives frames out in order of presentation, each when all packets before its own, in order of decoding, have given theirs:
/// a damaged packet among them would take it along.
///
/// A packet may never give a frame. It is given up as soon as that is certain, so that it holds no other frame back:
/// when a frame of a later presentation time came out (where times tell the presentation), when the decoder reorders nothing,
/// and at the latest when [`AWAITED_MAX`] packets wait or the frame of the packet [`REORDERED_MAX`] after it came out.
#[derive(Debug)]
pub(super) struct Reorder<P> {
    /// In order of decoding.
    awaited: VecDeque<Origin>,
    /// In order of presentation, the first of which may rest on a packet whose frame is still to come.
    held: VecDeque<(Origin, P)>,
    newest: Option<MediaMs>,
    /// Whether times went back in order of decoding, so that they are times of presentation.
    by_presentation: bool,
}

impl<P> Default for Reorder<P> {
    fn default() -> Self {
        Self { awaited: VecDeque::new(), held: VecDeque::new(), newest: None, by_presentation: false }
    }
}

impl<P> Reorder<P> {
    /// A packet is sent to the decoder; returns how many were given up for it.
    pub(super) fn sent(&mut self, origin: Origin) -> usize {
        self.by_presentation |= self.newest.is_some_and(|newest| origin.media < newest);
        self.newest = self.newest.max(Some(origin.media));
        self.awaited.push_back(origin);
        self.give_up_beyond(AWAITED_MAX)
    }

    /// The packet that was sent last and has given nothing yet.
    pub(super) fn last_sent(&self) -> Option<&Origin> {
        self.awaited.back()
    }

    /// Returns the packet with `number`, whose frame came out of the decoder.
    pub(super) fn came(&mut self, number: i64) -> Option<Origin> {
        let at = self.awaited.iter().position(|origin| origin.number == number)?;
        self.awaited.remove(at)
    }

    /// Holds `picture`, which came out of the decoder, until it may be given out; returns how many packets were given up.
    pub(super) fn hold(&mut self, origin: Origin, picture: P) -> usize {
        let (media, number, by_presentation) = (origin.media, origin.number, self.by_presentation);
        self.held.push_back((origin, picture));
        self.give_up_where(|awaited| {
            by_presentation && awaited.media < media || awaited.number + REORDERED_MAX < number
        })
    }

    /// The decoder wants packets and delays no frame: returns how many were given up, which is all but the last.
    pub(super) fn nothing_is_delayed(&mut self) -> usize {
        self.give_up_beyond(1)
    }

    /// The decoder is drained: returns how many packets gave no frame.
    pub(super) fn nothing_comes_any_more(&mut self) -> usize {
        self.give_up_beyond(0)
    }

    /// The next frame that may be given out.
    pub(super) fn next(&mut self) -> Option<(Origin, P)> {
        let to_come = self.awaited.front().map_or(i64::MAX, |origin| origin.number);
        self.held.pop_front_if(|(origin, _)| origin.number < to_come)
    }

    /// Whether neither a packet nor a frame up to `number` waits.
    pub(super) fn is_past(&self, number: i64) -> bool {
        let held = self.held.iter().map(|(origin, _)| origin);
        self.awaited.iter().chain(held).all(|origin| origin.number > number)
    }

    /// Packets and frames that are not given out yet; those that only prime the decoder are not counted.
    pub(super) fn len(&self) -> usize {
        let held = self.held.iter().map(|(origin, _)| origin);
        self.awaited.iter().chain(held).filter(|origin| !origin.primes).count()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.awaited.is_empty() && self.held.is_empty()
    }

    /// Forgets all that waits.
    pub(super) fn clear(&mut self) {
        self.awaited.clear();
        self.held.clear();
        self.newest = None;
    }

    /// Forgets all that waits, and what it learned of the track.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    fn give_up_beyond(&mut self, most: usize) -> usize {
        let goes = self.awaited.len().saturating_sub(most);
        self.awaited.drain(..goes).filter(|origin| !origin.primes).count()
    }

    fn give_up_where(&mut self, goes: impl Fn(&Origin) -> bool) -> usize {
        let before = self.len();
        self.awaited.retain(|origin| !goes(origin));
        before - self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: i64, media: i64) -> Origin {
        let fragment = Fragment { number: "1".into(), producer_ms: None, server_ms: None };
        let (fragment, arrived) = (Arc::new(fragment), Instant::now());
        Origin { number, fragment, index: 0, media: MediaMs(media), arrived, primes: false }
    }

    /// Packets are sent at these times; frames come out by their numbers, each after so many packets were sent. Returns the
    /// numbers in the order in which they are given out, with the packets that were sent by then, and how many were given up.
    fn run(media: &[i64], out: &[(usize, i64)]) -> (Vec<(usize, i64)>, usize) {
        let (mut reorder, mut given, mut lost) = (Reorder::default(), Vec::new(), 0);
        for (number, media) in (0..).zip(media) {
            lost += reorder.sent(origin(number, *media));
            let sent = usize::try_from(number).unwrap() + 1;
            for (_, number) in out.iter().filter(|(after, _)| *after == sent) {
                let origin = reorder.came(*number).unwrap();
                lost += reorder.hold(origin, ());
            }
            given.extend(std::iter::from_fn(|| reorder.next()).map(|(origin, ())| (sent, origin.number)));
        }
        (given, lost)
    }

    #[test]
    fn a_frame_waits_for_the_packets_before_its_own() {
        // I0 P3 B1 B2 in order of decoding.
        let given = run(&[0, 3, 1, 2], &[(1, 0), (3, 2), (4, 3), (4, 1)]);
        assert_eq!(given, (vec![(1, 0), (4, 2), (4, 3), (4, 1)], 0), "B-frames wait for P");
        let given = run(&[0, 1, 2], &[(1, 0), (2, 1), (3, 2)]);
        assert_eq!(given, (vec![(1, 0), (2, 1), (3, 2)], 0));
    }

    #[test]
    fn a_packet_without_a_frame_is_given_up_when_a_later_one_came_out() {
        // The second and third packets are leading pictures that the decoder leaves out.
        let given = run(&[2, 0, 1, 3, 4], &[(2, 0), (4, 3), (5, 4)]);
        assert_eq!(given, (vec![(2, 0), (4, 3), (5, 4)], 2));
    }

    #[test]
    fn where_times_are_those_of_decoding_only_the_count_gives_a_packet_up() {
        let media: Vec<i64> = (0..22).collect();
        let out: Vec<_> = (2..22).map(|number| (22, number)).chain([(22, 0)]).collect();
        let (given, lost) = run(&media, &out[..20]);
        assert_eq!((given.len(), lost), (20, 2), "twenty are awaited at most");
        // I0 P3 B1 B2 with times of decoding: P is not given up for the later time of a B-frame.
        assert_eq!(run(&[0, 1, 2, 3], &[(1, 0), (3, 2), (4, 3), (4, 1)]).1, 0);
    }

    #[test]
    fn where_times_are_those_of_decoding_packets_without_frames_hold_nothing_back_for_long() {
        // As after a start within an intra-refresh: ten packets give nothing, and each later one gives its frame two packets on.
        let media: Vec<i64> = (0..100).collect();
        let out: Vec<_> = (10..98_i64).map(|number| (number as usize + 3, number)).collect();
        let (given, lost) = run(&media, &out);
        let latest = given
            .iter()
            .filter(|(_, number)| *number >= 31)
            .map(|(sent, number)| *sent as i64 - number)
            .max();
        assert_eq!((given.len(), lost, latest), (88, 10, Some(3)), "none is late once those are given up");
    }

    #[test]
    fn packets_that_only_prime_are_not_counted() {
        let mut reorder = Reorder::<()>::default();
        reorder.sent(Origin { primes: true, ..origin(0, 0) });
        reorder.sent(origin(1, 1));
        assert_eq!((reorder.len(), reorder.is_empty()), (1, false));
        assert_eq!(reorder.nothing_comes_any_more(), 1);
        assert!(reorder.is_empty());
    }

    #[test]
    fn a_decoder_that_delays_nothing_gave_all_but_the_last() {
        let mut reorder = Reorder::<()>::default();
        let given_up: usize = (0..3).map(|number| reorder.sent(origin(number, number))).sum();
        assert_eq!(given_up, 0);
        assert_eq!(reorder.nothing_is_delayed(), 2);
        assert!(reorder.is_past(1) && !reorder.is_past(2));
    }
}
