//! A file that has the shape of a type: of a configuration, as a rule.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_saphyr::budget::BudgetBreach;

use crate::expand::{self, Environment};
use crate::place::{KeyPath, Place, lines};
use crate::problem::{Problem, Problems};
use crate::tree::{self, Node, Value};
use crate::written::Config;
use crate::{schema, shape};

/// A file without a mistake in its shape.
#[derive(Clone, Debug)]
pub struct Document<T = Config> {
    /// What it says, with `${NAME}` expanded.
    pub written: T,
    root: Node,
}

impl<T> Document<T> {
    /// Where the value of `key` stands, or the nearest one above it that is there.
    #[must_use]
    pub fn place_of(&self, key: &KeyPath) -> Place {
        self.root.nearest(key).place
    }

    /// Returns a message about the value of `key` without that value, where it comes from the environment.
    #[must_use]
    pub fn without_expanded(&self, key: &KeyPath, message: &str) -> String {
        match &self.root.nearest(key).value {
            Value::Text { text, expanded: true } => {
                message.replace(&format!("{text:?}"), "what ${...} expands to")
            }
            _ => message.to_owned(),
        }
    }
}

/// What `text` says, with `${NAME}` expanded from `environment`.
///
/// Errors: every mistake that was found, in the order of the file; at least one.
pub fn read(text: &str, environment: Environment<'_>) -> Result<Document, Vec<Problem>> {
    read_as(text, environment)
}

/// The same of another kind of file, whose keys and ranges the JSON Schema of `T` says.
///
/// Errors: those of [`read`].
pub fn read_as<T: DeserializeOwned + JsonSchema>(
    text: &str,
    environment: Environment<'_>,
) -> Result<Document<T>, Vec<Problem>> {
    let mut root = tree::parse(text).map_err(|error| vec![not_yaml(text, &error)])?;
    if matches!(root.value, Value::Null) {
        root.value = Value::Map(Vec::new());
    }
    let mut problems = Problems::default();
    expand::expand(&mut root, environment, &mut problems);
    shape::check(&mut root, &schema::rules::<T>(), text, &mut problems);
    if !problems.is_empty() {
        return Err(problems.into_sorted());
    }
    match serde_json::from_value(root.to_json()) {
        Ok(written) => Ok(Document { written, root }),
        Err(error) => Err(vec![Problem {
            key: String::new(),
            place: None,
            message: error.to_string(),
            remedy: "correct the value; `kvs-infer schema config` prints what is possible".to_owned(),
        }]),
    }
}

pub(super) fn not_yaml(text: &str, error: &serde_saphyr::Error) -> Problem {
    let options = serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off };
    let rendered = error.render_with_options(options);
    let said = rendered.split(" at line ").next().unwrap_or_default();
    let place = error.location().map(Place::from).filter(|place| place.line > 0);
    let (message, remedy) = match cause(error) {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("it");
            (format!("the key `{key}` stands twice in one map"), "remove one of the two")
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            ("a second document begins: `---` stands before it".to_owned(), "write one document a file")
        }
        serde_saphyr::Error::Budget { breach, .. } => (
            format!("this is more than a configuration can be: {}", too_much(breach)),
            "write less, nest it less deep, and let aliases repeat less",
        ),
        _ => (format!("this is no valid YAML: {said}"), remedy_of(text, place)),
    };
    Problem { key: String::new(), place, message, remedy: remedy.to_owned() }
}

/// What went wrong where an alias stands for it.
fn cause(error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    match error {
        serde_saphyr::Error::AliasError { error, .. } => cause(error),
        other => other,
    }
}

fn too_much(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Nodes { nodes } => format!("{nodes} values, with all that aliases repeat"),
        BudgetBreach::ScalarBytes { total_scalar_bytes } => {
            format!("{total_scalar_bytes} bytes of text, with all that aliases repeat")
        }
        BudgetBreach::Depth { depth } => format!("nested {depth} deep"),
        other => format!("{other:?}"),
    }
}

fn remedy_of(text: &str, place: Option<Place>) -> &'static str {
    let line = place.and_then(|place| lines(text).nth(place.line.saturating_sub(1))).unwrap_or_default();
    if line.contains("${") {
        "put ${NAME} in quotes where it stands inside { } or [ ]: \"${NAME}\""
    } else {
        "correct the YAML at this place; look at the indentation, colons and quotes around it"
    }
}
