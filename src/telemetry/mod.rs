//! Telemetry is a value: one struct a happening, which logs and counts together.

mod metric;
pub mod source;

pub use metric::{Kind, Metric};

pub(crate) mod decode;
