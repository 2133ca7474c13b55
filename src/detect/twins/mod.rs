//! Twins of a detector: files made of its ONNX file that compute the same boxes with smaller numbers.
//!
//! [`quantize`] makes the int8 twin for the CPU, [`half`] the float16 twin for a GPU. Both edit the file field by field (`graph.rs`), and a
//! [`BoxGate`] compares the boxes of a twin with those of the float32 model.

mod error;
mod gate;
mod graph;
pub mod half;
pub mod quantize;
mod source;

pub use error::TwinError;
pub use gate::{BoxChange, BoxDifference, BoxGate, GateBoxes, GateReport, GateTolerance, MIN_GATE_BOXES};
