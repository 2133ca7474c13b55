//! The check of a tree against the schema: names, types, ranges and patterns.
//!
//! Hand-written, since no validator knows the positions in the file, our remedies, or the values that must not be shown.

use serde_json::{Map, Number, Value as Json};

use crate::address_secrets::without_address_secrets;
use crate::closest::closest;
use crate::invisible::invisible;
use crate::pattern::matches;
use crate::position::{KeyPath, TextSpan, lines, shortened};
use crate::problem::Problems;
use crate::tree::{Key, Node, NodeValue};

/// The schema keyword for the form of a valid value, in words.
const REMEDY: &str = "x-remedy";
/// The schema keyword for other names of a choice: pairs of a pattern and a remedy.
const OTHER_NAMES: &str = "x-other-names";

/// Reports every violation of `schema` in `root`, the tree of `text`.
///
/// A text from the environment is converted to a number or boolean where the schema requires one.
pub(super) fn check(root: &mut Node, schema: &Json, text: &str, problems: &mut Problems) {
    let lines = lines(text).collect();
    SchemaChecker { root: schema, lines, problems }.check_node(root, schema, &KeyPath::default());
}

struct SchemaChecker<'a> {
    root: &'a Json,
    /// The lines of the file.
    lines: Vec<&'a str>,
    problems: &'a mut Problems,
}

impl SchemaChecker<'_> {
    fn check_node(&mut self, node: &mut Node, schema: &Json, path: &KeyPath) {
        // A remedy beside a reference is about this key, and precedes the one of the definition.
        let branch = self.resolve(node, schema);
        let remedy = remedy_of(schema).or_else(|| remedy_of(&branch));
        self.check_resolved(node, &branch, remedy.as_deref(), path);
    }

    fn check_resolved(&mut self, node: &mut Node, schema: &Json, remedy: Option<&str>, path: &KeyPath) {
        // Before the conversion of variables: `auto` or `5` in a choice is a text.
        if let Some(choices) = choices(schema) {
            return self.check_choice(node, &choices, schema, path);
        }
        let is_expanded = coerce(&mut node.value, schema);
        if !admits(schema, &node.value) {
            return self.report_type(node, schema, remedy, path);
        }
        match &mut node.value {
            NodeValue::Map(entries) => self.check_map(entries, node.span, schema, path),
            NodeValue::List(items) => self.check_list(items, node.span, schema, remedy, path),
            NodeValue::Number(number) => {
                // Shown as in the file: 0.310e+02 rather than 31.
                let spelling = node.span.scalar(&self.lines).filter(|_| !is_expanded);
                let shown = spelling.map_or_else(|| number.to_string(), str::to_owned);
                self.check_number(number, &shown, node.span, schema, path);
            }
            NodeValue::Text { text, expanded } => {
                let shown = shown_text(text, *expanded);
                self.check_text(text, &shown, node.span, schema, remedy, path);
            }
            NodeValue::Null | NodeValue::Bool(_) => {}
        }
    }

    /// Returns the schema to apply to the node: references are followed, and of several alternatives the one of its type is taken.
    fn resolve(&self, node: &Node, schema: &Json) -> Json {
        if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
            return self.resolve(node, &self.definition(name));
        }
        let Some(branches) = schema.get("anyOf").and_then(Json::as_array) else { return schema.clone() };
        let branches: Vec<Json> = branches
            .iter()
            .filter(|branch| branch.get("type").and_then(Json::as_str) != Some("null"))
            .map(|branch| self.resolve(node, branch))
            .collect();
        let fits = branches.iter().find(|branch| admits(branch, &node.value));
        match (fits, branches.as_slice()) {
            (Some(branch), _) | (None, [branch]) => branch.clone(),
            // No alternative has the node's type: the message names the types of all.
            (None, _) => all_types(&branches),
        }
    }

    /// Returns the definition that a reference names; one that admits anything if it does not exist.
    fn definition(&self, name: &str) -> Json {
        let pointer = name.trim_start_matches('#');
        self.root.pointer(pointer).cloned().unwrap_or(Json::Bool(true))
    }

    fn check_map(&mut self, entries: &mut [(Key, Node)], span: TextSpan, schema: &Json, path: &KeyPath) {
        let none = Map::new();
        let known = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
        // The schema of free keys (`models`), if any.
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        for (key, node) in entries.iter_mut() {
            let here = path.key(&key.name);
            match known.get(&key.name).or(others) {
                // A key without a value counts as absent. It is reported below if it is required.
                Some(_) if matches!(node.value, NodeValue::Null) && known.contains_key(&key.name) => {}
                Some(rule) => self.check_node(node, rule, &here),
                None => self.report_unknown(key, known, &here),
            }
        }
        for missing in missing(schema, entries) {
            let null = entries.iter().find(|(key, _)| key.name == missing).map(|(_, node)| node);
            if let Some((node, spelling)) = null.and_then(|node| Some((node, self.spelling(node)?))) {
                let message = format!("`{missing}` is {spelling}, which YAML reads as no value");
                self.problems.add(&path.key(missing), node.span, message, quote(&spelling));
                continue;
            }
            let remedy = format!("add `{missing}:` ({})", describe(known.get(missing)));
            self.problems.add(&path.key(missing), span, format!("`{missing}` is missing"), remedy);
        }
    }

    fn report_unknown(&mut self, key: &Key, known: &Map<String, Json>, path: &KeyPath) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let remedy = match closest(&key.name, &names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the allowed keys are {}", names.join(", ")),
        };
        self.problems.add(path, key.span, format!("unknown key `{}`", key.name), remedy);
    }

    fn check_list(
        &mut self,
        items: &mut [Node],
        span: TextSpan,
        schema: &Json,
        remedy: Option<&str>,
        path: &KeyPath,
    ) {
        let (min, max) = (size(schema, "minItems"), size(schema, "maxItems"));
        if min.is_some_and(|n| items.len() < n) || max.is_some_and(|n| items.len() > n) {
            let count = items.len();
            let message = if count == 0 {
                "the list is empty".to_owned()
            } else {
                format!("the list has {}", plural(count, "item"))
            };
            let remedy = remedy.map_or_else(|| format!("give {}", count_of(min, max, "item")), str::to_owned);
            self.problems.add(path, span, message, remedy);
        }
        let any = Json::Bool(true);
        let rule = schema.get("items").unwrap_or(&any);
        for (i, item) in items.iter_mut().enumerate() {
            self.check_node(item, rule, &path.index(i));
        }
    }

    fn check_number(&mut self, number: &Number, shown: &str, span: TextSpan, schema: &Json, path: &KeyPath) {
        let bound = |name| schema.get(name).and_then(Json::as_f64);
        let (min, max) = (bound("minimum"), bound("maximum"));
        // Integers beyond 2^53 lose precision here, far beyond every range.
        let value = number.as_f64().unwrap_or(f64::INFINITY);
        if min.is_some_and(|n| value < n) || max.is_some_and(|n| value > n) {
            let remedy = format!("give {}", range_of(min, max));
            self.problems.add(path, span, format!("{shown} is out of range"), remedy);
        }
    }

    fn check_text(
        &mut self,
        text: &str,
        shown: &str,
        span: TextSpan,
        schema: &Json,
        remedy: Option<&str>,
        path: &KeyPath,
    ) {
        // Before the pattern: a message that shows two equal-looking names would not help.
        if let Some(character) = invisible(text) {
            let message = format!("{shown} contains an invisible character, {character}");
            let remedy = "remove the character from the text, or from the variable";
            return self.problems.add(path, span, message, remedy);
        }
        let (min, max) = (size(schema, "minLength"), size(schema, "maxLength"));
        if has_length(text, min, max) && has_pattern(text, schema) {
            return;
        }
        let message = if text.is_empty() {
            "the text is empty".to_owned()
        } else {
            format!("{shown} is not a valid value")
        };
        let remedy =
            remedy.map_or_else(|| format!("give {}", count_of(min, max, "character")), str::to_owned);
        self.problems.add(path, span, message, remedy);
    }

    fn check_choice(&mut self, node: &Node, choices: &[&str], schema: &Json, path: &KeyPath) {
        let given = self.shown(node);
        let text = match &node.value {
            NodeValue::Text { text, .. } => text.as_str(),
            _ => "",
        };
        if choices.contains(&text) {
            return;
        }
        let allowed = format!("allowed: {}", choices.join(", "));
        let close = closest(text, choices).map(|name| format!("did you mean `{name}`? "));
        let close = other_name(text, schema).or(close).unwrap_or_default();
        let message = format!("{given} is not one of the allowed values");
        self.problems.add(path, node.span, message, format!("{close}{allowed}"));
    }

    fn report_type(&mut self, node: &Node, schema: &Json, remedy: Option<&str>, path: &KeyPath) {
        let kinds = kinds(schema);
        let message = format!("expected {}, found {}", kinds.join(" or "), self.shown(node));
        // An unquoted number or boolean where text is expected: the usual reason is a name of digits.
        let remedy = match (self.spelling(node).filter(|_| kinds == ["text"]), remedy) {
            (Some(spelling), _) => quote(&spelling),
            (None, Some(remedy)) => remedy.to_owned(),
            (None, None) => expected(&kinds, schema),
        };
        self.problems.add(path, node.span, message, remedy);
    }

    /// Returns a value for a message, as it is spelt in the file where it is on one line.
    fn shown(&self, node: &Node) -> String {
        match &node.value {
            NodeValue::Null => self.spelling(node).unwrap_or_else(|| "an empty value".to_owned()),
            NodeValue::Bool(flag) => self.spelling(node).unwrap_or_else(|| flag.to_string()),
            NodeValue::Number(number) => self.spelling(node).unwrap_or_else(|| number.to_string()),
            NodeValue::Text { text, expanded } => shown_text(text, *expanded),
            NodeValue::List(_) => "a list".to_owned(),
            NodeValue::Map(_) => "a map".to_owned(),
        }
    }

    /// Returns a number, boolean or null as it is spelt in the file: YAML reads 007 as 7 and ~ as null.
    fn spelling(&self, node: &Node) -> Option<String> {
        let is_null = |text: &&str| ["~", "null", "Null", "NULL"].contains(text);
        let text = node.span.scalar(&self.lines);
        let text = match node.value {
            NodeValue::Null => text.filter(is_null),
            NodeValue::Bool(_) | NodeValue::Number(_) => text,
            NodeValue::Text { .. } | NodeValue::List(_) | NodeValue::Map(_) => None,
        };
        text.map(|text| shortened(text).into_owned())
    }
}

fn has_length(text: &str, min: Option<usize>, max: Option<usize>) -> bool {
    let count = text.chars().count();
    min.is_none_or(|n| count >= n) && max.is_none_or(|n| count <= n)
}

fn has_pattern(text: &str, schema: &Json) -> bool {
    let pattern = schema.get("pattern").and_then(Json::as_str);
    pattern.is_none_or(|pattern| matches(pattern, text))
}

fn quote(spelling: &str) -> String {
    format!("put it in quotes to make it text: \"{spelling}\"")
}

/// Returns the remedy for a common name of a choice, by the patterns of `x-other-names`.
fn other_name(text: &str, schema: &Json) -> Option<String> {
    let name: String = text.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let others = schema.get(OTHER_NAMES).and_then(Json::as_array)?;
    let pair = |pair: &Json| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()));
    let (_, remedy) = others.iter().filter_map(pair).find(|(pattern, _)| matches(pattern, &name))?;
    Some(format!("{remedy}; "))
}

/// Returns the values of an enumeration, if `schema` is one.
///
/// schemars writes an enum as `enum`, or as `oneOf` with a `const` per variant where variants have descriptions.
fn choices(schema: &Json) -> Option<Vec<&str>> {
    if let Some(names) = schema.get("enum").and_then(Json::as_array) {
        return Some(names.iter().filter_map(Json::as_str).collect());
    }
    if let Some(name) = schema.get("const") {
        return Some(name.as_str().into_iter().collect());
    }
    let branches = schema.get("oneOf").and_then(Json::as_array)?;
    Some(branches.iter().filter_map(choices).flatten().collect())
}

fn remedy_of(schema: &Json) -> Option<String> {
    schema.get(REMEDY).and_then(Json::as_str).map(str::to_owned)
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Returns `true` if the schema admits the type of the value; a schema without `type` admits every type.
fn admits(schema: &Json, value: &NodeValue) -> bool {
    let types = types(schema);
    let fits = |name: &&str| match (*name, value) {
        ("object", NodeValue::Map(_))
        | ("array", NodeValue::List(_))
        | ("string", NodeValue::Text { .. }) => true,
        ("boolean", NodeValue::Bool(_)) | ("number", NodeValue::Number(_)) => true,
        ("integer", NodeValue::Number(number)) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    types.is_empty() || types.iter().any(fits)
}

/// Converts a text from the environment to the number or boolean that the schema requires. Returns `true` if it does.
fn coerce(value: &mut NodeValue, schema: &Json) -> bool {
    let NodeValue::Text { text, expanded: true } = value else { return false };
    // JSON, so that 007 and +5 stay texts, and are reported.
    let parsed = match serde_json::from_str(text) {
        Ok(Json::Number(number)) => NodeValue::Number(number),
        Ok(Json::Bool(flag)) => NodeValue::Bool(flag),
        _ => return false,
    };
    let fits = admits(schema, &parsed) && !types(schema).contains(&"string");
    if fits {
        *value = parsed;
    }
    fits
}

fn kinds(schema: &Json) -> Vec<&'static str> {
    let name = |kind: &&str| match *kind {
        "object" => Some("a map"),
        "array" => Some("a list"),
        "string" => Some("text"),
        "integer" => Some("a whole number"),
        "number" => Some("a number"),
        "boolean" => Some("true or false"),
        _ => None,
    };
    types(schema).iter().filter_map(name).collect()
}

fn all_types(branches: &[Json]) -> Json {
    let all: Vec<&str> = branches.iter().flat_map(types).collect();
    serde_json::json!({ "type": all })
}

fn expected(kinds: &[&str], schema: &Json) -> String {
    let bound = |name| schema.get(name).and_then(Json::as_f64);
    match kinds {
        ["true or false"] => "write true or false".to_owned(),
        ["a map"] => "write `key: value` lines indented below the key".to_owned(),
        ["a list"] => "write a list: one `- item` per line, or [item, item]".to_owned(),
        ["a number" | "a whole number"] => format!("give {}", range_of(bound("minimum"), bound("maximum"))),
        _ => format!("write {}", kinds.join(" or ")),
    }
}

/// Returns the required keys that have no value.
fn missing<'s>(schema: &'s Json, entries: &[(Key, Node)]) -> Vec<&'s str> {
    let has =
        |name: &str| entries.iter().any(|(k, node)| k.name == name && !matches!(node.value, NodeValue::Null));
    let required = schema.get("required").and_then(Json::as_array);
    required.into_iter().flatten().filter_map(Json::as_str).filter(|name| !has(name)).collect()
}

/// Returns the first clause of a description, for the middle of a sentence.
fn describe(rule: Option<&Json>) -> String {
    let text = rule.and_then(|rule| rule.get("description")).and_then(Json::as_str).unwrap_or_default();
    let text = text.replace('\n', " ");
    // `. ` ends a sentence and `;` the main clause. A dot in `.onnx` ends neither.
    let end = text.find(". ").into_iter().chain(text.find(';')).min().unwrap_or(text.len());
    let mut rest = text[..end].trim_end_matches('.').chars();
    rest.next().map(|first| first.to_lowercase().chain(rest).collect()).unwrap_or_default()
}

fn size(schema: &Json, name: &str) -> Option<usize> {
    schema.get(name).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok())
}

fn range_of(min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("a number from {min} to {max}"),
        (Some(min), None) => format!("a number of at least {min}"),
        (None, Some(max)) => format!("a number of at most {max}"),
        (None, None) => "a number".to_owned(),
    }
}

/// Returns a number of items or characters with its noun.
fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn count_of(min: Option<usize>, max: Option<usize>, noun: &str) -> String {
    match (min, max) {
        (Some(min), Some(max)) if min == max => plural(min, noun),
        (Some(min), Some(max)) => format!("{min} to {}", plural(max, noun)),
        (Some(min), None) => format!("at least {}", plural(min, noun)),
        (None, Some(max)) => format!("at most {}", plural(max, noun)),
        (None, None) => format!("{noun}s"),
    }
}

/// Returns `text` in quotes and shortened. The value of a variable is not shown, since it is not part of the file.
pub(super) fn shown_text(text: &str, expanded: bool) -> String {
    if expanded {
        return format!("the expansion of ${{...}} ({} characters)", text.chars().count());
    }
    // Secrets are removed before the text is cut: a login is recognized only with the end of its address.
    format!("{:?}", shortened(&without_address_secrets(text)))
}
