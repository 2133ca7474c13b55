//! Writing one fragment into a stream, block by block.

use std::sync::Arc;

use kvs_mkv::{Block, Tag, writer};

use crate::error::ApiError;
use crate::identifiers::fragment_number::FragmentNumber;
use crate::store::fragment::FragmentHead;
use crate::store::stream::Stream;

/// A fragment that is being written. Dropped before [`finish`](Self::finish), the fragment is taken back.
#[derive(Debug)]
pub struct FragmentWriter {
    stream: Arc<Stream>,
    number: FragmentNumber,
    bytes: u64,
    finished: bool,
}

impl FragmentWriter {
    /// Begins a fragment at the end of the stream; readers at the live edge see it with `Delivery::Block`.
    ///
    /// Errors: the stream was deleted.
    pub fn begin(stream: &Arc<Stream>, head: FragmentHead) -> Result<Self, ApiError> {
        let number = stream.open_fragment(head)?;
        Ok(Self { stream: Arc::clone(stream), number, bytes: 0, finished: false })
    }

    /// The number that the fragment got.
    pub fn number(&self) -> FragmentNumber {
        self.number
    }

    /// Bytes of the blocks written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a frame.
    ///
    /// Errors: the stream was deleted.
    pub fn push(&mut self, block: &Block) -> Result<(), ApiError> {
        let mut element = Vec::with_capacity(block.data.len() + 16);
        writer::simple_block(&mut element, block.track, block.relative, block.key, &block.data);
        self.bytes += element.len() as u64;
        self.stream.push_block(self.number, element.into(), block.relative)
    }

    /// Makes the fragment whole, with the producer's tags, and writes it to disk where the stream has a folder.
    ///
    /// Errors: the stream was deleted, or the folder cannot be written.
    pub async fn finish(mut self, tags: Vec<Tag>) -> Result<FragmentNumber, ApiError> {
        self.stream.set_tags(self.number, tags)?;
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
/// Errors: as of [`FragmentWriter`].
pub async fn append_fragment(
    stream: &Arc<Stream>,
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
