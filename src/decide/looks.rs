//! The looks of an object: how often each colour occurs in it, which distinguishes two objects that pass each other.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::media::{BBox, Yuv420};

/// The parts of a box whose colours count, from its top, as shares of its height: of a person, chest and legs.
const PARTS: [(f32, f32); 2] = [(0.15, 0.5), (0.5, 0.85)];
/// The columns that count, from the left edge, as shares of the width: the rest is mostly background.
const COLUMNS: (f32, f32) = (0.25, 0.75);
/// Pixels of a part that are looked at: rows and columns.
const GRID: (u8, u8) = (12, 10);
/// Luma at the centres of the bins.
const LUMA: [u8; 8] = [16, 47, 79, 110, 141, 173, 204, 235];
/// Either chroma at the centres of the bins: close together where most colours of a camera's picture lie.
const CHROMA: [u8; 9] = [64, 94, 112, 122, 128, 134, 144, 162, 192];
/// Bins of luma and of both chromas.
const BINS: usize = LUMA.len() + 2 * CHROMA.len();
/// The sum of the bins of one histogram.
const WHOLE: f32 = 255.0;
/// Time over which the looks of an object are their mean, s.
const MEMORY_S: f32 = 1.0;
/// The largest share of the looks so far that one sighting replaces, however long ago the last one was.
const MAX_SHARE: f32 = 0.5;

/// The histograms of luma and of both chromas of each part of a box, one after the other.
///
/// A histogram distinguishes a striped coat from a grey one, which a mean colour does not. A value counts for the two bins that
/// it lies between, so that a little more light does not change the histogram much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Looks([[u8; BINS]; 2]);

impl Looks {
    /// Returns the looks of what is in a box.
    pub(super) fn of(picture: &Yuv420<'_>, bbox: &BBox) -> Self {
        Self(PARTS.map(|rows| part(picture, bbox, rows)))
    }

    /// Returns the difference of two: mostly 0.3 for the same object moments later, 0.8 for another one.
    pub(super) fn difference(&self, other: &Self) -> f32 {
        let bins = self.0.iter().flatten().zip(other.0.iter().flatten());
        let squares: f32 = bins.map(|(a, b)| ((f32::from(*a) - f32::from(*b)) / WHOLE).powi(2)).sum();
        (squares / 2.0).sqrt()
    }

    /// Follows what was seen `elapsed_s` after the last sighting.
    pub(super) fn follow(&mut self, seen: &Self, elapsed_s: f32) {
        let share = (elapsed_s / MEMORY_S).clamp(0.0, MAX_SHARE);
        for (mean, seen) in self.0.iter_mut().flatten().zip(seen.0.iter().flatten()) {
            let step = share * (f32::from(*seen) - f32::from(*mean));
            // A step of less than one counts as one; otherwise small steps, at many frames a second, would change nothing.
            *mean = rounded(f32::from(*mean) + step.abs().ceil().copysign(step));
        }
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut looks = Self([[0; BINS]; 2]);
        if text.len() != 2 * looks.0.as_flattened().len() {
            return None;
        }
        for (i, bin) in looks.0.as_flattened_mut().iter_mut().enumerate() {
            *bin = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(looks)
    }
}

/// As hex digits, which are shorter than a list of numbers: the state of a camera has to fit into an item of a table.
impl Serialize for Looks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.as_flattened().iter().map(|bin| format!("{bin:02x}")).collect();
        serializer.serialize_str(&text)
    }
}

/// Looks in a state.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredLooks {
    Histograms(String),
    /// Mean colours, as earlier builds wrote them; they cannot be compared with histograms.
    Means([[u8; 3]; 2]),
}

/// Reads the looks of an object from a state; `None` for those of an earlier build: the next sighting gives the object new ones.
pub(super) fn stored<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Looks>, D::Error> {
    match Option::<StoredLooks>::deserialize(from)? {
        Some(StoredLooks::Histograms(text)) => match Looks::from_hex(&text) {
            Some(looks) => Ok(Some(looks)),
            None => Err(de::Error::custom("`looks` are not histograms in hex digits")),
        },
        Some(StoredLooks::Means([_, _])) | None => Ok(None),
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

/// Adds a value to the two bins that it lies between, more to the nearer one; to the outermost one if it lies outside.
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

/// Y, U and V at a place, which is kept within the picture.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kept within the picture")]
fn pixel(picture: &Yuv420<'_>, x: f32, y: f32) -> [u8; 3] {
    let x = (x.max(0.0) as usize).min(picture.width_px as usize - 1);
    let y = (y.max(0.0) as usize).min(picture.height_px as usize - 1);
    let at = |plane: usize, x: usize, y: usize| picture.planes[plane][y * picture.strides[plane] + x];
    [at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Color, Matrix};

    /// Returns the looks of a box of a picture whose upper half has the colours of one list, row by row, and the lower half others.
    fn looks(upper: &[[u8; 3]], lower: &[[u8; 3]], bbox: BBox) -> Looks {
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
        Looks::of(&picture, &bbox)
    }

    const WHOLE_PICTURE: BBox = BBox { x1: 0.0, y1: 0.0, x2: 61.0, y2: 41.0 };
    const GREY: [u8; 3] = [110, 128, 128];

    /// Returns the bins of luma, and of both chromas, that hold most of the pixels.
    fn fullest(bins: &[u8]) -> [usize; 3] {
        let (lumas, chromas) = bins.split_at(LUMA.len());
        let (us, vs) = chromas.split_at(CHROMA.len());
        [lumas, us, vs].map(|bins| (0..bins.len()).max_by_key(|&i| bins[i]).unwrap())
    }

    #[test]
    fn the_upper_and_the_lower_part_have_their_histograms() {
        let [upper, lower] = looks(&[[204, 94, 144]], &[[47, 128, 192]], WHOLE_PICTURE).0;
        assert_eq!((fullest(&upper), fullest(&lower)), ([6, 1, 6], [1, 4, 8]));
        for part in [upper, lower] {
            let sum: u32 = part.iter().copied().map(u32::from).sum();
            assert!((3 * 253..=3 * 257).contains(&sum), "{part:?}");
        }
        let outside = BBox { x1: -50.0, y1: -80.0, x2: 500.0, y2: -10.0 };
        let [upper, lower] = looks(&[[204, 94, 144]], &[[47, 128, 192]], outside).0;
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
    fn what_has_the_same_mean_colour_differs_by_its_stripes() {
        let (grey, striped) = ([GREY], [[47, 128, 128], [173, 128, 128]]);
        let (grey, striped) = (looks(&grey, &grey, WHOLE_PICTURE), looks(&striped, &striped, WHOLE_PICTURE));
        assert!(grey.difference(&striped) > 0.8, "{grey:?} {striped:?}");
    }

    #[test]
    fn a_little_light_counts_less_than_colour_and_looks_follow_what_is_seen() {
        let grey = looks(&[GREY], &[GREY], WHOLE_PICTURE);
        let lit = looks(&[[118, 128, 128]], &[[118, 128, 128]], WHOLE_PICTURE);
        let red = looks(&[[110, 112, 162]], &[GREY], WHOLE_PICTURE);
        assert!(grey.difference(&lit) < 0.4 && grey.difference(&red) > 0.9, "{grey:?} {lit:?} {red:?}");
        for (looks, step_s) in [(15, 0.2), (75, 0.04), (300, 0.01)] {
            let mut followed = grey;
            (0..looks).for_each(|_| followed.follow(&red, step_s));
            assert!(followed.difference(&red) < 0.1, "3 s, {step_s} s a look: {followed:?}");
        }
        let mut followed = grey;
        followed.follow(&red, 60.0);
        assert!(followed.difference(&red) > 0.4, "one sighting is not all that counts: {followed:?}");
    }

    #[test]
    fn looks_are_stored_in_hex_digits_and_those_of_earlier_builds_are_dropped() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct State(#[serde(deserialize_with = "stored")] Option<Looks>);
        let read = |text: &str| serde_json::from_str::<State>(text).ok().map(|state| state.0);
        let seen = looks(&[GREY], &[[47, 128, 192]], WHOLE_PICTURE);
        let text = serde_json::to_string(&State(Some(seen))).unwrap();
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
