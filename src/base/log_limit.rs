//! A limit on the log lines of one kind, so that a producer that causes them cannot fill the log.

use std::time::{Duration, Instant};

/// Maximum number of lines of one kind within [`SPAN`].
const MAX_LINES: u32 = 10;
const SPAN: Duration = Duration::from_secs(60);

/// The limit of one kind of lines of one camera.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLimit {
    began: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

/// The decision about a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLine {
    /// The line is written, with the number of lines that were suppressed before it, if any.
    Shown(Option<u64>),
    /// The line is suppressed and counted.
    Suppressed,
}

impl LogLimit {
    /// Counts a line and returns whether it is written.
    pub(crate) fn line(&mut self, now: Instant) -> LogLine {
        if self.began.is_none_or(|began| began + SPAN <= now) {
            (self.began, self.lines) = (Some(now), 0);
        }
        if self.lines == MAX_LINES {
            self.suppressed += 1;
            return LogLine::Suppressed;
        }
        self.lines += 1;
        LogLine::Shown(Some(std::mem::take(&mut self.suppressed)).filter(|suppressed| *suppressed > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_minute_are_logged_and_the_others_counted() {
        let (start, mut limit) = (Instant::now(), LogLimit::default());
        let logged: Vec<(u64, Option<u64>)> = (0..120)
            .filter_map(|second| match limit.line(start + Duration::from_secs(second)) {
                LogLine::Shown(suppressed) => Some((second, suppressed)),
                LogLine::Suppressed => None,
            })
            .collect();
        let first = (0..10).map(|second| (second, None));
        let second = (60..70).map(|second| (second, (second == 60).then_some(50)));
        assert_eq!(logged, first.chain(second).collect::<Vec<_>>());
    }
}
