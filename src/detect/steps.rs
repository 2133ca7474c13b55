//! What the three steps of a look take.

use std::sync::{Arc, Mutex};

use crate::base::{Took, lock};
use crate::telemetry::detect::StepDurations;

/// What the steps of one look took, or of all looks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// From the picture to the model's input.
    pub preprocess: Took,
    /// ONNX Runtime.
    pub inference: Took,
    /// From the model's output to boxes.
    pub postprocess: Took,
}

impl Steps {
    /// Returns the wall-clock times.
    pub(super) fn durations(&self) -> StepDurations {
        StepDurations {
            preprocess: self.preprocess.wall,
            inference: self.inference.wall,
            postprocess: self.postprocess.wall,
        }
    }
}

/// The sum over all looks; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct StepMeter {
    sum: Arc<Mutex<Steps>>,
}

impl StepMeter {
    pub(super) fn add(&self, look: &Steps) {
        let mut sum = lock(&self.sum);
        let add = |sum: &mut Took, took: Took| {
            sum.wall += took.wall;
            sum.cpu += took.cpu;
        };
        add(&mut sum.preprocess, look.preprocess);
        add(&mut sum.inference, look.inference);
        add(&mut sum.postprocess, look.postprocess);
    }

    pub(super) fn sum(&self) -> Steps {
        *lock(&self.sum)
    }
}
