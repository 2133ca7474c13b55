//! Telemetry is a value: one struct a happening, which logs and counts together.
#![expect(clippy::disallowed_macros, reason = "this folder is where the raw metric macros belong")]

pub mod board;
pub mod log;
pub mod metrics;

mod http;
mod metric;

pub(crate) use http::{AcceptFailed, EncodeFailed, Listening, Scrape, SignInRefused};
pub use metric::{Kind, Metric};
pub use metrics::all_metrics;
