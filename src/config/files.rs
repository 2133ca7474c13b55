//! The files that a configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use kvs_config::{KeyPath, Place, Problem, Problems};

use super::errors::ConfigErrors;
use super::meant::Settings;

/// The file that a configuration was read from.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) file: String,
    pub(super) text: String,
}

/// The model files that a configuration names, and where it names them.
#[derive(Clone, Debug, Default)]
pub struct ModelFiles {
    source: Arc<Source>,
    named: Vec<Named>,
}

#[derive(Clone, Debug)]
struct Named {
    key: KeyPath,
    place: Place,
    path: PathBuf,
}

impl ModelFiles {
    pub(super) fn new(source: Arc<Source>) -> Self {
        Self { source, named: Vec::new() }
    }

    pub(super) fn push(&mut self, key: KeyPath, place: Place, path: PathBuf) {
        self.named.push(Named { key, place, path });
    }

    fn missing(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        for named in self.named.iter().filter(|named| !named.path.is_file()) {
            let what = if named.path.exists() { "is not a file" } else { "does not exist" };
            let message = format!("the model file {} {what}", named.path.display());
            problems.add(&named.key, named.place, message, "put the file there, or correct the path");
        }
        problems.into_sorted()
    }
}

impl Settings {
    /// The text that they were read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.files.source.text
    }

    /// Whether every model file of the enabled cameras is there.
    ///
    /// Errors: those that are not, with the places that name them.
    pub fn missing_files(&self) -> Result<(), ConfigErrors> {
        let problems = self.files.missing();
        if problems.is_empty() {
            return Ok(());
        }
        let Source { file, text } = &*self.files.source;
        Err(ConfigErrors::Invalid { file: file.clone(), text: text.clone(), problems })
    }
}
