//! The table that every metric stands in.

/// A metric as `/metrics` shows it and `schema metrics` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// `kvs_infer_...`, its unit at the end, `_total` for counters.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// The names of its labels, each with few values.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
}
