//! The class names of a model, and the characters of one that reads text.

use kvs_config::written::ClassList;
use kvs_config::{ClassFileFault, ClassNameFault, KeyPath, class_name_faults, class_names};

use super::Lowering;

impl Lowering<'_> {
    /// The class names at `at`; of a model that reads text, its characters.
    pub(super) fn classes(&mut self, classes: &ClassList, reads: bool, at: &KeyPath) -> Option<Vec<String>> {
        match classes {
            ClassList::Inline(characters) if reads => Some(characters.clone()),
            ClassList::Inline(names) => self.inline_classes(names, at),
            ClassList::File(path) => {
                let text = self.class_text(path, at)?;
                let names = if reads { characters_of(&text) } else { names_of(&text) };
                match names {
                    Ok(names) => Some(names),
                    Err(ClassFileFault { line, message, remedy }) => {
                        let line = line.map(|line| format!("line {line} of ")).unwrap_or_default();
                        self.problem(at, format!("{line}the class file {path} {message}"), remedy);
                        None
                    }
                }
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
                    format!("{:?} has {character}, which cannot be seen", names[*index]),
                    "write the name without it",
                ),
                ClassNameFault::Twice { index, first } => {
                    let line = self.document.place_of(&at.index(*first)).line;
                    let message =
                        format!("{:?} is the name of class {first} already, in line {line}", names[*index]);
                    (index, message, "give each class a name of its own")
                }
            };
            self.problem(&at.index(*index), message, remedy);
        }
        faults.is_empty().then(|| names.iter().map(|name| name.trim().to_owned()).collect())
    }

    /// The text of a class file.
    fn class_text(&mut self, path: &str, at: &KeyPath) -> Option<String> {
        if path.contains("://") {
            let remedy =
                "write the names in place: classes: [name, name]; or the path of a file of this machine";
            self.problem(at, format!("{path:?}: class names are not fetched from elsewhere"), remedy);
            return None;
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(why) => {
                let remedy = "correct the path, or write the names in place: classes: [name, name]";
                self.problem(at, format!("the class file {path} cannot be read: {why}"), remedy);
                return None;
            }
        };
        match plain_text(bytes) {
            Ok(text) => Some(text),
            Err(why) => {
                let message = format!("the class file {path} is not UTF-8 text: {why}");
                self.problem(at, message, "save it as UTF-8, one name a line");
                None
            }
        }
    }
}

fn names_of(text: &str) -> Result<Vec<String>, ClassFileFault> {
    Ok(class_names(text)?.into_iter().map(|class| class.name).collect())
}

/// The characters of a recognition model, one a line, whatever they are: a line of blanks is one too, such as the wide space of
/// Chinese. Empty lines at the end do not count.
fn characters_of(text: &str) -> Result<Vec<String>, ClassFileFault> {
    let remedy = "write one character a line, in the order of the model";
    let character = |line: &str| if line.trim().is_empty() { line } else { line.trim() }.to_owned();
    let characters: Vec<String> = text.trim_end_matches('\n').lines().map(character).collect();
    if characters.is_empty() {
        return Err(ClassFileFault { line: None, message: "is empty".to_owned(), remedy });
    }
    match characters.iter().position(String::is_empty) {
        Some(empty) => {
            let line = Some(empty + 1);
            Err(ClassFileFault { line, message: "has no character".to_owned(), remedy })
        }
        None => Ok(characters),
    }
}

/// The text of a file without a byte order mark and with `\n` at the ends of its lines; UTF-16 with its mark is read too.
///
/// # Errors
/// The text is of another encoding, or has a NUL.
fn plain_text(bytes: Vec<u8>) -> Result<String, String> {
    let units =
        |order: fn([u8; 2]) -> u16| bytes[2..].chunks_exact(2).map(move |pair| order([pair[0], pair[1]]));
    let text = match bytes.get(..2) {
        Some([0xff, 0xfe]) => char::decode_utf16(units(u16::from_le_bytes)).collect::<Result<String, _>>(),
        Some([0xfe, 0xff]) => char::decode_utf16(units(u16::from_be_bytes)).collect::<Result<String, _>>(),
        _ => return utf8(bytes),
    };
    lines_of(&text.map_err(|error| error.to_string())?)
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} has bytes of another encoding")
    })?;
    lines_of(text.trim_start_matches('\u{feff}'))
}

fn lines_of(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("it has U+0000 (NUL), as UTF-16 without its mark does".to_owned());
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}
