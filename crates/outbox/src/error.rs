//! Errors of the outbox, each with its remedy.

use std::path::PathBuf;

use crate::format::FORMAT;

/// The reason why an outbox was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two sinks share a name, or one has none: correct the configuration.
    #[error("a sink of the outbox is named {name:?}: every sink needs a name of its own")]
    SinkName {
        /// The name.
        name: String,
    },
    /// Another process holds the lock: stop it, or use another folder.
    #[error("the outbox in {dir} is in use by another process: stop that process, or give this one another folder", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder or a file cannot be created, read or written: check the disk, its permissions or a limit, as the text says.
    #[error("cannot open the outbox at {location}: {why}; {}", disk_remedy(why))]
    Disk {
        /// The path of the folder or file.
        location: String,
        /// The error of the operating system.
        why: String,
    },
    /// The file was written by another version of the program: use that version, or move the file away.
    #[error(
        "the outbox {location} has format {found}, and this program reads format {FORMAT}: deliver its entries with the \
         version that wrote it, or move the file away (sources then resume from the positions that are kept elsewhere)"
    )]
    Format {
        /// The path of the file.
        location: String,
        /// The format in the file.
        found: String,
    },
    /// The file is not an outbox: move it away.
    #[error("{location} is not an outbox ({why}): move the file away, and a new outbox is created")]
    Foreign {
        /// The path of the file.
        location: String,
        /// The reason why it is not an outbox.
        why: String,
    },
    /// The file is damaged beyond repair: move it away.
    #[error(
        "the outbox {location} is damaged ({why}): move the file away, and a new outbox is created (sources then resume from the \
         positions that are kept elsewhere; undelivered entries in the file are lost)"
    )]
    Damaged {
        /// The path of the file.
        location: String,
        /// The damage.
        why: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start the thread that writes the outbox: {why}; raise the limit of threads")]
    Thread {
        /// The error of the operating system.
        why: String,
    },
}

/// The reason why a commit was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The outbox is closed: the source reads the same footage again after the next start.
    #[error("the outbox is closed and accepts no more commits")]
    Closed,
    /// The commit exceeds the limit: leave attachments out.
    #[error("a commit of {origin:?} has {bytes} bytes, and {limit} is the limit: leave attachments out")]
    TooLarge {
        /// The source of the commit.
        origin: String,
        /// The bytes of its checkpoint, payloads and attachments.
        bytes: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// The sink belongs to another outbox: a bug of the caller.
    #[error("an entry of {origin:?} is for sink number {number}, which this outbox was not opened with")]
    NoSink {
        /// The source of the commit.
        origin: String,
        /// The index of the sink.
        number: usize,
    },
}

/// The reason why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The outbox is closed.
    #[error("the outbox is closed")]
    Closed,
    /// The disk fails, and the writer is about to reopen the file: retry later.
    #[error("the outbox {location} cannot be read ({why}): check the disk; the read is retried")]
    Unavailable {
        /// The path of the file.
        location: String,
        /// The error of the operating system or the store.
        why: String,
    },
    /// The sink belongs to another outbox: a bug of the caller.
    #[error("this outbox has no sink number {number}")]
    NoSink {
        /// The index of the sink.
        number: usize,
    },
}

/// The reason why an outbox was not closed cleanly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The disk failed until the end. The sources produce the commits again from their last checkpoints.
    #[error(
        "{commits} commits were not written to the outbox {location} before the end: {why}; check the disk; their sources \
         produce them again from the last checkpoint"
    )]
    Unwritten {
        /// The path of the file.
        location: String,
        /// The number of commits.
        commits: u64,
        /// The error of the disk.
        why: String,
    },
    /// Everything accepted is durable, but the mark of a clean end is not: the next opening counts as one after a crash.
    #[error("the outbox {location} could not be marked as closed: {why}; check the disk; nothing is lost")]
    Unmarked {
        /// The path of the file.
        location: String,
        /// The error of the disk.
        why: String,
    },
    /// The writer panicked: a bug.
    #[error("the thread that writes the outbox {location} panicked; restart, and report this bug")]
    Panicked {
        /// The path of the file.
        location: String,
    },
}

/// Returns the remedy for a disk error, by the error number in the operating system's text.
pub(crate) fn disk_remedy(why: &str) -> &'static str {
    // The numbers are Linux's errno: 24 EMFILE, 23 ENFILE, 28 ENOSPC, 122 EDQUOT, 30 EROFS, 5 EIO, 40 ELOOP, 13 EACCES,
    // 1 EPERM. The text is all that redb keeps of an I/O error.
    match why {
        why if why.contains("os error 24)") || why.contains("os error 23)") => {
            "raise the limit of open files (ulimit -n; in a task definition ulimits, nofile)"
        }
        why if why.contains("os error 28)") || why.contains("os error 122)") => {
            "make room on the disk, or raise its quota"
        }
        why if why.contains("os error 30)") => "mount the disk for writing, or name another folder",
        why if why.contains("os error 5)") => "the disk is failing: replace it, or name another folder",
        why if why.contains("os error 40)") => {
            "put a file in place of the symbolic link, which is not followed"
        }
        why if why.contains("os error 13)") || why.contains("os error 1)") => {
            "make the folder writable for this user"
        }
        _ => "make the folder writable for this user, and check that the disk has room",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn the_remedy_follows_the_reason() {
        for (number, words) in [
            (24, "raise the limit of open files"),
            (23, "raise the limit of open files"),
            (28, "make room"),
            (30, "for writing"),
            (13, "writable for this user"),
            (2, "check that the disk has room"),
        ] {
            let why = Error::from_raw_os_error(number).to_string();
            let error = OpenError::Disk { location: "here".to_owned(), why }.to_string();
            assert!(error.contains(words), "{number}: {error}");
        }
    }
}
