//! A camera's item as attributes.

use std::borrow::Cow;
use std::sync::Arc;

use ::sharing::{CameraItem, CameraResumeState, OwnerWrite, PendingRecord, WorkerId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::row_reader::RowReader;
use crate::aws::AwsFailure;
use crate::checkpoint::{CheckpointOutline, pack};
use crate::delivery::{ItemAttributes, MAX_ITEM_BYTES, StoredAhead, StoredItemState, event_id_of};

/// Bytes of an item beside state and records: names, ids, host, position and numbers, with reserve.
const OTHER_BYTES: usize = 4 << 10;

/// Limit on a packed state without records, which stays in the item beside one with records.
const MAX_STATE_BYTES: usize = 128 << 10;

/// The state and the records of an owner's write, packed.
#[derive(Debug)]
pub(super) enum PackedWrite {
    /// Everything is delivered: the state; `None` before the first one.
    Delivered(Option<Vec<u8>>),
    /// The state after records that a sink lacks, and these records.
    Ahead(Vec<u8>),
}

#[derive(Deserialize)]
struct RecordFields<'a> {
    seq: u64,
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

impl PackedWrite {
    /// Packs the state and the records of a write.
    ///
    /// # Errors
    /// They have another form than that of an item, or are more than an item holds.
    pub(super) fn of(write: &OwnerWrite) -> Result<Self, AwsFailure> {
        let state = &write.state;
        check_state(state)?;
        if write.pending.is_empty() {
            if state.checkpoint.is_empty() {
                return Ok(Self::Delivered(None));
            }
            let packed = pack(&state.checkpoint).map_err(|why| not_sent(&why.to_string()))?;
            check_size("the state", packed.len(), MAX_STATE_BYTES)?;
            return Ok(Self::Delivered(Some(packed)));
        }
        let checkpoint = std::str::from_utf8(&state.checkpoint).map_err(|why| not_sent(&why.to_string()))?;
        let records = write.pending.iter().map(stored_record).collect::<Result<_, _>>()?;
        let ahead = StoredAhead { checkpoint: checkpoint.to_owned(), records };
        let packed = ahead.pack().map_err(|why| not_sent(&why.to_string()))?;
        // The delivered state stays beside it.
        let limit = MAX_ITEM_BYTES - OTHER_BYTES - MAX_STATE_BYTES;
        check_size("the state with the records that wait for a sink", packed.len(), limit)?;
        Ok(Self::Ahead(packed))
    }
}

/// Reads a camera's item; without attributes it is [`CameraItem::default`].
pub(super) fn camera_item(camera: &str, attributes: &ItemAttributes) -> Result<CameraItem, AwsFailure> {
    let row = RowReader::new(camera, attributes);
    let worker = |name: &str| Ok(row.text(name)?.map(WorkerId::new));
    let stored = StoredItemState::of(attributes);
    let rev = row.number("rev")?;
    // The first versions write without raising `rev`; their state is a text.
    let is_by_pool = attributes.contains_key("state_rev")
        && row.number::<u64>("state_rev")? == rev
        && (stored.ahead().is_some() || !stored.is_of_first_versions());
    let (mut state, pending) = stored_state(row, &stored, is_by_pool)?;
    let mut item = CameraItem {
        rev,
        epoch: row.number("epoch")?,
        owner: worker("owner")?,
        next: worker("next")?,
        ready: row.flag("ready")?,
        strikes: row.number("strikes")?,
        pending,
        ..CameraItem::default()
    };
    if is_by_pool {
        state.checkpoint_version = row.number("checkpoint_version")?;
        item.spec = row.text("spec")?.unwrap_or_default().into();
        if state.checkpoint.is_empty() {
            // A read of many items leaves the checkpoint out.
            state.seq = row.number("seq")?;
        }
    }
    if state.checkpoint.is_empty() && stored.ahead().is_none() {
        state.position = row.text("position")?.unwrap_or_default().into();
    }
    item.state = state;
    Ok(item)
}

/// Returns the state from which an owner resumes, and the records that a sink lacks.
fn stored_state(
    row: RowReader<'_>,
    stored: &StoredItemState,
    is_by_pool: bool,
) -> Result<(CameraResumeState, Vec<PendingRecord>), AwsFailure> {
    let unreadable = |name, why: &dyn std::error::Error| row.unreadable(name, &why.to_string());
    let delivered =
        stored.delivered_json().map_err(|why| unreadable("checkpoint", &why))?.unwrap_or_default();
    let Some(packed) = stored.ahead() else { return Ok((resume_state(&delivered), Vec::new())) };
    let ahead = StoredAhead::from_packed(packed).map_err(|why| unreadable("ahead", &why))?;
    let outline = CheckpointOutline::of_json(ahead.checkpoint.as_bytes());
    // A process without a pool delivers without a write-ahead while the table is away: such a state is further.
    if !is_by_pool
        && let (Some(ahead), Some(delivered_outline)) = (&outline, CheckpointOutline::of_json(&delivered))
        && ahead.is_behind(&delivered_outline)
    {
        return Ok((resume_state(&delivered), Vec::new()));
    }
    let pending = ahead.records.iter().map(|record| {
        pending_record(record).ok_or_else(|| row.unreadable("ahead", "has a record without number or id"))
    });
    Ok((resume_state(ahead.checkpoint.as_bytes()), pending.collect::<Result<_, _>>()?))
}

/// Returns the state of a checkpoint's JSON. That of a later version may have another form: then only its bytes are known.
fn resume_state(json: &[u8]) -> CameraResumeState {
    let outline = CheckpointOutline::of_json(json).unwrap_or_default();
    CameraResumeState {
        position: outline.fragment.unwrap_or_default(),
        seq: outline.seq,
        checkpoint: json.into(),
        checkpoint_version: 0,
    }
}

fn pending_record(record: &RawValue) -> Option<PendingRecord> {
    let RecordFields { seq, payload } = serde_json::from_str(record.get()).ok()?;
    let id = event_id_of(&payload)?;
    Some(PendingRecord { seq, id: id.into(), body: record.get().as_bytes().into() })
}

/// Returns the record as it is stored, after the proof that it is read back as it is.
fn stored_record(record: &PendingRecord) -> Result<Box<RawValue>, AwsFailure> {
    let stored: Option<Box<RawValue>> = serde_json::from_slice(&record.body).ok();
    let stored = stored.filter(|stored| pending_record(stored).as_ref() == Some(record));
    stored.ok_or_else(|| not_sent(&format!("record {} is not the JSON of an event with this id", record.seq)))
}

/// Refuses a state that would be read back as another one.
fn check_state(state: &CameraResumeState) -> Result<(), AwsFailure> {
    let read = CameraResumeState {
        checkpoint_version: state.checkpoint_version,
        checkpoint: Arc::clone(&state.checkpoint),
        ..resume_state(&state.checkpoint)
    };
    if *state == read { Ok(()) } else { Err(not_sent("position and seq are not those of the checkpoint")) }
}

fn check_size(name: &str, bytes: usize, limit: usize) -> Result<(), AwsFailure> {
    if bytes <= limit {
        return Ok(());
    }
    let text = format!("{name} would have {bytes} bytes packed, of at most {limit}");
    Err(AwsFailure::new("too_large", &text))
}

fn not_sent(why: &str) -> AwsFailure {
    AwsFailure::new("not_sent", why)
}
