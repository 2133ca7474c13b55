//! Evaluation: compares the records of events with the truth about their footage.
//!
//! Pure computing: (truth, records, rules) -> figures. docs/evaluation.md defines each figure.

mod assignment;
mod evaluation;
mod idf1;
mod matching;
mod record;
#[cfg(test)]
mod tests;
mod truth;
mod truth_file;

pub use evaluation::{
    Evaluation, FalseStart, MixedIncident, PersonShare, VisitFigures, VisitStart, evaluate,
};
pub use idf1::IdentityCounts;
pub use record::Record;
pub use truth::{KeyBox, Truth, Visit};
pub use truth_file::{TruthError, parse_truth};

/// Thresholds for the comparison of records with the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvalRules {
    /// Minimum IoU of a record's box with a visit's, 0..=1, for the record to belong to the visit.
    pub min_iou: f32,
    /// Maximum delay of a visit's first start that is not late, ms.
    pub late_ms: i64,
    /// Length of the time steps of IDF1, ms; at least 1.
    pub step_ms: i64,
}

impl Default for EvalRules {
    fn default() -> Self {
        Self { min_iou: 0.3, late_ms: 1000, step_ms: 1000 }
    }
}
