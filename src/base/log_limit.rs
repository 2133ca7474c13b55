//! Limits how many lines of one kind are logged, so that who makes them happen does not fill the log.

use std::time::{Duration, Instant};

/// Lines of one kind within [`SPAN`].
const LINES: u32 = 10;
const SPAN: Duration = Duration::from_secs(60);

/// The lines of one kind, of one camera.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLimit {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

/// The decision about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLine {
    /// It is, with the number of those that were left out before it, if any.
    Shown(Option<u64>),
    /// It is not: too many came before it. It is counted.
    LeftOut,
}

impl LogLimit {
    /// Counts a line and returns whether it is logged.
    pub(crate) fn line(&mut self, now: Instant) -> LogLine {
        if self.began.is_none_or(|began| began + SPAN <= now) {
            (self.began, self.lines) = (Some(now), 0);
        }
        if self.lines == LINES {
            self.left_out += 1;
            return LogLine::LeftOut;
        }
        self.lines += 1;
        LogLine::Shown(Some(std::mem::take(&mut self.left_out)).filter(|left_out| *left_out > 0))
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
                LogLine::Shown(left_out) => Some((second, left_out)),
                LogLine::LeftOut => None,
            })
            .collect();
        let first = (0..10).map(|second| (second, None));
        let second = (60..70).map(|second| (second, (second == 60).then_some(50)));
        assert_eq!(logged, first.chain(second).collect::<Vec<_>>());
    }
}
