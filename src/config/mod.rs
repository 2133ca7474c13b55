//! `cameras.yaml`: as written -> as meant. Only the second can be built.
//!
//! The way of a file: YAML into a tree that knows its places (`tree`), `${NAME}` expanded (`expand`), held
//! against the schema that is made from the types (`shape`), read into those types (`written`), and from them
//! what is meant (`lower`, `meant`). Each step reports every mistake that it finds; a later step runs only where
//! the earlier found none.

mod errors;
mod expand;
mod files;
mod lower;
mod meant;
mod place;
mod schema;
mod shape;
mod tree;
pub mod written;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

pub use errors::{ConfigErrors, Problem};
pub use expand::Environment;
pub use files::ModelFiles;
pub use meant::{CameraSpec, PipelineEntry, Settings, Start, StateSettings};
pub use place::Place;
pub use schema::{config_schema, event_schema};
pub use written::{LogFormat, LogLevel, PlaybackMode};

use errors::Problems;
use files::Source;
use lower::Lowering;
use tree::{Node, Value};

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
    let (root, written) = read(text, environment).map_err(invalid)?;
    let mut settings = Lowering::new(&root, &written).settings(source).map_err(invalid)?;
    if let Some(region) = &overrides.region {
        if !shape::matches(written::REGION, region) {
            return Err(ConfigErrors::Region { region: region.clone() });
        }
        settings.region = Some(region.clone());
    }
    Ok(settings)
}

/// The tree of a file, and the same as written.
fn read(text: &str, environment: Environment<'_>) -> Result<(Node, written::Config), Vec<Problem>> {
    let mut root = tree::parse(text).map_err(|error| vec![not_yaml(text, &error)])?;
    if matches!(root.value, Value::Null) {
        root.value = Value::Map(Vec::new());
    }
    let mut problems = Problems::default();
    expand::expand(&mut root, environment, &mut problems);
    shape::check(&mut root, &schema::rules(), &mut problems);
    if !problems.is_empty() {
        return Err(problems.into_sorted());
    }
    match serde_json::from_value(root.to_json()) {
        Ok(written) => Ok((root, written)),
        Err(error) => Err(vec![Problem {
            key: String::new(),
            place: None,
            message: error.to_string(),
            remedy: "correct the value; `kvs-infer schema config` prints what is possible".to_owned(),
        }]),
    }
}

fn not_yaml(text: &str, error: &serde_saphyr::Error) -> Problem {
    let options = serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off };
    let rendered = error.render_with_options(options);
    let said = rendered.split(" at line ").next().unwrap_or_default();
    let place = error.location().map(Place::from).filter(|place| place.line > 0);
    let (message, remedy) = match error {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("it");
            (format!("the key `{key}` stands twice in one map"), "remove one of the two")
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            ("a second document begins: `---` stands before it".to_owned(), "write one document a file")
        }
        _ => (format!("this is no valid YAML: {said}"), remedy_of(text, place)),
    };
    Problem { key: String::new(), place, message, remedy: remedy.to_owned() }
}

fn remedy_of(text: &str, place: Option<Place>) -> &'static str {
    let line = place.and_then(|place| text.lines().nth(place.line.saturating_sub(1))).unwrap_or_default();
    if line.contains("${") {
        "put ${NAME} in quotes where it stands inside { } or [ ]: \"${NAME}\""
    } else {
        "correct the YAML at this place; look at the indentation, colons and quotes around it"
    }
}
