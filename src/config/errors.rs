//! Errors of a configuration, with file, line, column, key, value and remedy.

use std::io;
use std::path::PathBuf;

use kvs_config::{Problem, ProblemReport};

/// The reason why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file cannot be read: give another path, or make it readable.
    #[error("config {file}: cannot be read: {why}\n   = help: {}", unreadable_remedy(why))]
    Unreadable {
        /// The file name, as the user gave it.
        file: String,
        /// The error of the operating system.
        why: io::Error,
    },
    /// The file cannot be fetched: correct its address, or check its server.
    #[error(
        "config {file}: cannot be fetched: {why}\n   = help: correct the address or the permissions, or name a local file with --config FILE"
    )]
    Unfetched {
        /// The file name, as the user gave it.
        file: String,
        /// The error of the server or the connection.
        why: String,
    },
    /// The environment or a flag names no region: correct it.
    #[error(
        "--aws-region (AWS_REGION): {region:?} is not a region name\n   = help: write a region such as ap-southeast-1"
    )]
    Region {
        /// The region as it was given.
        region: String,
    },
    /// The folder of the local sink cannot be used: make it writable.
    #[error(
        "publishers.local_dir: {}: {} {why}\n   = help: name a folder that this user can write, or change its permissions",
        folder.display(), parent.display()
    )]
    Folder {
        /// The folder as the configuration names it.
        folder: PathBuf,
        /// The folder, or its nearest existing parent.
        parent: PathBuf,
        /// The reason why `parent` cannot be used.
        why: String,
    },
    /// The file has mistakes: correct each.
    #[error("{}", ProblemReport { kind: "config", file, text, problems })]
    Invalid {
        /// The file name, as the user gave it.
        file: String,
        /// The text of the file.
        text: String,
        /// Every mistake, in the order of the file.
        problems: Vec<Problem>,
    },
}

fn unreadable_remedy(why: &io::Error) -> &'static str {
    match why.kind() {
        io::ErrorKind::NotFound => {
            "name the file with --config FILE or CONFIG_FILE, or `-` for standard input"
        }
        io::ErrorKind::InvalidData => "save the file as UTF-8 text",
        _ => "make the file readable for this user, or name another with --config FILE",
    }
}
