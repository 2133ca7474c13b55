//! The time that the three steps of an inference take.

use std::sync::{Arc, Mutex};

use crate::base::{Took, lock};
use crate::telemetry::detect::StepDurations;

/// The time of each step, of one inference or of all so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// From the picture to the model's input tensor.
    pub preprocess: Took,
    /// The run of ONNX Runtime.
    pub inference: Took,
    /// From the model's output to detections.
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

/// The sum over all inferences; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct StepMeter {
    sum: Arc<Mutex<Steps>>,
}

impl StepMeter {
    pub(super) fn add(&self, one: &Steps) {
        let mut sum = lock(&self.sum);
        let add = |sum: &mut Took, took: Took| {
            sum.wall += took.wall;
            sum.cpu += took.cpu;
        };
        add(&mut sum.preprocess, one.preprocess);
        add(&mut sum.inference, one.inference);
        add(&mut sum.postprocess, one.postprocess);
    }

    pub(super) fn sum(&self) -> Steps {
        *lock(&self.sum)
    }
}
