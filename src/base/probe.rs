//! One probe of `check --live`, and its finding.

use std::fmt;
use std::time::Duration;

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
    /// The action that corrects it, where the text does not say it.
    pub remedy: Option<String>,
}

impl Finding {
    /// Returns a finding without a problem.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, text: text.into(), remedy: None }
    }

    /// Returns a warning; the text or the remedy says what to check.
    pub fn warn(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, text: text.into(), remedy: None }
    }

    /// Returns a failure; the text or the remedy says what to do.
    pub fn fail(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, text: text.into(), remedy: None }
    }

    /// Returns the finding with what to do.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Returns the text and the remedy as one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.text),
            None => self.text.clone(),
        }
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

/// The circumstances of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOccasion {
    /// `check --live`, on behalf of a service that may run elsewhere or not yet.
    Command,
    /// The running service checks itself: its cameras have their connections, and it holds the lock of its outbox.
    Service,
}

/// A check of one dependency that has not run yet. It leaves nothing behind that a consumer of events would see.
pub struct Probe {
    /// The name of the probe, such as `kds/events write`.
    pub name: String,
    /// The kind of dependency.
    pub asks: Asks,
    /// The features that alone need the dependency, such as `the pictures of the page`; `None`: `run` needs it.
    pub only_for: Option<&'static str>,
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
        Self { name: name.into(), asks, only_for: None, finding: Box::pin(finding) }
    }

    /// Returns the probe of a dependency that only these features need: a failure of it is a warning that names them.
    #[must_use]
    pub fn only_for(self, features: &'static str) -> Self {
        Self { only_for: Some(features), ..self }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("name", &self.name).field("asks", &self.asks).finish_non_exhaustive()
    }
}

/// The result of a probe that has run.
#[derive(Clone, Debug)]
pub struct ProbeResult {
    /// The name of the probe.
    pub name: String,
    /// The kind of dependency.
    pub asks: Asks,
    /// The duration of the probe.
    pub took: Duration,
    /// The result.
    pub finding: Finding,
}
