//! Which shards of a data stream are due: the children of a split or a merge begin where their parents have ended, so that the
//! records of a camera stay in order.

use std::collections::BTreeSet;

/// A shard, as the stream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    /// The shards that were split or merged into it: none to two. A parent that is not listed any more has nothing left.
    pub(super) parents: Vec<String>,
    /// Takes no more records.
    pub(super) closed: bool,
}

/// The shards that are being read, and those that have been.
#[derive(Debug, Default)]
pub(super) struct Shards {
    begun: BTreeSet<String>,
    ended: BTreeSet<String>,
    closed: BTreeSet<String>,
}

impl Shards {
    /// Leaves out what is in shards that are closed already.
    pub(super) fn pass_over_closed(&mut self, listed: &[Listed]) {
        let closed = listed.iter().filter(|shard| shard.closed).map(|shard| &shard.id);
        closed.for_each(|id| {
            self.begun.insert(id.clone());
            self.ended.insert(id.clone());
        });
    }

    /// A shard was read to its end.
    pub(super) fn end(&mut self, id: &str) {
        self.ended.insert(id.to_owned());
    }

    /// The shards to begin with now; each is given once.
    pub(super) fn due(&mut self, listed: &[Listed]) -> Vec<String> {
        let due: Vec<String> =
            listed.iter().filter(|shard| self.is_due(shard, listed)).map(|shard| shard.id.clone()).collect();
        self.begun.extend(due.iter().cloned());
        self.closed.extend(listed.iter().filter(|shard| shard.closed).map(|shard| shard.id.clone()));
        due
    }

    fn is_due(&self, shard: &Listed, listed: &[Listed]) -> bool {
        let is_over = |parent: &String| {
            self.ended.contains(parent) || !listed.iter().any(|listed| listed.id == *parent)
        };
        !self.begun.contains(&shard.id) && shard.parents.iter().all(is_over)
    }

    /// Whether nothing is left to read, where these have given what they had. A closed shard has children after it.
    pub(super) fn are_done(&self, caught_up: &BTreeSet<String>) -> bool {
        let mut open = self.begun.difference(&self.ended);
        open.all(|id| caught_up.contains(id) && !self.closed.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, parents: &[&str], closed: bool) -> Listed {
        Listed { id: id.into(), parents: parents.iter().map(|&parent| parent.into()).collect(), closed }
    }

    #[test]
    fn children_wait_for_all_their_parents() {
        let (a, b) = (listed("a", &["gone"], true), listed("b", &[], true));
        let (split, merged) = (listed("split", &["a"], false), listed("merged", &["a", "b"], false));
        let all = [a, b, split, merged];
        let mut shards = Shards::default();
        assert_eq!(shards.due(&all), ["a", "b"], "a parent that is not listed has nothing left");
        assert_eq!(shards.due(&all), [""; 0], "each is given once");
        shards.end("a");
        assert_eq!(shards.due(&all), ["split"]);
        shards.end("b");
        assert_eq!(shards.due(&all), ["merged"]);
        let mut caught_up = BTreeSet::from(["split".to_owned()]);
        assert!(!shards.are_done(&caught_up));
        caught_up.insert("merged".to_owned());
        assert!(shards.are_done(&caught_up));
    }

    #[test]
    fn from_now_on_only_open_shards_are_read() {
        let all = [listed("old", &[], true), listed("new", &["old"], false)];
        let mut shards = Shards::default();
        shards.pass_over_closed(&all);
        assert_eq!(shards.due(&all), ["new"]);
        assert!(!shards.are_done(&BTreeSet::new()));
    }

    #[test]
    fn a_closed_shard_is_done_only_at_its_end() {
        let all = [listed("old", &[], true)];
        let mut shards = Shards::default();
        shards.due(&all);
        assert!(!shards.are_done(&BTreeSet::from(["old".to_owned()])), "its children may be due");
        shards.end("old");
        assert!(shards.are_done(&BTreeSet::new()));
    }
}
