//! Follows the lines of the local sink's files while they grow and are rotated.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::delivery::aged;
use crate::sinks::EVENTS_FILES;

/// Returns the last lines of all files, the oldest first.
pub(super) fn last_lines(tail: &mut Tail, last: usize) -> io::Result<VecDeque<Vec<u8>>> {
    let mut lines = VecDeque::new();
    for age in (1..EVENTS_FILES).rev() {
        keep(&mut lines, Tail::new(&aged(&tail.path, age)).lines()?, last);
    }
    keep(&mut lines, tail.lines()?, last);
    Ok(lines)
}

/// Appends `lines` and keeps only the last ones.
fn keep(kept: &mut VecDeque<Vec<u8>>, lines: VecDeque<Vec<u8>>, last: usize) {
    kept.extend(lines);
    kept.drain(..kept.len().saturating_sub(last));
}

/// A file of lines that grows and is rotated.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) path: PathBuf,
    file: Option<File>,
    /// Start of a line that is not complete yet.
    partial: Vec<u8>,
}

impl Tail {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, partial: Vec::new() }
    }

    /// Returns the lines added since the last call, without their line breaks. Without a file there are none.
    pub(super) fn lines(&mut self) -> io::Result<VecDeque<Vec<u8>>> {
        let mut lines = VecDeque::new();
        loop {
            if self.file.is_none() && !self.open()? {
                return Ok(lines);
            }
            self.read(&mut lines)?;
            if !self.is_rotated()? {
                return Ok(lines);
            }
            // Lines may have been added between the last read and the rotation.
            self.read(&mut lines)?;
            self.file = None;
        }
    }

    /// Returns `true` if the file exists.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    fn open(&mut self) -> io::Result<bool> {
        self.partial.clear();
        match File::open(&self.path) {
            Ok(file) => self.file = Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn read(&mut self, lines: &mut VecDeque<Vec<u8>>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        // The position is after the last byte that was read.
        let at = file.stream_position()?;
        let len = file.metadata()?.len();
        if len < at {
            // After a failed write, the sink truncates the file to its last complete line.
            self.partial.clear();
            file.seek(SeekFrom::Start(len))?;
        }
        let mut grown = std::mem::take(&mut self.partial);
        file.read_to_end(&mut grown)?;
        let mut pieces = grown.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
        // `split` returns at least one piece, the text after the last line break.
        self.partial = pieces.next_back().unwrap_or_default();
        lines.extend(pieces);
        Ok(())
    }

    /// Returns `true` if the path names another file than the open one.
    fn is_rotated(&self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        match fs::metadata(&self.path) {
            // A rotation renames the file and creates a new one, so the inode differs.
            Ok(named) => Ok(named.ino() != file.metadata()?.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sinks::EVENTS_FILE;

    fn append(path: &Path, text: &str) {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn new_lines(tail: &mut Tail) -> Vec<String> {
        tail.lines().unwrap().into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn follows_complete_lines_over_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        let mut tail = Tail::new(&path);
        assert_eq!(new_lines(&mut tail), [""; 0], "no file yet");
        append(&path, "one\ntw");
        assert_eq!(new_lines(&mut tail), ["one"]);
        append(&path, "o\n");
        assert_eq!(new_lines(&mut tail), ["two"]);
        append(&path, "three\n");
        fs::rename(&path, aged(&path, 1)).unwrap();
        append(&path, "four\n");
        assert_eq!(new_lines(&mut tail), ["three", "four"]);
        fs::rename(&path, aged(&path, 1)).unwrap();
        assert_eq!(new_lines(&mut tail), [""; 0], "between two files");
        append(&path, "five\n");
        assert_eq!(new_lines(&mut tail), ["five"]);
    }

    #[test]
    fn a_truncated_partial_line_is_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        let mut tail = Tail::new(&path);
        append(&path, "one\nhal");
        assert_eq!(new_lines(&mut tail), ["one"]);
        File::options().write(true).open(&path).unwrap().set_len(4).unwrap();
        assert_eq!(new_lines(&mut tail), [""; 0]);
        append(&path, "two\n");
        assert_eq!(new_lines(&mut tail), ["two"]);
    }

    #[test]
    fn starts_with_the_last_lines_of_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVENTS_FILE);
        append(&aged(&path, 2), "one\n");
        append(&aged(&path, 1), "two\nthree\n");
        append(&path, "four\n");
        for (last, expected) in [(usize::MAX, 4), (3, 3), (1, 1), (0, 0)] {
            let lines = last_lines(&mut Tail::new(&path), last).unwrap();
            assert_eq!(lines.len(), expected);
            assert!(lines.back().is_none_or(|line| line == b"four"));
        }
    }
}
