//! The errors of the index.

use std::io::{self, ErrorKind};

/// An error of the index.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// The index is damaged, of another version or of another program: it is deleted and built again.
    #[error("{0}")]
    Unusable(String),
    /// The disk, or another process that holds the index.
    #[error("{0}")]
    Disk(String),
    /// The files of events are not indexed completely yet.
    #[error("{indexed} of {total} bytes are indexed")]
    Incomplete { indexed: u64, total: u64 },
}

impl From<redb::Error> for IndexError {
    fn from(error: redb::Error) -> Self {
        let text = error.to_string();
        match error {
            // redb reports a wrong magic number as invalid data, and a file shorter than its header says as an early end.
            redb::Error::Io(why)
                if !matches!(why.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                Self::Disk(text)
            }
            redb::Error::DatabaseAlreadyOpen => {
                Self::Disk(format!("{text}: stop the other process that reads this folder"))
            }
            _ => Self::Unusable(text),
        }
    }
}

macro_rules! convert_redb_errors {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for IndexError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

convert_redb_errors!(
    CommitError,
    DatabaseError,
    SetDurabilityError,
    StorageError,
    TableError,
    TransactionError
);

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error.to_string())
    }
}

impl From<serde_json::Error> for IndexError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unusable(format!("a summary cannot be read: {error}"))
    }
}
