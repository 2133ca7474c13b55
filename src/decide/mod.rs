//! detections -> events: a pure state machine. No clock, no I/O.

mod rules;

pub use rules::{Confirm, Roi, RoiFilter, Rules, Zone};
