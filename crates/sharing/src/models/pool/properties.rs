//! Properties of every state of the pool.

use std::collections::{BTreeMap, BTreeSet};

use super::{CAMERAS, PoolModel, PoolState, camera_key};

pub(super) fn has_one_id(_: &PoolModel, state: &PoolState) -> bool {
    let mut ids = BTreeMap::new();
    state.log.iter().all(|(seq, id, _)| *ids.entry(*seq).or_insert(*id) == *id)
}

pub(super) fn has_lost_nothing(_: &PoolModel, state: &PoolState) -> bool {
    let item = state.table.item(&camera_key(0));
    let pending = item.pending.iter().map(|record| (record.seq, record.id.as_bytes()[0]));
    let known: Vec<_> = state.log.iter().map(|(seq, id, _)| (*seq, *id)).chain(pending).collect();
    (1..).zip(item.state.checkpoint.iter()).all(|(seq, id)| known.contains(&(seq, *id)))
}

fn first_occurrences(state: &PoolState) -> Vec<(u64, u64)> {
    let mut seen = BTreeSet::new();
    let first = state.log.iter().filter(|(seq, _, _)| seen.insert(*seq));
    first.map(|(seq, _, epoch)| (*seq, *epoch)).collect()
}

pub(super) fn is_in_order(_: &PoolModel, state: &PoolState) -> bool {
    first_occurrences(state).is_sorted()
}

pub(super) fn has_no_stale_news(_: &PoolModel, state: &PoolState) -> bool {
    first_occurrences(state).is_sorted_by_key(|(_, epoch)| *epoch)
}

/// A worker that the item names as the owner runs the camera under no other epoch than the item's.
pub(super) fn has_no_two_owners(_: &PoolModel, state: &PoolState) -> bool {
    (0..CAMERAS.len()).all(|camera| {
        let camera = camera_key(camera);
        let epoch = state.table.item(&camera).epoch;
        let current = state
            .workers
            .iter()
            .flatten()
            .filter(|own| own.runs.get(&camera).is_some_and(|run| run.epoch == epoch));
        current.count() <= 1
    })
}
