//! A file read into a type: the configuration, or another kind of YAML file.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_saphyr::budget::BudgetBreach;

use crate::expand::{self, EnvLookup};
use crate::position::{KeyPath, TextSpan, lines};
use crate::problem::{Problem, Problems};
use crate::raw::RawConfig;
use crate::tree::{self, Node, NodeValue};
use crate::{schema, schema_check};

/// A file that matches its schema, with the positions of its values.
#[derive(Clone, Debug)]
pub struct TypedDocument<T = RawConfig> {
    /// The contents, with `${NAME}` expanded.
    pub raw: T,
    root: Node,
}

impl<T> TypedDocument<T> {
    /// Returns the position of the value of `key`, or of its nearest ancestor in the file.
    #[must_use]
    pub fn span_of(&self, key: &KeyPath) -> TextSpan {
        self.root.nearest(key).span
    }

    /// Returns a message about the value of `key`, with the value removed if it comes from the environment.
    #[must_use]
    pub fn without_expanded(&self, key: &KeyPath, message: &str) -> String {
        match &self.root.nearest(key).value {
            NodeValue::Text { text, expanded: true } => {
                message.replace(&format!("{text:?}"), "the expansion of ${...}")
            }
            _ => message.to_owned(),
        }
    }
}

/// Reads a configuration, with `${NAME}` expanded by `lookup`.
///
/// # Errors
/// Every mistake that was found, in the order of the file; at least one.
pub fn read(text: &str, lookup: EnvLookup<'_>) -> Result<TypedDocument, Vec<Problem>> {
    read_as(text, lookup)
}

/// Reads another kind of file, whose keys and ranges are defined by the JSON Schema of `T`.
///
/// # Errors
/// Those of [`read`].
pub fn read_as<T: DeserializeOwned + JsonSchema>(
    text: &str,
    lookup: EnvLookup<'_>,
) -> Result<TypedDocument<T>, Vec<Problem>> {
    let mut root = tree::parse(text).map_err(|error| vec![not_yaml(text, &error)])?;
    // An empty file is a map without keys, so that the keys that it needs are reported.
    if matches!(root.value, NodeValue::Null) {
        root.value = NodeValue::Map(Vec::new());
    }
    let mut problems = Problems::default();
    // Expanded before the check: the schema is about the values, not about references to them.
    expand::expand(&mut root, lookup, &mut problems);
    schema_check::check(&mut root, &schema::rules::<T>(), text, &mut problems);
    if !problems.is_empty() {
        return Err(problems.into_sorted());
    }
    match serde_json::from_value(root.to_json()) {
        Ok(raw) => Ok(TypedDocument { raw, root }),
        // The schema admits what the types do not: a bug, which is reported without a position.
        Err(error) => Err(vec![Problem {
            key: String::new(),
            span: None,
            message: error.to_string(),
            remedy: "correct the value; `kvs-infer schema config` prints the allowed ones".to_owned(),
        }]),
    }
}

/// Returns the mistake of a text that is not YAML, or not one that can be read.
pub(super) fn not_yaml(text: &str, error: &serde_saphyr::Error) -> Problem {
    // Without the library's snippet: the report shows its own, without secrets.
    let options = serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off };
    let rendered = error.render_with_options(options);
    // The rendered error ends in its position, which the report shows in its own way.
    let reason = rendered.split(" at line ").next().unwrap_or_default();
    let span = error.location().map(TextSpan::from).filter(|span| span.line > 0);
    let (message, remedy) = match cause(error) {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("it");
            (format!("duplicate key `{key}`"), "remove one of the two")
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            ("a second document begins here, after `---`".to_owned(), "keep one document per file")
        }
        serde_saphyr::Error::Budget { breach, .. } => (
            format!("the file is too large: {}", breach_text(breach)),
            "shorten the file, nest it less deeply, or use fewer aliases",
        ),
        _ => (format!("invalid YAML: {reason}"), yaml_remedy(text, span)),
    };
    Problem { key: String::new(), span, message, remedy: remedy.to_owned() }
}

/// Returns the underlying error of an error in an alias.
fn cause(error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    match error {
        serde_saphyr::Error::AliasError { error, .. } => cause(error),
        other => other,
    }
}

fn breach_text(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Nodes { nodes } => format!("{nodes} values, counting those that aliases repeat"),
        BudgetBreach::ScalarBytes { total_scalar_bytes } => {
            format!("{total_scalar_bytes} bytes of text, counting what aliases repeat")
        }
        BudgetBreach::Depth { depth } => format!("{depth} levels of nesting"),
        other => format!("{other:?}"),
    }
}

fn yaml_remedy(text: &str, span: Option<TextSpan>) -> &'static str {
    let line = span.and_then(|span| lines(text).nth(span.line.saturating_sub(1))).unwrap_or_default();
    // YAML 1.2.2, 7.3.3: a plain scalar inside a flow collection ends at `{`.
    if line.contains("${") {
        "put ${NAME} in quotes inside { } and [ ]: \"${NAME}\""
    } else {
        "correct the YAML here; check the indentation, colons and quotes around it"
    }
}
