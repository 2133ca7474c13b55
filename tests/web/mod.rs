//! HTTP and the page: as a client sees them, and as a browser does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crowd;
mod incidents;
mod page;
mod page_incidents;
mod server;
pub(crate) mod show;
mod zones;

pub(crate) use page::run_checks;
