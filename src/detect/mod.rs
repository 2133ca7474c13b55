//! frames -> detections: one worker a model and device, shared by all cameras.

mod spec;

pub use spec::{Device, LayoutChoice, ModelSpec, Thresholds};
