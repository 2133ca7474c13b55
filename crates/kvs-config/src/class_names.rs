//! The class names of a detection model: read from a text file, and checked.
//!
//! A file has one name per line, or is YAML or JSON. That holds a list of names or a map from class index to name, at its root or
//! under `names` as in the `data.yaml` of Ultralytics.

use std::collections::HashMap;

use crate::document::not_yaml;
use crate::invisible::{InvisibleCharacter, invisible};
use crate::position::{lines, shortened};
use crate::tree::{self, Key, Node, NodeValue};

/// The key of the names in YAML and JSON.
const NAMES: &str = "names";
/// The key of the number of classes in `data.yaml`.
const COUNT: &str = "nc";
/// Separators between an index and a name in one line.
const SEPARATORS: &[char] = &[' ', '\t', ',', ':', ';', '=', ')', '.'];

/// A class name in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassName {
    /// The name, trimmed.
    pub name: String,
    /// The line of the name, from 1.
    pub line: usize,
}

/// The reason why a class file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFileFault {
    /// The line of the mistake, from 1; `None` for the file as a whole.
    pub line: Option<usize>,
    /// The mistake, as the end of a sentence that begins with its place.
    pub message: String,
    /// The remedy.
    pub remedy: &'static str,
}

/// The reason why a class name is refused. Indices of classes count from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassNameFault {
    /// The name is empty or blank.
    Empty {
        /// The index of the class.
        index: usize,
    },
    /// The name contains an invisible character.
    Invisible {
        /// The index of the class.
        index: usize,
        /// The character.
        character: InvisibleCharacter,
    },
    /// An earlier class has the same name.
    Duplicate {
        /// The index of the class.
        index: usize,
        /// The index of the earlier class.
        first: usize,
    },
}

const WRITE_LINES: &str =
    "write one class name per line, in the order of the model, or YAML or JSON with a list under `names`";
const WRITE_ALONE: &str = "write only the name, one per line, in the order of the model; if the rest is part of the name, write the names inline: classes: \
     [name, name]";
const WRITE_NAMES: &str =
    "write a list of names, or a map from class index to name, at the root or under `names`";
const COUNT_FROM_0: &str =
    "number the classes from 0 without gaps, in the order of the model; or write a list";

/// Returns the faults of class names, in their order.
pub fn class_name_faults<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<ClassNameFault> {
    let mut firsts = HashMap::new();
    let mut faults = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        // Trimmed as the names are when they are used: "cat " and "cat" are the same class.
        let name = name.trim();
        if let Some(character) = invisible(name) {
            faults.push(ClassNameFault::Invisible { index, character });
        } else if name.is_empty() {
            faults.push(ClassNameFault::Empty { index });
        } else if let Some(first) = firsts.get(name) {
            faults.push(ClassNameFault::Duplicate { index, first: *first });
        } else {
            firsts.insert(name, index);
        }
    }
    faults
}

/// Reads the class names in the text of a file, in the order of the model.
///
/// # Errors
/// The file has no names, its form is unknown, or a name is refused.
pub fn class_names(text: &str) -> Result<Vec<ClassName>, ClassFileFault> {
    // A mistake of the file as a whole, rather than of its first line.
    if text.trim().is_empty() {
        return Err(ClassFileFault { line: None, message: "is empty".to_owned(), remedy: WRITE_LINES });
    }
    let names = if is_document(text) { document(text)? } else { plain(text)? };
    match class_name_faults(names.iter().map(|name| &*name.name)).into_iter().next() {
        Some(fault) => Err(file_fault(&names, &fault)),
        None => Ok(names),
    }
}

/// Converts the fault of a name to a fault of the file, with the line of the name.
fn file_fault(names: &[ClassName], fault: &ClassNameFault) -> ClassFileFault {
    let (index, message, remedy) = match fault {
        ClassNameFault::Empty { index } => (index, "has no name".to_owned(), WRITE_LINES),
        ClassNameFault::Invisible { index, character } => {
            let name = shortened(&names[*index].name);
            let message = format!("contains an invisible character, {character}, in {name:?}");
            (index, message, "remove the character")
        }
        ClassNameFault::Duplicate { index, first } => {
            (index, duplicate_message(names, *index, *first), "give each class a name of its own")
        }
    };
    ClassFileFault { line: Some(names[*index].line), message, remedy }
}

fn duplicate_message(names: &[ClassName], index: usize, first: usize) -> String {
    let ClassName { name, line } = &names[first];
    let name = shortened(name);
    // JSON and flow lists have several names on one line.
    if *line == names[index].line {
        format!("has the name {name:?} twice, for the classes {first} and {index}")
    } else {
        format!("has the name {name:?}, like line {line}")
    }
}

/// Returns `true` for YAML and JSON with a list, a map of indices, or a map with `names`.
fn is_document(text: &str) -> bool {
    // Names may contain `:` and `-`, so a file of plain names counts as YAML only by its first line, or by a key `names`.
    let has_content = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let Some(first) = lines(text).find(has_content) else { return false };
    let first = first.trim();
    let begins =
        first.starts_with(['{', '[', '%']) || first.starts_with("- ") || ["-", "---"].contains(&first);
    begins || key_of(first).is_some_and(is_index) || lines(text).any(|line| key_of(line) == Some(NAMES))
}

/// Returns the key at the beginning of a line of a map, without its quotes.
fn key_of(line: &str) -> Option<&str> {
    let (key, rest) = line.split_once(':')?;
    let key = key.trim_end();
    let quoted = |quote| key.strip_prefix(quote).and_then(|key| key.strip_suffix(quote));
    // A colon without a blank behind it is part of a plain YAML scalar (YAML 1.2.2, 7.3.3).
    let ends = rest.is_empty() || rest.starts_with([' ', '\t']);
    ends.then(|| quoted('"').or_else(|| quoted('\'')).unwrap_or(key))
}

fn is_index(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a file with one name per line.
fn plain(text: &str) -> Result<Vec<ClassName>, ClassFileFault> {
    // Empty lines at the end are common; an empty line between names is a class without a name.
    let text = text.trim_end();
    let names: Vec<ClassName> = lines(text)
        .zip(1..)
        .map(|(line, number)| ClassName { name: line.trim().to_owned(), line: number })
        .collect();
    let more = |ClassName { name, line }: &ClassName| {
        let message = format!("is {:?}: {}", shortened(name), more_than_a_name(name)?);
        Some(ClassFileFault { line: Some(*line), message, remedy: WRITE_ALONE })
    };
    if let Some(fault) = names.iter().find_map(more) {
        return Err(fault);
    }
    let Some(why) = more_than_names(&names) else { return Ok(names) };
    let message = format!("is {:?}: {why}", shortened(&names[0].name));
    Err(ClassFileFault { line: Some(1), message, remedy: WRITE_ALONE })
}

/// Returns the reason why the lines together are not plain names.
fn more_than_names(names: &[ClassName]) -> Option<&'static str> {
    // Listings of other tools number the names from 0 or from 1. A single line that begins with 1 may be a name.
    let begins_with = |name: &str, index: usize| {
        name.strip_prefix(&index.to_string()).is_some_and(|rest| rest.starts_with(SEPARATORS))
    };
    let are_counted = |from| names.iter().zip(from..).all(|(name, index)| begins_with(&name.name, index));
    match names {
        _ if are_counted(0) || names.len() > 1 && are_counted(1) => {
            Some("it begins with the index of the class")
        }
        [only] if only.name.contains(',') => Some("it has commas, and is the only line"),
        _ => None,
    }
}

/// Returns the reason why a line is not a plain name.
fn more_than_a_name(line: &str) -> Option<&'static str> {
    let quoted = |quote| line.len() > 1 && line.starts_with(quote) && line.ends_with(quote);
    if line.starts_with('#') {
        Some("it looks like a comment")
    } else if line.ends_with(':') {
        Some("it looks like a key, and only `names` is read")
    } else if line.starts_with("- ") {
        Some("it looks like a list item, and other lines do not")
    } else if line.ends_with(',') {
        Some("it ends in a comma")
    } else if line.ends_with('{') || line == "}" {
        Some("it looks like another file format")
    } else {
        (quoted('"') || quoted('\'')).then_some("it is in quotes")
    }
}

/// Reads a file of YAML or JSON.
fn document(text: &str) -> Result<Vec<ClassName>, ClassFileFault> {
    let root = tree::parse(text).map_err(|error| {
        let problem = not_yaml(text, &error);
        ClassFileFault {
            line: problem.span.map(|span| span.line),
            message: format!("cannot be read: {}", problem.message),
            remedy: WRITE_LINES,
        }
    })?;
    let reader = DocumentReader { lines: lines(text).collect() };
    let names = reader.names(root.get(NAMES).unwrap_or(&root))?;
    // `nc` of `data.yaml`: the model was trained with this number of classes, so a list of another length is wrong.
    let Some(count) = root.get(COUNT).filter(|_| root.get(NAMES).is_some()) else { return Ok(names) };
    match &count.value {
        NodeValue::Number(number) if number.as_u64() != u64::try_from(names.len()).ok() => {
            let message = format!("says `nc: {number}`, and `names` has {}", names.len());
            Err(reader.fault(count, message, "correct one of the two"))
        }
        _ => Ok(names),
    }
}

struct DocumentReader<'t> {
    lines: Vec<&'t str>,
}

impl DocumentReader<'_> {
    fn names(&self, node: &Node) -> Result<Vec<ClassName>, ClassFileFault> {
        let names: Vec<ClassName> = match &node.value {
            NodeValue::List(items) => items.iter().map(|item| self.name(item)).collect::<Result<_, _>>()?,
            NodeValue::Map(entries) => self.indexed(entries)?,
            _ => {
                return Err(self.fault(
                    node,
                    "has neither a list nor a map of names".to_owned(),
                    WRITE_NAMES,
                ));
            }
        };
        if names.is_empty() {
            return Err(self.fault(node, "has no names".to_owned(), WRITE_NAMES));
        }
        Ok(names)
    }

    /// Reads a map from indices, in the order of the indices.
    fn indexed(&self, entries: &[(Key, Node)]) -> Result<Vec<ClassName>, ClassFileFault> {
        let mut indexed = Vec::new();
        for (key, node) in entries {
            let line = Some(key.span.line);
            let index =
                Some(&*key.name).filter(|key| is_index(key)).and_then(|key| key.parse::<usize>().ok());
            let Some(index) = index else {
                let message = format!("has the key `{}`, which is not a class index", shortened(&key.name));
                return Err(ClassFileFault { line, message, remedy: WRITE_NAMES });
            };
            indexed.push((index, key, self.name(node)?));
        }
        // YAML keeps duplicate keys apart that differ in spelling, such as 0 and 00; `check_indices` finds them as a repeated index.
        indexed.sort_by_key(|(index, ..)| *index);
        check_indices(indexed.iter().map(|(index, key, _)| (*index, *key)))?;
        Ok(indexed.into_iter().map(|(_, _, name)| name).collect())
    }

    /// Reads a name as it is spelt: YAML reads 007 as the number 7, and it stays 007 here.
    fn name(&self, node: &Node) -> Result<ClassName, ClassFileFault> {
        let name = match &node.value {
            NodeValue::Text { text, .. } => text.trim().to_owned(),
            NodeValue::Number(number) => {
                node.span.scalar(&self.lines).map_or_else(|| number.to_string(), str::to_owned)
            }
            NodeValue::Bool(flag) => {
                node.span.scalar(&self.lines).map_or_else(|| flag.to_string(), str::to_owned)
            }
            NodeValue::Null => {
                let message = "has no name (YAML reads null and ~ as no value)".to_owned();
                return Err(self.fault(node, message, "write the name, in quotes if it is null or ~"));
            }
            NodeValue::List(_) | NodeValue::Map(_) => {
                let message = "has a list or a map where a name is expected".to_owned();
                return Err(self.fault(node, message, WRITE_NAMES));
            }
        };
        Ok(ClassName { name, line: node.span.line })
    }

    fn fault(&self, node: &Node, message: String, remedy: &'static str) -> ClassFileFault {
        ClassFileFault { line: Some(node.span.line).filter(|line| *line > 0), message, remedy }
    }
}

/// Returns the fault of the first of the sorted indices that leaves a gap or repeats another.
fn check_indices<'k>(indices: impl Iterator<Item = (usize, &'k Key)>) -> Result<(), ClassFileFault> {
    for (wanted, (index, key)) in indices.enumerate() {
        if index != wanted {
            let message = format!("has the index {index}, but index {wanted} is missing");
            let message =
                if index < wanted { format!("has the index {index} a second time") } else { message };
            return Err(ClassFileFault { line: Some(key.span.line), message, remedy: COUNT_FROM_0 });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::class_names;

    #[test]
    fn names_are_read_in_the_order_of_the_model() {
        let cases: [(&str, &str, &[&str]); 21] = [
            ("lines", "cat\ntraffic light \n\n", &["cat", "traffic light"]),
            ("lines that end with CR", "cat\r\ndog\rcow\r\n", &["cat", "dog", "cow"]),
            ("numbers as names", "0\n1\n2\n", &["0", "1", "2"]),
            ("colons within names", "sign: stop\nsign: go\n", &["sign: stop", "sign: go"]),
            ("commas within names", "tench, Tinca\ngoldfish\n", &["tench, Tinca", "goldfish"]),
            ("quotes within names", "driver's cab\n\"big\" cat\n", &["driver's cab", "\"big\" cat"]),
            ("marks within names", "c#\na-b\n-c\n", &["c#", "a-b", "-c"]),
            ("joiners of a script", "می\u{200c}خواهم\nสุนัข\n", &["می\u{200c}خواهم", "สุนัข"]),
            ("a list", "- cat\n- 'traffic light'\n", &["cat", "traffic light"]),
            ("a list after a comment", "# ours\n\n- cat\n- dog\n", &["cat", "dog"]),
            ("as written", "- 007\n- 1e3\n- yes\n- true\n- 0x1F\n", &["007", "1e3", "yes", "true", "0x1F"]),
            ("a map of indices", "0: cat\n1: dog\n", &["cat", "dog"]),
            ("indices as written", "0: 007\n1: no\n", &["007", "no"]),
            ("indices in another order", "1: dog\n0: cat\n", &["cat", "dog"]),
            (
                "data.yaml",
                "path: ../d # root\nnc: 2\nnames:\n  0: cat\n  1: dog\n\ndownload: |\n  x: 1\n",
                &["cat", "dog"],
            ),
            ("data.yaml of a list", "train: t\nnames: ['cat', dog]\nnc: 2\n", &["cat", "dog"]),
            ("a document", "---\nnames:\n- cat\n", &["cat"]),
            ("JSON", "[\"cat\",\n \"dog\"]", &["cat", "dog"]),
            ("JSON of indices", "{\"0\": \"cat\", \"1\": \"dog\"}", &["cat", "dog"]),
            ("JSON with `names`", "{\n\"names\": {\"0\": \"cat\"}}", &["cat"]),
            ("a dictionary of Python", "{0: 'cat', 1: \"dog's\"}", &["cat", "dog's"]),
        ];
        for (name, text, want) in cases {
            let names = class_names(text).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
            let names: Vec<_> = names.iter().map(|name| &*name.name).collect();
            assert_eq!(names, want, "{name}");
        }
    }

    #[test]
    fn mistakes_are_reported_with_their_line() {
        let cases: [(&str, &str, Option<usize>, &str); 36] = [
            ("nothing", "", None, "is empty"),
            ("blanks", " \n\n", None, "is empty"),
            ("an empty line", "cat\n\ndog\n", Some(2), "has no name"),
            ("twice", "cat\ndog\ncat \n", Some(3), "has the name \"cat\", like line 1"),
            ("a space without width", "cat\ndo\u{200b}g\n", Some(2), "U+200B (zero width space)"),
            ("a no-break space", "fire\u{a0}truck\n", Some(1), "U+00A0 (no-break space)"),
            ("a joiner in Latin", "cat\ndo\u{200d}g\n", Some(2), "U+200D (zero width joiner)"),
            ("a control", "cat\n\u{1b}[1mdog\n", Some(2), "U+001B (escape)"),
            ("a mark between lines", "cat\n\u{feff}dog\n", Some(2), "U+FEFF"),
            ("a comment", "# names\ncat\n", Some(1), "looks like a comment"),
            ("another key", "classes:\n  - cat\n", Some(1), "only `names` is read"),
            ("items and lines", "cat\n- dog\n", Some(2), "a list item"),
            ("lines and items", "- dog\ncat\n", Some(2), "invalid YAML"),
            ("quotes", "\"cat\"\n\"dog\"\n", Some(1), "is in quotes"),
            ("commas", "cat,\ndog\n", Some(1), "ends in a comma"),
            ("one line of all", "cat, dog, cow\n", Some(1), "it has commas"),
            ("indices without a colon", "0 cat\n1 dog\n", Some(1), "begins with the index"),
            ("indices from 1", "1\tcat\n2\tdog\n", Some(1), "begins with the index"),
            ("indices without a space", "0:cat\n1:dog\n", Some(1), "begins with the index"),
            ("a label map", "item {\n  id: 1\n}\n", Some(1), "another file format"),
            ("a gap", "0: cat\n2: dog\n", Some(2), "has the index 2, but index 1 is missing"),
            ("from 1", "1: cat\n2: dog\n", Some(1), "has the index 1, but index 0 is missing"),
            ("an index twice", "0: cat\n0: dog\n", Some(2), "duplicate key `0`"),
            ("an index in two forms", "0: cat\n00: dog\n", Some(2), "has the index 0 a second time"),
            ("a key among indices", "0: cat\ndog: 1\n", Some(2), "the key `dog`, which is not a class index"),
            ("indices of names", "{\"cat\": 0}", Some(1), "the key `cat`"),
            ("no name", "0: cat\n1:\n", Some(2), "has no name"),
            ("null as a key", "0: cat\nnull: dog\n", Some(2), "the key `null`"),
            ("null", "- cat\n- null\n", Some(2), "reads null"),
            ("lists in a list", "- cat\n- [dog]\n", Some(2), "where a name is expected"),
            ("names of a file", "names: coco.names\n", Some(1), "neither a list nor a map"),
            ("no names", "nc: 2\nnames: []\n", Some(2), "has no names"),
            ("another number", "nc: 3\nnames: [cat, dog]\n", Some(1), "says `nc: 3`, and `names` has 2"),
            ("a quote left open", "names: ['cat, dog]\n", Some(1), "invalid YAML"),
            ("twice in a line", "['cat', 'cat']", Some(1), "\"cat\" twice, for the classes 0 and 1"),
            ("twice in a document", "names:\n  0: cat\n  1: cat\n", Some(3), "like line 2"),
        ];
        for (name, text, line, word) in cases {
            let fault = class_names(text).expect_err(name);
            assert!(fault.message.contains(word), "{name}: {fault:?}");
            assert_eq!(fault.line, line, "{name}: {fault:?}");
            assert!(!fault.remedy.is_empty(), "{name}");
        }
    }
}
