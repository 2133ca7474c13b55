//! Why an AWS service refused, for people and for metrics.

/// A failed call of a sink.
pub(super) use crate::aws::AwsFailure as Fault;
