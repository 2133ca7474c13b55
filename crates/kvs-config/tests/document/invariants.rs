//! What holds for any text: used by the fuzz target and by the tests that replay its seeds.

use kvs_config::{Problem, Report, class_names, read};
use serde_json::Value;

/// Most bytes that the report of a mistake may take beside its own words.
const SNIPPET_BYTES: usize = 4096;

/// A number, a boolean, texts; one looks like a reference and stays as it is.
pub(crate) fn environment(name: &str) -> Option<String> {
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

/// Reads bytes that are text, as a configuration.
pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    check_names(text);
    match read(text, &environment) {
        Ok(document) => check_comes_back(&document.written),
        Err(problems) => check_told_well(text, &problems),
    }
}

/// As a class file, the text has names on lines of its own, or a fault on one.
fn check_names(text: &str) {
    let count = lines(text).count();
    match class_names(text) {
        Ok(names) => {
            assert!(!names.is_empty(), "no names without a reason");
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

/// Every mistake has words and a place in the file, in order, and is in the report.
fn check_told_well(text: &str, problems: &[Problem]) {
    assert!(!problems.is_empty(), "refused without a reason");
    assert!(problems.is_sorted_by_key(|problem| problem.place), "out of order: {problems:?}");
    let ends: Vec<usize> = lines(text).map(|line| line.chars().count()).collect();
    for problem in problems {
        assert!(!problem.message.is_empty() && !problem.remedy.is_empty(), "no words: {problem:?}");
        let place = problem.place.unwrap_or_else(|| panic!("no place: {problem:?}"));
        let end = place.line.checked_sub(1).and_then(|line| ends.get(line));
        let end = end.unwrap_or_else(|| panic!("a line that is not there: {problem:?}"));
        assert!((1..=end + 1).contains(&place.column), "beside line of {end}: {problem:?}");
    }
    let report = Report { kind: "config", file: "cameras.yaml", text, problems }.to_string();
    let words: usize = problems.iter().map(words).sum();
    assert!(problems.iter().all(|problem| report.contains(&problem.message)));
    assert!(report.len() <= words + SNIPPET_BYTES * (problems.len() + 1), "a report of {}", report.len());
}

/// Bytes of all that a mistake says.
fn words(problem: &Problem) -> usize {
    problem.key.len() + problem.message.len() + problem.remedy.len()
}

/// The lines of YAML 1.2 (5.4), the last one too where it is empty.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// What was read is read again from what it is written as, and means the same.
fn check_comes_back(written: &kvs_config::written::Config) {
    let mut value = serde_json::to_value(written).unwrap_or_else(|why| panic!("not written: {why}"));
    escape(&mut value);
    for text in [value.to_string(), format!("{value:#}")] {
        match read(&text, &environment) {
            Ok(again) => assert_eq!(again.written, *written, "from {text}"),
            Err(problems) => {
                panic!(
                    "{} of {text}",
                    Report { kind: "config", file: "again", text: &text, problems: &problems }
                )
            }
        }
    }
}

/// Leaves out what has no value or no items, as where it stands for a key that was left out, and doubles dollar signs.
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
