//! A call that is made again and again: when it is due, and whether one is under way.

/// The timer of a repeated call. One call is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallTimer {
    due_ms: u64,
    /// The time at which the call under way was sent.
    sent_ms: Option<u64>,
    /// The next call is to be made as soon as the one under way has ended.
    is_hastened: bool,
}

impl CallTimer {
    pub(crate) fn new(due_ms: u64) -> Self {
        Self { due_ms, sent_ms: None, is_hastened: false }
    }

    /// Returns `true` if the call is due, and counts it as sent.
    pub(crate) fn start(&mut self, now_ms: u64) -> bool {
        let is_due = self.sent_ms.is_none() && now_ms >= self.due_ms;
        if is_due {
            self.sent_ms = Some(now_ms);
        }
        is_due
    }

    /// Notes the end of the call, and makes the next one due `interval_ms` after its sending, or at once if it was hastened
    /// meanwhile. Returns the time of the sending.
    pub(crate) fn finish(&mut self, now_ms: u64, interval_ms: u64) -> u64 {
        let sent_ms = self.sent_ms.take().unwrap_or(now_ms);
        let is_hastened = std::mem::take(&mut self.is_hastened);
        self.due_ms = if is_hastened { now_ms } else { self.due_ms.max(sent_ms + interval_ms) };
        sent_ms
    }

    /// Notes the end of the call, and makes the next one due after `delay_ms`.
    pub(crate) fn retry(&mut self, now_ms: u64, delay_ms: u64) {
        (self.sent_ms, self.is_hastened) = (None, false);
        self.due_ms = now_ms + delay_ms;
    }

    /// Makes the next call due at once; while one is under way, which was sent too early, at its end.
    pub(crate) fn hasten(&mut self, now_ms: u64) {
        self.due_ms = self.due_ms.min(now_ms);
        self.is_hastened = self.sent_ms.is_some();
    }

    pub(crate) fn wake_at(&self) -> Option<u64> {
        self.sent_ms.is_none().then_some(self.due_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_due_an_interval_after_the_sending_of_the_last_one() {
        let mut timer = CallTimer::new(100);
        assert!(!timer.start(99) && timer.start(100) && !timer.start(100));
        assert_eq!((timer.wake_at(), timer.finish(150, 1_000)), (None, 100));
        assert_eq!(timer.wake_at(), Some(1_100));
    }

    #[test]
    fn a_hastened_call_follows_the_one_under_way_at_once() {
        let mut timer = CallTimer::new(0);
        assert!(timer.start(0));
        timer.hasten(10);
        assert_eq!((timer.wake_at(), timer.finish(40, 1_000)), (None, 0));
        assert!(timer.start(40));
        timer.finish(60, 1_000);
        assert_eq!(timer.wake_at(), Some(1_040), "hastened once");
    }
}
