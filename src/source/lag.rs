//! The lag of arriving footage behind the live edge, by the monotonic clock.
//!
//! The server's figure (MILLIS_BEHIND_NOW) is the lag at which a fragment was *sent*; it does not include the time in
//! socket buffers after that. So each access unit is compared with the fastest delivery of its connection: the lag is
//! the time from its ingestion to its arrival, less the minimum of that time so far.
//!
//! This host's wall clock takes no part, so a jump of it changes nothing. Ingestion is dated by the server, fragment
//! by fragment, so the producer's clock may drift or jump too.

use std::time::{Duration, Instant};

use crate::media::{ArrivalLag, Fragment};

/// The largest step back of server timestamps that still comes from one clock, ms.
const MAX_STEP_BACK_MS: i64 = 1_000;

/// The number of fragments from which the rhythm of delivery is known, the current one included.
const RHYTHM_FRAGMENTS: usize = 4;

/// The delay that rounding adds to the listing of an HLS segment, ms.
///
/// A playlist is requested every half target duration, which is rounded to whole seconds (RFC 8216, 4.3.3.1).
const LISTING_DELAY_MS: i64 = 500;

/// Estimates the lag of the access units of a connection.
///
/// Invariant: while no timestamp lies in the future, the offset is never below that of the true live edge. So jitter
/// never raises the lag, and the lag is exact from the first access unit on that arrived without delay.
#[derive(Clone, Debug)]
pub struct LagClock {
    origin: Instant,
    /// The minimum time from ingestion to arrival, ms.
    ///
    /// Ingestion counts from the epoch and arrival from `origin`, so only differences of it have a meaning.
    offset_ms: Option<i64>,
    /// The time of ingestion of the current fragment's start, ms since the epoch.
    begun_ms: Option<i64>,
    /// True if the connection is HLS, whose segments are dated by [`Self::date`].
    is_dated: bool,
    /// The delivery of the last fragments, the newest first; `None` before anything of one has arrived.
    rhythm: [Option<FragmentDelivery>; RHYTHM_FRAGMENTS],
}

/// The extremes over the access units of one fragment.
#[derive(Clone, Copy, Debug)]
struct FragmentDelivery {
    /// The maximum time from ingestion to arrival, ms.
    max_delay_ms: i64,
    /// The first time of ingestion, ms since the epoch.
    first_ms: i64,
    /// The last time of ingestion, ms since the epoch.
    last_ms: i64,
}

impl FragmentDelivery {
    fn length_ms(self) -> i64 {
        self.last_ms.saturating_sub(self.first_ms)
    }

    /// Returns true if the fragment was delivered as a whole: its first frame is about as late as it is long.
    fn is_whole(self, offset_ms: i64) -> bool {
        self.max_lag_ms(offset_ms) >= self.length_ms() / 10 * 9
    }

    fn max_lag_ms(self, offset_ms: i64) -> i64 {
        self.max_delay_ms.saturating_sub(offset_ms)
    }
}

impl LagClock {
    /// Creates a clock without measurements; `origin` is any instant.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Self { origin, offset_ms: None, begun_ms: None, is_dated: false, rhythm: Default::default() }
    }

    /// Resets the clock for a new connection, of which nothing waits in a buffer yet.
    pub fn connected(&mut self) {
        *self = Self::new(self.origin);
    }

    /// Records that `fragment` has begun.
    pub fn begin(&mut self, fragment: &Fragment) {
        let start_ms = fragment.ingested_ms(fragment.media_start().0);
        let stepped_back =
            self.begun_ms.is_some_and(|before| start_ms < before.saturating_sub(MAX_STEP_BACK_MS));
        // By another clock the known offset would hide or invent lag. HLS dates each segment itself.
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
        let alone = FragmentDelivery { max_delay_ms: delay_ms, first_ms: ingested_ms, last_ms: ingested_ms };
        let current = self.rhythm[0].get_or_insert(alone);
        current.max_delay_ms = current.max_delay_ms.max(delay_ms);
        current.first_ms = current.first_ms.min(ingested_ms);
        current.last_ms = current.last_ms.max(ingested_ms);
        ArrivalLag { at_arrival: millis(lag_ms), explained: millis(self.explained_ms()) }
    }

    /// Records the end of `fragment`, whose trailing tags say `behind_ms`; returns the lag of its last access unit.
    pub fn end(&mut self, fragment: &Fragment, behind_ms: Option<u64>, arrived: Instant) -> Duration {
        // Server timestamp plus MILLIS_BEHIND_NOW is the service's clock at this moment (shown by real captures).
        // It is the only reference of a connection that begins behind the live edge.
        if let (Some(server_ms), Some(behind_ms)) = (fragment.server_ms, behind_ms) {
            self.lag_ms(plus_ms(server_ms, behind_ms), arrived);
        }
        let last_ms = self.rhythm[0].map(|delivery| delivery.last_ms);
        last_ms.map_or(Duration::ZERO, |last_ms| millis(self.lag_ms(last_ms, arrived)))
    }

    /// Dates an HLS segment that arrives: the access unit ingested at `ingested_ms` is `behind_ms` behind the live edge.
    pub fn date(&mut self, ingested_ms: i64, behind_ms: u64, arrived: Instant) {
        self.is_dated = true;
        // HLS has no server timestamps and leaves nothing in socket buffers. So the figure replaces the offset,
        // segment by segment, and a drift of the producer's clock does not count as lag.
        let offset_ms = self.delay_ms(plus_ms(ingested_ms, behind_ms), arrived);
        // Delays by the previous offset move with it, so that their lags stay what they were.
        let moved_ms = offset_ms.saturating_sub(self.offset_ms.replace(offset_ms).unwrap_or(offset_ms));
        for delivery in self.rhythm.iter_mut().flatten() {
            delivery.max_delay_ms = delivery.max_delay_ms.saturating_add(moved_ms);
        }
    }

    /// Returns the time from ingestion to arrival beyond the minimum so far, and updates the minimum, ms.
    fn lag_ms(&mut self, ingested_ms: i64, arrived: Instant) -> i64 {
        let delay_ms = self.delay_ms(ingested_ms, arrived);
        let offset_ms = self.offset_ms.map_or(delay_ms, |minimum| minimum.min(delay_ms));
        self.offset_ms = Some(offset_ms);
        delay_ms.saturating_sub(offset_ms)
    }

    fn delay_ms(&self, ingested_ms: i64, arrived: Instant) -> i64 {
        let since = arrived.saturating_duration_since(self.origin).as_millis();
        i64::try_from(since).unwrap_or(i64::MAX).saturating_sub(ingested_ms)
    }

    /// Returns the part of the lag that the delivery of whole fragments or segments explains, ms.
    fn explained_ms(&self) -> i64 {
        if self.is_dated {
            // A segment is listed up to half a target duration late, so two may arrive at once.
            let longest_ms =
                self.rhythm.iter().flatten().map(|delivery| delivery.length_ms()).max().unwrap_or(0);
            return longest_ms.saturating_add(longest_ms / 2).saturating_add(LISTING_DELAY_MS);
        }
        let offset_ms = self.offset_ms.unwrap_or(0);
        let complete = || self.rhythm[1..].iter().flatten();
        let explained = if complete().all(|delivery| delivery.is_whole(offset_ms)) {
            // The first frame of a whole fragment is as late as the fragment is long. The longest counts, so that
            // short fragments between long ones do not make the long ones late.
            complete().map(|delivery| delivery.length_ms()).max()
        } else {
            // Only what each fragment shows is its delivery; a larger lag of some of them is a delay.
            complete().map(|delivery| delivery.max_lag_ms(offset_ms).clamp(0, delivery.length_ms())).min()
        };
        // All that has arrived of the first fragment of a connection may be one such burst.
        let first = self.rhythm[0].map(|delivery| delivery.max_lag_ms(offset_ms).max(delivery.length_ms()));
        explained.or(first).unwrap_or(0)
    }
}

fn plus_ms(at_ms: i64, by_ms: u64) -> i64 {
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

    /// A camera of 25 frames/s whose fragments last a second, and a clock that measures it.
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

        /// Returns the instant `delay_ms` after the one at which the server's clock shows `server_ms`.
        fn at(&self, server_ms: i64, delay_ms: i64) -> Instant {
            self.origin + millis(server_ms - SERVER_MS + delay_ms)
        }

        /// Returns the lags of a fragment's access units, ms, each of which arrives by its delay after its ingestion.
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
    fn lag_is_the_delay_beyond_the_fastest_access_unit() {
        let mut stream = Stream::new();
        assert_eq!(stream.lags(5_000, &[80, 80, 180, 30_080]), [0, 0, 100, 30_000]);
        assert_eq!(stream.lags(6_000, &[1_080, 30, 80]), [1_000, 0, 50], "a faster one moves the edge");
    }

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
    fn a_new_connection_resets_the_clock() {
        let mut stream = Stream::new();
        stream.lags(5_000, &[50]);
        stream.clock.connected();
        assert_eq!(stream.lags(6_000, &[9_050, 9_150]), [0, 100]);
    }

    /// Passes an HLS segment of two seconds through the clock; returns the lags of its first and last access unit.
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
    fn every_second_segment_found_late_changes_no_length() {
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
    fn drift_of_the_producers_clock_is_not_lag_by_hls() {
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
        fn lag_is_exact_once_an_access_unit_arrived_without_delay(
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
        fn any_timestamps_are_accepted(
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
                prop_assert_eq!(lag.explained, millis(LISTING_DELAY_MS), "one access unit has no length");
                clock.end(&fragment, behind_ms, arrived);
            }
        }
    }
}
