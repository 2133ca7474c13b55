//! The tables of the database, and the changes that one transaction makes to them.

use std::time::SystemTime;

use redb::{ReadableTable, TableDefinition};

use crate::entry::{NewEntry, OutboxCommit};
use crate::sink::SinkHandle;
use crate::totals::{PendingTotals, SinkQuota, time_of};

pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
pub(crate) const CHECKPOINTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("checkpoints");
pub(crate) const ENTRIES: TableDefinition<'_, u64, (&str, &[u8])> = TableDefinition::new("entries");
pub(crate) const ATTACHMENTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("attachments");
/// Quota bytes, takes attachments, milliseconds since 1970.
pub(crate) const PENDING: TableDefinition<'_, (&str, u64), (u64, bool, u64)> =
    TableDefinition::new("pending");
/// Number of pending sinks, number of those that take attachments.
pub(crate) const OWED: TableDefinition<'_, u64, (u32, u32)> = TableDefinition::new("owed");

type WriteTable<'tx, K, V> = redb::Table<'tx, K, V>;

/// All tables within one transaction.
pub(crate) struct OutboxTables<'tx> {
    pub(crate) counters: WriteTable<'tx, &'static str, u64>,
    checkpoints: WriteTable<'tx, &'static str, &'static [u8]>,
    entries: WriteTable<'tx, u64, (&'static str, &'static [u8])>,
    attachments: WriteTable<'tx, (u64, u32), &'static [u8]>,
    pending: WriteTable<'tx, (&'static str, u64), (u64, bool, u64)>,
    owed: WriteTable<'tx, u64, (u32, u32)>,
    next_id: u64,
    totals: PendingTotals,
}

impl<'tx> OutboxTables<'tx> {
    pub(crate) fn open(
        transaction: &'tx redb::WriteTransaction,
        totals: PendingTotals,
    ) -> Result<Self, redb::Error> {
        let counters = transaction.open_table(COUNTERS)?;
        // No row yet in a new database: ids begin at 1.
        let next_id = counters.get("next")?.map_or(1, |row| row.value());
        Ok(Self {
            counters,
            checkpoints: transaction.open_table(CHECKPOINTS)?,
            entries: transaction.open_table(ENTRIES)?,
            attachments: transaction.open_table(ATTACHMENTS)?,
            pending: transaction.open_table(PENDING)?,
            owed: transaction.open_table(OWED)?,
            next_id,
            totals,
        })
    }

    /// Stores a commit's checkpoint and entries.
    pub(crate) fn insert_commit(
        &mut self,
        commit: &OutboxCommit,
        at_ms: u64,
        quotas: &[SinkQuota],
    ) -> Result<(), redb::Error> {
        if let Some(checkpoint) = &commit.checkpoint {
            self.checkpoints.insert(commit.source.as_str(), &checkpoint[..])?;
        }
        commit.entries.iter().try_for_each(|entry| self.insert_entry(&commit.source, entry, at_ms, quotas))
    }

    fn insert_entry(
        &mut self,
        source: &str,
        entry: &NewEntry,
        at_ms: u64,
        quotas: &[SinkQuota],
    ) -> Result<(), redb::Error> {
        let id = self.next_id;
        // An entry that no sink gets uses a number up too: gaps do no harm, and ids stay in the order of commits.
        self.next_id += 1;
        let (sinks, takers) = self.enqueue(id, entry, at_ms, quotas)?;
        if sinks == 0 {
            return Ok(());
        }
        self.owed.insert(id, (sinks, takers))?;
        self.entries.insert(id, (source, &entry.payload[..]))?;
        // Attachments that no sink takes would never be deleted.
        let kept = if takers == 0 { &[] } else { &entry.attachments[..] };
        for (index, attachment) in (0..).zip(kept) {
            self.attachments.insert((id, index), &attachment[..])?;
        }
        Ok(())
    }

    /// Adds an entry to the queues of its sinks. Returns the number of these sinks, and of those that take its attachments.
    fn enqueue(
        &mut self,
        id: u64,
        entry: &NewEntry,
        at_ms: u64,
        quotas: &[SinkQuota],
    ) -> Result<(u32, u32), redb::Error> {
        let (mut sinks, mut takers) = (0, 0);
        // By configured sink and not by `entry.sinks`, which may name a sink twice.
        let configured = quotas.iter().enumerate();
        for (_, quota) in configured.filter(|(index, _)| entry.sinks.contains(&SinkHandle(*index))) {
            let takes = quota.takes_attachments && !entry.attachments.is_empty();
            let bytes = entry.quota_bytes(takes);
            self.pending.insert((quota.name.as_str(), id), (bytes, takes, at_ms))?;
            self.totals.entry(quota.name.clone()).or_default().add(bytes);
            sinks += 1;
            takers += u32::from(takes);
        }
        Ok((sinks, takers))
    }

    /// Removes an entry from a sink's queue, and deletes it with its last sink. An entry that is not in the queue is ignored.
    pub(crate) fn release(&mut self, sink: &str, id: u64) -> Result<(), redb::Error> {
        let Some((bytes, takes, _)) = self.pending.remove((sink, id))?.map(|row| row.value()) else {
            return Ok(());
        };
        if let Some(totals) = self.totals.get_mut(sink) {
            totals.remove(bytes);
        }
        // Every pending row has a row in `owed`. If it were missing, deleting the entry is better than keeping it for ever.
        let (sinks, takers) = self.owed.get(id)?.map_or((1, 1), |row| row.value());
        let left = (sinks.saturating_sub(1), takers.saturating_sub(u32::from(takes)));
        // The count of takers also is 0 where they are deleted already, or never were stored: only a taker deletes.
        if takes && left.1 == 0 {
            self.attachments.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
        }
        if left.0 == 0 {
            self.entries.remove(id)?;
            self.owed.remove(id)?;
        } else {
            self.owed.insert(id, left)?;
        }
        Ok(())
    }

    /// Deletes a sink's queue.
    pub(crate) fn drop_sink(&mut self, sink: &str) -> Result<(), redb::Error> {
        // One by one through `release`: other sinks may still owe an entry, and those that none owes must go.
        while let Some(id) = self.oldest(sink)?.map(|(id, _)| id) {
            self.release(sink, id)?;
        }
        Ok(())
    }

    /// Drops the oldest entries beyond the quota, but never the newest one. Returns the number of dropped entries.
    pub(crate) fn trim(&mut self, quota: &SinkQuota) -> Result<u64, redb::Error> {
        let Some(max_bytes) = quota.max_bytes else { return Ok(0) };
        let mut dropped = 0;
        let exceeds = |totals: &PendingTotals| {
            totals.get(&quota.name).is_some_and(|now| now.bytes > max_bytes && now.entries > 1)
        };
        while exceeds(&self.totals) {
            let Some((id, _)) = self.oldest(&quota.name)? else { break };
            self.release(&quota.name, id)?;
            dropped += 1;
        }
        Ok(dropped)
    }

    fn oldest(&self, sink: &str) -> Result<Option<(u64, SystemTime)>, redb::Error> {
        let first = self.pending.range((sink, 0)..=(sink, u64::MAX))?.next().transpose()?;
        Ok(first.map(|(key, row)| (key.value().1, time_of(row.value().2))))
    }

    /// Stores the next id, and returns the totals of every queue that is not empty.
    pub(crate) fn finish(mut self) -> Result<PendingTotals, redb::Error> {
        self.counters.insert("next", self.next_id)?;
        let mut pending = std::mem::take(&mut self.totals);
        pending.retain(|_, totals| totals.entries > 0);
        // Read again: the oldest entry of a queue may have been released in this transaction.
        for (sink, totals) in &mut pending {
            totals.oldest = self.oldest(sink)?.map(|(_, at)| at);
        }
        Ok(pending)
    }
}
