//! The text of an object, by votes: the recognized texts of all its sightings, weighted by confidence.

use serde::{Deserialize, Serialize};

use super::ReadingRules;
use crate::media::PlateText;

/// Maximum number of different texts per object; beyond it the one with the lowest weight is dropped.
const MAX_TEXTS: usize = 8;

/// The texts that were recognized on one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct TextVotes(Vec<TextVote>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextVote {
    text: String,
    /// Sum of the confidences of all times that it was recognized.
    weight: f32,
    /// Highest of these confidences.
    conf: f32,
}

impl TextVotes {
    /// Adds a recognized text.
    pub(super) fn add(&mut self, reading: &PlateText) {
        self.merge(TextVote { text: reading.text.to_string(), weight: reading.conf, conf: reading.conf });
        if self.0.len() > MAX_TEXTS {
            // The newest is exempt. Otherwise a full list of wrong texts would drop the right one each time it is recognized.
            let lightest =
                (0..self.0.len() - 1).min_by(|&a, &b| self.0[a].weight.total_cmp(&self.0[b].weight));
            self.0.remove(lightest.unwrap_or(0));
        }
    }

    /// Adds the earlier votes of the same object, before its own.
    pub(super) fn prepend(&mut self, earlier: Self) {
        let later = std::mem::replace(self, earlier);
        later.0.into_iter().for_each(|vote| self.merge(vote));
        self.0.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        self.0.truncate(MAX_TEXTS);
    }

    fn merge(&mut self, vote: TextVote) {
        match self.0.iter_mut().find(|known| known.text == vote.text) {
            Some(known) => {
                known.weight += vote.weight;
                known.conf = known.conf.max(vote.conf);
            }
            None => self.0.push(vote),
        }
    }

    /// Returns the text with the highest weight, and its highest confidence; the first of equals.
    pub(super) fn best(&self) -> Option<(&str, f32)> {
        // By the sum, not by the highest confidence: one wrong text with a high confidence would win over a right one that was
        // recognized in each other frame.
        let mut best: Option<&TextVote> = None;
        for vote in &self.0 {
            if best.is_none_or(|best| vote.weight > best.weight) {
                best = Some(vote);
            }
        }
        best.map(|vote| (vote.text.as_str(), vote.conf))
    }
}

impl ReadingRules {
    /// Returns whether a text has the required confidence and matches one of the patterns.
    pub(super) fn admits(&self, reading: &PlateText) -> bool {
        let matches =
            self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(&reading.text));
        reading.conf >= self.conf && !reading.text.is_empty() && matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(all: &[(&str, f32)]) -> TextVotes {
        let mut votes = TextVotes::default();
        all.iter().for_each(|&(text, conf)| votes.add(&PlateText { text: text.into(), conf }));
        votes
    }

    #[test]
    fn the_best_text_has_the_highest_sum_of_confidences() {
        type Case = (&'static str, &'static [(&'static str, f32)], Option<(&'static str, f32)>);
        let cases: [Case; 4] = [
            ("no text", &[], None),
            ("once", &[("AB", 0.5)], Some(("AB", 0.5))),
            ("often beats sure", &[("AB", 0.9), ("A8", 0.6), ("A8", 0.7)], Some(("A8", 0.7))),
            ("the first of equals", &[("AB", 0.5), ("A8", 0.5)], Some(("AB", 0.5))),
        ];
        for (name, all, expected) in cases {
            assert_eq!(votes(all).best(), expected, "{name}");
        }
    }

    #[test]
    fn texts_are_bounded_and_the_newest_is_always_kept() {
        let mut all: Vec<_> = (0..20).map(|i| (format!("T{i}"), 0.5)).collect();
        all.push(("T19".to_owned(), 0.4));
        let all: Vec<_> = all.iter().map(|(text, conf)| (text.as_str(), *conf)).collect();
        let votes = votes(&all);
        assert_eq!((votes.0.len(), votes.best()), (MAX_TEXTS, Some(("T19", 0.5))));
    }

    #[test]
    fn earlier_votes_of_the_same_object_still_count() {
        let mut later = votes(&[("AB", 0.9), ("CD", 0.1)]);
        later.prepend(votes(&[("A8", 0.6), ("CD", 0.95)]));
        assert_eq!(later.best(), Some(("CD", 0.95)));
        assert_eq!(later.0.len(), 3);
    }
}
