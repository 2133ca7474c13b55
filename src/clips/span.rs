//! The span of media time that a clip shows.

use serde::{Deserialize, Serialize};

/// A span of media time, ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClipSpan {
    /// The first millisecond.
    pub from_ms: i64,
    /// The end, which is not part of the span.
    pub to_ms: i64,
}

/// The lengths of an incident's clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClipRules {
    /// Footage before the first sighting, ms.
    pub before_ms: i64,
    /// Footage after the last sighting, ms.
    pub after_ms: i64,
    /// Limit on the length of a clip, ms.
    pub max_ms: i64,
}

impl ClipRules {
    /// Returns the span of an incident that was sighted from `first_ms` to `last_ms`, ms since the epoch. One that is longer than the
    /// limit ends early: its beginning matters most.
    #[must_use]
    pub fn span(&self, first_ms: i64, last_ms: i64) -> ClipSpan {
        let from_ms = first_ms.saturating_sub(self.before_ms);
        let to_ms = last_ms.max(first_ms).saturating_add(self.after_ms).saturating_add(1);
        ClipSpan { from_ms, to_ms: to_ms.min(from_ms.saturating_add(self.max_ms)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_sightings_and_the_time_around_them_up_to_the_limit() {
        let rules = ClipRules { before_ms: 5_000, after_ms: 3_000, max_ms: 20_000 };
        for (name, first_ms, last_ms, expected) in [
            ("a short one", 100_000, 104_000, (95_000, 107_001)),
            ("one sighting", 100_000, 100_000, (95_000, 103_001)),
            ("a long one", 100_000, 900_000, (95_000, 115_000)),
            ("times that are exchanged", 100_000, 50_000, (95_000, 103_001)),
        ] {
            let ClipSpan { from_ms, to_ms } = rules.span(first_ms, last_ms);
            assert_eq!((from_ms, to_ms), expected, "{name}");
        }
    }
}
