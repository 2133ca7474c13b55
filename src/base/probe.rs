//! One question of the doctor (`check --live`), and what it found.

use std::fmt;

use futures_util::future::BoxFuture;

/// How well something needed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It can be used.
    Ok,
    /// `run` works, but somebody should look.
    Warn,
    /// `run` would not work, or would deliver nothing there.
    Fail,
}

/// What a probe found, and what to do where it is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How well it is.
    pub verdict: Verdict,
    /// One line for a person.
    pub text: String,
}

impl Finding {
    /// All is well.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, text: text.into() }
    }

    /// Somebody should look; the text says at what.
    pub fn warn(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, text: text.into() }
    }

    /// It cannot be used; the text says what to do.
    pub fn fail(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, text: text.into() }
    }
}

/// Whom a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// An AWS service: it needs credentials.
    Aws,
    /// This host: folders and disks.
    Host,
    /// A model: a wrong one is a mistake of the configuration.
    Model,
}

/// A question that has not been asked yet. It leaves nothing behind that a consumer would see.
pub struct Probe {
    /// What is asked, such as `kds/events write`.
    pub name: String,
    /// Whom.
    pub asks: Asks,
    /// The answer; whoever waits for it sets the limit.
    pub finding: BoxFuture<'static, Finding>,
}

impl Probe {
    /// The question whose answer is `finding`.
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
