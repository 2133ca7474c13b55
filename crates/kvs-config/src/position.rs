//! Positions in a file, by line and column and by key path.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A part of one line of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextSpan {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The length in characters; 0 if only the start is known.
    pub length: usize,
}

impl From<serde_saphyr::Location> for TextSpan {
    fn from(location: serde_saphyr::Location) -> Self {
        let [line, column, length] = [location.line(), location.column(), location.span().len()]
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Self { line, column, length }
    }
}

impl TextSpan {
    /// Returns the number, boolean or null at the span in `lines`, as it is spelt in the file; `None` if there is none.
    pub(super) fn scalar<'t>(self, lines: &[&'t str]) -> Option<&'t str> {
        let line = lines.get(self.line.checked_sub(1)?)?;
        let from = line.char_indices().nth(self.column.checked_sub(1)?)?.0;
        // Columns count characters, slices count bytes.
        let rest = &line[from..];
        let to = rest.char_indices().nth(self.length).map_or(rest.len(), |(end, _)| end);
        let text = rest[..to].trim_end();
        // A span may also cover quotes, an anchor or a tag: none of these is the spelling of a scalar.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-._~".contains(c);
        (!text.is_empty() && text.chars().all(is_plain)).then_some(text)
    }
}

/// A path of keys and indices to a value: `cameras[1].pipeline[0].objects.conf_threshold`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<PathStep>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathStep {
    Key(Arc<str>),
    Index(usize),
}

impl KeyPath {
    /// Returns the path of the value under `key`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(PathStep::Key(key.into()))
    }

    /// Returns the path of the item at `index`.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(PathStep::Index(index))
    }

    /// Returns the number of keys and indices: 0 for the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Returns the keys and indices, from the root.
    pub(super) fn steps(&self) -> &[PathStep] {
        &self.0
    }

    fn with(&self, step: PathStep) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Key(key) if i == 0 => write!(f, "{}", shortened(key))?,
                PathStep::Key(key) => write!(f, ".{}", shortened(key))?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Returns the lines of `text` as YAML counts them: CR, LF or both end a line. The last line may be empty.
///
/// Source: YAML 1.2.2, 5.4, <https://yaml.org/spec/1.2.2/#54-line-break-characters>.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Returns the first 80 characters of `text`, followed by `...` if there are more.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    // In characters: a cut within a character would panic.
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}
