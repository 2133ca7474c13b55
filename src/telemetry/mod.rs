//! Telemetry is a value: one struct a happening, which logs and counts together.

pub mod detect;
mod metric;

pub use metric::{Kind, Metric};
