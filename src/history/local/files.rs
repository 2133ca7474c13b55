//! The files of events: which they are, and their whole lines.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::delivery::aged;
use crate::sinks::{EVENTS_FILE, EVENTS_FILES};

/// Bytes that are read at a time.
const BLOCK_BYTES: u64 = 1024 * 1024;
/// Limit on a line, bytes: longer ones are skipped.
const MAX_LINE_BYTES: u64 = 8 * BLOCK_BYTES;
/// Bytes at the beginning and at the end of the indexed part that identify it.
const SEALED_BYTES: u64 = 1024;

/// The digest of a file's indexed part: another one means that the file was replaced or cut.
pub(super) type Seal = [u8; 32];

/// An open file of events.
#[derive(Debug)]
pub(super) struct EventsFile {
    file: File,
    /// Its inode: it survives a rotation.
    pub(super) inode: u64,
    /// Its length when it was opened, bytes.
    pub(super) len: u64,
}

/// Whole lines of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LineBlock {
    /// Their place in the file.
    pub(super) from: u64,
    /// The lines, each with its line break.
    pub(super) bytes: Vec<u8>,
    /// The place behind them.
    pub(super) next: u64,
}

/// The place of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinePlace {
    /// Number of the file in the index.
    pub(super) file: u32,
    pub(super) offset: u64,
    /// Without the line break, bytes.
    pub(super) len: u32,
}

/// The open files by their number in the index.
#[derive(Debug, Default)]
pub(super) struct NumberedFiles(pub(super) HashMap<u32, EventsFile>);

/// Opens the files of events in a folder, oldest first. A missing one is left out.
pub(super) fn open_files(folder: &Path) -> io::Result<Vec<EventsFile>> {
    let mut files: Vec<EventsFile> = Vec::new();
    // Newest first: where a rotation comes in between, a file appears twice, and none is missing.
    for age in 0..EVENTS_FILES {
        match EventsFile::open(&aged(&folder.join(EVENTS_FILE), age)) {
            Ok(file) if files.iter().any(|other| other.inode == file.inode) => {}
            Ok(file) => files.push(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    files.reverse();
    Ok(files)
}

impl EventsFile {
    fn open(path: &Path) -> io::Result<Self> {
        // O_NONBLOCK: a pipe in its place would hold up the reader.
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other(format!("{} is not a regular file", path.display())));
        }
        Ok(Self { file, inode: about.ino(), len: about.len() })
    }

    /// Returns the digest of the first `bytes` bytes, made of their ends.
    pub(super) fn seal(&self, bytes: u64) -> io::Result<Seal> {
        let part = bytes.min(SEALED_BYTES);
        let mut hash = Sha256::new();
        hash.update(bytes.to_be_bytes());
        hash.update(self.read(0, part)?);
        hash.update(self.read(bytes - part, part)?);
        Ok(hash.finalize().into())
    }

    /// Returns the next whole lines, about [`BLOCK_BYTES`] of them. None are left where `next` is `from`.
    pub(super) fn lines(&self, from: u64) -> io::Result<LineBlock> {
        let mut wanted = BLOCK_BYTES;
        loop {
            let part = wanted.min(self.len.saturating_sub(from));
            let mut bytes = self.read(from, part)?;
            if let Some(last) = bytes.iter().rposition(|&byte| byte == b'\n') {
                bytes.truncate(last + 1);
                let next = from + bytes.len() as u64;
                return Ok(LineBlock { from, bytes, next });
            }
            // The last line is not complete yet.
            if part < wanted {
                return Ok(LineBlock { from, bytes: Vec::new(), next: from });
            }
            if wanted >= MAX_LINE_BYTES {
                return self.skip_line(from);
            }
            wanted *= 2;
        }
    }

    /// Returns no lines, and the place behind the line that begins at `from`.
    fn skip_line(&self, from: u64) -> io::Result<LineBlock> {
        let mut at = from;
        while at < self.len {
            let bytes = self.read(at, BLOCK_BYTES.min(self.len - at))?;
            if let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
                return Ok(LineBlock { from, bytes: Vec::new(), next: at + end as u64 + 1 });
            }
            at += bytes.len() as u64;
        }
        Ok(LineBlock { from, bytes: Vec::new(), next: from })
    }

    fn read(&self, from: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }
}

impl LineBlock {
    /// Returns each line without its line break, and its place in the file.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut offset = self.from;
        self.bytes.split_inclusive(|&byte| byte == b'\n').map(move |line| {
            let place = offset;
            offset += line.len() as u64;
            (place, line.strip_suffix(b"\n").unwrap_or(line))
        })
    }
}

impl NumberedFiles {
    /// Returns a line; `None`: its file was deleted or replaced.
    pub(super) fn line(&self, place: LinePlace) -> Option<Vec<u8>> {
        self.0.get(&place.file)?.read(place.offset, place.len.into()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file_of(content: &[u8]) -> EventsFile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, content).unwrap();
        EventsFile::open(&path).unwrap()
    }

    #[test]
    fn only_whole_lines_are_read() {
        let cases: [(&[u8], &[u8], u64); 4] = [
            (b"", b"", 0),
            (b"one", b"", 0),
            (b"one\ntwo\n", b"one\ntwo\n", 8),
            (b"one\ntwo\nthr", b"one\ntwo\n", 8),
        ];
        for (content, bytes, next) in cases {
            let block = file_of(content).lines(0).unwrap();
            assert_eq!(block, LineBlock { from: 0, bytes: bytes.to_vec(), next });
        }
        let block = file_of(b"one\ntwo\n").lines(4).unwrap();
        assert_eq!(block.lines().collect::<Vec<_>>(), [(4, &b"two"[..])]);
    }

    #[test]
    fn long_lines_are_read_up_to_a_limit_and_then_skipped() {
        let line = |bytes: u64| [vec![b'x'; bytes as usize], b"\nnext\n".to_vec()].concat();
        let whole = file_of(&line(3 * BLOCK_BYTES)).lines(0).unwrap();
        assert_eq!(whole.bytes.len() as u64, whole.next);
        let content = line(MAX_LINE_BYTES + 1);
        let skipped = file_of(&content).lines(0).unwrap();
        assert_eq!((skipped.bytes.len(), skipped.next), (0, MAX_LINE_BYTES + 2));
        assert_eq!(file_of(&content).lines(skipped.next).unwrap().bytes, b"next\n");
        let torn = file_of(&vec![b'x'; 1 + MAX_LINE_BYTES as usize]).lines(0).unwrap();
        assert_eq!((torn.bytes.len(), torn.next), (0, 0), "its end may still come");
    }

    #[test]
    fn a_seal_changes_with_the_indexed_part_alone() {
        let long = vec![b'a'; 5_000];
        let seal = |content: &[u8], bytes| file_of(content).seal(bytes).unwrap();
        let grown = [&long[..], b"more"].concat();
        assert_eq!(seal(&long, 5_000), seal(&grown, 5_000));
        for (name, at) in [("its beginning", 3), ("its end", 4_990)] {
            let mut changed = long.clone();
            changed[at] = b'b';
            assert_ne!(seal(&changed, 5_000), seal(&long, 5_000), "{name}");
        }
        assert!(file_of(&long).seal(5_001).is_err(), "it was cut");
    }

    #[test]
    fn links_and_pipes_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        assert!(open_files(folder.path()).unwrap().is_empty());
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(open_files(folder.path()).is_err());
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::RUSR.union(rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(open_files(folder.path()).unwrap_err().to_string().contains("not a regular file"));
    }
}
