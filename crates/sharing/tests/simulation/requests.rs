//! Requests against the table, in units of DynamoDB, and the formula of the design that they are compared with.

use std::collections::BTreeMap;

use sharing::{ItemCall, MemoryTable, PendingRecord, TableCall};

/// Bytes of one row of a worker.
const MEMBER_ROW_BYTES: usize = 400;
/// Bytes of one camera in a plan or in the loads of a worker.
const ENTRY_BYTES: usize = 40;
/// Bytes of an item without checkpoint and pending records.
const ITEM_BYTES: usize = 200;

/// The units and numbers of the requests since `since_ms`.
#[derive(Default)]
pub(crate) struct RequestTotals {
    since_ms: u64,
    pub(crate) write_units: f64,
    pub(crate) read_units: f64,
    pub(crate) calls: BTreeMap<&'static str, u64>,
    pub(crate) offers: u64,
}

fn writes(bytes: usize) -> f64 {
    bytes.div_ceil(1_024).max(1) as f64
}

fn reads(bytes: usize) -> f64 {
    bytes.div_ceil(4_096).max(1) as f64
}

impl RequestTotals {
    /// Starts to count at this time.
    pub(crate) fn start(now_ms: u64) -> Self {
        Self { since_ms: now_ms, ..Self::default() }
    }

    /// Counts a call at its sending.
    pub(crate) fn count(&mut self, now_ms: u64, call: &TableCall, table: &MemoryTable) {
        if now_ms < self.since_ms {
            return;
        }
        let workers = table.members().workers.len();
        let (name, written, read) = match call {
            TableCall::Join { .. } | TableCall::Beat { .. } => ("beat", 1.0, 0.0),
            TableCall::LeaderBeat { .. } => ("leader's beat", 1.0, 0.0),
            TableCall::ReadMembers => ("read members", 0.0, reads(workers * MEMBER_ROW_BYTES)),
            TableCall::ReadOwnRow { .. } => ("read own row", 0.0, 0.5),
            TableCall::ReadLeader => ("read leader", 0.0, 0.5),
            TableCall::ReadPlan { .. } => ("read plan", 0.0, 1.0),
            TableCall::WritePlan { plan, .. } => {
                ("write plan", writes(plan.cameras.len() * ENTRY_BYTES), 0.0)
            }
            TableCall::WriteLoads { loads, .. } => ("write loads", writes(loads.len() * ENTRY_BYTES), 0.0),
            TableCall::ReadLoads => ("read loads", 0.0, 0.5 * workers as f64),
            TableCall::ReadItem { .. } => ("read item", 0.0, 1.0),
            TableCall::ReadItems { cameras } => ("read items", 0.0, cameras.len() as f64),
            TableCall::Item { call: ItemCall::Write(write), .. } => {
                let records: usize = write.pending.iter().map(PendingRecord::len_bytes).sum();
                let bytes = ITEM_BYTES + write.state.checkpoint.len() + records;
                (if records > 0 { "write events" } else { "write position" }, writes(bytes), 0.0)
            }
            TableCall::Item { call, .. } => {
                self.offers += u64::from(matches!(call, ItemCall::Offer { .. }));
                ("change owner", 1.0, 0.0)
            }
            _ => ("other", 1.0, 0.0),
        };
        self.write_units += written;
        self.read_units += read;
        *self.calls.entry(name).or_default() += 1;
    }
}

/// Returns the units per second of the design's cost model: writes and reads.
pub(crate) fn formula(workers: usize, cameras: usize, events_per_s: f64) -> (f64, f64) {
    let (workers, cameras) = (workers as f64, cameras as f64);
    let writes = workers / 2.0 + 1.0 + cameras / 20.0 + events_per_s * 3.0;
    let reads = workers * (2.0 * 0.5 + 0.5) + 3.0 * (workers * 0.4 / 4.0).ceil();
    (writes, reads)
}
