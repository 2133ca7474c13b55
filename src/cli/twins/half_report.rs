//! The report of `models half`.

use std::fmt;
use std::path::PathBuf;

use super::report_lines::{megabytes, write_findings};
use crate::detect::twins::half::{HalfModel, HalfRounding};
use crate::detect::twins::{GateReport, GateTolerance};

/// A converted model, its comparison with the float32 model, and its file.
pub(super) struct HalfReport {
    pub(super) name: String,
    /// The float32 model.
    pub(super) model: PathBuf,
    /// The file that is written if the gate passes.
    pub(super) out: PathBuf,
    /// The confidence threshold.
    pub(super) conf: f32,
    /// Size of the float32 model.
    pub(super) float_bytes: u64,
    pub(super) made: HalfModel,
    pub(super) places: Vec<PlaceReport>,
    pub(super) cuda: CudaOutcome,
}

/// The comparison in one place.
pub(super) struct PlaceReport {
    /// The device, or the simulation.
    pub(super) place: String,
    pub(super) gate: GateReport,
}

/// The state of the comparison on CUDA.
pub(super) enum CudaOutcome {
    /// It is among the places.
    Compared,
    /// `device` is the CPU.
    NotWanted,
    /// CUDA does not work, for this reason.
    Absent(String),
}

impl HalfReport {
    /// Returns `true` if the converted model is written.
    pub(super) fn passes(&self) -> bool {
        self.places.iter().all(|place| place.gate.passes())
    }

    fn write_conversion(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, made, .. } = self;
        let HalfModel { bytes, nodes, all_nodes, float_operators, rounding, .. } = made;
        writeln!(
            f,
            "{name}: {nodes} of {all_nodes} nodes compute in float16; {} MB, float32 {} MB",
            megabytes(bytes.len() as u64),
            megabytes(self.float_bytes),
        )?;
        let HalfRounding { weights, subnormal, zero } = rounding;
        writeln!(
            f,
            "{name}: of {weights} weights, {subnormal} are below 2^-14, where float16 has fewer digits, and {zero} become 0"
        )?;
        if float_operators.is_empty() {
            return Ok(());
        }
        let operators: Vec<&str> = float_operators.iter().map(String::as_str).collect();
        writeln!(f, "{name}: in float32 between the others: {}", operators.join(", "))
    }

    fn write_cuda(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cuda {
            CudaOutcome::Compared => Ok(()),
            CudaOutcome::NotWanted => {
                writeln!(f, "CUDA: not compared, since the configuration has `device: cpu`")
            }
            CudaOutcome::Absent(reason) => writeln!(
                f,
                "CUDA: not compared, since it does not work here; repeat this on a host with a GPU if you can: {reason}"
            ),
        }
    }
}

impl fmt::Display for HalfReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_conversion(f)?;
        writeln!(
            f,
            "ONNX Runtime on the CPU computes float16 in float32, so the twin is also simulated there: \"rounded to float16\" rounds \
             the result of each node"
        )?;
        self.places.iter().try_for_each(|place| place.write(f, self.conf))?;
        self.write_cuda(f)?;
        let (name, path, twin) = (&self.name, self.model.display(), self.out.display());
        if self.passes() {
            writeln!(f, "written: {twin}; use it as models: {{ {name}: {{ path: {path}, half: {twin} }} }}")
        } else {
            writeln!(
                f,
                "refused: {twin} is not written; keep float32, or give longer footage if it has too few boxes"
            )
        }
    }
}

impl PlaceReport {
    fn write(&self, f: &mut fmt::Formatter<'_>, conf: f32) -> fmt::Result {
        let Self { place, gate } = self;
        writeln!(
            f,
            "{place}: {} frames, {} boxes of confidence >= {:.2}: {} missing, {} new, {} changed, {} ties; smallest IoU {:.4}, confidence \
             differs by at most {:.4}",
            gate.frames,
            gate.boxes,
            conf + GateTolerance::HALF.margin,
            gate.missing.len(),
            gate.new.len(),
            gate.changed.len(),
            gate.ties,
            gate.min_iou,
            gate.max_conf_difference
        )?;
        write_findings(f, place, gate, "give longer footage with objects")
    }
}
