//! A ring of the newest events, with a broadcast of those to come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::broadcast;

use crate::base::lock;
use crate::media::Event;

/// Number of events that are kept for followers that connect later.
pub(super) const MAX_KEPT: usize = 200;

/// Number of events that a follower may lag behind before it is disconnected and has to follow again.
const MAX_LAG: usize = 256;

/// A bounded ring of events: when it is full, the oldest one is dropped.
pub(super) struct EventFeed {
    kept: Mutex<VecDeque<Arc<Event>>>,
    live: broadcast::Sender<Arc<Event>>,
}

impl Default for EventFeed {
    fn default() -> Self {
        Self { kept: Mutex::default(), live: broadcast::Sender::new(MAX_LAG) }
    }
}

impl EventFeed {
    /// Appends the event and returns `true`, unless one with its id is kept: its footage was read again then.
    pub(super) fn push(&self, event: &Event) -> bool {
        let mut kept = lock(&self.kept);
        // A linear search over 200 ids is cheaper than keeping a set in step with the ring.
        if kept.iter().any(|old| old.event_id == event.event_id) {
            return false;
        }
        if kept.len() == MAX_KEPT {
            kept.pop_front();
        }
        let event = Arc::new(event.clone());
        kept.push_back(Arc::clone(&event));
        // An error only means that there is no follower.
        let _followers = self.live.send(event);
        true
    }

    /// Returns the kept events after `after`, oldest first, and a receiver of those to come, without gap or repeat.
    pub(super) fn follow(&self, after: Option<&str>) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        // The receiver subscribes under the lock: an event between the two would be lost, or come twice.
        let kept = lock(&self.kept);
        let seen = after.and_then(|id| kept.iter().position(|event| event.event_id == id));
        let from = seen.map_or(0, |index| index + 1);
        (kept.iter().skip(from).cloned().collect(), self.live.subscribe())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::media::Event;

    /// Returns an event of camera `gate` with this id.
    pub(crate) fn event(id: &str) -> Event {
        test_support::sample_event("gate", id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testing::event;

    fn ids(events: &[Arc<Event>]) -> Vec<&str> {
        events.iter().map(|event| event.event_id.as_str()).collect()
    }

    #[test]
    fn the_oldest_event_is_dropped_when_the_ring_is_full() {
        let feed = EventFeed::default();
        for i in 0..=MAX_KEPT {
            assert!(feed.push(&event(&format!("e{i}"))));
        }
        let (kept, _) = feed.follow(None);
        assert_eq!((kept.len(), kept[0].event_id.as_str()), (MAX_KEPT, "e1"));
    }

    #[test]
    fn the_same_event_read_again_is_shown_once() {
        let feed = EventFeed::default();
        assert!(feed.push(&event("a")));
        assert!(!feed.push(&event("a")));
        assert_eq!(ids(&feed.follow(None).0), ["a"]);
    }

    #[test]
    fn a_follower_that_returns_gets_the_missed_events_and_then_the_new_ones() {
        let feed = EventFeed::default();
        for id in ["a", "b", "c"] {
            feed.push(&event(id));
        }
        let (missed, mut live) = feed.follow(Some("a"));
        assert_eq!(ids(&missed), ["b", "c"]);
        feed.push(&event("d"));
        assert_eq!(live.try_recv().unwrap().event_id, "d");
        assert_eq!(ids(&feed.follow(Some("long gone")).0), ["a", "b", "c", "d"]);
    }
}
