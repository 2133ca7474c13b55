//! The text form of mistakes: each with its line of the file.

use std::fmt;

use crate::address_secrets::masked_in_place;
use crate::position::{TextSpan, lines};
use crate::problem::Problem;

/// A displayable report of every mistake in a file.
#[derive(Clone, Copy, Debug)]
pub struct ProblemReport<'a> {
    /// The kind of file, in one word: `config`.
    pub kind: &'a str,
    /// The file name, as the user gave it.
    pub file: &'a str,
    /// The text of the file.
    pub text: &'a str,
    /// The mistakes, in the order of the file.
    pub problems: &'a [Problem],
}

/// Maximum number of characters shown of a line.
const MAX_WIDTH: usize = 160;

impl fmt::Display for ProblemReport<'_> {
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
        self.problems.iter().try_for_each(|problem| self.write_problem(f, &lines, problem))
    }
}

impl ProblemReport<'_> {
    fn write_problem(&self, f: &mut fmt::Formatter<'_>, lines: &[&str], problem: &Problem) -> fmt::Result {
        let colon = if problem.key.is_empty() { "" } else { ": " };
        writeln!(f, "\n\n{}{colon}{}", problem.key, problem.message)?;
        match problem.span {
            Some(span) => self.write_snippet(f, lines, span)?,
            None => writeln!(f, "  --> {}", self.file)?,
        }
        write!(f, "   = help: {}", problem.remedy)
    }

    fn write_snippet(&self, f: &mut fmt::Formatter<'_>, lines: &[&str], span: TextSpan) -> fmt::Result {
        writeln!(f, "  --> {}:{}:{}", self.file, span.line, span.column)?;
        let line = span.line.checked_sub(1).and_then(|n| lines.get(n));
        // A position behind the last line break has no line to show.
        match line.filter(|line| span.line < lines.len() || !line.is_empty()) {
            Some(line) => write_underlined(f, line, span),
            None => Ok(()),
        }
    }
}

/// Writes the part of the line around a span, with carets below it.
fn write_underlined(f: &mut fmt::Formatter<'_>, line: &str, span: TextSpan) -> fmt::Result {
    let line = masked_in_place(line);
    // A long line is cut around the mistake: a report shows the line per mistake, and would else grow with their product.
    let before = span.column.saturating_sub(1);
    let end = line.trim_end().chars().count();
    let from = if end > MAX_WIDTH { before.min(end).saturating_sub(MAX_WIDTH / 2) } else { 0 };
    let to = end.min(from + MAX_WIDTH);
    let (head, tail) = (if from > 0 { "..." } else { "" }, if to < end { "..." } else { "" });
    let shown: String =
        line.chars().skip(from).take(MAX_WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let carets = "^".repeat(span.length.clamp(1, to.saturating_sub(before).max(1)));
    writeln!(f, "     |\n{:>4} | {head}{shown}{tail}", span.line)?;
    writeln!(f, "     | {}{carets}", " ".repeat(head.len() + before - from))
}
