//! Forgets records that another process makes in place of this one.

use std::collections::HashMap;
use std::sync::Arc;

use super::parcel::Parcel;
use super::settlement::Settlement;
use crate::frame::CameraId;

/// Entries read in one go.
const MAX_ENTRIES: usize = 1_000;
/// Their bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Takes the records that are left out (see [`Settlement::leave_out`]) off the queue of every sink, and returns how many
/// that were, by camera. Blocks for the disk.
pub(super) fn forget(
    store: &::outbox::Outbox,
    sinks: &[(Arc<str>, ::outbox::Sink)],
    settlement: &Settlement,
) -> Result<HashMap<CameraId, u64>, ::outbox::ReadError> {
    let mut forgotten = HashMap::new();
    for (name, sink) in sinks {
        let mut after = None;
        loop {
            let entries = store.pending(*sink, after, MAX_ENTRIES, MAX_BYTES)?;
            let Some(last) = entries.last() else { break };
            after = Some(last.id);
            for parcel in entries.into_iter().filter_map(|entry| Parcel::unwrap(entry).ok()) {
                if settlement.is_left_out(&parcel.camera, parcel.label.seq, name) {
                    store.ack(*sink, &[parcel.id]);
                    *forgotten.entry(parcel.camera).or_default() += 1;
                }
            }
        }
    }
    Ok(forgotten)
}
