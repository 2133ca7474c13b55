//! Conversion of a picture to a model's input: `cargo bench --bench letterbox`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use half::f16;
use kvs_infer::detect::{Resampler, TensorElement};
use kvs_infer::media::{Color, Matrix, Yuv420};

fn plane(width: usize, height: usize) -> Vec<u8> {
    (0..width * height).map(|i| ((i * 7919) >> 3) as u8).collect()
}

fn pass<T: TensorElement>(
    criterion: &mut Criterion,
    name: &str,
    (width, height): (u32, u32),
    mut resampler: Resampler,
) {
    let (w, h) = (width as usize, height as usize);
    let planes = [plane(w, h), plane(w / 2, h / 2), plane(w / 2, h / 2)];
    let picture = Yuv420 {
        width_px: width,
        height_px: height,
        planes: [&planes[0][..], &planes[1][..], &planes[2][..]],
        strides: [w, w / 2, w / 2],
        color: Color { matrix: Matrix::Bt709, full_range: false },
    };
    let mut out = vec![T::of(0.0); resampler.elements()];
    criterion.bench_function(name, |bencher| bencher.iter(|| black_box(resampler.write(&picture, &mut out))));
}

fn letterbox(criterion: &mut Criterion) {
    let (full, hd) = ((1920, 1080), (1280, 720));
    let (large, small) = ((640, 640), (320, 320));
    pass::<f32>(criterion, "1080p to 640, f32", full, Resampler::new(large));
    pass::<f32>(criterion, "1080p to 640, f32, plain code", full, Resampler::portable(large));
    pass::<f16>(criterion, "1080p to 640, f16", full, Resampler::new(large));
    pass::<f32>(criterion, "1080p to 320, f32", full, Resampler::new(small));
    pass::<f32>(criterion, "720p to 640, f32", hd, Resampler::new(large));
}

criterion_group!(benches, letterbox);
criterion_main!(benches);
