//! `/metrics`: rendered for each request of this host, and once a second at most for all others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::ends::Ends;
use super::routes::Site;
use crate::telemetry::Scrape;

/// Time for which one rendering answers requests from elsewhere: rendering costs more with each camera, and needs no token.
const RENDERED_FOR: Duration = Duration::from_secs(1);

/// The latest rendering of the metrics.
#[derive(Default)]
pub(super) struct LastScrape(Option<(Instant, Bytes)>);

impl LastScrape {
    /// Returns the latest rendering if it may answer a request.
    fn answer(&self, ends: Ends, now: Instant) -> Option<Bytes> {
        let (at, text) = self.0.as_ref()?;
        let is_new = now.saturating_duration_since(*at) < RENDERED_FOR;
        (is_new && !ends.are_of_this_host()).then(|| text.clone())
    }
}

/// Answers with the metrics in Prometheus's text format.
pub(super) async fn metrics(State(site): State<Arc<Site>>, Extension(ends): Extension<Ends>) -> Response {
    let mut last = site.last_scrape.lock().await;
    let now = Instant::now();
    let text = match last.answer(ends, now) {
        Some(text) => text,
        None => {
            Scrape { board: &site.board }.emit();
            site.gpus.scrape().await;
            let text = Bytes::from(site.prometheus.render());
            *last = LastScrape(Some((now, text.clone())));
            text
        }
    };
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_share_the_rendering_of_a_second() {
        let at = Instant::now();
        let last = LastScrape(Some((at, Bytes::from_static(b"text"))));
        let ends = |peer: &str| Ends { peer: peer.parse().unwrap(), local: "10.0.0.1".parse().unwrap() };
        let table = [
            ("a stranger", "10.0.0.7", 0, true),
            ("another one later", "10.0.0.8", 999, true),
            ("after a second", "10.0.0.7", 1_000, false),
            ("this host", "127.0.0.1", 0, false),
            ("this host by its address", "10.0.0.1", 999, false),
        ];
        for (name, peer, after_ms, is_shared) in table {
            let answer = last.answer(ends(peer), at + Duration::from_millis(after_ms));
            assert_eq!(answer.is_some(), is_shared, "{name}");
        }
        assert!(LastScrape::default().answer(ends("10.0.0.7"), at).is_none(), "the first");
    }
}
