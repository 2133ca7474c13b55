//! Selects the shards of a data stream that may be read.
//!
//! The children of a split or a merge are read only after their parents, so that the records of a camera stay in order.

use std::collections::BTreeSet;

/// A shard in the answer of ListShards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedShard {
    pub(super) id: String,
    /// The zero to two shards that were split or merged into this one. A parent that is not listed has no records left.
    pub(super) parents: Vec<String>,
    /// Accepts no more records.
    pub(super) closed: bool,
}

/// Progress of reading the shards of a stream.
#[derive(Debug, Default)]
pub(super) struct Shards {
    begun: BTreeSet<String>,
    ended: BTreeSet<String>,
    closed: BTreeSet<String>,
}

impl Shards {
    /// Skips the records of shards that are already closed.
    pub(super) fn skip_closed(&mut self, listed: &[ListedShard]) {
        let closed = listed.iter().filter(|shard| shard.closed).map(|shard| &shard.id);
        closed.for_each(|id| {
            // Counted as read, so that its open children may be read at once.
            self.begun.insert(id.clone());
            self.ended.insert(id.clone());
        });
    }

    /// Records that a shard has been read to its end.
    pub(super) fn end(&mut self, id: &str) {
        self.ended.insert(id.to_owned());
    }

    /// Returns the shards whose reading can start now. Each is returned once.
    pub(super) fn take_due(&mut self, listed: &[ListedShard]) -> Vec<String> {
        let due: Vec<String> =
            listed.iter().filter(|shard| self.is_due(shard, listed)).map(|shard| shard.id.clone()).collect();
        self.begun.extend(due.iter().cloned());
        self.closed.extend(listed.iter().filter(|shard| shard.closed).map(|shard| shard.id.clone()));
        due
    }

    /// Returns `true` if the shard is not being read and its parents have been read.
    fn is_due(&self, shard: &ListedShard, listed: &[ListedShard]) -> bool {
        let is_read = |parent: &String| {
            // The stream lists a parent only until its last record has expired.
            self.ended.contains(parent) || !listed.iter().any(|listed| listed.id == *parent)
        };
        !self.begun.contains(&shard.id) && shard.parents.iter().all(is_read)
    }

    /// Returns `true` if nothing is left to read, given the shards that have caught up.
    ///
    /// A closed shard is not done before its end, because its children follow.
    pub(super) fn are_done(&self, caught_up: &BTreeSet<String>) -> bool {
        let mut open = self.begun.difference(&self.ended);
        open.all(|id| caught_up.contains(id) && !self.closed.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, parents: &[&str], closed: bool) -> ListedShard {
        ListedShard { id: id.into(), parents: parents.iter().map(|&parent| parent.into()).collect(), closed }
    }

    #[test]
    fn children_wait_for_all_their_parents() {
        let (a, b) = (listed("a", &["gone"], true), listed("b", &[], true));
        let (split, merged) = (listed("split", &["a"], false), listed("merged", &["a", "b"], false));
        let all = [a, b, split, merged];
        let mut shards = Shards::default();
        assert_eq!(shards.take_due(&all), ["a", "b"], "a parent that is not listed has no records left");
        assert_eq!(shards.take_due(&all), [""; 0], "each is returned once");
        shards.end("a");
        assert_eq!(shards.take_due(&all), ["split"]);
        shards.end("b");
        assert_eq!(shards.take_due(&all), ["merged"]);
        let mut caught_up = BTreeSet::from(["split".to_owned()]);
        assert!(!shards.are_done(&caught_up));
        caught_up.insert("merged".to_owned());
        assert!(shards.are_done(&caught_up));
    }

    #[test]
    fn from_now_on_only_open_shards_are_read() {
        let all = [listed("old", &[], true), listed("new", &["old"], false)];
        let mut shards = Shards::default();
        shards.skip_closed(&all);
        assert_eq!(shards.take_due(&all), ["new"]);
        assert!(!shards.are_done(&BTreeSet::new()));
    }

    #[test]
    fn a_closed_shard_is_done_only_at_its_end() {
        let all = [listed("old", &[], true)];
        let mut shards = Shards::default();
        shards.take_due(&all);
        assert!(!shards.are_done(&BTreeSet::from(["old".to_owned()])), "its children may be due");
        shards.end("old");
        assert!(shards.are_done(&BTreeSet::new()));
    }
}
