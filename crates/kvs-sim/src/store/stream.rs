//! One stream: its settings, its fragments, and those who read and write them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::ApiError;
use crate::faults::active::Armed;
use crate::faults::model::Faults;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::media_error::MediaRefusal;
use crate::store::cursor::{Cursor, Position, Seek, Step};
use crate::store::disk::StreamFolder;
use crate::store::fragment::{Content, Dated, Fragment, FragmentHead, Media};
use crate::store::identity::StreamIdentity;
use crate::store::stream_state::StreamState;

/// When a reader at the live edge gets a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// As it arrives, in a Cluster of unknown size.
    #[default]
    Block,
    /// With its whole fragment.
    Fragment,
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
    /// Never locked for writing while the state is locked.
    identity: RwLock<Arc<StreamIdentity>>,
    limits: StreamLimits,
    clock: Clock,
    folder: Option<StreamFolder>,
    state: Mutex<StreamState>,
    changed: watch::Sender<()>,
    readers: Arc<Semaphore>,
    archive_readers: Arc<Semaphore>,
    producers: Arc<Semaphore>,
    faults: Armed,
}

/// Connections of GetMediaForFragmentList, GetClip and GetImages at once; AWS counts each operation alone.
///
/// Source: AWS, Kinesis Video Streams quotas, 2026.
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
        let state = StreamState { fragments: kept.into(), counter, ..StreamState::default() };
        Arc::new(Self {
            readers: Arc::new(Semaphore::new(limits.readers)),
            archive_readers: Arc::new(Semaphore::new(ARCHIVE_READERS)),
            producers: Arc::new(Semaphore::new(1)),
            identity: RwLock::new(Arc::new(identity)),
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

    /// Its name, ARN and settings, as they are now.
    pub fn identity(&self) -> Arc<StreamIdentity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known of the stream, also in its folder; all or nothing.
    ///
    /// Errors: `change` refuses, or the folder cannot be written.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(&mut StreamIdentity) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let mut identity = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = StreamIdentity::clone(&identity);
        change(&mut changed)?;
        if let Some(folder) = &self.folder {
            folder.write_identity(&changed).map_err(|error| ApiError::Internal(error.to_string()))?;
        }
        *identity = Arc::new(changed);
        Ok(())
    }

    fn name(&self) -> String {
        self.identity().name.clone()
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
        let stored = fragment.complete && self.identity().settings.retention_hours > 0;
        match &fragment.content {
            Content::Media(media) if stored => Some(media),
            _ => None,
        }
    }

    /// Errors: nothing is archived, since the retention is 0.
    pub(crate) fn check_retains(&self) -> Result<(), ApiError> {
        match self.identity().settings.retention_hours {
            0 => Err(MediaRefusal::NoDataRetention { stream: self.name() }.into()),
            _ => Ok(()),
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

    /// One of the connections of GetMediaForFragmentList, GetClip and GetImages, held until dropped; a call too many is told as
    /// AWS's model has it.
    pub(crate) fn claim_archive_reader(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let free = Arc::clone(&self.archive_readers).try_acquire_owned();
        free.map_err(|_| ApiError::ClientLimitExceeded { stream: self.name() })
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
        let stream = || self.name();
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
            Position::Inside { number, sent_blocks } => state.go_on(cursor, number, sent_blocks),
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

    fn begin(&self, state: &StreamState, cursor: &mut Cursor, seek: Seek) -> Step {
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

    /// Lets what is kept no longer go at once, as after a change of the retention.
    pub(crate) async fn drop_expired(&self) {
        let expired = self.lock().evict(self.cutoff_ms(), self.byte_limit());
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
        ApiError::ResourceNotFound { stream: self.name() }
    }

    /// Server time before which a fragment is no longer shown.
    fn cutoff_ms(&self) -> i64 {
        let kept_ms = match self.identity().settings.retention_hours {
            0 => UNRETAINED_MS,
            hours => i64::from(hours) * HOUR_MS,
        };
        self.clock.now_ms() - kept_ms
    }

    fn byte_limit(&self) -> u64 {
        match self.identity().settings.retention_hours {
            0 => self.limits.stream_bytes.min(UNRETAINED_BYTES),
            _ => self.limits.stream_bytes,
        }
    }

    fn wake(&self) {
        self.changed.send_modify(|()| {});
    }

    fn lock(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
