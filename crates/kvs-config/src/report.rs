//! Mistakes as a person reads them: with the line that each stands in.

use std::fmt;

use crate::place::Place;
use crate::problem::Problem;

/// Every mistake of a file, each with its line.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The file as it was named.
    pub file: &'a str,
    /// What it holds.
    pub text: &'a str,
    /// Its mistakes.
    pub problems: &'a [Problem],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "config {} has {count} {}", self.file, if count == 1 { "mistake" } else { "mistakes" })?;
        self.problems.iter().try_for_each(|problem| self.one(f, problem))
    }
}

impl Report<'_> {
    fn one(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        let colon = if problem.key.is_empty() { "" } else { ": " };
        writeln!(f, "\n\n{}{colon}{}", problem.key, problem.message)?;
        match problem.place {
            Some(place) => self.snippet(f, place)?,
            None => writeln!(f, "  --> {}", self.file)?,
        }
        write!(f, "   = help: {}", problem.remedy)
    }

    fn snippet(&self, f: &mut fmt::Formatter<'_>, place: Place) -> fmt::Result {
        writeln!(f, "  --> {}:{}:{}", self.file, place.line, place.column)?;
        let Some(line) = place.line.checked_sub(1).and_then(|n| self.text.lines().nth(n)) else {
            return Ok(());
        };
        let shown: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = place.column.saturating_sub(1);
        let room = line.trim_end().chars().count().saturating_sub(before);
        let carets = "^".repeat(place.length.clamp(1, room.max(1)));
        writeln!(f, "     |\n{:>4} | {shown}", place.line)?;
        writeln!(f, "     | {}{carets}", " ".repeat(before))
    }
}
