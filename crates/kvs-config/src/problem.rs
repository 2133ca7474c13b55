//! Mistakes in a file, each with key, position, message and remedy.

use std::collections::HashSet;

use crate::address_secrets::without_address_secrets;
use crate::position::{KeyPath, TextSpan};

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key path, such as `cameras[1].pipeline[0].objects.conf_threshold`; empty for the file as a whole.
    pub key: String,
    /// The position in the file; `None` if the mistake has none.
    pub span: Option<TextSpan>,
    /// The mistake, with the value.
    pub message: String,
    /// The action that fixes it.
    pub remedy: String,
}

/// A collection of mistakes.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    known: HashSet<(String, TextSpan)>,
}

impl Problems {
    /// Adds a mistake. Only the first one of a key and position is kept; later checks repeat it in other words.
    pub fn add(
        &mut self,
        key: &KeyPath,
        span: TextSpan,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let key = key.to_string();
        // A value that is an address may hold a password or a signature.
        let shown = |text: String| without_address_secrets(&text).into_owned();
        if self.known.insert((key.clone(), span)) {
            let (message, remedy) = (shown(message.into()), shown(remedy.into()));
            self.found.push(Problem { key, span: Some(span), message, remedy });
        }
    }

    /// Returns `true` if there are no mistakes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Returns the mistakes in the order of the file.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.span);
        self.found
    }
}
