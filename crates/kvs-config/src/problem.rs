//! Mistakes, said with key, place, value and remedy.

use std::collections::HashSet;

use crate::address_secrets::without_address_secrets;
use crate::place::{KeyPath, Place};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `cameras[1].pipeline[0].objects.conf_threshold`; empty for the file as a whole.
    pub key: String,
    /// Where it stands; `None` where nothing in the file is at fault.
    pub place: Option<Place>,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    known: HashSet<(String, Place)>,
}

impl Problems {
    /// Adds a mistake at a known place; the first of a key at a place stands.
    pub fn add(
        &mut self,
        key: &KeyPath,
        place: Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let key = key.to_string();
        let shown = |text: String| without_address_secrets(&text).into_owned();
        if self.known.insert((key.clone(), place)) {
            let place = Some(place);
            let (message, remedy) = (shown(message.into()), shown(remedy.into()));
            self.found.push(Problem { key, place, message, remedy });
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All, in the order of the file.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.place);
        self.found
    }
}
