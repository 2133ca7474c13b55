//! Files of ours with lines changed: whatever comes of it is meant, or told with its place.

use kvs_infer::config::{Overrides, parse};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::sample::{Index, select};

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
        Just(Change::Remove),
        Just(Change::Repeat),
        any::<Index>().prop_map(Change::SwapWith),
        Just(Change::Indent),
        Just(Change::Outdent),
        select(VALUES).prop_map(Change::Value),
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
    (select(&FILES[..]), vec((any::<Index>(), change()), 1..5)).prop_map(|(file, changes)| {
        let mut lines: Vec<String> = file.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.trim_start().starts_with('#'));
        for (at, change) in &changes {
            let at = at.index(lines.len());
            apply(&mut lines, at, change);
        }
        lines.join("\n")
    })
}

proptest! {
    #[test]
    fn a_file_with_changed_lines_is_meant_or_told_well(text in mutated()) {
        let environment = |name: &str| (name != "NOT_SET").then(|| "7".to_owned());
        match parse("c", &text, &environment, &Overrides::default()) {
            Ok(settings) => prop_assert!(!settings.cameras.is_empty()),
            Err(refusal) => {
                assert_told_well(&text, &refusal)?;
                prop_assert!(refusal.to_string().contains("= help: "));
            }
        }
    }
}
