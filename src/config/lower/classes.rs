//! The class names of a detection model, and the characters of a recognition model.

use std::path::Path;

use kvs_config::raw::ClassList;
use kvs_config::{ClassFileFault, ClassNameFault, KeyPath, class_name_faults, class_names};

use super::SettingsBuilder;
use crate::base::read_bounded;

impl SettingsBuilder<'_> {
    /// Returns the class names at `at`, or the characters of a recognition model.
    pub(super) fn classes(
        &mut self,
        classes: &ClassList,
        is_recognition: bool,
        at: &KeyPath,
    ) -> Option<Vec<String>> {
        match classes {
            // Characters may be blank, repeated or invisible: the list is the output alphabet of the model.
            ClassList::Inline(characters) if is_recognition => Some(characters.clone()),
            ClassList::Inline(names) => self.inline_classes(names, at),
            ClassList::File(path) => self.class_file(path, is_recognition, at),
        }
    }

    /// Returns the names, or the characters of a recognition model, in a file.
    fn class_file(&mut self, path: &str, is_recognition: bool, at: &KeyPath) -> Option<Vec<String>> {
        let text = self.read_class_file(path, at)?;
        let names = if is_recognition { parse_characters(&text) } else { parse_names(&text) };
        match names {
            Ok(names) => Some(names),
            Err(ClassFileFault { line, message, remedy }) => {
                let line = line.map(|line| format!("line {line} of ")).unwrap_or_default();
                self.problem(at, format!("{line}the class file {path} {message}"), remedy);
                None
            }
        }
    }

    fn inline_classes(&mut self, names: &[String], at: &KeyPath) -> Option<Vec<String>> {
        let faults = class_name_faults(names.iter().map(String::as_str));
        for fault in &faults {
            let (index, message, remedy) = match fault {
                ClassNameFault::Empty { index } => (index, "the name is blank".to_owned(), "write a name"),
                ClassNameFault::Invisible { index, character } => (
                    index,
                    format!("{:?} contains an invisible character, {character}", names[*index]),
                    "remove the character",
                ),
                ClassNameFault::Duplicate { index, first } => {
                    let line = self.document.span_of(&at.index(*first)).line;
                    let message =
                        format!("{:?} is the name of class {first} already, on line {line}", names[*index]);
                    (index, message, "give each class a unique name")
                }
            };
            self.problem(&at.index(*index), message, remedy);
        }
        // `None`, so that no entry is reported again for a class that is missing from a faulty list.
        faults.is_empty().then(|| names.iter().map(|name| name.trim().to_owned()).collect())
    }

    /// Reads the text of a class file.
    fn read_class_file(&mut self, path: &str, at: &KeyPath) -> Option<String> {
        if path.contains("://") {
            let remedy = "write the names inline: classes: [name, name]; or the path of a local file";
            self.problem(at, format!("{path:?}: class names must be in a local file"), remedy);
            return None;
        }
        // As bytes: the encoding is part of the check.
        let bytes = match read_bounded(Path::new(path)) {
            Ok(bytes) => bytes,
            Err(why) => {
                let remedy = "correct the path, or write the names inline: classes: [name, name]";
                self.problem(at, format!("the class file {path} cannot be read: {why}"), remedy);
                return None;
            }
        };
        match decode_text(bytes) {
            Ok(text) => Some(text),
            Err(why) => {
                let message = format!("the class file {path} is not UTF-8 text: {why}");
                self.problem(at, message, "save it as UTF-8, one name per line");
                None
            }
        }
    }
}

fn parse_names(text: &str) -> Result<Vec<String>, ClassFileFault> {
    Ok(class_names(text)?.into_iter().map(|class| class.name).collect())
}

/// Reads the characters of a recognition model, one per line.
///
/// A line of blanks is a character too, such as the ideographic space U+3000. Empty lines at the end are ignored.
fn parse_characters(text: &str) -> Result<Vec<String>, ClassFileFault> {
    let remedy = "write one character per line, in the order of the model";
    // Trimmed only if a character remains.
    let character = |line: &str| if line.trim().is_empty() { line } else { line.trim() }.to_owned();
    let characters: Vec<String> = text.trim_end_matches('\n').lines().map(character).collect();
    if characters.is_empty() {
        return Err(ClassFileFault { line: None, message: "is empty".to_owned(), remedy });
    }
    // An empty line has no character, and would shift the ones behind it.
    match characters.iter().position(String::is_empty) {
        Some(empty) => {
            let line = Some(empty + 1);
            Err(ClassFileFault { line, message: "has no character".to_owned(), remedy })
        }
        None => Ok(characters),
    }
}

/// Decodes UTF-8, or UTF-16 with a byte order mark. Removes the mark, and ends lines with `\n`.
///
/// # Errors
/// The text has another encoding, or contains a NUL.
fn decode_text(bytes: Vec<u8>) -> Result<String, String> {
    let units =
        |order: fn([u8; 2]) -> u16| bytes[2..].chunks_exact(2).map(move |pair| order([pair[0], pair[1]]));
    // The byte order mark U+FEFF, little-endian and big-endian.
    let text = match bytes.get(..2) {
        Some([0xff, 0xfe]) => char::decode_utf16(units(u16::from_le_bytes)).collect::<Result<String, _>>(),
        Some([0xfe, 0xff]) => char::decode_utf16(units(u16::from_be_bytes)).collect::<Result<String, _>>(),
        _ => return utf8(bytes),
    };
    normalize_lines(&text.map_err(|error| error.to_string())?)
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} has bytes in another encoding")
    })?;
    normalize_lines(text.trim_start_matches('\u{feff}'))
}

fn normalize_lines(text: &str) -> Result<String, String> {
    // UTF-16 without a mark is valid UTF-8 with a NUL in every other byte, for Latin letters.
    if text.contains('\0') {
        return Err("it contains U+0000 (NUL), like UTF-16 without a byte order mark".to_owned());
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}
