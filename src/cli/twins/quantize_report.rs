//! The report of `models quantize`.

use std::fmt;
use std::path::PathBuf;

use super::report_lines::{megabytes, write_findings};
use crate::detect::InferenceEngine;
use crate::detect::twins::quantize::QuantizedModel;
use crate::detect::twins::{GateReport, GateTolerance};

/// A quantised model, its comparison with the float32 model, and its file.
pub(super) struct QuantizeReport {
    pub(super) name: String,
    /// The float32 model.
    pub(super) model: PathBuf,
    /// The file that is written if the gate passes.
    pub(super) out: PathBuf,
    /// The confidence threshold.
    pub(super) conf: f32,
    /// Size of the float32 model.
    pub(super) float_bytes: u64,
    pub(super) made: QuantizedModel,
    pub(super) engines: Vec<EngineReport>,
}

/// The comparison on one engine.
pub(super) struct EngineReport {
    pub(super) engine: InferenceEngine,
    /// CPU ms per inference of the float32 model on ONNX Runtime.
    pub(super) float_ms: f64,
    /// CPU ms per inference of the quantised model.
    pub(super) int8_ms: f64,
    pub(super) gate: GateReport,
}

impl EngineReport {
    pub(super) fn passes(&self) -> bool {
        self.gate.passes()
    }
}

impl QuantizeReport {
    /// Returns `true` if the quantised model is written.
    pub(super) fn passes(&self) -> bool {
        self.engines.iter().all(EngineReport::passes)
    }
}

impl fmt::Display for QuantizeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, made, .. } = self;
        let QuantizedModel { bytes, convs, all_convs, frames } = made;
        writeln!(
            f,
            "{name}: {convs} of {all_convs} convolutions are int8, calibrated on {frames} frames; {} MB, float32 {} MB",
            megabytes(bytes.len() as u64),
            megabytes(self.float_bytes),
        )?;
        self.engines.iter().try_for_each(|engine| engine.write(f, self.conf))?;
        if self.passes() {
            let (path, twin) = (self.model.display(), self.out.display());
            writeln!(f, "written: {twin}; use it as models: {{ {name}: {{ path: {path}, int8: {twin} }} }}")
        } else {
            writeln!(
                f,
                "refused: {} is not written; give more footage for calibration, of all that the cameras see, or keep float32",
                self.out.display()
            )
        }
    }
}

impl EngineReport {
    fn write(&self, f: &mut fmt::Formatter<'_>, conf: f32) -> fmt::Result {
        let Self { engine, float_ms, int8_ms, gate } = self;
        writeln!(
            f,
            "{engine}: {int8_ms:.1} ms of CPU time per inference, float32 {float_ms:.1} ms ({:.2}x)",
            float_ms / int8_ms
        )?;
        self.write_counts(f, conf + GateTolerance::INT8.margin)?;
        write_findings(f, &engine.to_string(), gate, "give longer footage with objects, or --check CLIP")
    }

    /// Writes the number of differences of boxes whose confidence is at least `floor`.
    fn write_counts(&self, f: &mut fmt::Formatter<'_>, floor: f32) -> fmt::Result {
        let Self { engine, gate, .. } = self;
        writeln!(
            f,
            "{engine}: {} frames, {} boxes of confidence >= {floor:.2}: {} missing, {} new; confidence differs by {:.3} on average",
            gate.frames,
            gate.boxes,
            gate.missing.len(),
            gate.new.len(),
            gate.mean_conf_difference()
        )
    }
}
