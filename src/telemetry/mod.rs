//! Telemetry is a value: one struct a happening, which logs and counts together.

pub(crate) mod decide;
mod metric;
pub(crate) mod publish;

pub use metric::{Kind, Metric};
