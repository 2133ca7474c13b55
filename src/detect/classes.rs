//! Class names as exporters write them into a model's metadata.

use std::collections::BTreeMap;

use super::error::ModelFault;

/// The class names in the metadata `names`: a Python dictionary `{0: 'person', 1: 'car'}`, the same as JSON with
/// quoted keys, or a list of either kind.
///
/// Errors: the text is none of these, or its keys are not 0, 1, 2...
pub(super) fn parse_names(text: &str) -> Result<Vec<String>, ModelFault> {
    let mut reader = Reader { characters: text.chars().collect(), at: 0 };
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

struct Reader {
    characters: Vec<char>,
    /// Index after the last character that was read.
    at: usize,
}

impl Reader {
    /// The next character that is no space.
    fn next(&mut self) -> Option<char> {
        while self.characters.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.take()
    }

    fn take(&mut self) -> Option<char> {
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
        let mut names = BTreeMap::new();
        loop {
            let key = match self.next() {
                Some('}') => break,
                Some(quote @ ('\'' | '"')) => {
                    self.quoted(quote)?.parse().map_err(|_| self.fault("a number"))?
                }
                Some(digit) if digit.is_ascii_digit() => self.number(digit)?,
                _ => return Err(self.fault("a number")),
            };
            let (Some(':'), Some(quote @ ('\'' | '"'))) = (self.next(), self.next()) else {
                return Err(self.fault("`: 'name'`"));
            };
            if names.insert(key, self.quoted(quote)?).is_some() {
                return Err(self.fault("a number that did not come before"));
            }
            if self.ends('}')? {
                break;
            }
        }
        let counted = names.keys().copied().eq(0..names.len());
        if counted {
            Ok(names.into_values().collect())
        } else {
            Err(self.fault("numbers 0, 1, 2... without a gap"))
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
