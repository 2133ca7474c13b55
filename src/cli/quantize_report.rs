//! The report of `models quantize`.

use std::fmt;
use std::path::PathBuf;

use crate::detect::InferenceEngine;
use crate::detect::quantize::{BoxDifference, GATE_MARGIN, GateReport, MIN_GATE_BOXES, QuantizedModel};

/// The maximum number of differences that are listed per engine.
const MAX_LISTED: usize = 20;

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
        self.write_counts(f, conf + GATE_MARGIN)?;
        if gate.boxes < MIN_GATE_BOXES {
            writeln!(
                f,
                "{engine}: {MIN_GATE_BOXES} boxes are needed to compare; give longer footage with objects, or --check CLIP"
            )?;
        }
        write_differences(f, &format!("{engine}: missing"), &gate.missing)?;
        write_differences(f, &format!("{engine}: new"), &gate.new)
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

fn write_differences(f: &mut fmt::Formatter<'_>, what: &str, boxes: &[BoxDifference]) -> fmt::Result {
    for BoxDifference { frame, label, conf, bbox } in boxes.iter().take(MAX_LISTED) {
        let corners = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(|px| format!("{px:.0}")).join(", ");
        writeln!(f, "{what}: {frame}: {label} {conf:.2} [{corners}]")?;
    }
    match boxes.len().checked_sub(MAX_LISTED) {
        Some(more @ 1..) => writeln!(f, "{what}: {more} more"),
        _ => Ok(()),
    }
}

/// Returns a size in units of 10^6 bytes.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
