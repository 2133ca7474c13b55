//! Why a configuration cannot be used, said with file, line, column, key, value and remedy.

use std::io;
use std::path::PathBuf;

use kvs_config::{Problem, Report};

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
    #[error("{}", Report { kind: "config", file, text, problems })]
    Invalid {
        /// The file as it was named.
        file: String,
        /// What it holds.
        text: String,
        /// Every mistake, in the order of the file.
        problems: Vec<Problem>,
    },
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
