//! The model files that a configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use kvs_config::{KeyPath, Problem, Problems, TextSpan};

use super::content::ConfigContent;

/// The name and content of a configuration file.
#[derive(Debug, Default)]
pub(super) struct ConfigText {
    pub(super) file: String,
    pub(super) content: ConfigContent,
}

/// The model files that a configuration names, with the positions of their names.
#[derive(Clone, Debug, Default)]
pub struct ModelFiles {
    pub(super) config: Arc<ConfigText>,
    references: Vec<ModelReference>,
}

#[derive(Clone, Debug)]
struct ModelReference {
    key: KeyPath,
    span: TextSpan,
    path: PathBuf,
}

impl ModelFiles {
    pub(super) fn new(config: Arc<ConfigText>) -> Self {
        Self { config, references: Vec::new() }
    }

    pub(super) fn push(&mut self, key: KeyPath, span: TextSpan, path: PathBuf) {
        self.references.push(ModelReference { key, span, path });
    }

    pub(super) fn missing(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        for ModelReference { key, span, path } in &self.references {
            // A folder or a device would fail only when the model is loaded.
            if path.is_file() {
                continue;
            }
            let reason = if path.exists() { "is not a file" } else { "does not exist" };
            let message = format!("the model file {} {reason}", path.display());
            problems.add(key, *span, message, "put the file there, or correct the path");
        }
        problems.into_sorted()
    }
}
