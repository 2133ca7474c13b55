//! Files of ours with lines changed: whatever comes of it is meant, or told with its place.

use kvs_infer::config::{Overrides, parse};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseError;

use crate::meant::assert_told_well;

const FILES: [&str; 3] = [
    include_str!("../../config/cameras.example.yaml"),
    include_str!("../../config/demo.yaml"),
    include_str!("../../testdata/config/base.yaml"),
];

/// What a value is replaced by.
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

/// The lines of a file that say something.
fn lines_of(file: &str) -> Vec<String> {
    file.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect()
}

/// Whether `text` is meant; where it is not, every mistake is told well.
fn is_meant(text: &str) -> Result<bool, TestCaseError> {
    let environment = |name: &str| (name != "NOT_SET").then(|| "7".to_owned());
    match parse("c", text, &environment, &Overrides::default()) {
        Ok(settings) => {
            prop_assert!(!settings.cameras.is_empty());
            Ok(true)
        }
        Err(refusal) => {
            assert_told_well(text, &refusal)?;
            prop_assert!(refusal.to_string().contains("= help: "));
            Ok(false)
        }
    }
}

#[test]
fn any_of_the_values_on_any_line_is_meant_or_told_well() {
    let mut counts = [0, 0];
    for file in FILES {
        let lines = lines_of(file);
        for (at, value) in (0..lines.len()).flat_map(|at| VALUES.iter().map(move |value| (at, value))) {
            let mut changed = lines.clone();
            apply(&mut changed, at, &Change::Value(value));
            let verdict =
                is_meant(&changed.join("\n")).unwrap_or_else(|why| panic!("{}: {why}", changed[at]));
            counts[usize::from(verdict)] += 1;
        }
    }
    assert!(counts[0] > 1000 && counts[1] > 300, "told, meant: {counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_file_with_changed_lines_is_meant_or_told_well(text in mutated()) {
        is_meant(&text)?;
    }
}
