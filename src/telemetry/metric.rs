//! The description of a metric.

/// A metric as `/metrics` exposes it and `schema metrics` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name: `kvs_infer_...`, with the unit at its end, and `_total` for counters.
    pub name: &'static str,
    /// The Prometheus type.
    pub kind: MetricKind,
    /// The names of the labels, each of low cardinality.
    pub labels: &'static [&'static str],
    /// The `# HELP` line: one sentence.
    pub help: &'static str,
}

/// The Prometheus type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A count that only rises while the process runs.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// Counts of observations by bucket.
    Histogram,
}
