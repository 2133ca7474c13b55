//! State and records that are in a camera's item before the records are delivered.
//!
//! Whoever resumes from the item delivers these records under their ids and continues with this state, which already includes them.
//! So an event has one id, also in live mode, where footage that is read again might give other ones.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::checkpoint::{Checkpoint, CheckpointError, pack, unpack};
use crate::delivery::delivery_progress::{MAX_HELD, UnacceptedRecord};

/// Version of the stored form.
const VERSION: u64 = 1;
/// Limit on the packed bytes: DynamoDB charges a write per KB, and a busy camera has a write per event.
pub(super) const MAX_PACKED_BYTES: usize = 64 * 1024;

/// State and records that are in the table before their delivery.
#[derive(Debug)]
pub(in crate::delivery) struct WriteAhead {
    /// The state after the records.
    pub(in crate::delivery) checkpoint: Checkpoint,
    /// Records in the order of their `seq` that some sink has yet to accept.
    pub(in crate::delivery) records: Vec<AheadRecord>,
}

/// A record that some sink has yet to accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::delivery) struct AheadRecord {
    pub(in crate::delivery) seq: u64,
    /// Id of the outbox that has the record for these sinks.
    pub(in crate::delivery) holder: Arc<str>,
    /// The payload of its entry in that outbox.
    pub(in crate::delivery) payload: String,
    /// Names of the sinks.
    pub(in crate::delivery) sinks: Vec<Arc<str>>,
}

/// The stored form of state and records.
#[derive(Debug, Deserialize)]
pub(crate) struct StoredAhead {
    /// JSON as the outbox stores it, with a version of its own.
    pub(crate) checkpoint: String,
    /// The JSON of each [`AheadRecord`], byte for byte.
    pub(crate) records: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct VersionedAhead<'a> {
    version: u64,
    checkpoint: &'a str,
    records: &'a [Box<RawValue>],
}

#[derive(Deserialize)]
struct AheadVersion {
    #[serde(default)]
    version: u64,
}

/// State and records, packed for the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PackedAhead {
    pub(super) seq: u64,
    pub(super) bytes: Vec<u8>,
}

impl PackedAhead {
    /// Packs a state and the records that sinks have yet to accept; `None`: more than an item is to hold.
    ///
    /// # Errors
    /// A value has no JSON form, which is a bug.
    pub(super) fn of(
        checkpoint: &Checkpoint,
        unaccepted: &[UnacceptedRecord],
        own: &Arc<str>,
    ) -> Result<Option<Self>, CheckpointError> {
        let records: Option<Vec<_>> = unaccepted.iter().map(|record| AheadRecord::of(record, own)).collect();
        let Some(records) = records.filter(|records| records.len() <= MAX_HELD) else { return Ok(None) };
        let json = checkpoint.without_gate().to_bytes()?;
        let stored = StoredAhead {
            checkpoint: String::from_utf8_lossy(&json).into_owned(),
            records: records.iter().map(serde_json::value::to_raw_value).collect::<Result<_, _>>()?,
        };
        let bytes = stored.pack()?;
        let seq = checkpoint.decide.seq();
        Ok((bytes.len() <= MAX_PACKED_BYTES).then_some(Self { seq, bytes }))
    }
}

impl AheadRecord {
    /// Returns `None` for a payload that is no text, which no version writes.
    fn of(record: &UnacceptedRecord, own: &Arc<str>) -> Option<Self> {
        let UnacceptedRecord { seq, holder, payload, sinks } = record;
        let payload = String::from_utf8(payload.to_vec()).ok()?;
        let holder = Arc::clone(holder.as_ref().unwrap_or(own));
        Some(Self { seq: *seq, holder, payload, sinks: sinks.clone() })
    }

    /// Returns the payload of the record's entry.
    pub(in crate::delivery) fn payload(&self) -> Bytes {
        Bytes::copy_from_slice(self.payload.as_bytes())
    }
}

impl StoredAhead {
    /// Packs state and records for the attribute `ahead` of an item.
    ///
    /// # Errors
    /// A value has no JSON form, which is a bug.
    pub(crate) fn pack(&self) -> Result<Vec<u8>, CheckpointError> {
        let Self { checkpoint, records } = self;
        Ok(pack(&serde_json::to_vec(&VersionedAhead { version: VERSION, checkpoint, records })?)?)
    }

    /// Reads what [`StoredAhead::pack`] packed.
    ///
    /// # Errors
    /// Another version wrote it, or it is damaged.
    pub(crate) fn from_packed(packed: &[u8]) -> Result<Self, CheckpointError> {
        let json = unpack(packed)?;
        // The version is checked before the rest is parsed, so a newer form gets the message about versions.
        let AheadVersion { version } = serde_json::from_slice(&json)?;
        if version != VERSION {
            return Err(CheckpointError::Version { found: version });
        }
        Ok(serde_json::from_slice(&json)?)
    }
}

impl WriteAhead {
    /// Reads what [`PackedAhead::of`] packed.
    ///
    /// # Errors
    /// Another version wrote it, or it is damaged.
    pub(super) fn from_packed(packed: &[u8]) -> Result<Self, CheckpointError> {
        let StoredAhead { checkpoint, records } = StoredAhead::from_packed(packed)?;
        let records = records.iter().map(|record| serde_json::from_str(record.get()));
        let records = records.collect::<Result<_, _>>()?;
        Ok(Self { checkpoint: Checkpoint::from_bytes(checkpoint.as_bytes())?, records })
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    fn unaccepted(seq: u64, holder: Option<&str>, payload: &[u8]) -> UnacceptedRecord {
        let payload = Bytes::copy_from_slice(payload);
        UnacceptedRecord { seq, holder: holder.map(Arc::from), payload, sinks: vec!["kds/events".into()] }
    }

    fn pack(records: &[UnacceptedRecord]) -> Option<PackedAhead> {
        PackedAhead::of(&Checkpoint::new("front-stream"), records, &"me".into()).unwrap()
    }

    #[test]
    fn what_is_packed_is_read_back() {
        let records = [unaccepted(7, None, b"{}\n{\"a\":1}"), unaccepted(8, Some("before"), b"{}\n{}")];
        let read = WriteAhead::from_packed(&pack(&records).unwrap().bytes).unwrap();
        assert_eq!(read.checkpoint, Checkpoint::new("front-stream"));
        let found: Vec<_> =
            read.records.iter().map(|record| (record.seq, &*record.holder, record.payload())).collect();
        let expected = [(7, "me", records[0].payload.clone()), (8, "before", records[1].payload.clone())];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_size_is_bounded() {
        let small: Vec<_> = (0..=MAX_HELD as u64).map(|seq| unaccepted(seq, None, b"{}")).collect();
        assert!(pack(&small).is_none() && pack(&small[1..]).is_some());
        let digest = |at: u64| sha2::Sha256::digest(at.to_le_bytes());
        let random: String =
            (0..4 * MAX_PACKED_BYTES as u64 / 64).map(|at| format!("{:x}", digest(at))).collect();
        assert!(pack(&[unaccepted(1, None, random.as_bytes())]).is_none());
    }

    #[test]
    fn what_this_program_cannot_read_is_refused_with_the_reason() {
        let packed = |json: &str| super::pack(json.as_bytes()).unwrap();
        for (name, bytes, words) in [
            ("newer", packed(r#"{"version":2,"state":[]}"#), "version 2, this program reads 1"),
            ("no version", packed("{}"), "version 0"),
            ("no records", packed(r#"{"version":1,"checkpoint":""}"#), "missing field `records`"),
            ("no state", packed(r#"{"version":1,"checkpoint":"","records":[]}"#), "cannot be read"),
            ("not packed", b"{}".to_vec(), "cannot be unpacked"),
        ] {
            let error = WriteAhead::from_packed(&bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
    }
}
