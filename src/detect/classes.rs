//! Class names as exporters write them into a model's metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvs_config::{ClassNameFault, class_name_faults};

use super::error::ModelFault;
use crate::base::MAX_NAME_CHARS;

/// The class names of a detector: those of the configuration, else those of its metadata.
///
/// # Errors
/// There are none, they cannot be read, one has a character that cannot be seen, or two are the same, of long ones their first
/// [`MAX_NAME_CHARS`] characters.
pub(super) fn class_names(
    given: Option<&[String]>,
    metadata: Option<&str>,
) -> Result<Vec<Arc<str>>, ModelFault> {
    let names = match given {
        Some([]) => return Err(ModelFault::NoClasses),
        Some(names) => names.to_vec(),
        None => parse_names(metadata.ok_or(ModelFault::NoClasses)?)?,
    };
    let names: Vec<String> = names.iter().map(|name| shortened(name.trim())).collect();
    match class_name_faults(names.iter().map(String::as_str)).first() {
        None => Ok(names.iter().map(|name| Arc::from(name.as_str())).collect()),
        Some(fault) => Err(refused_name(fault, &names)),
    }
}

/// The fault of a model, one of whose class names is refused.
fn refused_name(fault: &ClassNameFault, names: &[String]) -> ModelFault {
    let name = |index: usize| names[index].clone();
    match *fault {
        ClassNameFault::Empty { index } => ModelFault::EmptyClassName { index },
        ClassNameFault::Invisible { index, character } => {
            ModelFault::ClassName { index, name: name(index), character: character.to_string() }
        }
        ClassNameFault::Duplicate { index, first } => {
            ModelFault::ClassNameTwice { first, index, name: name(index) }
        }
    }
}

/// A name without what is beyond [`MAX_NAME_CHARS`]: it is in each record, log line and caption.
fn shortened(name: &str) -> String {
    name.chars().take(MAX_NAME_CHARS).collect()
}

/// The class names in the metadata `names`: a Python dictionary `{0: 'person', 1: 'car'}`, the same as JSON with
/// quoted keys, or a list of either kind.
///
/// Errors: the text is none of these, or its keys are not 0, 1, 2...
pub(super) fn parse_names(text: &str) -> Result<Vec<String>, ModelFault> {
    // U+FEFF: metadata that was copied from a text file may begin with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = NamesParser { characters: text.chars().collect(), at: 0 };
    let names = match reader.next() {
        Some('{') => reader.dictionary()?,
        Some('[') => reader.list(']')?,
        Some('(') => reader.list(')')?,
        _ => return Err(reader.fault("`{` or `[`")),
    };
    match reader.next() {
        None if names.is_empty() => Err(ModelFault::NoClasses),
        None => Ok(names),
        Some(_) => Err(reader.fault("the end")),
    }
}

struct NamesParser {
    characters: Vec<char>,
    /// Index after the last character that was read.
    at: usize,
}

impl NamesParser {
    /// The next character that is no space.
    fn next(&mut self) -> Option<char> {
        while self.characters.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.take()
    }

    fn take(&mut self) -> Option<char> {
        // Counted at the end as well, so that `fault` names the place where a character is missing.
        let character = self.characters.get(self.at).copied();
        self.at += 1;
        character
    }

    fn fault(&self, why: &'static str) -> ModelFault {
        ModelFault::Classes { at: self.at.saturating_sub(1), why }
    }

    fn list(&mut self, end: char) -> Result<Vec<String>, ModelFault> {
        let mut names = Vec::new();
        loop {
            match self.next() {
                Some(c) if c == end => return Ok(names),
                Some(quote @ ('\'' | '"')) => names.push(self.quoted(quote)?),
                _ => return Err(self.fault("a quoted name")),
            }
            if self.ends(end)? {
                return Ok(names);
            }
        }
    }

    fn dictionary(&mut self) -> Result<Vec<String>, ModelFault> {
        // The keys may have any order. A gap would shift all names after it, so it is an error.
        let mut names = BTreeMap::new();
        loop {
            let key = match self.next() {
                Some('}') => break,
                first => self.key(first)?,
            };
            if names.insert(key, self.value()?).is_some() {
                return Err(self.fault("a number that did not come before"));
            }
            if self.ends('}')? {
                break;
            }
        }
        if !names.keys().copied().eq(0..names.len()) {
            return Err(self.fault("numbers 0, 1, 2... without a gap"));
        }
        Ok(names.into_values().collect())
    }

    /// Reads the rest of a key, a number that may be quoted, after its first character.
    fn key(&mut self, first: Option<char>) -> Result<usize, ModelFault> {
        match first {
            Some(quote @ ('\'' | '"')) => self.quoted(quote)?.parse().map_err(|_| self.fault("a number")),
            Some(digit) if digit.is_ascii_digit() => self.number(digit),
            _ => Err(self.fault("a number")),
        }
    }

    /// Reads a colon and the name after it.
    fn value(&mut self) -> Result<String, ModelFault> {
        match (self.next(), self.next()) {
            (Some(':'), Some(quote @ ('\'' | '"'))) => self.quoted(quote),
            _ => Err(self.fault("`: 'name'`")),
        }
    }

    /// Reads a comma (`false`) or the end (`true`).
    fn ends(&mut self, end: char) -> Result<bool, ModelFault> {
        match self.next() {
            Some(',') => Ok(false),
            Some(c) if c == end => Ok(true),
            _ => Err(self.fault("a comma or the end of the names")),
        }
    }

    fn number(&mut self, first: char) -> Result<usize, ModelFault> {
        let mut digits = String::from(first);
        while let Some(digit) = self.characters.get(self.at).filter(|c| c.is_ascii_digit()) {
            digits.push(*digit);
            self.at += 1;
        }
        digits.parse().map_err(|_| self.fault("a smaller number"))
    }

    fn quoted(&mut self, quote: char) -> Result<String, ModelFault> {
        let mut name = String::new();
        loop {
            match self.take() {
                Some(c) if c == quote => return Ok(name),
                Some('\\') => name.push(self.escaped()?),
                Some(c) => name.push(c),
                None => return Err(self.fault("the end of a quoted name")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, ModelFault> {
        match self.take() {
            Some(c @ ('\\' | '\'' | '"' | '/')) => Ok(c),
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('x') => self.code(2),
            Some('u') => self.code(4),
            _ => Err(self.fault("an escape such as \\' or \\u00e9")),
        }
    }

    fn code(&mut self, digits: usize) -> Result<char, ModelFault> {
        let mut code = 0;
        for _ in 0..digits {
            let digit =
                self.take().and_then(|c| c.to_digit(16)).ok_or_else(|| self.fault("a hexadecimal digit"))?;
            code = code * 16 + digit;
        }
        char::from_u32(code).ok_or_else(|| self.fault("a character"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::{MAX_NAME_CHARS, class_names, parse_names};

    #[test]
    fn dictionaries_and_lists_are_read() {
        let cases: [(&str, &[&str]); 11] = [
            ("{0: 'person', 1: 'car'}", &["person", "car"]),
            ("{0: 'fire', 1: \"driver's cab\"}", &["fire", "driver's cab"]),
            ("{\"0\": \"person\", \"1\": \"car\"}", &["person", "car"]),
            ("{'0': 'person'}", &["person"]),
            ("{1: 'b', 0: 'a'}", &["a", "b"]),
            ("{0: 'it\\'s', 1: 'caf\\u00e9', 2: 'a\\\\b'}", &["it's", "caf\u{e9}", "a\\b"]),
            ("{0: 'a, b: {c}'}", &["a, b: {c}"]),
            ("['person', 'car']", &["person", "car"]),
            ("[\"person\"]", &["person"]),
            ("('a', 'b',)", &["a", "b"]),
            (" { 0 : 'a' , 1 : 'b' , } ", &["a", "b"]),
        ];
        for (text, want) in cases {
            assert_eq!(parse_names(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn names_with_characters_that_cannot_be_seen_are_refused() {
        let metadata = |text| class_names(None, Some(text));
        assert_eq!(metadata("\u{feff}{0: 'cat'}").unwrap().len(), 1, "a byte order mark before the text");
        assert_eq!(&*metadata("[' cat ']").unwrap()[0], "cat", "blanks around");
        let long = format!("{{0: '{}', 1: 'b'}}", "A".repeat(2_000_000));
        assert_eq!(metadata(&long).unwrap()[0].len(), MAX_NAME_CHARS, "a long one is cut");
        let twins = format!("['{0}1', '{0}2']", "A".repeat(300));
        assert!(metadata(&twins).is_err(), "and then it is another's");
        let given = ["cat".to_owned(), "do\u{200b}g".to_owned()];
        let refused = [
            (
                metadata("{0: 'cat', 1: 'do\\ng'}"),
                "class name 1 of the model, \"do\\ng\", has U+000A (line feed)",
            ),
            (metadata("['\u{feff}cat']"), "U+FEFF (byte order mark)"),
            (class_names(Some(&given), None), "class name 1 of the model, \"do\\u{200b}g\", has U+200B"),
            (metadata("['fire\u{a0}truck']"), "U+00A0 (no-break space)"),
            (
                metadata("{0: 'cat', 1: 'dog', 2: ' cat'}"),
                "class names 0 and 2 of the model are both \"cat\"",
            ),
            (metadata("['a', ' ']"), "class name 1 of the model is empty"),
            (class_names(Some(&[]), Some("['a']")), "no class names"),
            (class_names(None, None), "no class names"),
        ];
        for (names, word) in refused {
            let error = names.unwrap_err().to_string();
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }

    #[test]
    fn a_text_that_is_no_list_of_names_is_reported_with_its_place() {
        let cases = [
            ("", "at character 0: `{` or `[`"),
            ("person, car", "at character 0: `{` or `[`"),
            ("{0: 'a'", "at character 7: a comma or the end"),
            ("{0: 'a}", "the end of a quoted name"),
            ("{0: a}", "at character 4: `: 'name'`"),
            ("{x: 'a'}", "at character 1: a number"),
            ("{0: 'a', 2: 'b'}", "without a gap"),
            ("{0: 'a', 0: 'b'}", "did not come before"),
            ("{99999999999999999999: 'a'}", "a smaller number"),
            ("{0: 'a'} x", "the end"),
            ("[1, 2]", "a quoted name"),
            ("['\\q']", "an escape"),
            ("['\\ud800']", "a character"),
            ("[]", "no class names"),
        ];
        for (text, word) in cases {
            let error = parse_names(text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("`classes`"), "{text}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn names_in_json_come_back(names in proptest::collection::vec("[a-z'\"\\\\{}:, \u{e9}\t]{0,9}", 1..20)) {
            let json = serde_json::to_string(&names).unwrap();
            prop_assert_eq!(parse_names(&json).unwrap(), names);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[{}\\[\\]()0-9:, 'a\"\\\\xu]{0,40}") {
            prop_assert!(parse_names(&text).is_ok_and(|names| !names.is_empty()) || parse_names(&text).is_err());
        }
    }
}
