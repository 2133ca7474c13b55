//! The tables, and what one transaction does to them.

use std::time::SystemTime;

use redb::{ReadableTable, TableDefinition};

use crate::entry::{Commit, NewEntry};
use crate::sink::Sink;
use crate::store::{Pending, Share, time};

pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
pub(crate) const CHECKPOINTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("checkpoints");
pub(crate) const ENTRIES: TableDefinition<'_, u64, (&str, &[u8])> = TableDefinition::new("entries");
pub(crate) const ATTACHMENTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("attachments");
/// Bytes, takes attachments, milliseconds since 1970.
pub(crate) const PENDING: TableDefinition<'_, (&str, u64), (u64, bool, u64)> =
    TableDefinition::new("pending");
/// Pending sinks, those of them that take attachments.
pub(crate) const OWED: TableDefinition<'_, u64, (u32, u32)> = TableDefinition::new("owed");

type Table<'tx, K, V> = redb::Table<'tx, K, V>;

/// All tables within one transaction.
pub(crate) struct Tables<'tx> {
    pub(crate) counters: Table<'tx, &'static str, u64>,
    checkpoints: Table<'tx, &'static str, &'static [u8]>,
    entries: Table<'tx, u64, (&'static str, &'static [u8])>,
    attachments: Table<'tx, (u64, u32), &'static [u8]>,
    pending: Table<'tx, (&'static str, u64), (u64, bool, u64)>,
    owed: Table<'tx, u64, (u32, u32)>,
    next: u64,
    totals: Pending,
}

impl<'tx> Tables<'tx> {
    pub(crate) fn open(
        transaction: &'tx redb::WriteTransaction,
        totals: Pending,
    ) -> Result<Self, redb::Error> {
        let counters = transaction.open_table(COUNTERS)?;
        let next = counters.get("next")?.map_or(1, |row| row.value());
        Ok(Self {
            counters,
            checkpoints: transaction.open_table(CHECKPOINTS)?,
            entries: transaction.open_table(ENTRIES)?,
            attachments: transaction.open_table(ATTACHMENTS)?,
            pending: transaction.open_table(PENDING)?,
            owed: transaction.open_table(OWED)?,
            next,
            totals,
        })
    }

    pub(crate) fn take_in(
        &mut self,
        commit: &Commit,
        at_ms: u64,
        shares: &[Share],
    ) -> Result<(), redb::Error> {
        if let Some(checkpoint) = &commit.checkpoint {
            self.checkpoints.insert(commit.source.as_str(), &checkpoint[..])?;
        }
        commit.entries.iter().try_for_each(|entry| self.put(&commit.source, entry, at_ms, shares))
    }

    fn put(
        &mut self,
        source: &str,
        entry: &NewEntry,
        at_ms: u64,
        shares: &[Share],
    ) -> Result<(), redb::Error> {
        let id = self.next;
        self.next += 1;
        let (mut sinks, mut takers) = (0, 0);
        for (at, share) in shares.iter().enumerate() {
            if !entry.sinks.contains(&Sink(at)) {
                continue;
            }
            let takes = share.takes_attachments && !entry.attachments.is_empty();
            let bytes = entry.bytes_for(takes);
            self.pending.insert((share.name.as_str(), id), (bytes, takes, at_ms))?;
            self.totals.entry(share.name.clone()).or_default().add(bytes);
            sinks += 1;
            takers += u32::from(takes);
        }
        if sinks == 0 {
            return Ok(());
        }
        self.owed.insert(id, (sinks, takers))?;
        self.entries.insert(id, (source, &entry.payload[..]))?;
        let kept = if takers == 0 { &[] } else { &entry.attachments[..] };
        for (index, attachment) in (0..).zip(kept) {
            self.attachments.insert((id, index), &attachment[..])?;
        }
        Ok(())
    }

    /// Takes an entry out of a sink's queue, and away with its last sink; nothing where it is not in it.
    pub(crate) fn release(&mut self, sink: &str, id: u64) -> Result<(), redb::Error> {
        let Some((bytes, takes, _)) = self.pending.remove((sink, id))?.map(|row| row.value()) else {
            return Ok(());
        };
        if let Some(totals) = self.totals.get_mut(sink) {
            totals.remove(bytes);
        }
        let (sinks, takers) = self.owed.get(id)?.map_or((1, 1), |row| row.value());
        let left = (sinks.saturating_sub(1), takers.saturating_sub(u32::from(takes)));
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

    pub(crate) fn forget(&mut self, sink: &str) -> Result<(), redb::Error> {
        while let Some(id) = self.oldest(sink)?.map(|(id, _)| id) {
            self.release(sink, id)?;
        }
        Ok(())
    }

    /// Lets the oldest entries go that are beyond the share, but never the newest one; tells how many.
    pub(crate) fn trim(&mut self, share: &Share) -> Result<u64, redb::Error> {
        let Some(most) = share.most_bytes else { return Ok(0) };
        let mut dropped = 0;
        while self.totals.get(&share.name).is_some_and(|now| now.bytes > most && now.entries > 1) {
            let Some((id, _)) = self.oldest(&share.name)? else { break };
            self.release(&share.name, id)?;
            dropped += 1;
        }
        Ok(dropped)
    }

    fn oldest(&self, sink: &str) -> Result<Option<(u64, SystemTime)>, redb::Error> {
        let first = self.pending.range((sink, 0)..=(sink, u64::MAX))?.next().transpose()?;
        Ok(first.map(|(key, row)| (key.value().1, time(row.value().2))))
    }

    /// Notes the next id; tells what is pending now.
    pub(crate) fn close(mut self) -> Result<Pending, redb::Error> {
        self.counters.insert("next", self.next)?;
        let mut pending = std::mem::take(&mut self.totals);
        pending.retain(|_, totals| totals.entries > 0);
        for (sink, totals) in &mut pending {
            totals.oldest = self.oldest(sink)?.map(|(_, at)| at);
        }
        Ok(pending)
    }
}
