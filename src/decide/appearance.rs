//! The appearance of an object, by colour histograms: it distinguishes two objects that pass each other.
//!
//! Histograms cost almost nothing beside the inference, and need no second model. A network for re-identification would be better at
//! people who are dressed alike.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::media::{BBox, Yuv420};

/// The parts of a box that are sampled, from its top, as shares of its height: of a person, chest and legs.
///
/// Two parts distinguish a dark coat over light trousers from the reverse, which one histogram does not.
const PARTS: [(f32, f32); 2] = [(0.15, 0.5), (0.5, 0.85)];
/// The columns that are sampled, from the left edge, as shares of the width: the rest is mostly background.
const COLUMNS: (f32, f32) = (0.25, 0.75);
/// Number of sampled rows and columns per part: enough for a histogram, at a fixed cost for a box of any size.
const GRID: (u8, u8) = (12, 10);
/// Centres of the luma bins, evenly over the video range 16..=235.
const LUMA: [u8; 8] = [16, 47, 79, 110, 141, 173, 204, 235];
/// Centres of the chroma bins, U and V alike: close together around grey, where most colours of a camera's picture lie.
const CHROMA: [u8; 9] = [64, 94, 112, 122, 128, 134, 144, 162, 192];
/// Number of bins of luma and both chromas.
const BINS: usize = LUMA.len() + 2 * CHROMA.len();
/// Sum of the bins of one histogram, so that each bin fits into a byte of the state.
const WHOLE: f32 = 255.0;
/// Time constant of the moving mean of an object's appearance, s: light and pose change slower.
const MEMORY_S: f32 = 1.0;
/// Maximum weight of one sighting in the moving mean, however long ago the last one was: it may show an obstacle.
const MAX_SHARE: f32 = 0.5;

/// The histograms of luma and of both chromas of each part of a box, one after the other.
///
/// A histogram distinguishes a striped coat from a grey one, which a mean colour does not. A value counts for the two bins
/// between whose centres it lies, so that a little more light does not change the histogram much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Appearance([[u8; BINS]; 2]);

impl Appearance {
    /// Returns the appearance of the object in a box.
    pub(super) fn of(picture: &Yuv420<'_>, bbox: &BBox) -> Self {
        Self(PARTS.map(|rows| part(picture, bbox, rows)))
    }

    /// Returns the difference of two appearances: typically 0.3 for the same object moments later, 0.8 for another one.
    pub(super) fn difference(&self, other: &Self) -> f32 {
        let bins = self.0.iter().flatten().zip(other.0.iter().flatten());
        let squares: f32 = bins.map(|(a, b)| ((f32::from(*a) - f32::from(*b)) / WHOLE).powi(2)).sum();
        // Per part, so that the figures do not depend on the number of parts.
        (squares / 2.0).sqrt()
    }

    /// Adds an appearance that was seen `elapsed_s` after the last one to the moving mean.
    pub(super) fn update(&mut self, seen: &Self, elapsed_s: f32) {
        let share = (elapsed_s / MEMORY_S).clamp(0.0, MAX_SHARE);
        for (mean, seen) in self.0.iter_mut().flatten().zip(seen.0.iter().flatten()) {
            let step = share * (f32::from(*seen) - f32::from(*mean));
            // The mean is stored in bytes, so a step of less than one counts as one. Otherwise the small steps of many frames per
            // second would round to nothing.
            *mean = rounded(f32::from(*mean) + step.abs().ceil().copysign(step));
        }
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut appearance = Self([[0; BINS]; 2]);
        if text.len() != 2 * appearance.0.as_flattened().len() {
            return None;
        }
        for (i, bin) in appearance.0.as_flattened_mut().iter_mut().enumerate() {
            // `get`, not an index: two bytes may be a part of one character.
            *bin = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(appearance)
    }
}

impl Serialize for Appearance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Hex digits are shorter than a list of numbers: the state of a camera must fit into an item of DynamoDB.
        let text: String = self.0.as_flattened().iter().map(|bin| format!("{bin:02x}")).collect();
        serializer.serialize_str(&text)
    }
}

/// The appearance of an object as a state stores it.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredAppearance {
    Histograms(String),
    /// Mean colours, which earlier builds wrote; they cannot be compared with histograms.
    Means([[u8; 3]; 2]),
}

/// Deserializes an object's appearance; `None` for that of an earlier build, which the next sighting replaces.
pub(super) fn stored<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Appearance>, D::Error> {
    match Option::<StoredAppearance>::deserialize(from)? {
        Some(StoredAppearance::Histograms(text)) => match Appearance::from_hex(&text) {
            Some(appearance) => Ok(Some(appearance)),
            None => Err(de::Error::custom("`looks` are not histograms in hex digits")),
        },
        Some(StoredAppearance::Means([_, _])) | None => Ok(None),
    }
}

/// Returns the histograms of a part of a box.
fn part(picture: &Yuv420<'_>, bbox: &BBox, (top, bottom): (f32, f32)) -> [u8; BINS] {
    let (width, height) = (bbox.x2 - bbox.x1, bbox.y2 - bbox.y1);
    let mut sums = [0.0; BINS];
    let (lumas, chromas) = sums.split_at_mut(LUMA.len());
    let (us, vs) = chromas.split_at_mut(CHROMA.len());
    for row in 0..GRID.0 {
        let y = bbox.y1 + height * between(top, bottom, row, GRID.0);
        for column in 0..GRID.1 {
            let x = bbox.x1 + width * between(COLUMNS.0, COLUMNS.1, column, GRID.1);
            let [luma, u, v] = pixel(picture, x, y);
            count(lumas, &LUMA, luma);
            count(us, &CHROMA, u);
            count(vs, &CHROMA, v);
        }
    }
    let pixels = f32::from(GRID.0) * f32::from(GRID.1);
    sums.map(|sum| rounded(WHOLE * sum / pixels))
}

/// Adds a value to the two bins between whose centres it lies, by distance; to the outermost bin if it lies outside.
fn count(bins: &mut [f32], centres: &[u8], value: u8) {
    let above = centres.partition_point(|centre| *centre < value);
    if above == 0 || above == centres.len() {
        bins[above.min(centres.len() - 1)] += 1.0;
        return;
    }
    let (low, high) = (centres[above - 1], centres[above]);
    let share = f32::from(value - low) / f32::from(high - low);
    bins[above - 1] += 1.0 - share;
    bins[above] += share;
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of bytes")]
fn rounded(mean: f32) -> u8 {
    mean.round() as u8
}

fn between(from: f32, to: f32, step: u8, steps: u8) -> f32 {
    from + (to - from) * f32::from(step) / f32::from(steps - 1)
}

/// Returns Y, U and V of the pixel nearest to a place, which may lie outside the picture.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
fn pixel(picture: &Yuv420<'_>, x: f32, y: f32) -> [u8; 3] {
    let x = (x.max(0.0) as usize).min(picture.width_px as usize - 1);
    let y = (y.max(0.0) as usize).min(picture.height_px as usize - 1);
    // 4:2:0: the chroma planes have half the width and height.
    let at = |plane: usize, x: usize, y: usize| picture.planes[plane][y * picture.strides[plane] + x];
    [at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Color, Matrix};

    /// Returns the appearance of a box in a picture whose upper half has the colours of `upper`, row by row, and the lower half those
    /// of `lower`.
    fn appearance(upper: &[[u8; 3]], lower: &[[u8; 3]], bbox: BBox) -> Appearance {
        let (width, height) = (61_usize, 41_usize);
        let plane = |plane: usize, width: usize, height: usize| -> Vec<u8> {
            let colour = |row: usize| {
                if row < height / 2 { upper[row % upper.len()] } else { lower[row % lower.len()] }
            };
            (0..width * height).map(|at| colour(at / width)[plane]).collect()
        };
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let planes =
            [plane(0, width, height), plane(1, half_width, half_height), plane(2, half_width, half_height)];
        let picture = Yuv420 {
            width_px: 61,
            height_px: 41,
            planes: [&planes[0], &planes[1], &planes[2]],
            strides: [width, half_width, half_width],
            color: Color { matrix: Matrix::Bt601, full_range: false },
        };
        Appearance::of(&picture, &bbox)
    }

    const WHOLE_PICTURE: BBox = BBox { x1: 0.0, y1: 0.0, x2: 61.0, y2: 41.0 };
    const GREY: [u8; 3] = [110, 128, 128];

    /// Returns the fullest bin of luma and of each chroma.
    fn fullest(bins: &[u8]) -> [usize; 3] {
        let (lumas, chromas) = bins.split_at(LUMA.len());
        let (us, vs) = chromas.split_at(CHROMA.len());
        [lumas, us, vs].map(|bins| (0..bins.len()).max_by_key(|&i| bins[i]).unwrap())
    }

    #[test]
    fn the_upper_and_the_lower_part_have_their_histograms() {
        let [upper, lower] = appearance(&[[204, 94, 144]], &[[47, 128, 192]], WHOLE_PICTURE).0;
        assert_eq!((fullest(&upper), fullest(&lower)), ([6, 1, 6], [1, 4, 8]));
        for part in [upper, lower] {
            let sum: u32 = part.iter().copied().map(u32::from).sum();
            assert!((3 * 253..=3 * 257).contains(&sum), "{part:?}");
        }
        let outside = BBox { x1: -50.0, y1: -80.0, x2: 500.0, y2: -10.0 };
        let [upper, lower] = appearance(&[[204, 94, 144]], &[[47, 128, 192]], outside).0;
        assert_eq!((fullest(&upper), fullest(&lower)), ([6, 1, 6], [6, 1, 6]), "the nearest pixels");
    }

    #[test]
    fn a_value_counts_for_the_bins_that_it_lies_between() {
        for (value, expected) in [
            (0, [1.0, 0.0, 0.0]),
            (16, [1.0, 0.0, 0.0]),
            (20, [0.6, 0.4, 0.0]),
            (26, [0.0, 1.0, 0.0]),
            (41, [0.0, 0.25, 0.75]),
            (255, [0.0, 0.0, 1.0]),
        ] {
            let mut bins = [0.0; 3];
            count(&mut bins, &[16, 26, 46], value);
            assert_eq!(bins, expected, "{value}");
        }
    }

    #[test]
    fn objects_with_the_same_mean_colour_differ_by_their_stripes() {
        let (grey, striped) = ([GREY], [[47, 128, 128], [173, 128, 128]]);
        let (grey, striped) =
            (appearance(&grey, &grey, WHOLE_PICTURE), appearance(&striped, &striped, WHOLE_PICTURE));
        assert!(grey.difference(&striped) > 0.8, "{grey:?} {striped:?}");
    }

    #[test]
    fn a_little_light_counts_less_than_colour_and_the_mean_follows_the_sightings() {
        let grey = appearance(&[GREY], &[GREY], WHOLE_PICTURE);
        let lit = appearance(&[[118, 128, 128]], &[[118, 128, 128]], WHOLE_PICTURE);
        let red = appearance(&[[110, 112, 162]], &[GREY], WHOLE_PICTURE);
        assert!(grey.difference(&lit) < 0.4 && grey.difference(&red) > 0.9, "{grey:?} {lit:?} {red:?}");
        for (sightings, step_s) in [(15, 0.2), (75, 0.04), (300, 0.01)] {
            let mut followed = grey;
            (0..sightings).for_each(|_| followed.update(&red, step_s));
            assert!(followed.difference(&red) < 0.1, "3 s in steps of {step_s} s: {followed:?}");
        }
        let mut followed = grey;
        followed.update(&red, 60.0);
        assert!(followed.difference(&red) > 0.4, "one sighting does not replace the mean: {followed:?}");
    }

    #[test]
    fn appearance_is_stored_in_hex_digits_and_that_of_earlier_builds_is_dropped() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Stored(#[serde(deserialize_with = "stored")] Option<Appearance>);
        let read = |text: &str| serde_json::from_str::<Stored>(text).ok().map(|stored| stored.0);
        let seen = appearance(&[GREY], &[[47, 128, 192]], WHOLE_PICTURE);
        let text = serde_json::to_string(&Stored(Some(seen))).unwrap();
        assert_eq!((text.len(), read(&text)), (2 + 4 * BINS, Some(Some(seen))));
        for (text, expected) in [
            ("null", Some(None)),
            ("[[1,2,3],[4,5,6]]", Some(None)),
            (r#""00ff""#, None),
            (&format!("\"{}\"", "é".repeat(2 * BINS)), None),
            ("7", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
