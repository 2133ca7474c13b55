//! The text of a thing, from what was read of it over time.

use serde::{Deserialize, Serialize};

use super::ReadingRules;
use crate::media::PlateText;

/// Texts remembered a thing; beyond it the least likely goes.
const MOST_TEXTS: usize = 8;

/// What was read of one thing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Readings(Vec<Read>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    text: String,
    /// The sum of the confidences of all times that it was read.
    weight: f32,
    /// The highest of them.
    conf: f32,
}

impl Readings {
    /// Takes in a text.
    pub(super) fn add(&mut self, reading: &PlateText) {
        self.merge(Read { text: reading.text.to_string(), weight: reading.conf, conf: reading.conf });
        if self.0.len() > MOST_TEXTS {
            let least = (0..self.0.len() - 1).min_by(|&a, &b| self.0[a].weight.total_cmp(&self.0[b].weight));
            self.0.remove(least.unwrap_or(0));
        }
    }

    /// Takes over what was read of the same thing before.
    pub(super) fn follow(&mut self, earlier: Self) {
        let later = std::mem::replace(self, earlier);
        later.0.into_iter().for_each(|read| self.merge(read));
        self.0.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        self.0.truncate(MOST_TEXTS);
    }

    fn merge(&mut self, read: Read) {
        match self.0.iter_mut().find(|known| known.text == read.text) {
            Some(known) => {
                known.weight += read.weight;
                known.conf = known.conf.max(read.conf);
            }
            None => self.0.push(read),
        }
    }

    /// The likeliest text and its highest confidence; the first one of equals.
    pub(super) fn best(&self) -> Option<(&str, f32)> {
        let mut best: Option<&Read> = None;
        for read in &self.0 {
            if best.is_none_or(|best| read.weight > best.weight) {
                best = Some(read);
            }
        }
        best.map(|read| (read.text.as_str(), read.conf))
    }
}

impl ReadingRules {
    /// Whether a text counts.
    pub(super) fn admits(&self, reading: &PlateText) -> bool {
        let matches =
            self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(&reading.text));
        reading.conf >= self.conf && !reading.text.is_empty() && matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(all: &[(&str, f32)]) -> Readings {
        let mut readings = Readings::default();
        all.iter().for_each(|&(text, conf)| readings.add(&PlateText { text: text.into(), conf }));
        readings
    }

    #[test]
    fn the_text_that_was_read_most_surely_and_often_is_the_best() {
        type Case = (&'static str, &'static [(&'static str, f32)], Option<(&'static str, f32)>);
        let cases: [Case; 4] = [
            ("nothing", &[], None),
            ("once", &[("AB", 0.5)], Some(("AB", 0.5))),
            ("often beats sure", &[("AB", 0.9), ("A8", 0.6), ("A8", 0.7)], Some(("A8", 0.7))),
            ("the first of equals", &[("AB", 0.5), ("A8", 0.5)], Some(("AB", 0.5))),
        ];
        for (name, all, wanted) in cases {
            assert_eq!(readings(all).best(), wanted, "{name}");
        }
    }

    #[test]
    fn texts_are_bounded_and_the_newest_always_has_a_chance() {
        let mut all: Vec<_> = (0..20).map(|i| (format!("T{i}"), 0.5)).collect();
        all.push(("T19".to_owned(), 0.4));
        let all: Vec<_> = all.iter().map(|(text, conf)| (text.as_str(), *conf)).collect();
        let readings = readings(&all);
        assert_eq!((readings.0.len(), readings.best()), (MOST_TEXTS, Some(("T19", 0.5))));
    }

    #[test]
    fn what_was_read_before_counts_on() {
        let mut later = readings(&[("AB", 0.9), ("CD", 0.1)]);
        later.follow(readings(&[("A8", 0.6), ("CD", 0.95)]));
        assert_eq!(later.best(), Some(("CD", 0.95)));
        assert_eq!(later.0.len(), 3);
    }
}
