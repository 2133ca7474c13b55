//! `cameras.yaml`: as written -> as meant. Only the second can be built.
//!
//! The crate `kvs-config` reads a file into the types that it is written in; from them `lower` makes what is `meant`.
//! Each step reports every mistake that it finds; lowering runs only where reading found none.

mod errors;
mod files;
mod lower;
mod meant;
mod schema;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use kvs_config::written::Aws;

pub use errors::ConfigErrors;
pub use files::ModelFiles;
pub use kvs_config::written::{LogFormat, LogLevel, PlaybackMode, Start};
pub use kvs_config::{Environment, Place, Problem, config_schema};
pub use meant::{CameraSpec, PipelineEntry, ReadingSpec, Settings, StateSettings};
pub use schema::event_schema;

use files::Source;
use lower::Lowering;

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file.
    File(PathBuf),
    /// Standard input: `-`.
    Stdin,
}

impl ConfigSource {
    /// The source that `--config` or `CONFIG_FILE` names.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        if name == "-" { Self::Stdin } else { Self::File(PathBuf::from(name)) }
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "<stdin>".to_owned(),
        }
    }

    /// Whether it may hold something else later.
    #[must_use]
    pub fn can_be_read_again(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Its text.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self) -> Result<String, ConfigErrors> {
        let text = match self {
            Self::File(path) => std::fs::read_to_string(path),
            Self::Stdin => {
                let mut text = String::new();
                std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
            }
        };
        text.map_err(|why| ConfigErrors::Unreadable { file: self.name(), why })
    }
}

/// What a flag or the environment says in place of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--aws-region`, `AWS_REGION`
    pub region: Option<String>,
}

/// The settings that `source` asks for, with `overrides` applied.
///
/// Errors: the source cannot be read, or every mistake that was found in it.
pub fn load(
    source: &ConfigSource,
    environment: Environment<'_>,
    overrides: &Overrides,
) -> Result<Settings, ConfigErrors> {
    parse(&source.name(), &source.read()?, environment, overrides)
}

/// The settings that `text` asks for; messages call it `file`.
///
/// Errors: every mistake that was found in it.
pub fn parse(
    file: &str,
    text: &str,
    environment: Environment<'_>,
    overrides: &Overrides,
) -> Result<Settings, ConfigErrors> {
    let source = Arc::new(Source { file: file.to_owned(), text: text.to_owned() });
    let invalid = |problems| ConfigErrors::Invalid { file: file.to_owned(), text: text.to_owned(), problems };
    let document = kvs_config::read(text, environment).map_err(invalid)?;
    let mut settings = Lowering::new(&document).settings(source).map_err(invalid)?;
    if let Some(region) = &overrides.region {
        if !Aws::is_region(region) {
            return Err(ConfigErrors::Region { region: region.clone() });
        }
        settings.region = Some(region.clone());
    }
    Ok(settings)
}
