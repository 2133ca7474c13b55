//! One probe of `check --live`, and its finding.

use std::fmt;

use futures_util::future::BoxFuture;

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The dependency can be used.
    Ok,
    /// `run` works, but an operator should check the dependency.
    Warn,
    /// `run` would not work, or would deliver nothing to the dependency.
    Fail,
}

/// The result of a probe, with the remedy where it is not `ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The outcome.
    pub verdict: Verdict,
    /// One line for the operator.
    pub text: String,
}

impl Finding {
    /// Returns a finding without a problem.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, text: text.into() }
    }

    /// Returns a warning; the text says what to check.
    pub fn warn(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, text: text.into() }
    }

    /// Returns a failure; the text says what to do.
    pub fn fail(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, text: text.into() }
    }
}

/// The kind of dependency that a probe checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// An AWS service: it needs credentials.
    Aws,
    /// This host: folders and disks.
    Host,
    /// A model: an unusable one is an error of the configuration.
    Model,
}

/// A check of one dependency that has not run yet. It leaves nothing behind that a consumer of events would see.
pub struct Probe {
    /// The name of the probe, such as `kds/events write`.
    pub name: String,
    /// The kind of dependency.
    pub asks: Asks,
    /// The result; the caller sets the timeout.
    pub finding: BoxFuture<'static, Finding>,
}

impl Probe {
    /// Returns the probe that `finding` runs.
    pub fn new(
        name: impl Into<String>,
        asks: Asks,
        finding: impl Future<Output = Finding> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), asks, finding: Box::pin(finding) }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("name", &self.name).field("asks", &self.asks).finish_non_exhaustive()
    }
}
