//! Makes clips: reads the stored fragments of a span and remuxes them.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use h26x::{DecoderConfig, picture_size};
use kvs_hls::{AccessUnit, HlsTrack};
use tokio::task::spawn_blocking;

use super::cutter::ClipCutter;
use super::error::ClipFailure;
use super::file::{ClipWriter, Mp4Clip};
use super::span::ClipSpan;
use crate::demux::{DemuxEvent, Demuxer};
use crate::media::{Fragment, Packet, VideoTrack};
use crate::source::{Archive, ArchiveError, ArchivedFragment, Kvs, MAX_FRAGMENT_MS, MAX_FRAGMENTS_PER_CALL};

/// Limit on the footage of a clip, bytes: two minutes at 17 Mbit/s.
const MAX_BYTES: u64 = 256 << 20;
/// Connections that may break before a clip is given up.
const MAX_BREAKS: u32 = 3;
/// The error id of a fragment that is not stored any more. Source: API reference, GetMediaForFragmentList, 2026.
const NO_FRAGMENT: u32 = 4_000;

/// Makes clips of stored footage.
#[derive(Clone, Debug)]
pub struct ClipMaker {
    kvs: Kvs,
    /// The folder of the files that are being made.
    folder: PathBuf,
}

impl ClipMaker {
    /// Creates a maker that keeps the files of its clips in `folder`.
    #[must_use]
    pub fn new(kvs: Kvs, folder: PathBuf) -> Self {
        Self { kvs, folder }
    }

    /// Makes the clip of a span of the stream.
    ///
    /// # Errors
    /// See [`ClipFailure`].
    pub async fn make(&self, stream: &str, span: ClipSpan) -> Result<Mp4Clip, ClipFailure> {
        let archive = self.kvs.archive(stream);
        let listed = archive.list((span.from_ms - MAX_FRAGMENT_MS).max(0)..=span.to_ms).await?;
        let fragments: Vec<ArchivedFragment> =
            listed.into_iter().filter(|fragment| overlaps(fragment, span)).collect();
        let range_ms = span.from_ms..=span.to_ms;
        if fragments.is_empty() {
            return Err(archive.explain_absence(range_ms).await.into());
        }
        check_bytes(fragments.iter().map(|fragment| fragment.bytes).sum())?;
        let left = fragments.into_iter().map(|fragment| fragment.number).collect();
        let mut reading = ClipReading::begin(&archive, &self.folder, span, left).await?;
        reading.read_all().await?;
        match reading.finish()? {
            Some(clip) => Ok(clip),
            None => Err(archive.explain_absence(range_ms).await.into()),
        }
    }

    /// Returns whether the stored footage of the stream reaches `at_ms` of media time, ms since the epoch.
    ///
    /// # Errors
    /// The footage cannot be listed.
    pub async fn reaches(&self, stream: &str, at_ms: i64) -> Result<bool, ArchiveError> {
        let archive = self.kvs.archive(stream);
        let listed = archive.list((at_ms - MAX_FRAGMENT_MS).max(0)..=at_ms + MAX_FRAGMENT_MS).await?;
        Ok(listed.iter().any(|fragment| fragment.end_ms() >= at_ms))
    }
}

fn overlaps(fragment: &ArchivedFragment, span: ClipSpan) -> bool {
    // The listed length may leave out the last picture.
    fragment.start_ms() < span.to_ms && fragment.end_ms() >= span.from_ms
}

fn check_bytes(bytes: u64) -> Result<(), ClipFailure> {
    if bytes > MAX_BYTES {
        return Err(ClipFailure::TooLarge { bytes, limit: MAX_BYTES });
    }
    Ok(())
}

/// A clip whose fragments are being read.
struct ClipReading<'a> {
    archive: &'a Archive,
    folder: &'a Path,
    cutter: ClipCutter,
    /// `None` while a blocking thread has it.
    writer: Option<ClipWriter>,
    /// The fragments that are not read yet.
    left: VecDeque<Arc<str>>,
    /// The fragment that is being read.
    open: Option<BegunFragment>,
    /// The codecs of a fragment without video.
    codecs: Option<String>,
    breaks: u32,
}

/// A fragment that has begun and not ended.
struct BegunFragment {
    fragment: Arc<Fragment>,
    packets: Vec<Packet>,
    bytes: u64,
}

/// The end of one call.
enum CallEnd {
    /// Every fragment was sent, or none that the service still has is left.
    Whole,
    /// A fragment is not stored any more.
    Expired(Option<String>),
}

impl<'a> ClipReading<'a> {
    async fn begin(
        archive: &'a Archive,
        folder: &'a Path,
        span: ClipSpan,
        left: VecDeque<Arc<str>>,
    ) -> Result<Self, ClipFailure> {
        let own_folder = folder.to_owned();
        let created = spawn_blocking(move || ClipWriter::create(&own_folder, span.from_ms)).await;
        let writer = created.map_err(io::Error::other).flatten().map_err(|error| storage(folder, error))?;
        let (cutter, writer) = (ClipCutter::new(span), Some(writer));
        Ok(Self { archive, folder, cutter, writer, left, open: None, codecs: None, breaks: 0 })
    }

    /// Reads every fragment, in as many calls as that takes.
    async fn read_all(&mut self) -> Result<(), ClipFailure> {
        while !self.left.is_empty() {
            let asked: Vec<Arc<str>> = self.left.iter().take(MAX_FRAGMENTS_PER_CALL).cloned().collect();
            match self.read_call(&asked).await {
                Ok(CallEnd::Whole) => self.left.retain(|number| !asked.contains(number)),
                Ok(CallEnd::Expired(number)) => self.skip(number.as_deref()),
                Err(ClipFailure::Archive(ArchiveError::Request(error)))
                    if self.breaks < MAX_BREAKS && error.reason() == "connection_broken" =>
                {
                    self.breaks += 1;
                }
                Err(error) => return Err(error),
            }
            // A fragment that broke off is read again from its beginning.
            self.open = None;
        }
        Ok(())
    }

    async fn read_call(&mut self, numbers: &[Arc<str>]) -> Result<CallEnd, ClipFailure> {
        let mut media = self.archive.media(numbers).await?;
        let mut demuxer = Demuxer::default();
        while let Some(bytes) = media.next().await {
            demuxer.push(&bytes?);
            while let Some(event) = demuxer.next(Instant::now()).map_err(|error| self.unreadable(&error))? {
                if let Some(end) = self.handle(event).await? {
                    return Ok(end);
                }
            }
        }
        // The service may leave out the trailing tags of a fragment: then the end of its answer ends it.
        self.end_fragment().await?;
        Ok(CallEnd::Whole)
    }

    async fn handle(&mut self, event: DemuxEvent) -> Result<Option<CallEnd>, ClipFailure> {
        match event {
            DemuxEvent::Begin(fragment) => self.begin_fragment(fragment),
            DemuxEvent::NoVideo { fragment, codecs } => {
                self.codecs = Some(codecs);
                self.begin_fragment(fragment);
            }
            DemuxEvent::Packet(packet) => self.push(packet)?,
            DemuxEvent::End { .. } | DemuxEvent::Incomplete(_) => self.end_fragment().await?,
            DemuxEvent::StreamError(error) if error.id == Some(NO_FRAGMENT) => {
                return Ok(Some(CallEnd::Expired(error.fragment)));
            }
            DemuxEvent::StreamError(error) => {
                let (id, code) = (error.id.unwrap_or(0), error.code.unwrap_or_default());
                return Err(self.unreadable(&format!("the service reports error {id} {code}")));
            }
        }
        Ok(None)
    }

    fn begin_fragment(&mut self, fragment: Arc<Fragment>) {
        self.open = Some(BegunFragment { fragment, packets: Vec::new(), bytes: 0 });
    }

    fn push(&mut self, packet: Packet) -> Result<(), ClipFailure> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.bytes += packet.unit.len() as u64;
        open.packets.push(packet);
        // The listed sizes are the service's; these are what is there.
        check_bytes(open.bytes + self.writer.as_ref().map_or(0, ClipWriter::bytes))
    }

    /// Adds the pictures of the fragment that has ended to the clip.
    async fn end_fragment(&mut self) -> Result<(), ClipFailure> {
        let Some(BegunFragment { fragment, packets, .. }) = self.open.take() else { return Ok(()) };
        self.left.retain(|number| *number != fragment.number);
        let units = self.cutter.cut(packets)?;
        if units.is_empty() { Ok(()) } else { self.write(units).await }
    }

    async fn write(&mut self, units: Vec<AccessUnit>) -> Result<(), ClipFailure> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let writing = spawn_blocking(move || {
            let written = writer.append(&units);
            (writer, written)
        });
        // A blocking thread cannot borrow, so the writer travels.
        let (writer, written) =
            writing.await.map_err(|error| storage(self.folder, io::Error::other(error)))?;
        self.writer = Some(writer);
        written.map_err(|error| storage(self.folder, error))
    }

    /// Leaves out a fragment that is not stored any more: the one that the service names, else the next one.
    fn skip(&mut self, number: Option<&str>) {
        let named = self.left.iter().position(|left| number == Some(&**left));
        self.left.remove(named.unwrap_or(0));
    }

    /// Returns the clip; `None`: it has no pictures.
    fn finish(self) -> Result<Option<Mp4Clip>, ClipFailure> {
        let Some((writer, track)) = self.writer.zip(self.cutter.track()) else {
            let no_video = |codecs| Err(ClipFailure::NoVideo { codecs });
            return self.codecs.map_or(Ok(None), no_video);
        };
        Ok(Some(writer.finish(&file_track(track)?)))
    }

    fn unreadable(&self, error: &impl ToString) -> ClipFailure {
        ClipFailure::Unreadable { stream: self.archive.stream().to_owned(), message: error.to_string() }
    }
}

fn storage(folder: &Path, source: io::Error) -> ClipFailure {
    ClipFailure::Storage { folder: folder.display().to_string(), source }
}

/// Returns the track as the file describes it.
fn file_track(track: &VideoTrack) -> Result<HlsTrack, ClipFailure> {
    let VideoTrack { codec, codec_private, width_px, height_px } = track.clone();
    // An MP4 file has the parameter sets in its sample description (ISO/IEC 14496-15), which is made of this data.
    DecoderConfig::read(codec, &codec_private)
        .map_err(|error| ClipFailure::NoVideo { codecs: format!("{codec:?}: {error}") })?;
    let stated_px = (width_px, height_px);
    // PixelWidth and PixelHeight are mandatory in Matroska, but some producers leave them out.
    let (width_px, height_px) = match stated_px {
        (0, _) | (_, 0) => picture_size(codec, &codec_private).unwrap_or(stated_px),
        _ => stated_px,
    };
    Ok(HlsTrack { codec, codec_private, width_px, height_px })
}
