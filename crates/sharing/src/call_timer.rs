//! A call that is made again and again: when it is due, and whether one is under way.

/// The timer of a repeated call. One call is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallTimer {
    due_ms: u64,
    /// The time at which the call under way was sent.
    sent_ms: Option<u64>,
}

impl CallTimer {
    pub(crate) fn new(due_ms: u64) -> Self {
        Self { due_ms, sent_ms: None }
    }

    /// Returns `true` if the call is due, and counts it as sent.
    pub(crate) fn start(&mut self, now_ms: u64) -> bool {
        let is_due = self.sent_ms.is_none() && now_ms >= self.due_ms;
        if is_due {
            self.sent_ms = Some(now_ms);
        }
        is_due
    }

    /// Notes the end of the call, and makes the next one due `interval_ms` after its sending. Returns the time of the sending.
    pub(crate) fn finish(&mut self, now_ms: u64, interval_ms: u64) -> u64 {
        let sent_ms = self.sent_ms.take().unwrap_or(now_ms);
        self.due_ms = self.due_ms.max(sent_ms + interval_ms);
        sent_ms
    }

    /// Notes the end of the call, and makes the next one due after `delay_ms`.
    pub(crate) fn retry(&mut self, now_ms: u64, delay_ms: u64) {
        self.sent_ms = None;
        self.due_ms = now_ms + delay_ms;
    }

    /// Makes the call due at once.
    pub(crate) fn hasten(&mut self, now_ms: u64) {
        self.due_ms = self.due_ms.min(now_ms);
    }

    pub(crate) fn wake_at(&self) -> Option<u64> {
        self.sent_ms.is_none().then_some(self.due_ms)
    }
}
