//! `cameras.yaml`: raw sections -> settings. The service is built only from settings.
//!
//! The crate `kvs-config` reads a file into raw sections, one type per section of the file; `lower` resolves them into
//! [`Settings`]. Each step reports every mistake that it finds. Lowering runs only if reading found none.

mod camera_digest;
mod content;
mod errors;
mod files;
mod lower;
mod schema;
mod settings;
mod shapes;
mod sharing_settings;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kvs_config::raw::AwsSection;

use crate::base::open_regular;

pub use content::{ConfigContent, UnknownTime};
pub use errors::ConfigErrors;
pub use files::ModelFiles;
pub use kvs_config::raw::{DecodeDevice, LogFormat, LogLevel, StartPosition, StreamProtocol};
pub use kvs_config::{EnvLookup, Problem, TextSpan, config_schema};
pub use schema::event_schema;
pub use settings::{CameraSpec, OcrSpec, PipelineEntry, Settings, StateSettings};
pub use shapes::{
    CameraPlace, CameraShapes, DiffLine, EntryFilters, LineChange, RunningShapes, ShapeDrawing, ShapeProblem,
    ShapeReport,
};
pub use sharing_settings::SharingSettings;

use files::ConfigText;
use lower::SettingsBuilder;

/// The source of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file.
    File(PathBuf),
    /// Standard input: `-`.
    Stdin,
}

impl ConfigSource {
    /// Returns the source that `--config` or `CONFIG_FILE` names.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        // The convention of command lines; a file of this name is `./-`.
        if name == "-" { Self::Stdin } else { Self::File(PathBuf::from(name)) }
    }

    /// Returns the name for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "<stdin>".to_owned(),
        }
    }

    /// Returns `true` if the source can be read again, and may have changed by then.
    #[must_use]
    pub fn can_be_read_again(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Reads the source at the start. A pipe is read to its end, such as the output of a command in a shell.
    ///
    /// # Errors
    /// It cannot be read, or has more than 4 MiB.
    pub fn read(&self) -> Result<ConfigContent, ConfigErrors> {
        let content = match self {
            Self::File(path) => File::open(path).and_then(ConfigContent::read),
            Self::Stdin => ConfigContent::read_stdin(),
        };
        content.map_err(|why| self.unreadable(why))
    }

    /// Reads a file again while the service runs.
    ///
    /// # Errors
    /// It cannot be read, has more than 4 MiB, or is no regular file: a pipe could block the reader for ever.
    pub fn read_again(&self) -> Result<ConfigContent, ConfigErrors> {
        let content = match self {
            Self::File(path) => open_regular(path).and_then(ConfigContent::read),
            Self::Stdin => Err(io::Error::other("standard input cannot be read again")),
        };
        content.map_err(|why| self.unreadable(why))
    }

    fn unreadable(&self, why: io::Error) -> ConfigErrors {
        ConfigErrors::Unreadable { file: self.name(), why }
    }
}

/// Values from flags or the environment that take precedence over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The region of `--aws-region` or `AWS_REGION`.
    pub region: Option<String>,
}

/// Reads the settings of `source`, with `overrides` applied.
///
/// # Errors
/// The source cannot be read, or has mistakes: every one that was found.
pub fn load(
    source: &ConfigSource,
    lookup: EnvLookup<'_>,
    overrides: &Overrides,
) -> Result<Settings, ConfigErrors> {
    parse_content(&source.name(), source.read()?, lookup, overrides)
}

/// Reads the settings of `text`, which messages call `file`. A text alone has no version, so `sharing` in it is a mistake.
///
/// # Errors
/// The text has mistakes: every one that was found.
pub fn parse(
    file: &str,
    text: &str,
    lookup: EnvLookup<'_>,
    overrides: &Overrides,
) -> Result<Settings, ConfigErrors> {
    parse_content(file, ConfigContent::without_time(text.to_owned()), lookup, overrides)
}

/// Reads the settings of `content`, which messages call `file`.
///
/// # Errors
/// The text has mistakes: every one that was found.
pub fn parse_content(
    file: &str,
    content: ConfigContent,
    lookup: EnvLookup<'_>,
    overrides: &Overrides,
) -> Result<Settings, ConfigErrors> {
    let config = Arc::new(ConfigText { file: file.to_owned(), content });
    let invalid = |problems| {
        let (file, text) = (file.to_owned(), config.content.text.clone());
        ConfigErrors::Invalid { file, text, problems }
    };
    let document = kvs_config::read(&config.content.text, lookup).map_err(invalid)?;
    let mut settings = SettingsBuilder::new(&document).build(Arc::clone(&config)).map_err(invalid)?;
    if let Some(region) = &overrides.region {
        // The schema checks the region of the file only.
        if !AwsSection::is_region(region) {
            return Err(ConfigErrors::Region { region: region.clone() });
        }
        settings.region = Some(region.clone());
    }
    Ok(settings)
}
