//! A durable outbox: what sources have made is on disk, with their positions, until every sink has taken it.
//!
//! ```text
//! source --commit--> [ queue in memory ] --writer thread: one transaction--> outbox.redb --pending--> sink
//!                                                   ^                                                  |
//!                                                   +---------------------- ack -----------------------+
//! ```
//!
//! The crate knows no cameras and no clouds: sources are names, checkpoints and payloads are bytes.
//!
//! # What holds
//!
//! - A [`Commit`] is on disk whole or not at all: its checkpoint and its entries move together.
//! - Commits of one source are on disk in the order in which they were taken in; [`EntryId`]s rise in that order over all sources.
//! - What [`Outbox::pending`] shows is durable. An entry stays until each of its sinks has acknowledged it.
//! - Delivery is at least once: an acknowledgement is durable a little later, and one lost in a crash means a second delivery.
//! - A required sink loses nothing: [`Outbox::commit`] waits while its share is full. A best-effort sink beyond its share loses
//!   its oldest entries, counted. No sink ever waits for another one.
//! - Disk trouble loses nothing while the process lives: the writer tries again until the batch is durable, and says so
//!   ([`Outbox::health`]).
//!
//! # Group commit
//!
//! One thread writes. It takes all that waits, and makes of it one transaction with one `fdatasync`. Urgent commits start it
//! at once; others wait up to 100 ms for company; acknowledgements alone wait a second; an idle outbox writes nothing.
//!
//! # On disk
//!
//! The folder holds `outbox.redb` and `lock`, an empty file that the process holds locked. The database is made beside its place,
//! as `outbox.redb.new`, and renamed once it is whole: a crash in between leaves no half-made outbox.
//! One that is damaged can be set aside ([`Folder::set_aside`]), as `outbox.redb.damaged-` and the time.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | name | `magic` (`kvs-infer outbox`), `format` (u32, little-endian: 1), `id` (32 hexadecimal digits), `closed` (0 or 1) |
//! | `counters` | name | `next` (the next entry's id), `batch` (number of the last transaction) |
//! | `checkpoints` | source | the checkpoint |
//! | `entries` | entry id | source, payload |
//! | `attachments` | entry id, index | the attachment |
//! | `pending` | sink, entry id | bytes that count for the sink, whether it takes attachments, when it was taken in (ms since 1970) |
//! | `owed` | entry id | number of pending sinks, number of those that take attachments |
//!
//! A sink's position is its rows in `pending`. An entry goes with the last of them; its attachments go with the last one that
//! takes attachments, so that a sink that is away for days does not keep pictures that it never asked for.
//!
//! `batch` tells after an error whether the transaction that failed became durable all the same, so that no batch is written
//! twice. Whoever changes a table's meaning raises `format`; a format that is not known is refused.
//!
//! redb writes each commit with checksums and one `fdatasync`; after a crash the newest of its two roots that verifies counts.
//! Every opening verifies the checksum of every live page, so a damaged file is refused and never misread. A panic of redb over a
//! damaged file is caught and becomes an error.
//!
//! # Size of the file
//!
//! redb gives each value a power of two of pages, keeps what a transaction removes until it is durable, and doubles the file when it
//! is full. So the file takes up to four times what waits and what the largest commit holds. Pages of what was delivered are used again, and given back where they are at its end.

#[cfg(test)]
mod crash;
mod disk;
mod entry;
mod error;
mod intake;
mod outbox;
mod sink;
mod store;
mod tables;
mod writer;

pub use disk::{Disk, DiskError, FILE, Fill, Folder};
pub use entry::{Commit, Entry, EntryId, NewEntry};
pub use error::{CloseError, CommitError, OpenError, ReadError};
pub use intake::{MAX_COMMIT_BYTES, Queued};
pub use outbox::{Leftover, Opened, Outbox, OutboxConfig};
pub use redb::StorageBackend;
pub use sink::{Sink, SinkSpec};
pub use writer::Health;
