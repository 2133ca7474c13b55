//! Small things that several stages stand on.

mod backoff;

pub use backoff::Backoff;
