//! How far footage is behind the live edge when it arrives, by the monotonic clock.
//!
//! The server's figure (MILLIS_BEHIND_NOW) says how far behind a fragment was when it was *sent*; what then waits in socket
//! buffers it does not see. So each access unit is compared with the fastest delivery of its connection: the time from its
//! ingestion to its arrival, less the least such time so far. No wall clock of this host takes part, so a jump of it changes
//! nothing; ingestion is dated by the server, fragment by fragment, so the producer's clock may drift or jump as well.

use std::time::{Duration, Instant};

use crate::media::{ArrivalLag, Fragment};

/// A server timestamp that goes back by more than this is another clock's, ms.
const MAX_STEP_BACK_MS: i64 = 1_000;

/// Fragments by which the rhythm of delivery is known, the current one included.
const RHYTHM_FRAGMENTS: usize = 4;

/// The target duration of a playlist is in whole seconds, and its half is waited for: what rounding adds, ms.
const LISTED_LATE_MS: i64 = 500;

/// Estimates the lag of what a connection brings.
///
/// Invariant: the offset is never below that of the true live edge while no timestamp lies in the future, so the lag is
/// never overestimated by jitter, and is exact from the first access unit on that was not held up.
#[derive(Clone, Debug)]
pub struct LagClock {
    origin: Instant,
    /// Least time from ingestion to arrival; arrival is counted from `origin`, so only differences mean something, ms.
    offset_ms: Option<i64>,
    /// Ingestion of the current fragment's first instant, ms since the epoch.
    begun_ms: Option<i64>,
    /// Whether segments of HLS are dated.
    is_dated: bool,
    /// The newest first; `None`: nothing of it has arrived.
    rhythm: [Option<Delivery>; RHYTHM_FRAGMENTS],
}

/// How a fragment was delivered, by those of its access units that are extreme.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    /// The longest time from ingestion to arrival, ms.
    max_delay_ms: i64,
    /// The first ingestion, ms since the epoch.
    first_ms: i64,
    /// The last ingestion, ms since the epoch.
    last_ms: i64,
}

impl Delivery {
    fn length_ms(self) -> i64 {
        self.last_ms.saturating_sub(self.first_ms)
    }

    /// Whether it came as a whole: its first frame about as late as it is long.
    fn is_whole(self, offset_ms: i64) -> bool {
        self.max_lag_ms(offset_ms) >= self.length_ms() / 10 * 9
    }

    fn max_lag_ms(self, offset_ms: i64) -> i64 {
        self.max_delay_ms.saturating_sub(offset_ms)
    }
}

impl LagClock {
    /// A clock that knows nothing yet; `origin` is any instant.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Self { origin, offset_ms: None, begun_ms: None, is_dated: false, rhythm: Default::default() }
    }

    /// Forgets the connection before: nothing of the new one waits in a buffer yet.
    pub fn connected(&mut self) {
        *self = Self::new(self.origin);
    }

    /// Begins a fragment.
    pub fn begin(&mut self, fragment: &Fragment) {
        let start_ms = fragment.ingested_ms(fragment.media_start().0);
        let stepped_back =
            self.begun_ms.is_some_and(|before| start_ms < before.saturating_sub(MAX_STEP_BACK_MS));
        if stepped_back && !self.is_dated {
            self.connected();
        }
        self.begun_ms = Some(start_ms);
        if self.rhythm[0].is_some() {
            self.rhythm.rotate_right(1);
        }
        self.rhythm[0] = None;
    }

    /// Returns the lag of an access unit of the current fragment; `ingested_ms` is [`Fragment::ingested_ms`].
    pub fn arrival(&mut self, ingested_ms: i64, arrived: Instant) -> ArrivalLag {
        let (delay_ms, lag_ms) = (self.delay_ms(ingested_ms, arrived), self.lag_ms(ingested_ms, arrived));
        let alone = Delivery { max_delay_ms: delay_ms, first_ms: ingested_ms, last_ms: ingested_ms };
        let now = self.rhythm[0].get_or_insert(alone);
        now.max_delay_ms = now.max_delay_ms.max(delay_ms);
        now.first_ms = now.first_ms.min(ingested_ms);
        now.last_ms = now.last_ms.max(ingested_ms);
        ArrivalLag { at_arrival: millis(lag_ms), explained: millis(self.explained_ms()) }
    }

    /// Ends a fragment whose closing tags say `behind_ms`; returns the lag of its last access unit.
    ///
    /// The service's clock at that moment is the fragment's server timestamp and `behind_ms` together (shown by real captures),
    /// which dates a connection that begins behind the live edge.
    pub fn end(&mut self, fragment: &Fragment, behind_ms: Option<u64>, arrived: Instant) -> Duration {
        if let (Some(server_ms), Some(behind_ms)) = (fragment.server_ms, behind_ms) {
            self.lag_ms(later(server_ms, behind_ms), arrived);
        }
        let last_ms = self.rhythm[0].map(|delivery| delivery.last_ms);
        last_ms.map_or(Duration::ZERO, |last_ms| millis(self.lag_ms(last_ms, arrived)))
    }

    /// Dates a segment of HLS that arrives: the access unit that was ingested at `ingested_ms` is `behind_ms` behind.
    ///
    /// HLS has no server timestamps, and nothing of it waits in buffers. So its figure is taken as it is, segment by segment, and
    /// a producer's clock that drifts is no lag.
    pub fn date(&mut self, ingested_ms: i64, behind_ms: u64, arrived: Instant) {
        self.is_dated = true;
        let offset_ms = self.delay_ms(later(ingested_ms, behind_ms), arrived);
        // What was measured by the offset before stays as it was.
        let moved_ms = offset_ms.saturating_sub(self.offset_ms.replace(offset_ms).unwrap_or(offset_ms));
        for delivery in self.rhythm.iter_mut().flatten() {
            delivery.max_delay_ms = delivery.max_delay_ms.saturating_add(moved_ms);
        }
    }

    /// The time from ingestion to arrival beyond the least so far, ms.
    fn lag_ms(&mut self, ingested_ms: i64, arrived: Instant) -> i64 {
        let delay_ms = self.delay_ms(ingested_ms, arrived);
        let offset_ms = self.offset_ms.map_or(delay_ms, |least| least.min(delay_ms));
        self.offset_ms = Some(offset_ms);
        delay_ms.saturating_sub(offset_ms)
    }

    fn delay_ms(&self, ingested_ms: i64, arrived: Instant) -> i64 {
        let since = arrived.saturating_duration_since(self.origin).as_millis();
        i64::try_from(since).unwrap_or(i64::MAX).saturating_sub(ingested_ms)
    }

    /// The lag that comes of how fragments are delivered: where they come whole, their first frame is as late as they are
    /// long, so the longest of the latest counts. Else the least of the complete ones: what only some of them show is a delay.
    /// Of the first of a connection all that has come so far may be such a burst. A segment of HLS is listed up to half a target
    /// duration late, so two may come at once.
    fn explained_ms(&self) -> i64 {
        if self.is_dated {
            let longest_ms =
                self.rhythm.iter().flatten().map(|delivery| delivery.length_ms()).max().unwrap_or(0);
            return longest_ms.saturating_add(longest_ms / 2).saturating_add(LISTED_LATE_MS);
        }
        let offset_ms = self.offset_ms.unwrap_or(0);
        let complete = || self.rhythm[1..].iter().flatten();
        let explained = if complete().all(|delivery| delivery.is_whole(offset_ms)) {
            complete().map(|delivery| delivery.length_ms()).max()
        } else {
            complete().map(|delivery| delivery.max_lag_ms(offset_ms).clamp(0, delivery.length_ms())).min()
        };
        let first = self.rhythm[0].map(|delivery| delivery.max_lag_ms(offset_ms).max(delivery.length_ms()));
        explained.or(first).unwrap_or(0)
    }
}

fn later(at_ms: i64, by_ms: u64) -> i64 {
    at_ms.saturating_add(i64::try_from(by_ms).unwrap_or(i64::MAX))
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::MediaMs;

    /// A camera of 25 frames a second, a fragment each second, seen by a clock.
    struct Stream {
        clock: LagClock,
        origin: Instant,
        server_ms: i64,
    }

    const SERVER_MS: i64 = 1_700_000_000_000;

    impl Stream {
        fn new() -> Self {
            let origin = Instant::now();
            Self { clock: LagClock::new(origin), origin, server_ms: SERVER_MS }
        }

        fn fragment(&self, producer_ms: i64) -> Fragment {
            Fragment { number: "1".into(), producer_ms: Some(producer_ms), server_ms: Some(self.server_ms) }
        }

        /// When the server's clock shows so much, and `delay_ms` later.
        fn at(&self, server_ms: i64, delay_ms: i64) -> Instant {
            self.origin + millis(server_ms - SERVER_MS + delay_ms)
        }

        /// Lags of a fragment's access units, ms, each of which comes by its delay later than it was ingested.
        fn lags(&mut self, producer_ms: i64, delays_ms: &[i64]) -> Vec<i64> {
            let fragment = self.fragment(producer_ms);
            self.clock.begin(&fragment);
            let arrivals = (0..).step_by(40).zip(delays_ms);
            let lags = arrivals.map(|(at_ms, delay_ms)| {
                let ingested_ms = fragment.ingested_ms(MediaMs(producer_ms + at_ms));
                let lag = self.clock.arrival(ingested_ms, self.at(self.server_ms + at_ms, *delay_ms));
                i64::try_from(lag.at_arrival.as_millis()).unwrap()
            });
            let lags = lags.collect();
            self.server_ms += 1_000;
            lags
        }
    }

    #[test]
    fn lag_is_what_an_access_unit_waited_beyond_the_fastest() {
        let mut stream = Stream::new();
        assert_eq!(stream.lags(5_000, &[80, 80, 180, 30_080]), [0, 0, 100, 30_000]);
        assert_eq!(stream.lags(6_000, &[1_080, 30, 80]), [1_000, 0, 50], "a faster one moves the edge");
    }

    /// Whole fragments of 0.6 and 2 s in turn: the short ones do not make the long ones late.
    #[test]
    fn whole_fragments_of_different_lengths_explain_the_longest() {
        let origin = Instant::now();
        let (mut clock, mut server_ms, mut explained) = (LagClock::new(origin), SERVER_MS, Vec::new());
        for length_ms in [600, 2_000, 600, 600, 2_000] {
            let fragment =
                Fragment { number: "1".into(), producer_ms: Some(server_ms), server_ms: Some(server_ms) };
            clock.begin(&fragment);
            let arrived = origin + millis(server_ms - SERVER_MS + length_ms);
            for at_ms in (0..length_ms).step_by(40) {
                explained.push(clock.arrival(server_ms + at_ms, arrived).explained.as_millis());
            }
            server_ms += length_ms;
        }
        assert_eq!(explained.last(), Some(&1_960), "{explained:?}");
    }

    #[test]
    fn the_servers_figure_dates_a_connection_that_begins_behind() {
        let mut stream = Stream::new();
        let fragment = stream.fragment(5_000);
        // Sent an hour late, and so says the end of the fragment, whose last frame is 960 ms after its first.
        let delays = [3_600_000; 25];
        assert_eq!(stream.lags(5_000, &delays)[24], 0, "nothing is known yet");
        let lag = stream.clock.end(&fragment, Some(3_600_960), stream.at(SERVER_MS + 960, 3_600_000));
        assert_eq!(lag.as_millis(), 3_600_000);
        assert_eq!(stream.lags(6_000, &[3_600_000, 3_000_000]), [3_600_000, 3_000_000]);
    }

    #[test]
    fn a_figure_of_nothing_at_the_live_edge_changes_nothing() {
        let mut stream = Stream::new();
        for second in 0..9 {
            let fragment = stream.fragment(second * 1_000);
            assert_eq!(stream.lags(second * 1_000, &[50, 50])[1], 0);
            assert_eq!(
                stream.clock.end(&fragment, Some(0), stream.at(stream.server_ms - 960, 50)),
                Duration::ZERO
            );
        }
    }

    #[test]
    fn a_server_clock_that_goes_back_is_no_lag() {
        let mut stream = Stream::new();
        stream.lags(5_000, &[50]);
        let fragment = Fragment { server_ms: Some(SERVER_MS - 3_600_000), ..stream.fragment(6_000) };
        stream.clock.begin(&fragment);
        let lag =
            stream.clock.arrival(fragment.ingested_ms(MediaMs(6_000)), stream.at(SERVER_MS + 1_000, 50));
        assert_eq!(lag.at_arrival, Duration::ZERO);
    }

    #[test]
    fn a_new_connection_knows_nothing_of_the_one_before() {
        let mut stream = Stream::new();
        stream.lags(5_000, &[50]);
        stream.clock.connected();
        assert_eq!(stream.lags(6_000, &[9_050, 9_150]), [0, 100]);
    }

    /// Of HLS: segments of two seconds come whole.
    fn segment(
        clock: &mut LagClock,
        origin: Instant,
        start_ms: i64,
        behind_ms: u64,
        at_ms: u64,
    ) -> [ArrivalLag; 2] {
        let fragment = Fragment { number: "1".into(), producer_ms: Some(start_ms), server_ms: None };
        let arrived = origin + Duration::from_millis(at_ms);
        clock.date(start_ms + 1_960, behind_ms, arrived);
        clock.begin(&fragment);
        let lags = [0, 1_960].map(|at| clock.arrival(fragment.ingested_ms(MediaMs(start_ms + at)), arrived));
        let last = clock.end(&fragment, Some(behind_ms), arrived);
        assert_eq!(last.as_millis(), behind_ms.into());
        lags
    }

    #[test]
    fn delivery_in_whole_segments_explains_their_length_and_their_listing_and_no_more() {
        let origin = Instant::now();
        let mut clock = LagClock::new(origin);
        for number in 0..5_u64 {
            let start_ms = 7_000 + 2_000 * i64::try_from(number).unwrap();
            segment(&mut clock, origin, start_ms, 0, 2_000 * number);
        }
        let [first, last] = segment(&mut clock, origin, 17_000, 0, 10_000);
        assert_eq!((first.at_arrival.as_millis(), last.at_arrival.as_millis()), (1_960, 0));
        assert_eq!(first.explained.as_millis(), 3_440);
        let [late, _] = segment(&mut clock, origin, 19_000, 30_000, 42_000);
        assert_eq!((late.at_arrival.as_millis(), late.explained.as_millis()), (31_960, 3_440));
    }

    #[test]
    fn segments_that_are_found_late_in_turn_are_as_long_as_ever() {
        let origin = Instant::now();
        let mut clock = LagClock::new(origin);
        for number in 0..6_u64 {
            let found_ms = 2_000 * number + 900 * (number % 2);
            let start_ms = 2_000 * i64::try_from(number).unwrap();
            let [first, last] = segment(&mut clock, origin, start_ms, 0, found_ms);
            assert_eq!((first.at_arrival.as_millis(), last.at_arrival.as_millis()), (1_960, 0));
            assert_eq!(first.explained.as_millis(), if number == 0 { 500 } else { 3_440 });
        }
    }

    #[test]
    fn a_delay_that_does_not_come_back_with_each_fragment_explains_nothing() {
        let mut stream = Stream::new();
        for (second, delay_ms) in [0, 900, 0, 900].into_iter().enumerate() {
            stream.lags(1_000 * i64::try_from(second).unwrap(), &[[0; 12], [delay_ms; 12]].concat());
        }
        let fragment = stream.fragment(9_000);
        stream.clock.begin(&fragment);
        let lag =
            stream.clock.arrival(fragment.ingested_ms(MediaMs(9_000)), stream.at(stream.server_ms, 700));
        assert_eq!((lag.at_arrival.as_millis(), lag.explained), (700, Duration::ZERO));
    }

    #[test]
    fn a_producers_clock_that_drifts_by_hours_is_no_lag_by_hls() {
        let origin = Instant::now();
        let mut clock = LagClock::new(origin);
        // 30 ms of each 2 s are lost: 15 minutes within 17 hours.
        let lags = (0..30_000_u64).map(|number| {
            segment(&mut clock, origin, 1_970 * i64::try_from(number).unwrap(), 0, 2_000 * number)[1]
        });
        assert_eq!(lags.map(|lag| lag.at_arrival.as_millis()).max(), Some(0));
    }

    proptest! {
        #[test]
        fn lag_is_exact_once_something_came_without_delay(
            delays_ms in proptest::collection::vec(proptest::collection::vec(0..40_000_i64, 1..25), 1..20),
            producer_ms in proptest::collection::vec(0..2_000_000_000_000_i64, 20),
        ) {
            let mut stream = Stream::new();
            stream.lags(0, &[0]);
            for (delays_ms, producer_ms) in delays_ms.iter().zip(producer_ms) {
                prop_assert_eq!(&stream.lags(producer_ms, delays_ms), delays_ms);
            }
        }

        #[test]
        fn any_timestamps_are_borne(
            fragments in proptest::collection::vec(
                (any::<Option<i64>>(), any::<Option<i64>>(), any::<i64>(), any::<Option<u64>>(), 0..u64::from(u32::MAX)), 1..20),
        ) {
            let origin = Instant::now();
            let mut clock = LagClock::new(origin);
            for (producer_ms, server_ms, media, behind_ms, at_ms) in fragments {
                let fragment = Fragment { number: "1".into(), producer_ms, server_ms };
                let arrived = origin + Duration::from_millis(at_ms);
                clock.date(media, behind_ms.unwrap_or(0), arrived);
                clock.begin(&fragment);
                let lag = clock.arrival(fragment.ingested_ms(MediaMs(media)), arrived);
                prop_assert_eq!(lag.explained, millis(LISTED_LATE_MS), "one access unit has no length");
                clock.end(&fragment, behind_ms, arrived);
            }
        }
    }
}
