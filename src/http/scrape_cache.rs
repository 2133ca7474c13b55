//! A cache of the rendered metrics, for requests of other hosts.

use std::time::{Duration, Instant};

use axum::body::Bytes;

use super::endpoints::Endpoints;

/// The time for which one rendering answers requests of other hosts: rendering costs more with each camera, and needs no token.
const RENDERED_FOR: Duration = Duration::from_secs(1);

/// The last rendering of the metrics.
#[derive(Default)]
pub(super) struct ScrapeCache(Option<(Instant, Bytes)>);

impl ScrapeCache {
    /// Returns the last rendering if it may answer a request.
    pub(super) fn answer(&self, endpoints: Endpoints, now: Instant) -> Option<Bytes> {
        let (at, text) = self.0.as_ref()?;
        // A program of this host, such as a test, gets the current figures.
        let is_new = now.saturating_duration_since(*at) < RENDERED_FOR;
        (is_new && !endpoints.are_of_this_host()).then(|| text.clone())
    }

    /// Stores the rendering.
    pub(super) fn store(&mut self, text: Bytes, now: Instant) {
        self.0 = Some((now, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_hosts_share_the_rendering_of_a_second() {
        let at = Instant::now();
        let last = ScrapeCache(Some((at, Bytes::from_static(b"text"))));
        let endpoints =
            |peer: &str| Endpoints { peer: peer.parse().unwrap(), local: "10.0.0.1".parse().unwrap() };
        let table = [
            ("another host", "10.0.0.7", 0, true),
            ("a third one later", "10.0.0.8", 999, true),
            ("after a second", "10.0.0.7", 1_000, false),
            ("this host", "127.0.0.1", 0, false),
            ("this host by its address", "10.0.0.1", 999, false),
        ];
        for (name, peer, after_ms, is_shared) in table {
            let answer = last.answer(endpoints(peer), at + Duration::from_millis(after_ms));
            assert_eq!(answer.is_some(), is_shared, "{name}");
        }
        assert!(ScrapeCache::default().answer(endpoints("10.0.0.7"), at).is_none(), "the first");
    }
}
