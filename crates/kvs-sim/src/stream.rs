//! One stream: its settings, its fragments, and those who read and write them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::armed::Armed;
use crate::clock::Clock;
use crate::cursor::{Cursor, Position, Seek, Step};
use crate::disk::StreamFolder;
use crate::errors::ApiError;
use crate::faults::Faults;
use crate::fragment::{Content, Dated, Fragment, FragmentHead, Media};
use crate::fragment_number::FragmentNumber;

/// When a reader at the live edge gets a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// As it arrives, in a Cluster of unknown size.
    #[default]
    Block,
    /// With its whole fragment.
    Fragment,
}

/// What CreateStream says of a stream.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct StreamSettings {
    /// Hours that a fragment is kept; 0 keeps about five minutes.
    pub retention_hours: u32,
    /// As the creator named it.
    pub media_type: Option<String>,
    /// As the creator named it.
    pub device_name: Option<String>,
    /// As the creator named it; nothing is encrypted.
    pub kms_key_id: Option<String>,
    /// Tags of the stream, not of its fragments.
    pub tags: BTreeMap<String, String>,
}

/// A stream's name and what it got when it was made.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct StreamIdentity {
    /// Unique among the streams.
    pub name: String,
    /// Ends with the time of creation.
    pub arn: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Opaque; asked for by DeleteStream where given.
    pub version: String,
    /// As CreateStream gave them.
    pub settings: StreamSettings,
}

/// What a stream keeps and allows, beside its retention.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Bytes of blocks kept in memory; the oldest fragments go first.
    pub stream_bytes: u64,
    /// GetMedia connections at once.
    pub readers: usize,
    /// When a reader at the live edge gets a block.
    pub delivery: Delivery,
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    identity: StreamIdentity,
    limits: StreamLimits,
    clock: Clock,
    folder: Option<StreamFolder>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    readers: Arc<Semaphore>,
    archive_readers: Arc<Semaphore>,
    producers: Arc<Semaphore>,
    faults: Armed,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of their numbers. All but the last are whole, unless several producers write at once.
    fragments: VecDeque<Fragment>,
    counter: u64,
    deleted: bool,
    /// Ends the GetMedia connections of now.
    readers_cut: CancellationToken,
}

/// GetMediaForFragmentList connections at once. Source: AWS, Kinesis Video Streams quotas, 2026.
const ARCHIVE_READERS: usize = 5;
const UNRETAINED_MS: i64 = 5 * 60 * 1000;
const UNRETAINED_BYTES: u64 = 200 * 1000 * 1000;
const HOUR_MS: i64 = 3_600_000;

impl Stream {
    pub(crate) fn new(
        identity: StreamIdentity,
        limits: StreamLimits,
        clock: Clock,
        folder: Option<StreamFolder>,
        kept: Vec<Fragment>,
    ) -> Arc<Self> {
        let counter = kept.last().map_or(0, |fragment| fragment.number.counter());
        let state = State { fragments: kept.into(), counter, ..State::default() };
        Arc::new(Self {
            readers: Arc::new(Semaphore::new(limits.readers)),
            archive_readers: Arc::new(Semaphore::new(ARCHIVE_READERS)),
            producers: Arc::new(Semaphore::new(1)),
            identity,
            limits,
            clock,
            folder,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            faults: Armed::default(),
        })
    }

    /// What goes wrong from now on, in place of what did before.
    pub fn set_faults(&self, faults: impl Into<Faults>) {
        self.faults.set(faults.into());
    }

    /// What still goes wrong: faults whose count is used up are gone, of others it is what is left.
    pub fn faults(&self) -> Faults {
        self.faults.left()
    }

    pub(crate) fn armed(&self) -> &Armed {
        &self.faults
    }

    /// Its name, ARN and settings.
    pub fn identity(&self) -> &StreamIdentity {
        &self.identity
    }

    /// The clock by which it stamps fragments.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Numbers of the whole fragments that a reader can have, oldest first.
    pub fn fragment_numbers(&self) -> Vec<FragmentNumber> {
        let state = self.lock();
        let visible = state.fragments.range(state.first_visible(self.cutoff_ms())..);
        visible.filter(|fragment| fragment.complete).map(|fragment| fragment.number).collect()
    }

    /// What `choose` makes of the fragments in the archive, oldest first.
    pub(crate) fn select<T>(&self, mut choose: impl FnMut(&Fragment, &Media) -> Option<T>) -> Vec<T> {
        let state = self.lock();
        let visible = state.fragments.range(state.first_visible(self.cutoff_ms())..);
        visible.filter_map(|fragment| choose(fragment, self.archived(fragment)?)).collect()
    }

    /// What `read` makes of a fragment in the archive; None where it is not there.
    pub(crate) fn read_archived<T>(
        &self,
        number: FragmentNumber,
        read: impl FnOnce(&Fragment, &Media) -> T,
    ) -> Option<T> {
        let state = self.lock();
        let index = state.index_of(number)?;
        let fragment =
            state.fragments.get(index).filter(|_| index >= state.first_visible(self.cutoff_ms()))?;
        Some(read(fragment, self.archived(fragment)?))
    }

    /// The media of a fragment that counts as stored: it is whole, no rubbish, and the stream has a retention.
    fn archived<'a>(&self, fragment: &'a Fragment) -> Option<&'a Media> {
        let stored = fragment.complete && self.identity.settings.retention_hours > 0;
        match &fragment.content {
            Content::Media(media) if stored => Some(media),
            _ => None,
        }
    }

    /// Wakes whenever a block, a fragment or the end of the stream comes.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// One of the GetMedia connections, held until dropped.
    pub fn claim_reader(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.claim(&self.readers, "GetMedia", self.limits.readers)
    }

    /// One of the GetMediaForFragmentList connections, held until dropped; a call too many is told as AWS's model has it.
    pub(crate) fn claim_archive_reader(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let free = Arc::clone(&self.archive_readers).try_acquire_owned();
        free.map_err(|_| ApiError::ClientLimitExceeded { stream: self.identity.name.clone() })
    }

    pub(crate) fn reader_limit(&self) -> usize {
        self.limits.readers
    }

    /// The one PutMedia connection, held until dropped.
    pub fn claim_producer(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.claim(&self.producers, "PutMedia", 1)
    }

    fn claim(
        &self,
        places: &Arc<Semaphore>,
        operation: &'static str,
        limit: usize,
    ) -> Result<OwnedSemaphorePermit, ApiError> {
        let stream = || self.identity.name.clone();
        let free = Arc::clone(places).try_acquire_owned();
        free.map_err(|_| ApiError::ConnectionLimitExceeded { stream: stream(), operation, limit })
    }

    /// Ends the GetMedia connections of now wherever they stand, as KVS does after 40 to 50 minutes.
    pub fn cut_readers(&self) {
        std::mem::take(&mut self.lock().readers_cut).cancel();
    }

    pub(crate) fn readers_cut(&self) -> CancellationToken {
        self.lock().readers_cut.clone()
    }

    /// Whether a reader can go on after this fragment: it is kept.
    pub fn knows(&self, number: FragmentNumber) -> bool {
        let state = self.lock();
        let visible = state.first_visible(self.cutoff_ms());
        state.index_of(number).is_some_and(|index| index >= visible)
    }

    /// The next bytes for a reader, if there are any now.
    pub fn step(&self, cursor: &mut Cursor) -> Step {
        let state = self.lock();
        match cursor.position {
            _ if state.deleted => Step::End,
            Position::Between(seek) => self.begin(&state, cursor, seek),
            Position::Inside { number, sent_blocks } => go_on(&state, cursor, number, sent_blocks),
        }
    }

    /// A place so many fragments before this one, or before the end where there is nothing yet.
    pub(crate) fn earlier(&self, seek: Seek, fragments: u64) -> Seek {
        let whole_only = self.limits.delivery == Delivery::Fragment;
        let state = self.lock();
        let visible = state.first_visible(self.cutoff_ms());
        let index = state.find(seek, visible, whole_only).unwrap_or(state.fragments.len());
        let fragments = usize::try_from(fragments).unwrap_or(usize::MAX);
        match index.saturating_sub(fragments).checked_sub(1) {
            _ if fragments == 0 => seek,
            Some(before) => Seek::After(state.fragments[before].number),
            None => Seek::Earliest,
        }
    }

    fn begin(&self, state: &State, cursor: &mut Cursor, seek: Seek) -> Step {
        let whole_only = self.limits.delivery == Delivery::Fragment;
        let Some(index) = state.find(seek, state.first_visible(self.cutoff_ms()), whole_only) else {
            return Step::Wait;
        };
        let fragment = &state.fragments[index];
        if whole_only && !fragment.complete {
            return Step::Wait;
        }
        match &fragment.content {
            Content::Raw(bytes) => {
                cursor.stand_after(fragment.number);
                Step::Bytes(bytes.clone())
            }
            Content::Media(media) => {
                cursor.position = Position::Inside { number: fragment.number, sent_blocks: 0 };
                Step::Bytes(fragment.opening(media))
            }
        }
    }

    /// Ends all readers and writers.
    pub(crate) fn delete(&self) {
        let mut state = self.lock();
        state.deleted = true;
        state.fragments.clear();
        drop(state);
        self.wake();
    }

    pub(crate) fn folder(&self) -> Option<&StreamFolder> {
        self.folder.as_ref()
    }

    /// Puts an empty fragment at the end and gives its number.
    pub(crate) fn open_fragment(&self, head: FragmentHead) -> Result<FragmentNumber, ApiError> {
        let content = Content::Media(Media::new(head.back_by(self.faults.meet_fragment())));
        let number = self.insert(content, false)?;
        self.wake();
        Ok(number)
    }

    /// Puts bytes at the end that readers get as they are, in place of a fragment's document.
    ///
    /// They are not kept over a restart.
    pub fn append_raw_document(&self, bytes: impl Into<Bytes>) -> Result<FragmentNumber, ApiError> {
        let number = self.insert(Content::Raw(bytes.into()), true)?;
        self.wake();
        Ok(number)
    }

    fn insert(&self, content: Content, complete: bool) -> Result<FragmentNumber, ApiError> {
        let server_ms = self.clock.now_ms();
        let mut state = self.lock();
        if state.deleted {
            return Err(self.gone());
        }
        state.counter += 1;
        let number = FragmentNumber::mint(state.counter, server_ms);
        state.fragments.push_back(Fragment { number, server_ms, complete, content });
        Ok(number)
    }

    pub(crate) fn push_block(
        &self,
        number: FragmentNumber,
        element: Bytes,
        relative: i16,
    ) -> Result<(), ApiError> {
        let mut state = self.lock();
        let index = state.index_of(number).ok_or_else(|| self.gone())?;
        if let Content::Media(media) = &mut state.fragments[index].content {
            media.push(element, relative);
        }
        drop(state);
        self.wake();
        Ok(())
    }

    /// Gives an open fragment its tags, marks it whole and calls out what is too old; gives the numbers of those.
    pub(crate) fn complete(&self, number: FragmentNumber) -> Result<Vec<FragmentNumber>, ApiError> {
        let mut state = self.lock();
        let index = state.index_of(number).ok_or_else(|| self.gone())?;
        state.fragments[index].complete = true;
        let evicted = state.evict(self.cutoff_ms(), self.byte_limit());
        drop(state);
        self.wake();
        Ok(evicted)
    }

    /// Lets the oldest whole fragments expire before their time: so many, or all but the newest.
    pub async fn expire_oldest(&self, most: Option<u64>) {
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let expired = self.lock().take_oldest(most);
        self.wake();
        if let Some(folder) = &self.folder {
            folder.remove_fragments(&expired).await;
        }
    }

    pub(crate) fn set_tags(&self, number: FragmentNumber, tags: Vec<kvs_mkv::Tag>) -> Result<(), ApiError> {
        let mut state = self.lock();
        let index = state.index_of(number).ok_or_else(|| self.gone())?;
        if let Content::Media(media) = &mut state.fragments[index].content {
            media.tags = tags;
        }
        Ok(())
    }

    /// The whole fragments after `after` that a reader can have, oldest first, without what was never media.
    pub(crate) fn whole_after(&self, after: Option<FragmentNumber>) -> Vec<Dated> {
        let state = self.lock();
        let visible = state.fragments.range(state.first_visible(self.cutoff_ms())..);
        let wanted = visible.filter(|fragment| fragment.complete && Some(fragment.number) > after);
        wanted.filter_map(Dated::of).collect()
    }

    /// The whole document of a fragment, as a reader would get it, in pieces.
    pub(crate) fn document(&self, number: FragmentNumber) -> Option<Vec<Bytes>> {
        let state = self.lock();
        let fragment = &state.fragments[state.index_of(number)?];
        match &fragment.content {
            Content::Raw(bytes) => Some(vec![bytes.clone()]),
            Content::Media(media) => {
                let mut pieces = vec![fragment.opening(media)];
                pieces.extend(media.blocks.iter().cloned());
                pieces.push(fragment.closing(media, Some(0)));
                Some(pieces)
            }
        }
    }

    /// Takes back a fragment whose producer gave up; who reads it is cut off.
    pub(crate) fn abandon(&self, number: FragmentNumber) {
        let mut state = self.lock();
        if let Some(index) = state.index_of(number) {
            state.fragments.remove(index);
        }
        drop(state);
        self.wake();
    }

    fn gone(&self) -> ApiError {
        ApiError::ResourceNotFound { stream: self.identity.name.clone() }
    }

    /// Server time before which a fragment is no longer shown.
    fn cutoff_ms(&self) -> i64 {
        let kept_ms = match self.identity.settings.retention_hours {
            0 => UNRETAINED_MS,
            hours => i64::from(hours) * HOUR_MS,
        };
        self.clock.now_ms() - kept_ms
    }

    fn byte_limit(&self) -> u64 {
        match self.identity.settings.retention_hours {
            0 => self.limits.stream_bytes.min(UNRETAINED_BYTES),
            _ => self.limits.stream_bytes,
        }
    }

    fn wake(&self) {
        self.changed.send_modify(|()| {});
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next bytes inside a fragment.
fn go_on(state: &State, cursor: &mut Cursor, number: FragmentNumber, sent_blocks: usize) -> Step {
    let Some(index) = state.index_of(number) else { return Step::End };
    let fragment = &state.fragments[index];
    let Content::Media(media) = &fragment.content else { return Step::End };
    if let Some(block) = media.blocks.get(sent_blocks) {
        cursor.position = Position::Inside { number, sent_blocks: sent_blocks + 1 };
        return Step::Bytes(block.clone());
    }
    if !fragment.complete {
        return Step::Wait;
    }
    cursor.stand_after(number);
    Step::Bytes(fragment.closing(media, Some(state.newest_whole_ms() - fragment.server_ms)))
}

impl State {
    fn index_of(&self, number: FragmentNumber) -> Option<usize> {
        self.fragments.binary_search_by_key(&number, |fragment| fragment.number).ok()
    }

    fn first_visible(&self, cutoff_ms: i64) -> usize {
        self.fragments.partition_point(|fragment| fragment.server_ms < cutoff_ms)
    }

    fn newest_whole_ms(&self) -> i64 {
        let whole = self.fragments.iter().rev().find(|fragment| fragment.complete);
        whole.map_or(i64::MIN, |fragment| fragment.server_ms)
    }

    /// Index of the fragment that a reader begins with, whole or not.
    fn find(&self, seek: Seek, visible: usize, whole_only: bool) -> Option<usize> {
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
    fn take_oldest(&mut self, most: usize) -> Vec<FragmentNumber> {
        let whole = self.fragments.iter().take_while(|fragment| fragment.complete).count();
        let count = most.min(whole).min(self.fragments.len().saturating_sub(1));
        self.fragments.drain(..count).map(|fragment| fragment.number).collect()
    }

    fn evict(&mut self, cutoff_ms: i64, byte_limit: u64) -> Vec<FragmentNumber> {
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
