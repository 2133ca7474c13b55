//! The pass beside its obvious twin: each pixel by itself, in doubles, straight from the definitions.

use half::f16;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, proptest};

use super::{PADDING, PictureFault, Resampler, TensorElement, fill_padding, fill_padding_with};
use crate::detect::InputEncoding;
use crate::detect::noise::Noise;
use crate::media::{Color, Matrix};

/// The blended samples are rounded to 1/128 level, weights to 2^-14, the sums to f32: below 1/64 of a level of 255 in
/// each of luma and chroma, and a chroma factor is at most 2.12. So 0.06 levels are allowed.
const TOLERANCE: f64 = 0.06 / 255.0;

impl Noise {
    /// The plane at a position between its samples, 0..=255.
    fn at(&self, plane: usize, x: f64, y: f64) -> f64 {
        let half = |px: u32| f64::from(if plane == 0 { px } else { px.div_ceil(2) });
        self.between(plane, (x, y), (0.0, 0.0), (half(self.size.0), half(self.size.1)))
    }

    /// Red, green, blue at a luma position, 0..=1, by the text of BT.601 and BT.709.
    fn rgb(&self, x: f64, y: f64) -> [f64; 3] {
        let chroma = (x / 2.0, y / 2.0 - 0.25);
        let (luma, u, v) = (self.at(0, x, y), self.at(1, chroma.0, chroma.1), self.at(2, chroma.0, chroma.1));
        let (luma, u, v) = if self.color.full_range {
            (luma / 255.0, (u - 128.0) / 255.0, (v - 128.0) / 255.0)
        } else {
            ((luma - 16.0) / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0)
        };
        let (to_red, to_green_u, to_green_v, to_blue) = match self.color.matrix {
            Matrix::Bt601 => (1.402, -0.344_136_286, -0.714_136_286, 1.772),
            Matrix::Bt709 => (1.5748, -0.187_324_273, -0.468_124_273, 1.8556),
        };
        [luma + to_red * v, luma + to_green_u * u + to_green_v * v, luma + to_blue * u]
            .map(|c| c.clamp(0.0, 1.0))
    }

    /// The whole input of a model, CHW.
    fn letterboxed(&self, (side_w, side_h): (u32, u32)) -> Vec<f64> {
        let (frame_w, frame_h) = (f64::from(self.size.0), f64::from(self.size.1));
        let scale = (f64::from(side_w) / frame_w).min(f64::from(side_h) / frame_h);
        let content = (frame_w * scale).round().max(1.0);
        let lines = (frame_h * scale).round().max(1.0);
        let (pad_x, pad_y) =
            (((f64::from(side_w) - content) / 2.0).floor(), ((f64::from(side_h) - lines) / 2.0).floor());
        let mut pixels = Vec::new();
        for y in 0..side_h {
            for x in 0..side_w {
                let (x, y) = (f64::from(x) - pad_x, f64::from(y) - pad_y);
                let inside = x >= 0.0 && x < content && y >= 0.0 && y < lines;
                let (x, y) = ((x + 0.5) * frame_w / content - 0.5, (y + 0.5) * frame_h / lines - 0.5);
                pixels.push(if inside { self.rgb(x, y) } else { [114.0 / 255.0; 3] });
            }
        }
        (0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel])).collect()
    }
}

fn written<T: TensorElement>(mut resampler: Resampler, picture: &Noise) -> Vec<T> {
    let mut out = vec![T::of(f32::NAN); resampler.elements()];
    let letterbox = resampler.write(&picture.view(), &mut out).unwrap();
    fill_padding(&letterbox, &mut out);
    out
}

fn assert_as_twin(name: &str, picture: &Noise, side: (u32, u32)) {
    let plain: Vec<f32> = written(Resampler::portable(side), picture);
    let fast: Vec<f32> = written(Resampler::new(side), picture);
    assert_eq!(plain, fast, "{name}: the fast way differs from the plain one");
    for (i, (have, want)) in plain.iter().zip(picture.letterboxed(side)).enumerate() {
        assert!((f64::from(*have) - want).abs() <= TOLERANCE, "{name}: element {i} is {have}, want {want}");
    }
    let half: Vec<f16> = written(Resampler::new(side), picture);
    let rounded: Vec<f16> = plain.iter().map(|value| f16::from_f32(*value)).collect();
    assert_eq!(half, rounded, "{name}: f16 is not f32 rounded");
}

const USUAL: Color = Color { matrix: Matrix::Bt709, full_range: false };

#[test]
fn is_as_its_twin() {
    let cases = [
        ("down", (192, 108), (64, 64)),
        ("down by much", (640, 90), (32, 32)),
        ("same size", (64, 64), (64, 64)),
        ("up", (20, 30), (64, 64)),
        ("portrait", (54, 96), (64, 64)),
        ("odd", (61, 47), (40, 40)),
        ("one pixel", (1, 1), (16, 16)),
        ("two pixels", (2, 1), (16, 16)),
        ("one column", (1, 50), (16, 16)),
        ("one row", (50, 1), (16, 16)),
        ("sliver of a row", (400, 2), (32, 32)),
        ("wide input", (50, 40), (64, 32)),
        ("narrower than a vector", (30, 30), (7, 7)),
    ];
    for (name, size, side) in cases {
        assert_as_twin(name, &Noise::new(size, [0; 3], 1, USUAL), side);
        assert_as_twin(&format!("{name}, padded rows"), &Noise::new(size, [3, 1, 17], 2, USUAL), side);
    }
}

#[test]
fn colours_are_those_of_the_standards() {
    for matrix in [Matrix::Bt601, Matrix::Bt709] {
        for full_range in [false, true] {
            let color = Color { matrix, full_range };
            assert_as_twin(&format!("{color:?}"), &Noise::new((48, 32), [0; 3], 3, color), (48, 48));
        }
    }
    let flat = |luma, u, v, full_range| {
        let planes = [vec![luma; 16], vec![u; 4], vec![v; 4]];
        let color = Color { matrix: Matrix::Bt601, full_range };
        let picture = Noise { size: (4, 4), planes, strides: [4, 2, 2], color };
        let pixels: Vec<f32> = written(Resampler::new((4, 4)), &picture);
        [pixels[5], pixels[21], pixels[37]].map(|channel| (channel * 255.0).round())
    };
    let cases = [
        ("limited black", flat(16, 128, 128, false), [0.0, 0.0, 0.0]),
        ("limited white", flat(235, 128, 128, false), [255.0, 255.0, 255.0]),
        ("limited red", flat(81, 90, 240, false), [254.0, 0.0, 0.0]),
        ("full white", flat(255, 128, 128, true), [255.0, 255.0, 255.0]),
        ("full red", flat(76, 85, 255, true), [254.0, 0.0, 0.0]),
        ("beyond white", flat(255, 128, 128, false), [255.0, 255.0, 255.0]),
    ];
    for (name, have, want) in cases {
        assert_eq!(have, want, "{name}");
    }
}

#[test]
fn one_resampler_serves_pictures_of_many_sizes() {
    let mut resampler = Resampler::new((32, 32));
    for size in [(64, 48), (48, 64), (64, 48), (3, 3), (100, 100)] {
        let picture = Noise::new(size, [0; 3], 4, USUAL);
        let mut out = vec![0.0_f32; resampler.elements()];
        let letterbox = resampler.write(&picture.view(), &mut out).unwrap();
        fill_padding(&letterbox, &mut out);
        assert_eq!(out, written::<f32>(Resampler::new((32, 32)), &picture), "{size:?}");
    }
}

#[test]
fn another_encoding_is_the_usual_one_scaled_and_turned() {
    let side = (40, 40);
    let usual: Vec<f32> = written(Resampler::new(side), &Noise::new((61, 47), [0; 3], 9, USUAL));
    let (mean, std) = ([10.0, 20.0, 30.0], [2.0, 4.0, 5.0]);
    for bgr in [false, true] {
        let encoding = InputEncoding { white: 255.0, mean, std, bgr };
        for made in [Resampler::new(side), Resampler::portable(side)] {
            let picture = Noise::new((61, 47), [0; 3], 9, USUAL);
            let mut resampler = made.encoded(encoding);
            let (mut out, mut half) = (vec![f32::NAN; usual.len()], vec![f16::NAN; usual.len()]);
            let letterbox = resampler.write(&picture.view(), &mut out).unwrap();
            resampler.write(&picture.view(), &mut half).unwrap();
            fill_padding_with(encoding.grey(PADDING), &letterbox, &mut out);
            fill_padding_with(encoding.grey(PADDING), &letterbox, &mut half);
            for (i, have) in out.iter().enumerate() {
                let (channel, at) = (i / 1600, i % 1600);
                let from = if bgr { 2 - channel } else { channel };
                let want = (usual[from * 1600 + at] * 255.0 - mean[channel]) / std[channel];
                assert!((have - want).abs() < 1e-3, "bgr {bgr}, element {i} is {have}, want {want}");
                assert_eq!(half[i], f16::from_f32(*have), "element {i} in f16");
            }
        }
    }
}

#[test]
fn padding_is_grey_and_nothing_else() {
    let mut resampler = Resampler::new((8, 8));
    let mut out = vec![-1.0_f32; resampler.elements()];
    let letterbox = resampler.write(&Noise::new((8, 4), [0; 3], 5, USUAL).view(), &mut out).unwrap();
    let untouched = |out: &[f32]| out.iter().filter(|value| **value < 0.0).count();
    assert_eq!(untouched(&out), 3 * 4 * 8);
    let painted = out.clone();
    fill_padding(&letterbox, &mut out);
    assert_eq!(out.iter().filter(|value| **value == PADDING).count(), 3 * 4 * 8);
    assert!(out.iter().zip(&painted).all(|(now, before)| now == before || *before < 0.0));
}

#[test]
fn a_picture_that_is_not_whole_is_refused_and_nothing_written() {
    let whole = Noise::new((10, 6), [0; 3], 6, USUAL);
    let mut short_luma = whole.clone();
    short_luma.planes[0].pop();
    let mut short_chroma = whole.clone();
    short_chroma.planes[2].truncate(3);
    let mut narrow = whole.clone();
    narrow.strides[1] = 4;
    let mut turned = whole.clone();
    turned.strides[0] = usize::MAX - 9;
    let mut empty = whole;
    empty.size.0 = 0;
    let short = |plane, have, need| PictureFault::Short { plane, have, need };
    let cases = [
        ("luma", short_luma, short(0, 59, 60)),
        ("chroma", short_chroma, short(2, 3, 15)),
        ("rows overlap", narrow, PictureFault::Stride { plane: 1, width: 5, stride: 4 }),
        ("negative stride", turned, short(0, 60, usize::MAX)),
        ("no columns", empty, PictureFault::Empty(0, 6)),
    ];
    for (name, picture, want) in cases {
        let mut resampler = Resampler::new((8, 8));
        let mut out = vec![-1.0_f32; resampler.elements()];
        assert_eq!(resampler.write(&picture.view(), &mut out), Err(want), "{name}");
        assert!(out.iter().all(|value| *value < 0.0), "{name}");
    }
}

fn pictures() -> impl Strategy<Value = Noise> {
    let color = (any::<bool>(), any::<bool>()).prop_map(|(hd, full_range)| Color {
        matrix: if hd { Matrix::Bt709 } else { Matrix::Bt601 },
        full_range,
    });
    ((1u32..90, 1u32..90), [0usize..20, 0usize..20, 0usize..20], any::<u64>(), color)
        .prop_map(|(size, slack, seed, color)| Noise::new(size, slack, seed, color))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_picture_is_as_its_twin(picture in pictures(), side in (1u32..60, 1u32..60)) {
        let plain: Vec<f32> = written(Resampler::portable(side), &picture);
        let fast: Vec<f32> = written(Resampler::new(side), &picture);
        prop_assert!(plain == fast);
        for (have, want) in plain.iter().zip(picture.letterboxed(side)) {
            prop_assert!((f64::from(*have) - want).abs() <= TOLERANCE, "{have} {want}");
        }
    }
}
