//! `replay`: a new model or rule on stored footage, compared with what an earlier run reported.
//!
//! [`replay()`] reads archived fragments of each camera (`footage_feed`) and sends them to the stages that `run` has: decode, detect, decide.
//! The camera starts at the beginning of the span without a state and ends at its end. Its records get the ids that `run` gives them in
//! catch-up, because ids depend on the stream, fragment and frame alone. They go to the folder of the replay (`output_folder`), and to no
//! other place: the outbox of a replay has one sink, a folder of its own, and no clients of AWS. AWS is only read.
//!
//! **Faster than real time.** Several cameras are replayed at once. A model on the CPU has several sessions with few threads instead of one
//! with many. Where a camera has no motion gate, the inferences of its next frames are under way while decide waits for those before
//! them: detections depend on the frame alone, so the result is the same. Frames, packets, lists of fragments and records are bounded; a
//! stage that is slower holds back the ones before it.
//!
//! **The same result each time.** The records of the cameras are merged by time (`merged_events`), incidents are compared in an order
//! of their own ([`compare`]), and the report (`report`) has neither the time of the run nor its duration in it.

mod comparison;
mod coverage;
mod earlier;
mod footage_feed;
mod incident_facts;
mod merged_events;
mod output_folder;
mod progress;
mod replay_run;
mod report;
mod span;
mod thumbnail;

pub use comparison::{
    ComparedIncident, Comparison, DifferenceField, IncidentChange, IncidentDifference, ReplayedFootage,
    compare,
};
pub use coverage::{FootageCoverage, FootageGap, UnreadableFragment};
pub use earlier::{EarlierError, EarlierSource};
pub use incident_facts::IncidentFacts;
pub use output_folder::{OutputError, OutputFolder};
pub use progress::{OnNote, ProgressFigures, ReplayProgress};
pub use replay_run::{ReplayError, ReplayOutcome, ReplaySpec, replay};
pub use report::ReportFigures;
pub use span::{ReplaySpan, SpanError};
