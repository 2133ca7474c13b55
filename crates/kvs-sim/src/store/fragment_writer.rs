//! Writes a fragment into a stream, block by block.

use std::sync::Arc;

use kvs_mkv::{Block, Tag, writer};

use crate::error::ApiError;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::store::fragment::FragmentHead;
use crate::store::stream::KvsStream;

/// A fragment that is being written. If it is dropped before [`finish`](Self::finish), the fragment is removed again.
#[derive(Debug)]
pub struct FragmentWriter {
    stream: Arc<KvsStream>,
    number: FragmentNumber,
    bytes: u64,
    finished: bool,
}

impl FragmentWriter {
    /// Begins a fragment at the end of the stream. With `LiveDelivery::Block`, readers at the live edge see it at once.
    ///
    /// # Errors
    ///
    /// The stream was deleted.
    pub fn begin(stream: &Arc<KvsStream>, head: FragmentHead) -> Result<Self, ApiError> {
        let number = stream.open_fragment(head)?;
        Ok(Self { stream: Arc::clone(stream), number, bytes: 0, finished: false })
    }

    /// Returns the number of the fragment.
    pub fn number(&self) -> FragmentNumber {
        self.number
    }

    /// Returns the bytes of the blocks written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a frame.
    ///
    /// # Errors
    ///
    /// The stream was deleted.
    pub fn push(&mut self, block: &Block) -> Result<(), ApiError> {
        // 16 bytes hold id, size, track number, timestamp and flags of a SimpleBlock.
        let mut element = Vec::with_capacity(block.data.len() + 16);
        writer::simple_block(&mut element, block.track, block.relative, block.key, &block.data);
        self.bytes += element.len() as u64;
        self.stream.push_block(self.number, element.into(), block.relative)
    }

    /// Completes the fragment with the producer's tags, and writes it to disk if the stream has a folder.
    ///
    /// # Errors
    ///
    /// The stream was deleted, or the folder cannot be written.
    pub async fn finish(mut self, tags: Vec<Tag>) -> Result<FragmentNumber, ApiError> {
        self.stream.set_tags(self.number, tags)?;
        // Written before it is completed: a fragment that is acknowledged as persisted is on disk.
        if let (Some(folder), Some(document)) = (self.stream.folder(), self.stream.document(self.number)) {
            let write = folder.write_fragment(self.number, &document).await;
            write.map_err(|error| ApiError::Internal(error.to_string()))?;
        }
        let evicted = self.stream.complete(self.number)?;
        self.finished = true;
        if let Some(folder) = self.stream.folder() {
            folder.remove_fragments(&evicted).await;
        }
        Ok(self.number)
    }
}

impl Drop for FragmentWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.stream.abandon(self.number);
        }
    }
}

/// Appends a whole fragment at once.
///
/// # Errors
///
/// The stream was deleted, or its folder cannot be written.
pub async fn append_fragment(
    stream: &Arc<KvsStream>,
    head: FragmentHead,
    blocks: &[Block],
    tags: Vec<Tag>,
) -> Result<FragmentNumber, ApiError> {
    let mut fragment = FragmentWriter::begin(stream, head)?;
    for block in blocks {
        fragment.push(block)?;
    }
    fragment.finish(tags).await
}
