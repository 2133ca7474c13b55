//! Invariants for any text, used by the fuzz target and by the tests that replay its seeds.

#![expect(clippy::panic, reason = "a broken invariant panics")]

use kvs_config::{Problem, ProblemReport, class_names, read};
use serde_json::Value;

/// Maximum bytes of the report of a mistake besides its own words.
const MAX_SNIPPET_BYTES: usize = 4096;

/// An environment with a number, a boolean and texts, one of which looks like a reference and must not be expanded.
pub fn environment(name: &str) -> Option<String> {
    let value = match name {
        "NUMBER" => "5",
        "FLAG" => "true",
        "TEXT" => "some-text",
        "EMPTY" => "",
        "REFERENCE" => "${NUMBER}$$",
        _ => return None,
    };
    Some(value.to_owned())
}

/// Reads the input as a configuration and as a class file, if it is text.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    check_names(text);
    match read(text, &environment) {
        Ok(document) => check_round_trip(&document.raw),
        Err(problems) => check_problems(text, &problems),
    }
}

/// Checks that the text, as a class file, has names with their lines, or a fault with its line.
fn check_names(text: &str) {
    let count = lines(text).count();
    match class_names(text) {
        Ok(names) => {
            assert!(!names.is_empty(), "no names and no fault");
            for name in names {
                assert!(
                    !name.name.trim().is_empty() && (1..=count).contains(&name.line),
                    "{name:?} of {count}"
                );
            }
        }
        Err(fault) => {
            assert!(fault.line.is_none_or(|line| (1..=count).contains(&line)), "{fault:?} of {count}");
            assert!(!fault.message.is_empty() && !fault.remedy.is_empty(), "no words: {fault:?}");
        }
    }
}

/// Checks that every mistake has a message, a remedy and a position in the file, in order, and is in the report.
fn check_problems(text: &str, problems: &[Problem]) {
    assert!(!problems.is_empty(), "refused without a reason");
    assert!(problems.is_sorted_by_key(|problem| problem.span), "out of order: {problems:?}");
    let ends: Vec<usize> = lines(text).map(|line| line.chars().count()).collect();
    for problem in problems {
        assert!(!problem.message.is_empty() && !problem.remedy.is_empty(), "no words: {problem:?}");
        let span = problem.span.unwrap_or_else(|| panic!("no position: {problem:?}"));
        let end = span.line.checked_sub(1).and_then(|line| ends.get(line));
        let end = end.unwrap_or_else(|| panic!("beyond the last line: {problem:?}"));
        assert!((1..=end + 1).contains(&span.column), "beyond a line of {end} characters: {problem:?}");
    }
    let report = ProblemReport { kind: "config", file: "cameras.yaml", text, problems }.to_string();
    let words: usize = problems.iter().map(words).sum();
    assert!(problems.iter().all(|problem| report.contains(&problem.message)));
    assert!(report.len() <= words + MAX_SNIPPET_BYTES * (problems.len() + 1), "a report of {}", report.len());
}

/// Returns the bytes of a mistake's texts.
fn words(problem: &Problem) -> usize {
    problem.key.len() + problem.message.len() + problem.remedy.len()
}

/// Returns the lines as YAML 1.2 (5.4) counts them, including an empty last one.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Checks that a configuration that is serialized and read again is equal.
fn check_round_trip(raw: &kvs_config::raw::RawConfig) {
    let mut value = serde_json::to_value(raw).unwrap_or_else(|why| panic!("not serialized: {why}"));
    escape(&mut value);
    for text in [value.to_string(), format!("{value:#}")] {
        match read(&text, &environment) {
            Ok(again) => assert_eq!(again.raw, *raw, "from {text}"),
            Err(problems) => {
                panic!(
                    "{} of {text}",
                    ProblemReport { kind: "config", file: "again", text: &text, problems: &problems }
                )
            }
        }
    }
}

/// Removes keys without value or items, which stand for absent keys, and doubles dollar signs.
fn escape(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty()));
            map.values_mut().for_each(escape);
        }
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::String(text) => *text = text.replace('$', "$$"),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
