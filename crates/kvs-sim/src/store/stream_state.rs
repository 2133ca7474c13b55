//! The part of a stream that changes while it is written and read.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use crate::identifiers::fragment_number::FragmentNumber;
use crate::store::cursor::{CursorPosition, ReadStep, Seek, StreamCursor};
use crate::store::fragment::{FragmentContent, StoredFragment};

/// A stream's fragments, and whether the stream was deleted.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    /// In the order of their numbers. All but the last are complete, unless several producers write at the same time.
    pub(crate) fragments: VecDeque<StoredFragment>,
    /// Counter of the newest fragment number.
    pub(crate) counter: u64,
    pub(crate) deleted: bool,
    /// Ends the GetMedia connections that are open now.
    pub(crate) readers_cut: CancellationToken,
}

impl StreamState {
    /// Returns the next bytes of a reader that is inside a fragment.
    pub(crate) fn step_inside(
        &self,
        cursor: &mut StreamCursor,
        number: FragmentNumber,
        sent_blocks: usize,
    ) -> ReadStep {
        // The fragment is gone: its producer gave it up, or it expired under a slow reader.
        let Some(index) = self.index_of(number) else { return ReadStep::End };
        let fragment = &self.fragments[index];
        let FragmentContent::Media(media) = &fragment.content else { return ReadStep::End };
        if let Some(block) = media.blocks.get(sent_blocks) {
            cursor.position = CursorPosition::Inside { number, sent_blocks: sent_blocks + 1 };
            return ReadStep::Bytes(block.clone());
        }
        if !fragment.complete {
            return ReadStep::Wait;
        }
        cursor.move_after(number);
        ReadStep::Bytes(fragment.closing(media, Some(self.newest_complete_ms() - fragment.server_ms)))
    }

    pub(crate) fn index_of(&self, number: FragmentNumber) -> Option<usize> {
        self.fragments.binary_search_by_key(&number, |fragment| fragment.number).ok()
    }

    /// Returns the index of the first fragment that has not expired. Expired ones are evicted only when another completes.
    pub(crate) fn first_visible(&self, cutoff_ms: i64) -> usize {
        self.fragments.partition_point(|fragment| fragment.server_ms < cutoff_ms)
    }

    pub(crate) fn newest_complete_ms(&self) -> i64 {
        let complete = self.fragments.iter().rev().find(|fragment| fragment.complete);
        complete.map_or(i64::MIN, |fragment| fragment.server_ms)
    }

    /// Returns the index of the fragment that a reader begins with, which can be incomplete.
    pub(crate) fn find(&self, seek: Seek, visible: usize, complete_only: bool) -> Option<usize> {
        let mut indices = visible..self.fragments.len();
        match seek {
            Seek::Earliest => indices.next(),
            Seek::Newest => {
                let fits = |&index: &usize| !complete_only || self.fragments[index].complete;
                indices.rev().find(fits)
            }
            Seek::After(number) => indices.find(|&index| self.fragments[index].number > number),
            Seek::Time { line, ms } => indices.find(|&index| self.fragments[index].end_ms(line) > ms),
        }
    }

    /// Removes the oldest complete fragments, but never the newest of all, and returns their numbers.
    pub(crate) fn take_oldest(&mut self, max: usize) -> Vec<FragmentNumber> {
        let complete = self.fragments.iter().take_while(|fragment| fragment.complete).count();
        let count = max.min(complete).min(self.fragments.len().saturating_sub(1));
        self.fragments.drain(..count).map(|fragment| fragment.number).collect()
    }

    /// Removes fragments that are too old or exceed the limit of bytes, and returns their numbers.
    ///
    /// The newest fragment stays in any case, and so does one that is being written.
    pub(crate) fn evict(&mut self, cutoff_ms: i64, max_bytes: u64) -> Vec<FragmentNumber> {
        let mut bytes: u64 = self.fragments.iter().map(StoredFragment::bytes).sum();
        let mut evicted = Vec::new();
        while let Some(oldest) = self.fragments.front() {
            let newest = self.fragments.len() == 1;
            if !oldest.complete || newest || (oldest.server_ms >= cutoff_ms && bytes <= max_bytes) {
                break;
            }
            // In one order of age for both limits: a stream never has a hole.
            bytes -= oldest.bytes();
            evicted.push(oldest.number);
            self.fragments.pop_front();
        }
        evicted
    }
}
