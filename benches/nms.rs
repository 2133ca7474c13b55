//! Non-maximum suppression: `cargo bench --bench nms`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kvs_infer::detect::{Candidate, MAX_CANDIDATES, suppress};
use kvs_infer::media::BBox;

/// Returns candidates as a detector does: `around` boxes near each of `objects` places, of 3 classes.
fn crowd(objects: usize, around: usize) -> Vec<Candidate> {
    (0..objects * around).map(|anchor| candidate(anchor, anchor / around, anchor % around)).collect()
}

fn candidate(anchor: usize, object: usize, shift: usize) -> Candidate {
    let (x1, y1) = ((object * 97 % 1800 + shift) as f32, (object * 61 % 960 + shift) as f32);
    let conf = 0.4 + 0.5 * (anchor * 7919 % 1000) as f32 / 1000.0;
    Candidate { anchor, class: object % 3, conf, bbox: BBox { x1, y1, x2: x1 + 90.0, y2: y1 + 90.0 } }
}

fn nms(criterion: &mut Criterion) {
    let cases = [
        ("4 objects, 6 boxes each", crowd(4, 6)),
        ("40 objects, 6 boxes each", crowd(40, 6)),
        ("the maximum number of candidates, apart", crowd(MAX_CANDIDATES, 1)),
    ];
    for (name, candidates) in cases {
        criterion.bench_function(name, |bencher| {
            bencher.iter_batched(
                || candidates.clone(),
                |candidates| black_box(suppress(candidates, 0.5)),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, nms);
criterion_main!(benches);
