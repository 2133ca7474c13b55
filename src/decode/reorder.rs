//! The reorder buffer: packets whose frames are still to come, and frames that wait for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::media::{Fragment, MediaMs};

/// The maximum number of packets that wait for their frames.
///
/// H.264 and H.265 hold back at most 16 (MaxDpbFrames, H.264 A.3.1; MaxDpbSize, H.265 A.4.2).
const MAX_AWAITED: usize = 20;
/// The maximum number of packets by which a frame may come after that of a later packet, for the same reason.
const MAX_REORDERED: i64 = 20;

/// The packet that a frame comes from.
#[derive(Clone, Debug)]
pub(super) struct PacketOrigin {
    /// The packet's number, which rises in decoding order.
    pub(super) number: i64,
    pub(super) fragment: Arc<Fragment>,
    pub(super) index: u32,
    pub(super) media: MediaMs,
    pub(super) arrived: Instant,
    /// True if the packet only primes the decoder: its frame was returned before a restart or a pause.
    pub(super) primes: bool,
}

/// Returns frames in order of presentation, each once all packets before its own in decoding order have returned theirs.
///
/// A packet before it that turns out damaged would invalidate the frame.
///
/// A packet may never return a frame. It is given up as soon as that is certain, so that it holds no other frame back:
/// when a frame of a later presentation time came out (if the times are presentation times), when the decoder reorders
/// nothing, and at the latest when [`MAX_AWAITED`] packets wait or the frame of the packet [`MAX_REORDERED`] after it came
/// out.
#[derive(Debug)]
pub(super) struct ReorderBuffer<P> {
    /// The packets without a frame, in decoding order.
    awaited: VecDeque<PacketOrigin>,
    /// The frames that wait, in order of presentation.
    held: VecDeque<(PacketOrigin, P)>,
    newest: Option<MediaMs>,
    /// True if the times of packets are presentation times: in decoding order they have gone back.
    by_presentation: bool,
}

impl<P> Default for ReorderBuffer<P> {
    fn default() -> Self {
        Self { awaited: VecDeque::new(), held: VecDeque::new(), newest: None, by_presentation: false }
    }
}

impl<P> ReorderBuffer<P> {
    /// Records a packet that is sent to the decoder; returns how many were given up for it.
    pub(super) fn sent(&mut self, origin: PacketOrigin) -> usize {
        self.by_presentation |= self.newest.is_some_and(|newest| origin.media < newest);
        self.newest = self.newest.max(Some(origin.media));
        self.awaited.push_back(origin);
        self.give_up_beyond(MAX_AWAITED)
    }

    /// Returns true if the times of packets are known to be presentation times.
    pub(super) fn by_presentation(&self) -> bool {
        self.by_presentation
    }

    /// Returns the packet that was sent last, if its frame has not come.
    pub(super) fn last_sent(&self) -> Option<&PacketOrigin> {
        self.awaited.back()
    }

    /// Removes and returns the packet with `number`, whose frame came out of the decoder.
    pub(super) fn received(&mut self, number: i64) -> Option<PacketOrigin> {
        let at = self.awaited.iter().position(|origin| origin.number == number)?;
        self.awaited.remove(at)
    }

    /// Holds `picture`, which came out of the decoder; returns how many packets were given up.
    pub(super) fn hold(&mut self, origin: PacketOrigin, picture: P) -> usize {
        let (media, number, by_presentation) = (origin.media, origin.number, self.by_presentation);
        self.held.push_back((origin, picture));
        // FFmpeg returns frames in order of presentation, so a packet to be shown earlier has none. Decoding times say
        // nothing about that order.
        self.give_up_where(|awaited| {
            by_presentation && awaited.media < media || awaited.number + MAX_REORDERED < number
        })
    }

    /// Gives up all packets but the last, for a decoder without delay that needs packets; returns their number.
    pub(super) fn give_up_all_but_last(&mut self) -> usize {
        self.give_up_beyond(1)
    }

    /// Gives up all packets, for a decoder that is drained; returns their number.
    pub(super) fn give_up_all(&mut self) -> usize {
        self.give_up_beyond(0)
    }

    /// Returns the next frame that waits for no packet.
    pub(super) fn next_ready(&mut self) -> Option<(PacketOrigin, P)> {
        let first_awaited = self.awaited.front().map_or(i64::MAX, |origin| origin.number);
        self.held.pop_front_if(|(origin, _)| origin.number < first_awaited)
    }

    /// Returns the frames that wait, with their packets.
    pub(super) fn held_mut(&mut self) -> impl Iterator<Item = &mut (PacketOrigin, P)> + '_ {
        self.held.iter_mut()
    }

    /// Returns true if neither a packet nor a frame up to `number` waits.
    pub(super) fn is_past(&self, number: i64) -> bool {
        let held = self.held.iter().map(|(origin, _)| origin);
        self.awaited.iter().chain(held).all(|origin| origin.number > number)
    }

    /// Returns the number of packets and frames that wait, without those that only prime the decoder.
    pub(super) fn len(&self) -> usize {
        self.waiting_times().count()
    }

    /// Returns the times of the packets and frames that wait, without those that only prime the decoder.
    pub(super) fn waiting_times(&self) -> impl Iterator<Item = MediaMs> + '_ {
        let held = self.held.iter().map(|(origin, _)| origin);
        self.awaited.iter().chain(held).filter(|origin| !origin.primes).map(|origin| origin.media)
    }

    /// Returns true if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.awaited.is_empty() && self.held.is_empty()
    }

    /// Removes everything that waits.
    pub(super) fn clear(&mut self) {
        self.awaited.clear();
        self.held.clear();
        self.newest = None;
    }

    /// Removes everything that waits, and what is known of the track.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    fn give_up_beyond(&mut self, max: usize) -> usize {
        let given_up = self.awaited.len().saturating_sub(max);
        self.awaited.drain(..given_up).filter(|origin| !origin.primes).count()
    }

    fn give_up_where(&mut self, is_given_up: impl Fn(&PacketOrigin) -> bool) -> usize {
        let before = self.len();
        self.awaited.retain(|origin| !is_given_up(origin));
        before - self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: i64, media: i64) -> PacketOrigin {
        let fragment = Fragment { number: "1".into(), producer_ms: None, server_ms: None };
        let (fragment, arrived) = (Arc::new(fragment), Instant::now());
        PacketOrigin { number, fragment, index: 0, media: MediaMs(media), arrived, primes: false }
    }

    /// Sends packets with these times, and receives each frame of `out` after its number of packets was sent.
    ///
    /// Returns the packets sent and the number of each frame when it is returned, and how many packets were given up.
    fn run(media: &[i64], out: &[(usize, i64)]) -> (Vec<(usize, i64)>, usize) {
        let (mut reorder, mut given, mut lost) = (ReorderBuffer::default(), Vec::new(), 0);
        for (number, media) in (0..).zip(media) {
            lost += reorder.sent(origin(number, *media));
            let sent = usize::try_from(number).unwrap() + 1;
            for (_, number) in out.iter().filter(|(after, _)| *after == sent) {
                let origin = reorder.received(*number).unwrap();
                lost += reorder.hold(origin, ());
            }
            given.extend(
                std::iter::from_fn(|| reorder.next_ready()).map(|(origin, ())| (sent, origin.number)),
            );
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
    fn with_decoding_times_only_the_count_gives_a_packet_up() {
        let media: Vec<i64> = (0..22).collect();
        let out: Vec<_> = (2..22).map(|number| (22, number)).chain([(22, 0)]).collect();
        let (given, lost) = run(&media, &out[..20]);
        assert_eq!((given.len(), lost), (20, 2), "at most twenty are awaited");
        // I0 P3 B1 B2 with decoding times: P is not given up for the later time of a B-frame.
        assert_eq!(run(&[0, 1, 2, 3], &[(1, 0), (3, 2), (4, 3), (4, 1)]).1, 0);
    }

    #[test]
    fn with_decoding_times_packets_without_frames_hold_nothing_back_for_long() {
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
        let mut reorder = ReorderBuffer::<()>::default();
        reorder.sent(PacketOrigin { primes: true, ..origin(0, 0) });
        reorder.sent(origin(1, 1));
        assert_eq!((reorder.len(), reorder.is_empty()), (1, false));
        assert_eq!(reorder.give_up_all(), 1);
        assert!(reorder.is_empty());
    }

    #[test]
    fn a_decoder_without_delay_gives_up_all_but_the_last() {
        let mut reorder = ReorderBuffer::<()>::default();
        let given_up: usize = (0..3).map(|number| reorder.sent(origin(number, number))).sum();
        assert_eq!(given_up, 0);
        assert_eq!(reorder.give_up_all_but_last(), 2);
        assert!(reorder.is_past(1) && !reorder.is_past(2));
    }
}
