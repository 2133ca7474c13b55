//! A stream: its settings, its fragments, its readers and its producer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::ApiError;
use crate::faults::active::ActiveFaults;
use crate::faults::model::Faults;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::media_error::MediaError;
use crate::store::cursor::{CursorPosition, ReadStep, Seek, StreamCursor};
use crate::store::disk::StreamFolder;
use crate::store::fragment::{FragmentContent, FragmentHead, FragmentMedia, FragmentTimes, StoredFragment};
use crate::store::identity::StreamIdentity;
use crate::store::stream_state::StreamState;

/// The unit in which readers at the live edge get media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LiveDelivery {
    /// Each block as it arrives, in a Cluster of unknown size.
    #[default]
    Block,
    /// Whole fragments.
    Fragment,
}

/// The limits of a stream, beside its retention.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Bytes of blocks kept in memory; the oldest fragments are evicted first.
    pub stream_bytes: u64,
    /// GetMedia connections at the same time.
    pub readers: usize,
    /// Unit in which readers at the live edge get media.
    pub delivery: LiveDelivery,
}

/// A stream of the local KVS.
#[derive(Debug)]
pub struct KvsStream {
    /// Lock order: never locked for writing while `state` is locked.
    identity: RwLock<Arc<StreamIdentity>>,
    limits: StreamLimits,
    clock: Clock,
    folder: Option<StreamFolder>,
    state: Mutex<StreamState>,
    changed: watch::Sender<()>,
    readers: Arc<Semaphore>,
    archive_readers: Arc<Semaphore>,
    producers: Arc<Semaphore>,
    faults: ActiveFaults,
}

/// Connections of GetMediaForFragmentList, GetClip and GetImages together, at the same time. AWS counts each operation alone.
///
/// Source: AWS, Kinesis Video Streams quotas, 2026.
const ARCHIVE_READERS: usize = 5;

// A stream without retention still serves GetMedia from a buffer. Source: AWS, CreateStream, DataRetentionInHours, 2026.
const UNRETAINED_MS: i64 = 5 * 60 * 1000;
const UNRETAINED_BYTES: u64 = 200 * 1000 * 1000;
const HOUR_MS: i64 = 3_600_000;

impl KvsStream {
    pub(crate) fn new(
        identity: StreamIdentity,
        limits: StreamLimits,
        clock: Clock,
        folder: Option<StreamFolder>,
        stored: Vec<StoredFragment>,
    ) -> Arc<Self> {
        // Numbers continue after those on disk, so that they rise over a restart.
        let counter = stored.last().map_or(0, |fragment| fragment.number.counter());
        let state = StreamState { fragments: stored.into(), counter, ..StreamState::default() };
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
            faults: ActiveFaults::default(),
        })
    }

    /// Replaces the faults of the stream.
    pub fn set_faults(&self, faults: impl Into<Faults>) {
        self.faults.set(faults.into());
    }

    /// Returns the remaining faults: those that are used up are gone, and the counts of the others are what remains of them.
    pub fn faults(&self) -> Faults {
        self.faults.remaining()
    }

    pub(crate) fn active_faults(&self) -> &ActiveFaults {
        &self.faults
    }

    /// Returns the stream's current name, ARN and settings.
    pub fn identity(&self) -> Arc<StreamIdentity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the identity in memory and on disk, or in neither.
    ///
    /// Fails if `change` does, or if the folder cannot be written.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(&mut StreamIdentity) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let mut identity = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        // A copy is changed and written first: an error leaves both memory and disk as they were.
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

    /// Returns the clock by which the stream stamps fragments.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the numbers of the complete fragments that readers can get, oldest first.
    pub fn fragment_numbers(&self) -> Vec<FragmentNumber> {
        let state = self.lock();
        let visible = state.fragments.range(state.first_visible(self.cutoff_ms())..);
        visible.filter(|fragment| fragment.complete).map(|fragment| fragment.number).collect()
    }

    /// Maps and filters the fragments in the archive, oldest first.
    pub(crate) fn select<T>(
        &self,
        mut choose: impl FnMut(&StoredFragment, &FragmentMedia) -> Option<T>,
    ) -> Vec<T> {
        let state = self.lock();
        let visible = state.fragments.range(state.first_visible(self.cutoff_ms())..);
        visible.filter_map(|fragment| choose(fragment, self.archived_media(fragment)?)).collect()
    }

    /// Applies `read` to a fragment in the archive; None if the archive does not have it.
    pub(crate) fn read_archived<T>(
        &self,
        number: FragmentNumber,
        read: impl FnOnce(&StoredFragment, &FragmentMedia) -> T,
    ) -> Option<T> {
        let state = self.lock();
        let index = state.index_of(number)?;
        let fragment =
            state.fragments.get(index).filter(|_| index >= state.first_visible(self.cutoff_ms()))?;
        Some(read(fragment, self.archived_media(fragment)?))
    }

    /// Returns the media of a fragment that the archive has: complete, valid, of a stream with retention.
    fn archived_media<'a>(&self, fragment: &'a StoredFragment) -> Option<&'a FragmentMedia> {
        let archived = fragment.complete && self.identity().settings.retention_hours > 0;
        match &fragment.content {
            FragmentContent::Media(media) if archived => Some(media),
            _ => None,
        }
    }

    /// Fails if the retention is 0, with which nothing is archived.
    pub(crate) fn check_retains(&self) -> Result<(), ApiError> {
        match self.identity().settings.retention_hours {
            0 => Err(MediaError::NoDataRetention { stream: self.name() }.into()),
            _ => Ok(()),
        }
    }

    /// Returns a receiver that is notified of each block, each complete fragment, and the end of the stream.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Claims one of the GetMedia connections until the permit is dropped.
    ///
    /// # Errors
    ///
    /// The stream has its maximum number of readers.
    pub fn claim_reader(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.claim(&self.readers, "GetMedia", self.limits.readers)
    }

    /// Claims one of the connections of GetMediaForFragmentList, GetClip and GetImages until the permit is dropped.
    pub(crate) fn claim_archive_reader(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.archive_readers).try_acquire_owned();
        // AWS's model of these operations has no ConnectionLimitExceededException.
        permit.map_err(|_| ApiError::ClientLimitExceeded { stream: self.name() })
    }

    pub(crate) fn reader_limit(&self) -> usize {
        self.limits.readers
    }

    /// Claims the only PutMedia connection until the permit is dropped.
    ///
    /// # Errors
    ///
    /// The stream has a producer.
    pub fn claim_producer(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.claim(&self.producers, "PutMedia", 1)
    }

    fn claim(
        &self,
        connections: &Arc<Semaphore>,
        operation: &'static str,
        limit: usize,
    ) -> Result<OwnedSemaphorePermit, ApiError> {
        let stream = || self.name();
        let permit = Arc::clone(connections).try_acquire_owned();
        permit.map_err(|_| ApiError::ConnectionLimitExceeded { stream: stream(), operation, limit })
    }

    /// Ends the open GetMedia connections at any point of a fragment, as AWS does after 40 to 50 minutes.
    pub fn cut_readers(&self) {
        // A new token takes its place: connections that begin from now on are not cut.
        std::mem::take(&mut self.lock().readers_cut).cancel();
    }

    pub(crate) fn readers_cut(&self) -> CancellationToken {
        self.lock().readers_cut.clone()
    }

    /// Returns whether a fragment is kept, so that a reader can continue after it.
    pub fn has_fragment(&self, number: FragmentNumber) -> bool {
        let state = self.lock();
        let visible = state.first_visible(self.cutoff_ms());
        state.index_of(number).is_some_and(|index| index >= visible)
    }

    /// Returns the next bytes for a reader, if there are any now.
    pub fn step(&self, cursor: &mut StreamCursor) -> ReadStep {
        let state = self.lock();
        match cursor.position {
            _ if state.deleted => ReadStep::End,
            CursorPosition::Between(seek) => self.step_between(&state, cursor, seek),
            CursorPosition::Inside { number, sent_blocks } => state.step_inside(cursor, number, sent_blocks),
        }
    }

    /// Returns the place that many fragments before `seek`, or before the stream's end if `seek` finds nothing yet.
    pub(crate) fn seek_earlier(&self, seek: Seek, fragments: u64) -> Seek {
        let complete_only = self.limits.delivery == LiveDelivery::Fragment;
        let state = self.lock();
        let visible = state.first_visible(self.cutoff_ms());
        let index = state.find(seek, visible, complete_only).unwrap_or(state.fragments.len());
        let fragments = usize::try_from(fragments).unwrap_or(usize::MAX);
        match index.saturating_sub(fragments).checked_sub(1) {
            // The selector itself is kept: NOW on an empty stream must remain NOW.
            _ if fragments == 0 => seek,
            Some(before) => Seek::After(state.fragments[before].number),
            None => Seek::Earliest,
        }
    }

    fn step_between(&self, state: &StreamState, cursor: &mut StreamCursor, seek: Seek) -> ReadStep {
        let complete_only = self.limits.delivery == LiveDelivery::Fragment;
        let Some(index) = state.find(seek, state.first_visible(self.cutoff_ms()), complete_only) else {
            return ReadStep::Wait;
        };
        let fragment = &state.fragments[index];
        if complete_only && !fragment.complete {
            return ReadStep::Wait;
        }
        match &fragment.content {
            FragmentContent::Raw(bytes) => {
                cursor.move_after(fragment.number);
                ReadStep::Bytes(bytes.clone())
            }
            FragmentContent::Media(media) => {
                cursor.position = CursorPosition::Inside { number: fragment.number, sent_blocks: 0 };
                ReadStep::Bytes(fragment.opening(media))
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

    /// Appends an empty fragment and returns its number.
    pub(crate) fn open_fragment(&self, head: FragmentHead) -> Result<FragmentNumber, ApiError> {
        let head = head.moved_back(self.faults.begin_fragment());
        let number = self.insert(FragmentContent::Media(FragmentMedia::new(head)), false)?;
        self.wake();
        Ok(number)
    }

    /// Appends bytes that readers get unchanged, in place of a fragment's document. They do not outlive a restart.
    ///
    /// # Errors
    ///
    /// The stream was deleted.
    pub fn append_raw_document(&self, bytes: impl Into<Bytes>) -> Result<FragmentNumber, ApiError> {
        let number = self.insert(FragmentContent::Raw(bytes.into()), true)?;
        self.wake();
        Ok(number)
    }

    fn insert(&self, content: FragmentContent, complete: bool) -> Result<FragmentNumber, ApiError> {
        let server_ms = self.clock.now_ms();
        let mut state = self.lock();
        if state.deleted {
            return Err(self.not_found());
        }
        state.counter += 1;
        let number = FragmentNumber::generate(state.counter, server_ms);
        state.fragments.push_back(StoredFragment { number, server_ms, complete, content });
        Ok(number)
    }

    pub(crate) fn push_block(
        &self,
        number: FragmentNumber,
        element: Bytes,
        relative: i16,
    ) -> Result<(), ApiError> {
        let mut state = self.lock();
        let index = state.index_of(number).ok_or_else(|| self.not_found())?;
        if let FragmentContent::Media(media) = &mut state.fragments[index].content {
            media.push(element, relative);
        }
        // Released before waking: the readers lock it next.
        drop(state);
        self.wake();
        Ok(())
    }

    /// Marks an open fragment as complete, evicts old fragments, and returns the numbers of those.
    pub(crate) fn complete(&self, number: FragmentNumber) -> Result<Vec<FragmentNumber>, ApiError> {
        let mut state = self.lock();
        let index = state.index_of(number).ok_or_else(|| self.not_found())?;
        state.fragments[index].complete = true;
        let evicted = state.evict(self.cutoff_ms(), self.max_bytes());
        drop(state);
        self.wake();
        Ok(evicted)
    }

    /// Expires the oldest complete fragments before their time: at most `max`, or all but the newest.
    pub async fn expire_oldest(&self, max: Option<u64>) {
        let max = max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let expired = self.lock().take_oldest(max);
        self.wake();
        if let Some(folder) = &self.folder {
            folder.remove_fragments(&expired).await;
        }
    }

    /// Evicts expired fragments now instead of with the next fragment, as after a change of the retention.
    pub(crate) async fn drop_expired(&self) {
        let expired = self.lock().evict(self.cutoff_ms(), self.max_bytes());
        self.wake();
        if let Some(folder) = &self.folder {
            folder.remove_fragments(&expired).await;
        }
    }

    pub(crate) fn set_tags(&self, number: FragmentNumber, tags: Vec<kvs_mkv::Tag>) -> Result<(), ApiError> {
        let mut state = self.lock();
        let index = state.index_of(number).ok_or_else(|| self.not_found())?;
        if let FragmentContent::Media(media) = &mut state.fragments[index].content {
            media.tags = tags;
        }
        Ok(())
    }

    /// Returns the complete fragments of media after `after` that readers can get, oldest first.
    pub(crate) fn whole_fragments_after(&self, after: Option<FragmentNumber>) -> Vec<FragmentTimes> {
        let state = self.lock();
        let visible = state.fragments.range(state.first_visible(self.cutoff_ms())..);
        let wanted = visible.filter(|fragment| fragment.complete && Some(fragment.number) > after);
        wanted.filter_map(FragmentTimes::of).collect()
    }

    /// Returns the document of a fragment, as a GetMedia reader would get it, in parts.
    pub(crate) fn document(&self, number: FragmentNumber) -> Option<Vec<Bytes>> {
        let state = self.lock();
        let fragment = &state.fragments[state.index_of(number)?];
        match &fragment.content {
            FragmentContent::Raw(bytes) => Some(vec![bytes.clone()]),
            FragmentContent::Media(media) => {
                let mut parts = vec![fragment.opening(media)];
                parts.extend(media.blocks.iter().cloned());
                // On disk a fragment is behind nothing; the tag makes the file a dump as GetMedia sends it.
                parts.push(fragment.closing(media, Some(0)));
                Some(parts)
            }
        }
    }

    /// Removes a fragment that its producer gave up, which ends the connections of readers inside it.
    pub(crate) fn abandon(&self, number: FragmentNumber) {
        let mut state = self.lock();
        if let Some(index) = state.index_of(number) {
            state.fragments.remove(index);
        }
        drop(state);
        self.wake();
    }

    fn not_found(&self) -> ApiError {
        ApiError::ResourceNotFound { stream: self.name() }
    }

    /// Returns the server time before which fragments have expired.
    fn cutoff_ms(&self) -> i64 {
        let kept_ms = match self.identity().settings.retention_hours {
            0 => UNRETAINED_MS,
            hours => i64::from(hours) * HOUR_MS,
        };
        self.clock.now_ms() - kept_ms
    }

    fn max_bytes(&self) -> u64 {
        match self.identity().settings.retention_hours {
            0 => self.limits.stream_bytes.min(UNRETAINED_BYTES),
            _ => self.limits.stream_bytes,
        }
    }

    fn wake(&self) {
        // `send` would fail without a receiver, which is no error here.
        self.changed.send_modify(|()| {});
    }

    fn lock(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
