//! The truth file: YAML, checked as a configuration is, with place and remedy of every mistake.

use std::collections::HashMap;
use std::io;

use kvs_config::{KeyPath, Problem, ProblemReport, Problems, TypedDocument, read_as};
use schemars::JsonSchema;
use serde::Deserialize;

use super::truth::{KeyBox, Truth, Visit};
use crate::media::BBox;

/// The keys of the file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawTruth {
    /// The class name of the people or objects, such as person.
    #[schemars(length(min = 1, max = 128))]
    label: String,
    /// Media time of the footage's first frame, ms since the epoch; absent: 0.
    #[serde(default)]
    start_ms: i64,
    /// All visits; an empty list if there are none.
    #[schemars(length(max = 10000))]
    visits: Vec<RawVisit>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawVisit {
    /// The visit's id.
    #[schemars(length(min = 1, max = 128))]
    id: String,
    /// The visiting person, by the same name in each visit.
    #[schemars(length(min = 1, max = 128))]
    person: String,
    /// Start of the visit, ms from the first frame.
    from_ms: i64,
    /// End of the visit, ms from the first frame.
    to_ms: i64,
    /// Key boxes: `[ms, x1, y1, x2, y2]` each, ms from the first frame and frame px.
    #[schemars(length(min = 1), extend("x-remedy" = "give each box as [ms, x1, y1, x2, y2]"))]
    boxes: Vec<[f64; 5]>,
}

/// A truth file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The file cannot be read.
    #[error(
        "truth {file}: cannot be read: {why}\n   = help: name the file with --truth FILE, as UTF-8 text that this user can read"
    )]
    Unreadable {
        /// Name of the file as given.
        file: String,
        /// Error of the operating system.
        why: io::Error,
    },
    /// The file has mistakes.
    #[error("{}", ProblemReport { kind: "truth", file, text, problems })]
    Invalid {
        /// Name of the file as given.
        file: String,
        /// Text of the file.
        text: String,
        /// All mistakes in the order of the file.
        problems: Vec<Problem>,
    },
}

/// Returns the truth that `text` contains; messages call it `file`.
///
/// # Errors
/// The text has mistakes, all of which are returned.
pub fn parse_truth(file: &str, text: &str) -> Result<Truth, TruthError> {
    let invalid = |problems| TruthError::Invalid { file: file.to_owned(), text: text.to_owned(), problems };
    let document: TypedDocument<RawTruth> = read_as(text, &|_| None).map_err(invalid)?;
    let mut check = Check { document: &document, problems: Problems::default() };
    check.all();
    if !check.problems.is_empty() {
        return Err(invalid(check.problems.into_sorted()));
    }
    let RawTruth { label, start_ms, visits } = document.raw;
    Ok(Truth { label, start_ms, visits: visits.into_iter().map(visit).collect() })
}

fn visit(raw: RawVisit) -> Visit {
    let RawVisit { id, person, from_ms, to_ms, boxes } = raw;
    Visit { id, person, from_ms, to_ms, boxes: boxes.iter().map(key_box).collect() }
}

fn key_box([at_ms, x1, y1, x2, y2]: &[f64; 5]) -> KeyBox {
    let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(|edge| *edge as f32);
    KeyBox { at_ms: at_ms.round() as i64, bbox: BBox { x1, y1, x2, y2 } }
}

/// The rules that a schema cannot express.
struct Check<'a> {
    document: &'a TypedDocument<RawTruth>,
    problems: Problems,
}

impl Check<'_> {
    fn all(&mut self) {
        let visits = &self.document.raw.visits;
        let mut ids = HashMap::new();
        for (i, visit) in visits.iter().enumerate() {
            let path = KeyPath::default().key("visits").index(i);
            if ids.insert(&visit.id, i).is_some() {
                let message = format!("two visits have the id {:?}", visit.id);
                self.add(&path.key("id"), message, "give each visit an id of its own");
            }
            self.times(visit, &path);
            self.boxes(visit, &path.key("boxes"));
            self.person(visit, &visits[..i], &path.key("person"));
        }
    }

    fn times(&mut self, visit: &RawVisit, path: &KeyPath) {
        // The schema already requires at least one box.
        let (Some(first), Some(last)) = (visit.boxes.first(), visit.boxes.last()) else { return };
        if visit.to_ms < visit.from_ms {
            let message =
                format!("the visit ends at {} ms, before from_ms ({} ms)", visit.to_ms, visit.from_ms);
            self.add(&path.key("to_ms"), message, "give a time at or after from_ms");
        // Without boxes at both ends, the visit would have times at which no record can match it.
        } else if first[0] > visit.from_ms as f64 {
            let message =
                format!("the first box is at {} ms, after from_ms ({} ms)", first[0], visit.from_ms);
            self.add(
                &path.key("boxes"),
                message,
                "add a box at from_ms, or set from_ms to the time of the first box",
            );
        } else if last[0] < visit.to_ms as f64 {
            let message = format!("the last box is at {} ms, before to_ms ({} ms)", last[0], visit.to_ms);
            self.add(
                &path.key("boxes"),
                message,
                "add a box at to_ms, or set to_ms to the time of the last box",
            );
        }
    }

    fn boxes(&mut self, visit: &RawVisit, path: &KeyPath) {
        for (i, [at_ms, x1, y1, x2, y2]) in visit.boxes.iter().enumerate() {
            if i > 0 && *at_ms <= visit.boxes[i - 1][0] {
                let message =
                    format!("the box at {at_ms} ms comes after one at {} ms", visit.boxes[i - 1][0]);
                self.add(&path.index(i), message, "order the boxes by time, one per time");
            }
            if x2 <= x1 || y2 <= y1 {
                let message = format!("the box [{x1}, {y1}, {x2}, {y2}] has no area");
                self.add(&path.index(i), message, "write [ms, left, top, right, bottom] in px");
            }
        }
    }

    fn person(&mut self, visit: &RawVisit, earlier: &[RawVisit], path: &KeyPath) {
        // One person cannot be in view twice. It is usually a copied id.
        if let Some(other) = earlier.iter().find(|other| meets(other, visit)) {
            let message = format!("{:?} is in view as {} at the same time", visit.person, other.id);
            self.add(path, message, "name another person, or end one visit before the other begins");
        }
    }

    fn add(&mut self, key: &KeyPath, message: String, remedy: &str) {
        self.problems.add(key, self.document.span_of(key), message, remedy);
    }
}

/// Returns whether both are visits of one person that overlap in time.
fn meets(a: &RawVisit, b: &RawVisit) -> bool {
    a.person == b.person && a.from_ms < b.to_ms && b.from_ms < a.to_ms
}
