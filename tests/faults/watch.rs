//! The state that the program reports, and waiting for it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use test_support::polling;
use test_support::program::Program;

/// A longer wait fails the test.
const PATIENCE: Duration = Duration::from_secs(90);

/// Returns whether the tests run at full length.
pub(crate) fn is_full() -> bool {
    std::env::var_os("KVS_INFER_FAULTS").is_some()
}

/// Returns whether the tests run even longer.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("KVS_INFER_FAULTS").is_some_and(|length| length == "soak")
}

/// Prints a figure for `make faults`, which gathers them.
pub(crate) fn figure(text: &str) {
    println!("figure: {text}");
}

/// Looks until there is an answer, which is then given with the time that it took.
pub(crate) async fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> (T, Duration) {
    until_within(PATIENCE, what, look).await
}

/// The same with a patience of its own.
pub(crate) async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let began = Instant::now();
    let answer = polling::until_within(patience, what, async || look().ok_or("not there")).await;
    (answer, began.elapsed())
}

/// The reasons of `/healthz`, which never asks for a restart.
pub(crate) fn reasons(program: &Program) -> Vec<String> {
    let (status, body) = program.get("/healthz");
    assert_eq!(status, 200, "no restart would cure this: {body}");
    let health: Value = serde_json::from_str(&body).unwrap();
    health["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap().to_owned()).collect()
}

/// The reason that begins with `subject`, such as `camera gate`.
pub(crate) fn reason_of<'a>(reasons: &'a [String], subject: &str) -> Option<&'a str> {
    let subject = format!("{subject} ");
    reasons.iter().map(String::as_str).find(|reason| reason.starts_with(&subject))
}

/// A scrape of `/metrics`.
pub(crate) fn metrics(program: &Program) -> String {
    let (status, body) = program.get("/metrics");
    assert_eq!(status, 200, "{body}");
    body
}

/// The sum of a metric's series that have all of `labels`, each as `name="value"`.
pub(crate) fn metric(scrape: &str, name: &str, labels: &[&str]) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let lines = scrape.lines().filter(of_name).filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The events of a folder, oldest first.
pub(crate) fn events(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("events/events.jsonl")).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those of one camera.
pub(crate) fn of_camera<'a>(events: &'a [Value], camera: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["camera_id"] == camera).collect()
}

/// The row of a sink in `/api/cameras`.
pub(crate) fn sink(program: &Program, name: &str) -> Value {
    let overview = program.overview();
    let row = overview["sinks"].as_array().unwrap().iter().find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("there is no sink {name}: {overview:#}")).clone()
}
