//! Reads a file with the output of GetMedia: its fragments are played one after another.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use kvs_mkv::{Block, FragmentEvent, FragmentReader, FragmentStart, MkvLimits, Tag};

use crate::playback::error::{ClipError, unreadable};
use crate::playback::event::{ClipEvent, ClipEventKind, OnClipEvent, PassEnd};
use crate::store::fragment::MediaHeader;

const READ_BYTES: usize = 1 << 16;
/// The part of a file in which the first fragment number of a dump must be.
const HEAD_BYTES: u64 = 1 << 20;
/// The EBML id of the EBML header.
const EBML_ID: [u8; 4] = [0x1A, 0x45, 0xDF, 0xA3];

/// Returns whether a file is Matroska with the AWS tags of a fragment.
pub(crate) fn is_dump(path: &Path) -> Result<bool, ClipError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| unreadable(path, &error))?;
    if !head.starts_with(&EBML_ID) {
        return Ok(false);
    }
    // Other Matroska files have no fragment number, and are left to libavformat.
    let mut reader = FragmentReader::new(MkvLimits::default());
    reader.push(&head);
    Ok(matches!(reader.next(), Ok(Some(FragmentEvent::Start(start))) if !start.number.is_empty()))
}

/// Runs through the dump once. Its times begin at `start_ms` since the start of the playback.
pub(crate) fn run_pass(
    path: &Path,
    start_ms: i64,
    on_event: &mut OnClipEvent<'_>,
) -> Result<PassEnd, ClipError> {
    let mut segmenter =
        DumpSegmenter { start: None, end_ms: start_ms, base_ms: start_ms, frames: 0, tags: Vec::new() };
    let finished = read_events(path, &mut |event| segmenter.push(event, on_event))?;
    Ok(if finished { PassEnd::Finished { end_ms: segmenter.end_ms } } else { PassEnd::Stopped })
}

/// Passes the events of a dump to `push`. Returns false if `push` wants no more.
fn read_events(path: &Path, push: &mut dyn FnMut(FragmentEvent) -> bool) -> Result<bool, ClipError> {
    let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut reader = FragmentReader::new(MkvLimits::default());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let len = file.read(&mut buffer).map_err(|error| unreadable(path, &error))?;
        reader.push(&buffer[..len]);
        while let Some(event) = reader.next().map_err(|error| unreadable(path, &error))? {
            if !push(event) {
                return Ok(false);
            }
        }
        if len == 0 {
            break;
        }
    }
    // A truncated file ends with what it has of its last fragment.
    while let Ok(Some(event)) = reader.finish() {
        if !push(event) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Emits the fragments of one pass, each from the end of the one before: the dump's own times are left out.
struct DumpSegmenter {
    /// A fragment of which no frame has come yet.
    start: Option<FragmentStart>,
    /// Start of the current fragment.
    base_ms: i64,
    /// Time of the latest frame; after the fragment's end, the start of the next.
    end_ms: i64,
    frames: i64,
    /// The producer's tags before the frames.
    tags: Vec<Tag>,
}

impl DumpSegmenter {
    /// Takes an event of the dump. Returns false if the receiver wants no more.
    fn push(&mut self, event: FragmentEvent, on_event: &mut OnClipEvent<'_>) -> bool {
        match event {
            FragmentEvent::Start(mut start) => {
                self.tags = std::mem::take(&mut start.tags);
                (self.start, self.frames) = (Some(start), 0);
                true
            }
            FragmentEvent::Block(frame) => self.emit_frame(frame.relative_ms, frame.block, on_event),
            FragmentEvent::End(end) if self.frames > 0 => self.end_fragment(end.tags, on_event),
            // Fragments without frames are left out, and so are error records.
            FragmentEvent::End(_) | FragmentEvent::Error(_) => true,
        }
    }

    fn emit_frame(&mut self, relative_ms: i64, block: Block, on_event: &mut OnClipEvent<'_>) -> bool {
        if let Some(start) = self.start.take() {
            self.base_ms = self.end_ms;
            let header = Arc::new(MediaHeader::new(&start.tracks));
            let kind = ClipEventKind::FragmentStart { header, media_ms: self.base_ms };
            if !on_event(ClipEvent { due_ms: self.base_ms, kind }) {
                return false;
            }
        }
        self.frames += 1;
        self.end_ms = self.end_ms.max(self.base_ms + relative_ms);
        // The new header counts in ms, whatever the scale of the dump was.
        let relative = i16::try_from(relative_ms).unwrap_or(i16::MAX);
        let kind = ClipEventKind::Frame(Block { relative, ..block });
        on_event(ClipEvent { due_ms: self.end_ms, kind })
    }

    /// Ends the fragment. The last frame counts as long as the average of the others.
    fn end_fragment(&mut self, tags: Vec<Tag>, on_event: &mut OnClipEvent<'_>) -> bool {
        let gaps = (self.frames - 1).max(1);
        self.end_ms += ((self.end_ms - self.base_ms) / gaps).max(1);
        self.frames = 0;
        let tags = std::mem::take(&mut self.tags).into_iter().chain(tags).collect();
        on_event(ClipEvent { due_ms: self.end_ms, kind: ClipEventKind::FragmentEnd(tags) })
    }
}
