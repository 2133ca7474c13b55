//! A rotated file of lines: `events.jsonl`, then `events.jsonl.1`, `.2`, ...

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::de::IgnoredAny;

use crate::base::{make_private_folder, private_file};

/// Limit on the torn line that is searched for at the end of a file, bytes.
const MAX_TORN_BYTES: u64 = 4 * 1024 * 1024;

/// The size at which a journal is rotated, and the number of files that it keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalLimits {
    /// A file is rotated before it grows beyond this.
    pub(crate) file_bytes: u64,
    /// Number of files kept, the current one included.
    pub(crate) files: u32,
    /// The beginning of each line: it identifies a line that a crash cut off.
    pub(crate) head: &'static str,
}

/// The current file. Appended lines survive a crash of the program and of the machine. Files are private to their owner, and symbolic
/// links are not followed.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    limits: JournalLimits,
    file: File,
    len: u64,
    /// Held while the journal is open: a second writer would cut off lines that the first is writing.
    _lock: File,
}

impl Journal {
    /// Opens the file for appending. An incomplete line at its end, left by a crash, is cut off; any other last line is kept and gets
    /// its line break.
    ///
    /// # Errors
    /// Another process writes it, or the system refuses.
    pub(crate) fn open(path: &Path, limits: JournalLimits) -> io::Result<Self> {
        // First: the end of a file that another process is writing would seem torn, and be cut off.
        let lock = lock(path)?;
        let (file, len) = open_whole(path, limits.head)?;
        Ok(Self { path: path.to_owned(), limits, file, len, _lock: lock })
    }

    /// Appends whole lines, each with its line break: all of them, or on an error none.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        // A person may have moved the file: lines go to where its readers expect it.
        if !self.is_at_its_path()? {
            if let Some(folder) = self.path.parent() {
                make_private_folder(folder)?;
            }
            (self.file, self.len) = open_whole(&self.path, self.limits.head)?;
        }
        // An empty file takes lines of any size: rotating it would make no room.
        if self.len > 0 && self.len + lines.len() as u64 > self.limits.file_bytes {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(lines).and_then(|()| self.file.sync_data()) {
            // Half a line would join with the next one.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Returns whether the open file is still the one at the path: a person may have moved or deleted it.
    fn is_at_its_path(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(at_path) => Ok((at_path.dev(), at_path.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Renames each file up to the first gap to the next age, and begins a new one. Where there is no gap, the oldest is removed.
    ///
    /// Invariant: a rotation that failed half-way leaves a gap, which the next attempt fills, so it costs no file.
    fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.limits.files - 1;
        let gap = (0..oldest).find(|&age| !aged(&self.path, age).exists()).unwrap_or(oldest);
        // From the oldest to the newest, so that no rename replaces a file that is still wanted.
        for age in (0..gap).rev() {
            fs::rename(aged(&self.path, age), aged(&self.path, age + 1))?;
        }
        // O_APPEND: after `set_len` has cut off a failed write, the next one begins at the new end.
        self.file = private_file().create(true).append(true).open(&self.path)?;
        self.len = 0;
        Ok(())
    }
}

/// Opens the file, makes its last line complete, and returns it with its length.
fn open_whole(path: &Path, head: &str) -> io::Result<(File, u64)> {
    let mut file = private_file()
        .create(true)
        .read(true)
        .append(true)
        .open(path)
        .map_err(|error| explain_link(error, path))?;
    let len = file.metadata()?.len();
    let from = len.saturating_sub(MAX_TORN_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    (&mut file).take(MAX_TORN_BYTES).read_to_end(&mut tail)?;
    let last = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = &tail[last..];
    if line.is_empty() {
        return Ok((file, len));
    }
    // Without a line break in what was read, the beginning of the line is unknown.
    if is_torn(line, head) && (last > 0 || from == 0) {
        let whole = from + last as u64;
        file.set_len(whole)?;
        return Ok((file, whole));
    }
    file.write_all(b"\n")?;
    Ok((file, len + 1))
}

/// Returns whether a line is the beginning of a journal line. A line that lacks only its line break is complete: an editor may have
/// saved it.
fn is_torn(line: &[u8], head: &str) -> bool {
    let len = line.len().min(head.len());
    line[..len] == head.as_bytes()[..len] && serde_json::from_slice::<IgnoredAny>(line).is_err()
}

/// Returns the error, and names a symbolic link: the system's text ("too many levels") does not say that it is not followed.
fn explain_link(error: io::Error, path: &Path) -> io::Error {
    if error.raw_os_error() != Some(Errno::LOOP.raw_os_error()) {
        return error;
    }
    let text =
        format!("{} is a symbolic link, which is not followed: put a file in its place", path.display());
    io::Error::other(text)
}

fn lock(path: &Path) -> io::Result<File> {
    // A file of its own, since rotation renames the journal.
    let lock = private_file().create(true).append(true).open(path.with_extension("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another kvs-infer writes to this folder"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns the path of a journal's file after `age` rotations; at 0 the current one.
pub(crate) fn aged(path: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: JournalLimits = JournalLimits { file_bytes: 10, files: 3, head: "{\"event_id\":" };

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn it_is_rotated_and_keeps_a_number_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut journal = Journal::open(&path, LIMITS).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "longer than a file\n", "six\n"] {
            journal.append(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "six\n");
        assert_eq!(read(&aged(&path, 1)), "longer than a file\n");
        assert_eq!(read(&aged(&path, 2)), "four\nfive\n");
        assert!(!aged(&path, 3).exists());
    }

    #[test]
    fn a_repeated_rotation_costs_no_file() {
        for renamed in 0..=4 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("events.jsonl");
            (1..=4).for_each(|age| fs::write(aged(&path, age), format!("{age}\n")).unwrap());
            let mut journal = Journal::open(&path, JournalLimits { files: 5, ..LIMITS }).unwrap();
            journal.append(b"current\n").unwrap();
            let before = (0..4).rev().take(renamed);
            before.for_each(|age| fs::rename(aged(&path, age), aged(&path, age + 1)).unwrap());
            journal.append(b"new\n").unwrap();
            let files: Vec<_> = (0..5).map(|age| read(&aged(&path, age))).collect();
            assert_eq!(files, ["new\n", "current\n", "1\n", "2\n", "3\n"], "after {renamed} renames");
        }
    }

    #[test]
    fn a_file_that_was_deleted_or_moved_is_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/events.jsonl");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let mut journal = Journal::open(&path, LIMITS).unwrap();
        journal.append(b"one\n").unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        journal.append(b"two\n").unwrap();
        assert_eq!(read(&path), "two\n");
        assert_eq!(read(&folder.path().join("moved")), "one\n");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        journal.append(b"three\n").unwrap();
        assert_eq!(read(&path), "three\n");
    }

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let first = Journal::open(&path, LIMITS).unwrap();
        let refused = Journal::open(&path, LIMITS).unwrap_err();
        assert!(refused.to_string().contains("another kvs-infer"), "{refused}");
        drop(first);
        assert!(Journal::open(&path, LIMITS).is_ok());
    }

    #[test]
    fn appending_resumes_without_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for (name, before, after) in [
            ("whole", "one\n", "one\ntwo\n"),
            ("torn", "one\n{\"ev", "one\ntwo\n"),
            ("torn later", "one\n{\"event_id\":\"a\",\"ca", "one\ntwo\n"),
            ("only torn", "{\"ev", "two\n"),
            ("empty", "", "two\n"),
            (
                "a complete one without its line break",
                "one\n{\"event_id\":1}",
                "one\n{\"event_id\":1}\ntwo\n",
            ),
            ("a text of others", "their last line", "their last line\ntwo\n"),
            ("JSON of others", "{\"name\": 1", "{\"name\": 1\ntwo\n"),
        ] {
            fs::write(&path, before).unwrap();
            let limits = JournalLimits { file_bytes: 100, ..LIMITS };
            Journal::open(&path, limits).unwrap().append(b"two\n").unwrap();
            assert_eq!(read(&path), after, "{name}");
        }
    }

    #[test]
    fn symbolic_links_are_not_followed_and_files_are_private() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim.txt"), folder.path().join("events.jsonl"));
        fs::write(&victim, "their last line").unwrap();
        symlink(&victim, &path).unwrap();
        let refused = Journal::open(&path, LIMITS).unwrap_err().to_string();
        assert!(refused.contains("events.jsonl is a symbolic link"), "{refused}");
        fs::remove_file(&path).unwrap();
        let mut journal = Journal::open(&path, LIMITS).unwrap();
        journal.append(b"first file\n").unwrap();
        journal.append(b"second file\n").unwrap();
        for file in [&path, &aged(&path, 1), &folder.path().join("events.lock")] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
        fs::rename(&path, folder.path().join("moved")).unwrap();
        symlink(&victim, &path).unwrap();
        assert!(journal.append(b"third\n").is_err(), "nor while it is written");
        assert_eq!(read(&victim), "their last line");
    }
}
