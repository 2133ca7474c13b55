//! The values of a model's input for the colours of a picture.

use std::hash::{Hash, Hasher};

use serde::Serialize;

/// The numbers that a model's input has for the channels of a picture.
///
/// Units: `mean` and `std` in the scale of the input, 0..=1 or 0..=255. They, as the planes, are in the order of the input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InputEncoding {
    /// The number of white before `mean` and `std`: 1 or 255.
    pub white: f32,
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// Each channel is divided by it; not 0.
    pub std: [f32; 3],
    /// `true`: the channels are blue, green, red; else red, green, blue.
    pub bgr: bool,
}

impl Default for InputEncoding {
    /// Returns RGB from 0 to 1.
    fn default() -> Self {
        Self { white: 1.0, mean: [0.0; 3], std: [1.0; 3], bgr: false }
    }
}

// No number of a configuration is NaN: ranges exclude it.
impl Eq for InputEncoding {}

impl Hash for InputEncoding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let numbers = [&[self.white][..], &self.mean, &self.std];
        // 0.0 is added, because -0.0 equals 0.0 and must have the same hash.
        numbers.iter().copied().flatten().for_each(|number| (number + 0.0).to_bits().hash(state));
        self.bgr.hash(state);
    }
}

impl InputEncoding {
    /// Factor and offset of each channel of 0..=1, in the order of the input; `None` where nothing changes.
    pub(super) fn scales(&self) -> Option<[(f32, f32); 3]> {
        let scale = |i: usize| (self.white / self.std[i], -self.mean[i] / self.std[i]);
        let scales = [scale(0), scale(1), scale(2)];
        // `None` saves a pass over each row for the usual encoding.
        (scales != [(1.0, 0.0); 3]).then_some(scales)
    }

    /// The numbers for a grey of `level`, 0..=1, in the order of the input.
    pub(super) fn grey(&self, level: f32) -> [f32; 3] {
        self.scales().map_or([level; 3], |scales| scales.map(|(factor, offset)| level * factor + offset))
    }
}

#[cfg(test)]
mod tests {
    use super::InputEncoding;

    #[test]
    fn usual_input_is_left_as_it_is() {
        let usual = InputEncoding::default();
        assert_eq!((usual.scales(), usual.grey(0.25)), (None, [0.25; 3]));
        assert_eq!(InputEncoding { bgr: true, ..usual }.scales(), None);
    }

    #[test]
    fn numbers_are_scaled_shifted_and_divided() {
        let bytes = InputEncoding { white: 255.0, ..InputEncoding::default() };
        assert_eq!(bytes.grey(0.4), [102.0; 3]);
        let mean = [0.5, 0.25, 0.0];
        let normal = InputEncoding { mean, std: [0.5, 0.25, 2.0], ..InputEncoding::default() };
        assert_eq!(normal.grey(0.75), [0.5, 2.0, 0.375]);
        assert_eq!(InputEncoding { white: 2.0, ..normal }.grey(0.75), [2.0, 5.0, 0.75]);
    }
}
