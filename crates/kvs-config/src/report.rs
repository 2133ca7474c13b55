//! Mistakes as a person reads them: with the line that each stands in.

use std::fmt;

use crate::address_secrets::masked_in_place;
use crate::place::{Place, lines};
use crate::problem::Problem;

/// Every mistake of a file, each with its line.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The kind of the file, in a word.
    pub kind: &'a str,
    /// The file as it was named.
    pub file: &'a str,
    /// What it holds.
    pub text: &'a str,
    /// Its mistakes.
    pub problems: &'a [Problem],
}

/// Most characters that are shown of a line.
const WIDTH: usize = 160;

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = lines(self.text).collect();
        let count = self.problems.len();
        write!(
            f,
            "{} {} has {count} {}",
            self.kind,
            self.file,
            if count == 1 { "mistake" } else { "mistakes" }
        )?;
        self.problems.iter().try_for_each(|problem| self.one(f, &lines, problem))
    }
}

impl Report<'_> {
    fn one(&self, f: &mut fmt::Formatter<'_>, lines: &[&str], problem: &Problem) -> fmt::Result {
        let colon = if problem.key.is_empty() { "" } else { ": " };
        writeln!(f, "\n\n{}{colon}{}", problem.key, problem.message)?;
        match problem.place {
            Some(place) => self.snippet(f, lines, place)?,
            None => writeln!(f, "  --> {}", self.file)?,
        }
        write!(f, "   = help: {}", problem.remedy)
    }

    fn snippet(&self, f: &mut fmt::Formatter<'_>, lines: &[&str], place: Place) -> fmt::Result {
        writeln!(f, "  --> {}:{}:{}", self.file, place.line, place.column)?;
        let line = place.line.checked_sub(1).and_then(|n| lines.get(n));
        match line.filter(|line| place.line < lines.len() || !line.is_empty()) {
            Some(line) => underlined(f, line, place),
            None => Ok(()),
        }
    }
}

/// The line around a place, with carets below it.
fn underlined(f: &mut fmt::Formatter<'_>, line: &str, place: Place) -> fmt::Result {
    let line = masked_in_place(line);
    let before = place.column.saturating_sub(1);
    let end = line.trim_end().chars().count();
    let from = if end > WIDTH { before.min(end).saturating_sub(WIDTH / 2) } else { 0 };
    let to = end.min(from + WIDTH);
    let (head, tail) = (if from > 0 { "..." } else { "" }, if to < end { "..." } else { "" });
    let shown: String =
        line.chars().skip(from).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let carets = "^".repeat(place.length.clamp(1, to.saturating_sub(before).max(1)));
    writeln!(f, "     |\n{:>4} | {head}{shown}{tail}", place.line)?;
    writeln!(f, "     | {}{carets}", " ".repeat(head.len() + before - from))
}
