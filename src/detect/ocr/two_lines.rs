//! One line or two: the text of a box whose halves were read as well.
//!
//! The surer reading counts. With PP-OCRv4 and drawn plates of 1.2 to 2 times their height, the less sure half of a plate of
//! two lines is at 0.95 or above and the whole at 0.91 or below; of a plate of one line the whole is at 0.91 or above and the
//! less sure half at 0.89 or below.

use std::sync::Arc;

use crate::media::PlateText;

/// The difference by which both halves must be surer than the whole.
const MARGIN: f32 = 0.02;

/// The part of a box that a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Upper,
    Lower,
}

/// The texts of the parts of a box.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parts {
    whole: Option<PlateText>,
    upper: Option<PlateText>,
    lower: Option<PlateText>,
}

impl Parts {
    /// Keeps the text of a part.
    pub(super) fn put(&mut self, part: Part, reading: Option<PlateText>) {
        match part {
            Part::Whole => self.whole = reading,
            Part::Upper => self.upper = reading,
            Part::Lower => self.lower = reading,
        }
    }

    /// The text of the box: that of the upper half and then that of the lower where both are surer than the whole.
    pub(super) fn text(self) -> Option<PlateText> {
        let Self { whole, upper, lower } = self;
        let whole_conf = whole.as_ref().map_or(0.0, |whole| whole.conf);
        match (upper, lower) {
            (Some(upper), Some(lower)) if upper.conf.min(lower.conf) > whole_conf + MARGIN => {
                Some(joined(&upper, &lower))
            }
            _ => whole,
        }
    }
}

/// Both texts, as sure as the mean of their characters.
#[expect(clippy::cast_precision_loss, reason = "a text is short")]
fn joined(upper: &PlateText, lower: &PlateText) -> PlateText {
    let length = |reading: &PlateText| reading.text.chars().count() as f32;
    let sum = upper.conf * length(upper) + lower.conf * length(lower);
    let conf = sum / (length(upper) + length(lower)).max(1.0);
    PlateText { text: Arc::from(format!("{}{}", upper.text, lower.text)), conf }
}

#[cfg(test)]
mod tests {
    use super::{Part, Parts, PlateText};

    #[test]
    fn the_surer_reading_counts() {
        let reading = |text: &str, conf| Some(PlateText { text: text.into(), conf });
        let cases = [
            (
                "two lines",
                reading("3412", 0.87),
                reading("AB12", 0.99),
                reading("345", 0.92),
                Some(("AB12345", 0.96)),
            ),
            (
                "one line",
                reading("AB1234", 0.95),
                reading("B123", 0.7),
                reading("AB1234", 0.99),
                Some(("AB1234", 0.95)),
            ),
            ("as sure", reading("AB", 0.68), reading("AB", 0.69), reading("AB", 0.69), Some(("AB", 0.68))),
            ("no upper line", reading("AB12", 0.5), None, reading("AB12", 0.99), Some(("AB12", 0.5))),
            ("halves alone", None, reading("AB", 0.9), reading("12", 0.9), Some(("AB12", 0.9))),
            ("nothing", None, None, None, None),
        ];
        for (name, whole, upper, lower, want) in cases {
            let mut parts = Parts::default();
            parts.put(Part::Lower, lower);
            parts.put(Part::Upper, upper);
            parts.put(Part::Whole, whole);
            let text = parts.text();
            let have = text.as_ref().map(|text| (&*text.text, (text.conf * 1000.0).round() / 1000.0));
            assert_eq!(have, want, "{name}");
        }
    }
}
