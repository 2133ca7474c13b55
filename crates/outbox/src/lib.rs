//! A durable outbox: entries and checkpoints of sources, kept on disk until every sink has acknowledged them.
//!
//! ```text
//! source --commit--> [ queue in memory ] --writer thread: one transaction--> outbox.redb --pending--> sink
//!                                                   ^                                                  |
//!                                                   +---------------------- ack -----------------------+
//! ```
//!
//! The crate knows nothing of cameras or clouds: sources are names, checkpoints and payloads are bytes.
//!
//! # Guarantees
//!
//! - An [`OutboxCommit`] is atomic: its checkpoint and its entries become durable together or not at all.
//! - Commits of one source become durable in the order in which they were accepted. [`EntryId`]s rise in that order over all
//!   sources.
//! - [`Outbox::pending`] returns durable entries only. An entry stays until each of its sinks has acknowledged it.
//! - Delivery is at least once: an acknowledgement becomes durable a little later, and one that is lost in a crash means a
//!   second delivery.
//! - A required sink loses nothing: [`Outbox::commit`] waits while the sink's quota is used up. A best-effort sink beyond its
//!   quota loses its oldest entries, which are counted. No sink waits for another one.
//! - A disk error loses nothing while the process lives: the writer retries until the batch is durable, and reports the error
//!   through [`Outbox::health`].
//!
//! # Group commit
//!
//! One thread writes. It takes everything that is queued and writes it in one transaction with one `fdatasync`. An urgent commit
//! starts a transaction at once; other commits wait up to 100 ms to share one; acknowledgements alone wait a second; an idle
//! outbox writes nothing.
//!
//! # On disk
//!
//! The folder holds `outbox.redb` and `lock`, an empty file that the process holds locked. A new database is written as
//! `outbox.redb.new` and renamed once it is complete, so a crash in between leaves no partial outbox.
//! A damaged database can be moved aside ([`OutboxFolder::set_aside`]), to `outbox.redb.damaged-` and the time.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | name | `magic` (`kvs-infer outbox`), `format` (u32, little-endian: 1), `id` (32 hexadecimal digits), `closed` (0 or 1) |
//! | `counters` | name | `next` (the next entry's id), `batch` (number of the last transaction) |
//! | `checkpoints` | source | the checkpoint |
//! | `entries` | entry id | source, payload |
//! | `attachments` | entry id, index | the attachment |
//! | `pending` | sink, entry id | bytes that the entry takes of the sink's quota, `true` if the sink takes attachments, time of the commit (ms since 1970) |
//! | `owed` | entry id | number of pending sinks, number of those that take attachments |
//!
//! A sink's position is its rows in `pending`. An entry is deleted with the last of them. Its attachments are deleted with the
//! last row that takes attachments, so a sink that is unreachable for days does not keep pictures that it never takes.
//!
//! After an error, `batch` says whether the failed transaction became durable all the same, so that no batch is written
//! twice. A change of a table's meaning raises `format`; an unknown format is refused.
//!
//! redb writes each commit with checksums and one `fdatasync`. After a crash it uses the newer of its two roots whose checksum
//! verifies. Opening verifies the checksum of every live page, so a damaged file is refused and never misread. A panic of redb
//! over a damaged file is caught and becomes an error.
//!
//! # Size of the file
//!
//! redb gives each value a power of two of pages, keeps the pages that a transaction removes until it is durable, and doubles the
//! file when it is full. So the file takes up to four times the pending bytes and the largest commit. Pages of delivered entries
//! are reused, and returned to the file system where they are at the end of the file.

mod commit_queue;
#[cfg(test)]
mod crash;
mod disk;
mod entry;
mod error;
mod format;
mod outbox;
mod sink;
mod store;
mod tables;
mod totals;
mod writer;

pub use commit_queue::{MAX_COMMIT_BYTES, QueueStatus};
pub use disk::{DATABASE_FILE, Disk, FillDatabase, OutboxFolder};
pub use entry::{EntryId, NewEntry, OutboxCommit, OutboxEntry};
pub use error::{CloseError, CommitError, OpenError, ReadError};
pub use outbox::{OpenReport, OrphanedQueue, Outbox, OutboxConfig};
pub use redb::StorageBackend;
pub use sink::{SinkHandle, SinkSpec};
pub use writer::DiskHealth;
