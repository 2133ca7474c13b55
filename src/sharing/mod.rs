//! Sharing of cameras by many workers: the I/O around the crate [`sharing`](::sharing), which decides.
//!
//! [`PoolTable`] makes the crate's calls on two DynamoDB tables. Everything else about members, lead, plans and hand-over is in the
//! crate, without I/O.

mod pool_table;
mod probe;

pub use pool_table::PoolTable;
pub(crate) use probe::probes;
