//! Makes the int8 twin of a detector.
//!
//! Only convolutions are quantised, and the first and the last of them stay in float32: measured on two models and two scenes, these
//! cost little time and most of the accuracy. The range of each activation is the smallest and the largest value that the float32
//! model has on sampled frames: a percentile of 99.99 changed confidences four times as much (by 0.04 on average).

mod calibrator;
mod plan;
mod rewrite;

pub use calibrator::{Calibrator, QuantizedModel};
