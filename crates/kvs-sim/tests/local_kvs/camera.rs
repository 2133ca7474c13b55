//! A synthetic camera and a GetMedia viewer for the tests of this crate.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream as ByteStream, StreamExt};
use kvs_mkv::{
    Block, BlockKind, FragmentEvent, FragmentReader, FragmentStart, FragmentSummary, MkvLimits, Tag, writer,
};
use kvs_sim::{
    ApiError, Clock, FragmentHead, FragmentNumber, KvsStream, LiveDelivery, MediaHeader, StartSelector,
    StreamLimits, StreamSettings, StreamStore, append_fragment, open_media,
};
use tokio_util::sync::CancellationToken;

/// The time at which the tests' clock starts.
pub(crate) const NOON_MS: i64 = 1_700_000_000_000;

/// Returns a store in memory with a standing clock.
pub(crate) fn store(delivery: LiveDelivery) -> StreamStore {
    let limits = StreamLimits { stream_bytes: 1 << 20, readers: 3, delivery };
    StreamStore::open(Clock::standing_at(NOON_MS), limits, None).expect("nothing is on disk")
}

/// Returns a stream of such a store with a retention of an hour.
pub(crate) fn stream(delivery: LiveDelivery) -> Arc<KvsStream> {
    let settings = StreamSettings { retention_hours: 1, ..StreamSettings::default() };
    store(delivery).create("cam", settings).expect("the first of its name")
}

pub(crate) fn head(producer_ms: i64) -> FragmentHead {
    let track = writer::video_track(1, "V_MPEG4/ISO/AVC", b"\x01private", 640, 360);
    let header = Arc::new(MediaHeader::new(&[track]));
    FragmentHead { header, cluster_timestamp: producer_ms.unsigned_abs(), producer_ms }
}

pub(crate) fn block(relative: i16, payload: &'static [u8]) -> Block {
    let data = Bytes::from_static(payload);
    Block { track: 1, relative, key: relative == 0, flags: 0, kind: BlockKind::Simple, data }
}

/// Appends a fragment of three frames that lasts 1.2 s.
pub(crate) async fn append(stream: &Arc<KvsStream>, producer_ms: i64) -> FragmentNumber {
    let blocks = [block(0, b"first"), block(400, b"second"), block(800, b"third")];
    append_fragment(stream, head(producer_ms), &blocks, vec![Tag::new("door", "open")])
        .await
        .expect("the stream exists")
}

/// A GetMedia connection, and a parser of its bytes.
pub(crate) struct Viewer {
    chunks: Pin<Box<dyn ByteStream<Item = Bytes> + Send>>,
    reader: FragmentReader,
    /// All bytes that came.
    pub(crate) bytes: Vec<u8>,
}

impl Viewer {
    pub(crate) fn new(stream: &Arc<KvsStream>, selector: &StartSelector) -> Result<Self, ApiError> {
        Self::with_stop(stream, selector, CancellationToken::new())
    }

    pub(crate) fn with_stop(
        stream: &Arc<KvsStream>,
        selector: &StartSelector,
        stop: CancellationToken,
    ) -> Result<Self, ApiError> {
        let chunks =
            open_media(stream, selector, 1000, stop)?.map(|chunk| chunk.expect("no fault breaks it"));
        let reader = FragmentReader::new(MkvLimits::default());
        Ok(Self { chunks: Box::pin(chunks), reader, bytes: Vec::new() })
    }

    /// Returns the next event; None when the connection ends.
    pub(crate) async fn next(&mut self) -> Option<FragmentEvent> {
        loop {
            if let Some(event) = self.reader.next().expect("GetMedia sends valid Matroska") {
                return Some(event);
            }
            let chunk = self.chunks.next().await?;
            self.bytes.extend_from_slice(&chunk);
            self.reader.push(&chunk);
        }
    }

    pub(crate) async fn next_start(&mut self) -> FragmentStart {
        match self.next().await {
            Some(FragmentEvent::Start(start)) => start,
            other => panic!("expected the start of a fragment, not {other:?}"),
        }
    }

    pub(crate) async fn next_frame(&mut self) -> Bytes {
        match self.next().await {
            Some(FragmentEvent::Block(frame)) => frame.block.data,
            other => panic!("expected a frame, not {other:?}"),
        }
    }

    /// Reads the whole next fragment.
    pub(crate) async fn next_fragment(&mut self) -> (FragmentStart, FragmentSummary) {
        let start = self.next_start().await;
        loop {
            match self.next().await {
                Some(FragmentEvent::Block(_)) => {}
                Some(FragmentEvent::End(end)) => return (start, end),
                other => panic!("expected the rest of the fragment, not {other:?}"),
            }
        }
    }

    /// Returns whether the viewer waits.
    pub(crate) async fn is_idle(&mut self) -> bool {
        let next = std::pin::pin!(self.next());
        futures_util::poll!(next).is_pending()
    }
}

pub(crate) fn selector(kind: &str) -> StartSelector {
    StartSelector { start_selector_type: kind.to_owned(), ..StartSelector::default() }
}

pub(crate) fn after_fragment(number: &str) -> StartSelector {
    StartSelector { after_fragment_number: Some(number.to_owned()), ..selector("FRAGMENT_NUMBER") }
}
