//! Holds a tree against the schema: names, types, ranges and patterns, every mistake of them.

use serde_json::{Map, Number, Value as Json};

use crate::address_secrets::without_address_secrets;
use crate::closest::closest;
use crate::invisible::invisible;
use crate::place::{KeyPath, Place, lines, shortened};
use crate::problem::Problems;
use crate::tree::{Key, Node, Value};
use crate::written::{OTHER_NAMES, REMEDY};

/// Reports all in which `root`, the tree of `text`, is not as `schema` says. Text from the environment becomes the number or
/// boolean that is asked for.
pub(super) fn check(root: &mut Node, schema: &Json, text: &str, problems: &mut Problems) {
    let lines = lines(text).collect();
    Shape { root: schema, lines, problems }.node(root, schema, &KeyPath::default());
}

struct Shape<'a> {
    root: &'a Json,
    /// The lines of the file.
    lines: Vec<&'a str>,
    problems: &'a mut Problems,
}

impl Shape<'_> {
    fn node(&mut self, node: &mut Node, schema: &Json, path: &KeyPath) {
        let branch = self.branch(node, schema);
        let remedy = remedy_of(schema).or_else(|| remedy_of(&branch));
        self.branch_node(node, &branch, remedy.as_deref(), path);
    }

    fn branch_node(&mut self, node: &mut Node, schema: &Json, remedy: Option<&str>, path: &KeyPath) {
        if let Some(choices) = choices(schema) {
            return self.choice(node, &choices, schema, path);
        }
        let is_expanded = coerce(&mut node.value, schema);
        if !admits(schema, &node.value) {
            return self.wrong_kind(node, schema, remedy, path);
        }
        match &mut node.value {
            Value::Map(entries) => self.map(entries, node.place, schema, path),
            Value::List(items) => self.list(items, node.place, schema, remedy, path),
            Value::Number(number) => {
                let written = node.place.scalar(&self.lines).filter(|_| !is_expanded);
                let shown = written.map_or_else(|| number.to_string(), str::to_owned);
                self.number(number, &shown, node.place, schema, path);
            }
            Value::Text { text, expanded } => {
                let shown = shown_text(text, *expanded);
                self.text(text, &shown, node.place, schema, remedy, path);
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The schema that `schema` stands for, with references followed and of several the one of the node's
    /// kind.
    fn branch(&self, node: &Node, schema: &Json) -> Json {
        if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
            return self.branch(node, &self.definition(name));
        }
        let Some(branches) = schema.get("anyOf").and_then(Json::as_array) else { return schema.clone() };
        let branches: Vec<Json> = branches
            .iter()
            .filter(|branch| branch.get("type").and_then(Json::as_str) != Some("null"))
            .map(|branch| self.branch(node, branch))
            .collect();
        let fits = branches.iter().find(|branch| admits(branch, &node.value));
        match (fits, branches.as_slice()) {
            (Some(branch), _) | (None, [branch]) => branch.clone(),
            (None, _) => kinds_of_all(&branches),
        }
    }

    fn definition(&self, name: &str) -> Json {
        let pointer = name.trim_start_matches('#');
        self.root.pointer(pointer).cloned().unwrap_or(Json::Bool(true))
    }

    fn map(&mut self, entries: &mut [(Key, Node)], place: Place, schema: &Json, path: &KeyPath) {
        let none = Map::new();
        let known = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        for (key, node) in entries.iter_mut() {
            let here = path.key(&key.name);
            match known.get(&key.name).or(others) {
                Some(_) if matches!(node.value, Value::Null) && known.contains_key(&key.name) => {}
                Some(rule) => self.node(node, rule, &here),
                None => self.unknown(key, known, &here),
            }
        }
        for missing in missing(schema, entries) {
            let null = entries.iter().find(|(key, _)| key.name == missing).map(|(_, node)| node);
            if let Some((node, written)) = null.and_then(|node| Some((node, self.written(node)?))) {
                let message = format!("`{missing}` is {written}, which YAML takes for no value");
                self.problems.add(&path.key(missing), node.place, message, quote(&written));
                continue;
            }
            let remedy = format!("add `{missing}:` ({})", describe(known.get(missing)));
            self.problems.add(&path.key(missing), place, format!("`{missing}` is missing"), remedy);
        }
    }

    fn unknown(&mut self, key: &Key, known: &Map<String, Json>, path: &KeyPath) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let remedy = match closest(&key.name, &names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the keys here are {}", names.join(", ")),
        };
        self.problems.add(path, key.place, format!("unknown key `{}`", key.name), remedy);
    }

    fn list(
        &mut self,
        items: &mut [Node],
        place: Place,
        schema: &Json,
        remedy: Option<&str>,
        path: &KeyPath,
    ) {
        let (least, most) = (size(schema, "minItems"), size(schema, "maxItems"));
        if least.is_some_and(|n| items.len() < n) || most.is_some_and(|n| items.len() > n) {
            let count = items.len();
            let message = if count == 0 {
                "the list is empty".to_owned()
            } else {
                format!("the list has {count} items")
            };
            let remedy =
                remedy.map_or_else(|| format!("give {}", span_of(least, most, "items")), str::to_owned);
            self.problems.add(path, place, message, remedy);
        }
        let any = Json::Bool(true);
        let rule = schema.get("items").unwrap_or(&any);
        for (i, item) in items.iter_mut().enumerate() {
            self.node(item, rule, &path.index(i));
        }
    }

    fn number(&mut self, number: &Number, shown: &str, place: Place, schema: &Json, path: &KeyPath) {
        let bound = |name| schema.get(name).and_then(Json::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        let value = number.as_f64().unwrap_or(f64::INFINITY);
        if least.is_some_and(|n| value < n) || most.is_some_and(|n| value > n) {
            let remedy = format!("give {}", range_of(least, most));
            self.problems.add(path, place, format!("{shown} is out of range"), remedy);
        }
    }

    fn text(
        &mut self,
        text: &str,
        shown: &str,
        place: Place,
        schema: &Json,
        remedy: Option<&str>,
        path: &KeyPath,
    ) {
        if let Some(character) = invisible(text) {
            let message = format!("{shown} has {character}, which cannot be seen");
            self.problems.add(
                path,
                place,
                message,
                "write the text without it, or set the variable without it",
            );
            return;
        }
        let pattern = schema.get("pattern").and_then(Json::as_str);
        let (least, most) = (size(schema, "minLength"), size(schema, "maxLength"));
        let count = text.chars().count();
        let fits = least.is_none_or(|n| count >= n) && most.is_none_or(|n| count <= n);
        if fits && pattern.is_none_or(|pattern| matches(pattern, text)) {
            return;
        }
        let message = if text.is_empty() {
            "the text is empty".to_owned()
        } else {
            format!("{shown} is not possible here")
        };
        let remedy =
            remedy.map_or_else(|| format!("give {}", span_of(least, most, "characters")), str::to_owned);
        self.problems.add(path, place, message, remedy);
    }

    fn choice(&mut self, node: &Node, choices: &[&str], schema: &Json, path: &KeyPath) {
        let given = self.shown(node);
        let text = match &node.value {
            Value::Text { text, .. } => text.as_str(),
            _ => "",
        };
        if choices.contains(&text) {
            return;
        }
        let possible = format!("possible: {}", choices.join(", "));
        let close = closest(text, choices).map(|name| format!("did you mean `{name}`? "));
        let close = meant(text, schema).or(close).unwrap_or_default();
        let message = format!("{given} is none of the possible values");
        self.problems.add(path, node.place, message, format!("{close}{possible}"));
    }

    fn wrong_kind(&mut self, node: &Node, schema: &Json, remedy: Option<&str>, path: &KeyPath) {
        let kinds = kinds(schema);
        let message = format!("{} is not {}", self.shown(node), kinds.join(" or "));
        let remedy = match (self.written(node).filter(|_| kinds == ["text"]), remedy) {
            (Some(written), _) => quote(&written),
            (None, Some(remedy)) => remedy.to_owned(),
            (None, None) => expected(&kinds, schema),
        };
        self.problems.add(path, node.place, message, remedy);
    }

    /// A value for a message: as the file has it, where it is one line.
    fn shown(&self, node: &Node) -> String {
        match &node.value {
            Value::Null => self.written(node).unwrap_or_else(|| "an empty value".to_owned()),
            Value::Bool(flag) => self.written(node).unwrap_or_else(|| flag.to_string()),
            Value::Number(number) => self.written(node).unwrap_or_else(|| number.to_string()),
            Value::Text { text, expanded } => shown_text(text, *expanded),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// A number, boolean or null as the file has it: YAML reads 007 as 7 and ~ as null.
    fn written(&self, node: &Node) -> Option<String> {
        let is_null = |text: &&str| ["~", "null", "Null", "NULL"].contains(text);
        let text = node.place.scalar(&self.lines);
        let text = match node.value {
            Value::Null => text.filter(is_null),
            Value::Bool(_) | Value::Number(_) => text,
            Value::Text { .. } | Value::List(_) | Value::Map(_) => None,
        };
        text.map(|text| shortened(text).into_owned())
    }
}

fn quote(written: &str) -> String {
    format!("write it in quotes if text is meant: \"{written}\"")
}

/// The choice that another name of it stands for, as the schema has them: patterns of names without case and punctuation,
/// each with its remedy.
fn meant(text: &str, schema: &Json) -> Option<String> {
    let name: String = text.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let others = schema.get(OTHER_NAMES).and_then(Json::as_array)?;
    let pair = |pair: &Json| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()));
    let (_, remedy) = others.iter().filter_map(pair).find(|(pattern, _)| matches(pattern, &name))?;
    Some(format!("{remedy}; "))
}

/// The values of an enumeration, if `schema` is one.
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

fn admits(schema: &Json, value: &Value) -> bool {
    let types = types(schema);
    let fits = |name: &&str| match (*name, value) {
        ("object", Value::Map(_)) | ("array", Value::List(_)) | ("string", Value::Text { .. }) => true,
        ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    types.is_empty() || types.iter().any(fits)
}

/// Text from the environment that reads as the number or boolean that is asked for becomes it.
/// Returns `true` where it does.
fn coerce(value: &mut Value, schema: &Json) -> bool {
    let Value::Text { text, expanded: true } = value else { return false };
    let parsed = match serde_json::from_str(text) {
        Ok(Json::Number(number)) => Value::Number(number),
        Ok(Json::Bool(flag)) => Value::Bool(flag),
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

fn kinds_of_all(branches: &[Json]) -> Json {
    let all: Vec<&str> = branches.iter().flat_map(types).collect();
    serde_json::json!({ "type": all })
}

fn expected(kinds: &[&str], schema: &Json) -> String {
    let bound = |name| schema.get(name).and_then(Json::as_f64);
    match kinds {
        ["true or false"] => "write true or false".to_owned(),
        ["a map"] => "write `key: value` lines, indented below it".to_owned(),
        ["a list"] => "write a list: one `- item` a line, or [item, item]".to_owned(),
        ["a number" | "a whole number"] => format!("give {}", range_of(bound("minimum"), bound("maximum"))),
        _ => format!("write {}", kinds.join(" or ")),
    }
}

fn missing<'s>(schema: &'s Json, entries: &[(Key, Node)]) -> Vec<&'s str> {
    let has =
        |name: &str| entries.iter().any(|(k, node)| k.name == name && !matches!(node.value, Value::Null));
    let required = schema.get("required").and_then(Json::as_array);
    required.into_iter().flatten().filter_map(Json::as_str).filter(|name| !has(name)).collect()
}

/// The first clause of a description, for the middle of a sentence.
fn describe(rule: Option<&Json>) -> String {
    let text = rule.and_then(|rule| rule.get("description")).and_then(Json::as_str).unwrap_or_default();
    let text = text.replace('\n', " ");
    let end = text.find(". ").into_iter().chain(text.find(';')).min().unwrap_or(text.len());
    let mut rest = text[..end].trim_end_matches('.').chars();
    rest.next().map(|first| first.to_lowercase().chain(rest).collect()).unwrap_or_default()
}

fn size(schema: &Json, name: &str) -> Option<usize> {
    schema.get(name).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok())
}

fn range_of(least: Option<f64>, most: Option<f64>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("a number from {least} to {most}"),
        (Some(least), None) => format!("a number of at least {least}"),
        (None, Some(most)) => format!("a number of at most {most}"),
        (None, None) => "a number".to_owned(),
    }
}

fn span_of(least: Option<usize>, most: Option<usize>, what: &str) -> String {
    match (least, most) {
        (Some(least), Some(most)) if least == most => format!("{least} {what}"),
        (Some(least), Some(most)) => format!("{least} to {most} {what}"),
        (Some(least), None) => format!("at least {least} {what}"),
        (None, Some(most)) => format!("at most {most} {what}"),
        (None, None) => what.to_owned(),
    }
}

pub(super) fn matches(pattern: &str, text: &str) -> bool {
    regex_lite::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// `text` in quotes and shortened. The values of variables are not shown: they are the environment's, not the file's.
pub(super) fn shown_text(text: &str, expanded: bool) -> String {
    if expanded {
        return format!("what ${{...}} expands to ({} characters)", text.chars().count());
    }
    // An address is cut after its secrets are out: without its end a login would not be recognized.
    format!("{:?}", shortened(&without_address_secrets(text)))
}
