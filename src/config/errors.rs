//! What is wrong with a configuration, said with file, line, column, key, value and remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::place::{KeyPath, Place};
use super::tree::Node;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file cannot be read: give another path, or make it readable.
    #[error("config {file}: cannot be read: {why}\n   = help: {}", remedy_of_unreadable(why))]
    Unreadable {
        /// The file as it was named.
        file: String,
        /// What the system says.
        why: io::Error,
    },
    /// The file is elsewhere and does not come: correct its address, or see to its server.
    #[error(
        "config {file}: cannot be fetched: {why}\n   = help: correct the address or the rights, or name a file of this machine with --config FILE"
    )]
    Unfetched {
        /// The file as it was named.
        file: String,
        /// What its server says.
        why: String,
    },
    /// The environment or a flag names no region: correct it.
    #[error(
        "--aws-region (AWS_REGION): {region:?} has not the form of a region\n   = help: write a region such as ap-southeast-1"
    )]
    Region {
        /// As it was given.
        region: String,
    },
    /// The folder of the local sink cannot be used: make it writable.
    #[error(
        "publishers.local_dir: {}: {} {why}\n   = help: name a folder that this user can write, or make it so",
        folder.display(), parent.display()
    )]
    Folder {
        /// The folder as it was named.
        folder: PathBuf,
        /// It, or the nearest one above it that is there.
        parent: PathBuf,
        /// What is wrong with that one.
        why: String,
    },
    /// The file has mistakes: correct each.
    #[error("{}", Report { file, text, problems })]
    Invalid {
        /// The file as it was named.
        file: String,
        /// What it holds.
        text: String,
        /// Every mistake, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `cameras[1].pipeline[0].objects.conf_threshold`; empty for the file as a whole.
    pub key: String,
    /// Where it stands; `None` where nothing in the file is at fault.
    pub place: Option<Place>,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a mistake at a known place; the first of a key at a place stands.
    pub(super) fn add(
        &mut self,
        key: &KeyPath,
        place: Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (key, place) = (key.to_string(), Some(place));
        if self.0.iter().any(|problem| problem.key == key && problem.place == place) {
            return;
        }
        self.0.push(Problem { key, place, message: message.into(), remedy: remedy.into() });
    }

    /// Adds a mistake of the value at `key`, or of the nearest above it.
    pub(super) fn add_at(
        &mut self,
        root: &Node,
        key: &KeyPath,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(key, root.nearest(key).place, message, remedy);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|problem| problem.place);
        self.0
    }
}

fn remedy_of_unreadable(why: &io::Error) -> &'static str {
    match why.kind() {
        io::ErrorKind::NotFound => {
            "name the file with --config FILE or CONFIG_FILE, or `-` for standard input"
        }
        io::ErrorKind::InvalidData => "save the file as UTF-8 text",
        _ => "make the file readable for this user, or name another with --config FILE",
    }
}

struct Report<'a> {
    file: &'a str,
    text: &'a str,
    problems: &'a [Problem],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "config {} has {count} {}", self.file, if count == 1 { "mistake" } else { "mistakes" })?;
        self.problems.iter().try_for_each(|problem| self.one(f, problem))
    }
}

impl Report<'_> {
    fn one(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        let colon = if problem.key.is_empty() { "" } else { ": " };
        writeln!(f, "\n\n{}{colon}{}", problem.key, problem.message)?;
        match problem.place {
            Some(place) => self.snippet(f, place)?,
            None => writeln!(f, "  --> {}", self.file)?,
        }
        write!(f, "   = help: {}", problem.remedy)
    }

    fn snippet(&self, f: &mut fmt::Formatter<'_>, place: Place) -> fmt::Result {
        writeln!(f, "  --> {}:{}:{}", self.file, place.line, place.column)?;
        let Some(line) = place.line.checked_sub(1).and_then(|n| self.text.lines().nth(n)) else {
            return Ok(());
        };
        let shown: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = place.column.saturating_sub(1);
        let room = line.trim_end().chars().count().saturating_sub(before);
        let carets = "^".repeat(place.length.clamp(1, room.max(1)));
        writeln!(f, "     |\n{:>4} | {shown}", place.line)?;
        writeln!(f, "     | {}{carets}", " ".repeat(before))
    }
}
