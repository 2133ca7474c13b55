//! Events: a list, or a stream as they come.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Deserialize;
use tokio::sync::{broadcast, watch};

use super::routes::Site;
use crate::media::Event;

#[derive(Deserialize)]
pub(super) struct Asked {
    /// `1`: a stream.
    follow: Option<String>,
    /// Events of a list at most.
    limit: Option<usize>,
}

/// The newest events first as a JSON list; or, for who follows, server-sent: the kept events oldest first, one
/// message named `live`, and then each event as it comes. `Last-Event-ID` skips what was seen.
pub(super) async fn events(
    State(site): State<Arc<Site>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let accepts = header(ACCEPT.as_str()).is_some_and(|kinds| kinds.contains("text/event-stream"));
    if accepts || asked.follow.as_deref() == Some("1") {
        let (kept, live) = site.board.follow(header("last-event-id"));
        let follower = Follower { kept: kept.into(), announced: false, live, stopped: site.stopped.clone() };
        return Sse::new(follower.into_stream()).keep_alive(KeepAlive::default()).into_response();
    }
    let mut events = site.board.events();
    events.reverse();
    events.truncate(asked.limit.unwrap_or(usize::MAX));
    Json(events).into_response()
}

struct Follower {
    kept: VecDeque<Arc<Event>>,
    announced: bool,
    live: broadcast::Receiver<Arc<Event>>,
    stopped: watch::Receiver<bool>,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Sent, Infallible>> {
        futures_util::stream::unfold(self, |mut follower| async move {
            let sent = follower.next().await?;
            Some((Ok(sent), follower))
        })
    }

    /// The next message; `None` ends the stream: the server stops, or the client lags and should come again.
    async fn next(&mut self) -> Option<Sent> {
        if let Some(event) = self.kept.pop_front() {
            return message(&event);
        }
        if !self.announced {
            self.announced = true;
            return Some(Sent::default().event("live").data("{}"));
        }
        tokio::select! {
            _ = self.stopped.wait_for(|stop| *stop) => None,
            event = self.live.recv() => event.ok().and_then(|event| message(&event)),
        }
    }
}

fn message(event: &Event) -> Option<Sent> {
    Sent::default().id(&event.event_id).json_data(event).ok()
}
