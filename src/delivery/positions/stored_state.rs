//! The delivered state in a camera's item, and what was written ahead of it: the form that one process and a pool of workers share.

use std::collections::HashMap;
use std::io;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::checkpoint::unpack;

/// The attributes of an item.
pub(crate) type ItemAttributes = HashMap<String, AttributeValue>;

/// The delivered state of an item, and state and records that were written ahead of it, still packed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StoredItemState {
    pub(super) delivered: Option<StoredCheckpoint>,
    /// A packed [`StoredAhead`](super::ahead::StoredAhead) that counts.
    ahead: Option<Vec<u8>>,
}

/// A checkpoint as an item holds it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StoredCheckpoint {
    /// JSON, written by versions before `rev`.
    Text(String),
    NewRecord(Vec<u8>),
}

impl StoredItemState {
    /// Returns the state in the attributes of an item.
    pub(crate) fn of(attributes: &ItemAttributes) -> Self {
        let delivered = match attributes.get("checkpoint") {
            Some(AttributeValue::S(json)) => Some(StoredCheckpoint::Text(json.clone())),
            Some(AttributeValue::B(bytes)) => Some(StoredCheckpoint::NewRecord(bytes.as_ref().to_vec())),
            _ => None,
        };
        let number =
            |name: &str| attributes.get(name).and_then(|value| value.as_n().ok()?.parse::<u64>().ok());
        let ahead = match attributes.get("ahead") {
            // Another version that wrote the item since then has left a stale one.
            Some(AttributeValue::B(bytes)) if number("ahead_rev") == number("rev") => {
                Some(bytes.as_ref().to_vec())
            }
            _ => None,
        };
        Self { delivered, ahead }
    }

    /// Returns the JSON of the delivered checkpoint; `None`: nothing of the camera was delivered yet.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn delivered_json(&self) -> io::Result<Option<Vec<u8>>> {
        match &self.delivered {
            None => Ok(None),
            Some(StoredCheckpoint::Text(json)) => Ok(Some(json.as_bytes().to_vec())),
            Some(StoredCheckpoint::NewRecord(packed)) => unpack(packed).map(Some),
        }
    }

    /// Returns `true` if a version before `rev` wrote the delivered checkpoint.
    pub(crate) fn is_of_first_versions(&self) -> bool {
        matches!(self.delivered, Some(StoredCheckpoint::Text(_)))
    }

    /// Returns the packed write-ahead; `None`: everything up to the position is delivered.
    pub(crate) fn ahead(&self) -> Option<&[u8]> {
        self.ahead.as_deref()
    }
}
