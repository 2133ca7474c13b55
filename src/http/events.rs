//! `/api/events`: the events as a list, or as a stream of server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::sse::{Event as SseMessage, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Deserialize;
use tokio::sync::{broadcast, watch};

use super::site::Site;
use crate::media::Event;

/// The query of a request for events.
#[derive(Deserialize)]
pub(super) struct EventsQuery {
    /// `1` asks for a stream.
    follow: Option<String>,
    /// Maximum number of events in a list.
    limit: Option<usize>,
}

/// Answers with the events as a JSON list, newest first, or as a stream: the kept events, oldest first, one message named `live`, and then
/// each new event. `Last-Event-ID` skips the events that the client has.
pub(super) async fn events(
    State(site): State<Arc<Site>>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let accepts = header(ACCEPT.as_str()).is_some_and(|kinds| kinds.contains("text/event-stream"));
    if accepts || query.follow.as_deref() == Some("1") {
        let (kept, live) = site.board.follow(header("last-event-id"));
        let follower =
            EventFollower { kept: kept.into(), announced: false, live, stopped: site.stopped.clone() };
        return Sse::new(follower.into_stream()).keep_alive(KeepAlive::default()).into_response();
    }
    let mut events = site.board.events();
    events.reverse();
    events.truncate(query.limit.unwrap_or(usize::MAX));
    Json(events).into_response()
}

struct EventFollower {
    kept: VecDeque<Arc<Event>>,
    announced: bool,
    live: broadcast::Receiver<Arc<Event>>,
    stopped: watch::Receiver<bool>,
}

impl EventFollower {
    fn into_stream(self) -> impl Stream<Item = Result<SseMessage, Infallible>> {
        futures_util::stream::unfold(self, |mut follower| async move {
            let sent = follower.next().await?;
            Some((Ok(sent), follower))
        })
    }

    /// Returns the next message; `None` ends the stream: the server stops, or the client lags and has to reconnect.
    async fn next(&mut self) -> Option<SseMessage> {
        if let Some(event) = self.kept.pop_front() {
            return message(&event);
        }
        // The page marks only later events as new.
        if !self.announced {
            self.announced = true;
            return Some(SseMessage::default().event("live").data("{}"));
        }
        tokio::select! {
            _ = self.stopped.wait_for(|stop| *stop) => None,
            // An error means that the follower lagged: it reconnects with `Last-Event-ID`.
            event = self.live.recv() => event.ok().and_then(|event| message(&event)),
        }
    }
}

fn message(event: &Event) -> Option<SseMessage> {
    SseMessage::default().id(&event.event_id).json_data(event).ok()
}
