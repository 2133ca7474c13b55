//! A file that holds what GetMedia once sent: its fragments are played one after another.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use kvs_mkv::{Block, FragmentEvent, FragmentReader, FragmentStart, MkvLimits, Tag};

use crate::clip::{ClipError, Cut, Piece, Reel, Screen, unreadable};
use crate::fragment::MediaHeader;

const PIECE_BYTES: usize = 1 << 16;
/// The first fragment number of a dump stands within so many bytes.
const HEAD_BYTES: u64 = 1 << 20;
const EBML: [u8; 4] = [0x1A, 0x45, 0xDF, 0xA3];

/// Whether a file is Matroska with the AWS tags of a fragment in it.
pub(crate) fn is_dump(path: &Path) -> Result<bool, ClipError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| unreadable(path, &error))?;
    if !head.starts_with(&EBML) {
        return Ok(false);
    }
    let mut reader = FragmentReader::new(MkvLimits::default());
    reader.push(&head);
    Ok(matches!(reader.next(), Ok(Some(FragmentEvent::Start(start))) if !start.number.is_empty()))
}

/// Runs through the dump once, from `start_ms` after the beginning of the play.
pub(crate) fn run(path: &Path, start_ms: i64, screen: &mut Screen<'_>) -> Result<Reel, ClipError> {
    let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut reader = FragmentReader::new(MkvLimits::default());
    let mut scene = Scene { start: None, end_ms: start_ms, base_ms: start_ms, frames: 0, tags: Vec::new() };
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let len = file.read(&mut piece).map_err(|error| unreadable(path, &error))?;
        reader.push(&piece[..len]);
        while let Some(event) = reader.next().map_err(|error| unreadable(path, &error))? {
            if !scene.show(event, screen) {
                return Ok(Reel::Stopped);
            }
        }
        if len == 0 {
            break;
        }
    }
    // A file that was cut off ends with what it has of its last fragment.
    while let Ok(Some(event)) = reader.finish() {
        if !scene.show(event, screen) {
            return Ok(Reel::Stopped);
        }
    }
    Ok(Reel::Ended { end_ms: scene.end_ms })
}

/// One run through the dump.
struct Scene {
    /// A fragment of which no frame has come yet.
    start: Option<FragmentStart>,
    /// Time of the fragment being shown.
    base_ms: i64,
    /// Time of its latest frame, at its end the time at which the next begins.
    end_ms: i64,
    frames: i64,
    /// The producer's tags before its frames.
    tags: Vec<Tag>,
}

impl Scene {
    /// False: no more is wanted.
    fn show(&mut self, event: FragmentEvent, screen: &mut Screen<'_>) -> bool {
        match event {
            FragmentEvent::Start(mut start) => {
                self.tags = std::mem::take(&mut start.tags);
                (self.start, self.frames) = (Some(start), 0);
                true
            }
            FragmentEvent::Block(frame) => self.show_frame(frame.relative_ms, frame.block, screen),
            FragmentEvent::End(end) if self.frames > 0 => self.end_fragment(end.tags, screen),
            FragmentEvent::End(_) | FragmentEvent::Error(_) => true,
        }
    }

    fn show_frame(&mut self, relative_ms: i64, block: Block, screen: &mut Screen<'_>) -> bool {
        if let Some(start) = self.start.take() {
            self.base_ms = self.end_ms;
            let header = Arc::new(MediaHeader::new(&start.tracks));
            let piece = Piece::Begin { header, media_ms: self.base_ms };
            if !screen(Cut { due_ms: self.base_ms, piece }) {
                return false;
            }
        }
        self.frames += 1;
        self.end_ms = self.end_ms.max(self.base_ms + relative_ms);
        let relative = i16::try_from(relative_ms).unwrap_or(i16::MAX);
        screen(Cut { due_ms: self.end_ms, piece: Piece::Frame(Block { relative, ..block }) })
    }

    /// The last frame lasts as long as the others on average.
    fn end_fragment(&mut self, tags: Vec<Tag>, screen: &mut Screen<'_>) -> bool {
        let gaps = (self.frames - 1).max(1);
        self.end_ms += ((self.end_ms - self.base_ms) / gaps).max(1);
        self.frames = 0;
        let tags = std::mem::take(&mut self.tags).into_iter().chain(tags).collect();
        screen(Cut { due_ms: self.end_ms, piece: Piece::End(tags) })
    }
}
