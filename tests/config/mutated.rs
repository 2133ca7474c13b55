//! Our files with changed lines: the result is accepted, or each mistake is reported with its position.

use kvs_infer::config::{ConfigContent, Overrides, parse_content};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseError;

use super::settings::assert_problems_are_complete;

const FILES: [&str; 3] = [
    include_str!("../../config/cameras.example.yaml"),
    include_str!("../../config/demo.yaml"),
    include_str!("../../testdata/config/base.yaml"),
];

/// The values that replace others.
const VALUES: &[&str] = &[
    "",
    "~",
    "7",
    "-1",
    "0.5",
    "1e9",
    ".nan",
    "true",
    "false",
    "text",
    "'a b'",
    "[]",
    "[1, a]",
    "{}",
    "{ a: 1 }",
    "${NUMBER}",
    "${NOT_SET}",
    "${camera_id}",
    "street",
    "m.onnx",
    "m.pt",
    "normalized",
    "overlap",
    "alpr",
    "&a [*a]",
    "*x",
    "[[0, 0], [1, 0], [1, 1]]",
    "[[0, 0], [1, 1], [2, 2]]",
];

#[derive(Clone, Debug)]
enum Change {
    Remove,
    Repeat,
    SwapWith(Index),
    Indent,
    Outdent,
    Value(&'static str),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Remove),
        1 => Just(Change::Repeat),
        1 => any::<Index>().prop_map(Change::SwapWith),
        1 => Just(Change::Indent),
        1 => Just(Change::Outdent),
        10 => select(VALUES).prop_map(Change::Value),
    ]
}

fn apply(lines: &mut Vec<String>, at: usize, change: &Change) {
    let line = lines[at].clone();
    match change {
        Change::Remove => drop(lines.remove(at)),
        Change::Repeat => lines.insert(at, line),
        Change::SwapWith(other) => {
            let other = other.index(lines.len());
            lines.swap(at, other);
        }
        Change::Indent => lines[at] = format!("  {line}"),
        Change::Outdent => lines[at] = line.strip_prefix("  ").unwrap_or(&line).to_owned(),
        Change::Value(value) => {
            let key = line.split_once(':').map_or("", |(key, _)| key);
            lines[at] = format!("{key}: {value}");
        }
    }
}

fn mutated() -> impl Strategy<Value = String> {
    (select(&FILES[..]), vec((any::<Index>(), change()), 1..4)).prop_map(|(file, changes)| {
        let mut lines = lines_of(file);
        for (at, change) in &changes {
            let at = at.index(lines.len());
            apply(&mut lines, at, change);
        }
        lines.join("\n")
    })
}

/// Returns the lines of a file without comments.
fn lines_of(file: &str) -> Vec<String> {
    file.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect()
}

/// Returns `true` if `text` is accepted, and checks the mistakes otherwise.
fn is_accepted(text: &str) -> Result<bool, TestCaseError> {
    let environment = |name: &str| (name != "NOT_SET").then(|| "7".to_owned());
    let content = ConfigContent { text: text.to_owned(), modified_ms: Ok(1) };
    match parse_content("c", content, &environment, &Overrides::default()) {
        Ok(settings) => {
            prop_assert!(!settings.cameras.is_empty());
            Ok(true)
        }
        Err(refusal) => {
            assert_problems_are_complete(text, &refusal)?;
            prop_assert!(refusal.to_string().contains("= help: "));
            Ok(false)
        }
    }
}

#[test]
fn any_value_on_any_line_is_accepted_or_reported() {
    let mut counts = [0, 0];
    for file in FILES {
        let lines = lines_of(file);
        for (at, value) in (0..lines.len()).flat_map(|at| VALUES.iter().map(move |value| (at, value))) {
            let mut changed = lines.clone();
            apply(&mut changed, at, &Change::Value(value));
            let verdict =
                is_accepted(&changed.join("\n")).unwrap_or_else(|why| panic!("{}: {why}", changed[at]));
            counts[usize::from(verdict)] += 1;
        }
    }
    assert!(counts[0] > 1000 && counts[1] > 300, "refused, accepted: {counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_file_with_changed_lines_is_accepted_or_reported(text in mutated()) {
        is_accepted(&text)?;
    }
}
