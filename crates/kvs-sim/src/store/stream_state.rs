//! What changes of a stream while it is written and read.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use crate::identifiers::fragment_number::FragmentNumber;
use crate::store::cursor::{Cursor, Position, Seek, Step};
use crate::store::fragment::{Content, Fragment};

/// A stream's fragments, and whether it is still there.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    /// In the order of their numbers. All but the last are whole, unless several producers write at once.
    pub(crate) fragments: VecDeque<Fragment>,
    pub(crate) counter: u64,
    pub(crate) deleted: bool,
    /// Ends the GetMedia connections of now.
    pub(crate) readers_cut: CancellationToken,
}

impl StreamState {
    /// The next bytes inside a fragment.
    pub(crate) fn go_on(&self, cursor: &mut Cursor, number: FragmentNumber, sent_blocks: usize) -> Step {
        let Some(index) = self.index_of(number) else { return Step::End };
        let fragment = &self.fragments[index];
        let Content::Media(media) = &fragment.content else { return Step::End };
        if let Some(block) = media.blocks.get(sent_blocks) {
            cursor.position = Position::Inside { number, sent_blocks: sent_blocks + 1 };
            return Step::Bytes(block.clone());
        }
        if !fragment.complete {
            return Step::Wait;
        }
        cursor.stand_after(number);
        Step::Bytes(fragment.closing(media, Some(self.newest_whole_ms() - fragment.server_ms)))
    }

    pub(crate) fn index_of(&self, number: FragmentNumber) -> Option<usize> {
        self.fragments.binary_search_by_key(&number, |fragment| fragment.number).ok()
    }

    pub(crate) fn first_visible(&self, cutoff_ms: i64) -> usize {
        self.fragments.partition_point(|fragment| fragment.server_ms < cutoff_ms)
    }

    pub(crate) fn newest_whole_ms(&self) -> i64 {
        let whole = self.fragments.iter().rev().find(|fragment| fragment.complete);
        whole.map_or(i64::MIN, |fragment| fragment.server_ms)
    }

    /// Index of the fragment that a reader begins with, whole or not.
    pub(crate) fn find(&self, seek: Seek, visible: usize, whole_only: bool) -> Option<usize> {
        let mut indices = visible..self.fragments.len();
        match seek {
            Seek::Earliest => indices.next(),
            Seek::Newest => {
                let whole = |&index: &usize| !whole_only || self.fragments[index].complete;
                indices.rev().find(whole)
            }
            Seek::After(number) => indices.find(|&index| self.fragments[index].number > number),
            Seek::Time { line, ms } => indices.find(|&index| self.fragments[index].end_ms(line) > ms),
        }
    }

    /// Takes out the oldest whole fragments, never the newest of all; gives their numbers.
    pub(crate) fn take_oldest(&mut self, most: usize) -> Vec<FragmentNumber> {
        let whole = self.fragments.iter().take_while(|fragment| fragment.complete).count();
        let count = most.min(whole).min(self.fragments.len().saturating_sub(1));
        self.fragments.drain(..count).map(|fragment| fragment.number).collect()
    }

    pub(crate) fn evict(&mut self, cutoff_ms: i64, byte_limit: u64) -> Vec<FragmentNumber> {
        let mut bytes: u64 = self.fragments.iter().map(Fragment::bytes).sum();
        let mut evicted = Vec::new();
        while let Some(oldest) = self.fragments.front() {
            let newest = self.fragments.len() == 1;
            if !oldest.complete || newest || (oldest.server_ms >= cutoff_ms && bytes <= byte_limit) {
                break;
            }
            bytes -= oldest.bytes();
            evicted.push(oldest.number);
            self.fragments.pop_front();
        }
        evicted
    }
}
