//! Why an outbox does not do what it is asked.

use std::path::PathBuf;

use crate::store::FORMAT;

/// Why an outbox was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two sinks of one name, or one without: correct the configuration.
    #[error("a sink of the outbox is named {name:?}: every sink needs a name of its own")]
    SinkName {
        /// The name.
        name: String,
    },
    /// Another process has it: end that one, or use another folder.
    #[error("the outbox in {dir} is in use by another process: end that one, or give this one a folder of its own", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder or a file cannot be made, read or written: the text says whether to see to the disk, its permissions or a limit.
    #[error("cannot open the outbox at {place}: {why}; {}", disk_remedy(why))]
    Disk {
        /// The folder or file.
        place: String,
        /// What the system says.
        why: String,
    },
    /// The file was written by another version of the program: use that one, or move the file away.
    #[error(
        "the outbox {place} has format {found}, and this program knows format {FORMAT}: deliver what it holds with the \
         version that wrote it, or move the file away (sources then go on from the positions that are kept elsewhere)"
    )]
    Format {
        /// The file.
        place: String,
        /// The format that it says it has.
        found: String,
    },
    /// The file is something else: move it away.
    #[error("{place} is no outbox ({why}): move the file away, and a new outbox is made")]
    Foreign {
        /// The file.
        place: String,
        /// What tells.
        why: String,
    },
    /// The file is damaged beyond repair: move it away.
    #[error(
        "the outbox {place} is damaged ({why}): move the file away, and a new outbox is made (sources then go on from the \
         positions that are kept elsewhere; what the file held undelivered is lost)"
    )]
    Damaged {
        /// The file.
        place: String,
        /// What was found.
        why: String,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that writes the outbox: {why}; raise the limit of threads")]
    Thread {
        /// What the system says.
        why: String,
    },
}

/// Why a commit was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The outbox is closed: read the same again after the next start.
    #[error("the outbox takes nothing in any more: it is closed")]
    Closed,
    /// It is larger than any commit may be: leave attachments out.
    #[error("a commit of {origin:?} has {bytes} bytes, and {limit} is the limit: leave attachments out")]
    TooLarge {
        /// The source of the commit.
        origin: String,
        /// Its checkpoint, payloads and attachments.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The sink is of another outbox: a bug of the caller.
    #[error("an entry of {origin:?} is for sink number {number}, which this outbox was not opened with")]
    NoSink {
        /// Who committed.
        origin: String,
        /// The sink's place in a configuration.
        number: usize,
    },
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The outbox is closed.
    #[error("the outbox is closed")]
    Closed,
    /// The disk is in trouble, and the writer is about to open the file again: try again later.
    #[error("the outbox {place} cannot be read ({why}): see to the disk; it is tried again")]
    Unavailable {
        /// The file.
        place: String,
        /// What the system or the store says.
        why: String,
    },
    /// The sink is of another outbox: a bug of the caller.
    #[error("there is no sink number {number} in this outbox")]
    NoSink {
        /// The sink's place in a configuration.
        number: usize,
    },
}

/// Why an outbox was not closed as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The disk was in trouble until the end. Their sources make them again from the last checkpoint.
    #[error(
        "{commits} commits were not written to the outbox {place} before the end: {why}; see to the disk; their sources make \
         them again from the last checkpoint"
    )]
    Unwritten {
        /// The file.
        place: String,
        /// How many.
        commits: u64,
        /// What the disk says.
        why: String,
    },
    /// All that was taken in is written, but not that the outbox is closed: the next opening counts as one after a crash.
    #[error("the outbox {place} could not be marked as closed: {why}; see to the disk; nothing is lost")]
    Unmarked {
        /// The file.
        place: String,
        /// What the disk says.
        why: String,
    },
    /// The writer panicked: a bug.
    #[error("the thread that writes the outbox {place} panicked; restart, and report this bug")]
    Panicked {
        /// The file.
        place: String,
    },
}

/// Returns what to do about an error of the disk, by the system's words for it.
pub(crate) fn disk_remedy(why: &str) -> &'static str {
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
        _ => "make the folder writable for this user and see that the disk has room",
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
            (2, "see that the disk has room"),
        ] {
            let why = Error::from_raw_os_error(number).to_string();
            let error = OpenError::Disk { place: "here".to_owned(), why }.to_string();
            assert!(error.contains(words), "{number}: {error}");
        }
    }
}
