//! The lines in which two texts differ.

use serde::Serialize;

/// The change of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineChange {
    /// It is in both texts.
    Same,
    /// It is in the first text only.
    Removed,
    /// It is in the second text only.
    Added,
}

/// A line of one of the texts, or of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiffLine {
    /// The change.
    pub change: LineChange,
    /// The line, without its end.
    pub text: String,
}

/// Returns the lines of both texts in order, with the fewest changes; removed lines come before those that replace them.
pub(super) fn line_diff(before: &str, after: &str) -> Vec<DiffLine> {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let common = common_after(&before, &after);
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    let mut push = |change, text: &str| lines.push(DiffLine { change, text: text.to_owned() });
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            push(LineChange::Same, before[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || i < before.len() && common[i + 1][j] >= common[i][j + 1] {
            push(LineChange::Removed, before[i]);
            i += 1;
        } else {
            push(LineChange::Added, after[j]);
            j += 1;
        }
    }
    lines
}

/// Returns, by the number of lines that are left out at the start of each text, the length of the longest common subsequence of the rest.
fn common_after(before: &[&str], after: &[&str]) -> Vec<Vec<u32>> {
    let mut common = vec![vec![0; after.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            common[i][j] = if before[i] == after[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marked(before: &str, after: &str) -> String {
        let mark = |line: &DiffLine| match line.change {
            LineChange::Same => format!(" {}", line.text),
            LineChange::Removed => format!("-{}", line.text),
            LineChange::Added => format!("+{}", line.text),
        };
        line_diff(before, after).iter().map(mark).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn changes_by_table() {
        let table = [
            ("", "", ""),
            ("a\nb\n", "a\nb\n", " a  b"),
            ("", "a\nb\n", "+a +b"),
            ("a\nb\n", "", "-a -b"),
            ("a\nb\nc\n", "a\nx\nc\n", " a -b +x  c"),
            ("a\nb\n", "b\na\n", "-a  b +a"),
            ("a\nc\n", "a\nb\nc\nd\n", " a +b  c +d"),
        ];
        for (before, after, expected) in table {
            assert_eq!(marked(before, after), expected, "{before:?} {after:?}");
        }
    }

    proptest! {
        #[test]
        fn each_text_is_in_the_diff(before in "[ab\n]{0,12}", after in "[ab\n]{0,12}") {
            let lines = line_diff(&before, &after);
            let without = |change| -> Vec<&str> {
                lines.iter().filter(|line| line.change != change).map(|line| line.text.as_str()).collect()
            };
            prop_assert_eq!(without(LineChange::Added), before.lines().collect::<Vec<_>>());
            prop_assert_eq!(without(LineChange::Removed), after.lines().collect::<Vec<_>>());
        }
    }
}
