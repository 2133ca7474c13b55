//! Where in the file something stands, and by which key.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A stretch of one line of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In characters; 0 where only the start is known.
    pub length: usize,
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        let [line, column, length] = [location.line(), location.column(), location.span().len()]
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Self { line, column, length }
    }
}

impl Place {
    /// The number, boolean or null that is written at the place in these lines; `None` where there is none.
    pub(super) fn scalar<'t>(self, lines: &[&'t str]) -> Option<&'t str> {
        let line = lines.get(self.line.checked_sub(1)?)?;
        let from = line.char_indices().nth(self.column.checked_sub(1)?)?.0;
        let rest = &line[from..];
        let to = rest.char_indices().nth(self.length).map_or(rest.len(), |(end, _)| end);
        let text = rest[..to].trim_end();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-._~".contains(c);
        (!text.is_empty() && text.chars().all(is_plain)).then_some(text)
    }
}

/// The keys that lead to a value: `cameras[1].pipeline[0].objects.conf_threshold`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(Arc<str>),
    Index(usize),
}

impl KeyPath {
    /// The path of the value under `key`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.into()))
    }

    /// The path of the item at `index`.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// How many keys and indices it has: 0 for the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Root first.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => write!(f, "{}", shortened(key))?,
                Step::Key(key) => write!(f, ".{}", shortened(key))?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The lines of `text` as YAML counts them: CR, LF or both end one. The last may be empty.
/// Source: YAML 1.2.2, 5.4, <https://yaml.org/spec/1.2.2/#54-line-break-characters>.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// The first 80 characters of `text`, and whether there are more.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}
