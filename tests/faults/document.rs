//! The table of faults in docs/operations.md is that of the tests.

use std::path::Path;

use super::table::{CAMERAS, FaultCause, Lost, PLACES, Row, SINKS};

const FILE: &str = "docs/operations.md";
const BEGIN: &str =
    "<!-- faults: written by `BLESS=1 cargo test --test faults`, from tests/faults/table.rs -->\n";
const END: &str = "<!-- end of faults -->\n";

fn line(row: &Row) -> String {
    let made = match row.made {
        FaultCause::Stream { faults: "", .. } => "no such stream".to_owned(),
        FaultCause::Stream { faults, .. } => format!("`{faults}`"),
        FaultCause::Sink { .. } => "a proxy before it".to_owned(),
        FaultCause::Otherwise(how) => how.to_owned(),
    };
    let reason = if row.reason.is_empty() { "-".to_owned() } else { format!("`{}`", row.reason) };
    let lost = row.lost.text();
    format!("| {} | {made} | {reason} | `{}` | {lost} | {} |\n", row.fault, row.metric, row.ends)
}

fn table() -> String {
    let head = "| fault | how a test makes it | `/healthz` says | metric | what is lost | goes away |\n\
                | --- | --- | --- | --- | --- | --- |\n";
    let rows = CAMERAS.iter().chain(&SINKS).chain(&PLACES).map(line);
    std::iter::once(head.to_owned()).chain(rows).collect()
}

#[test]
fn the_table_of_faults_is_the_tests() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(shown, table, "write it again: make bless");
}

#[test]
fn every_fault_has_a_name_of_its_own() {
    let mut names: Vec<_> = CAMERAS.iter().chain(&SINKS).chain(&PLACES).map(|row| row.fault).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    let twice = SINKS.iter().filter(|row| row.lost == Lost::NothingTwice).count();
    assert_eq!(twice, 1, "only an answer of KDS that is lost brings a record twice");
}
