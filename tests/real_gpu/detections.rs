//! Boxes: of a GPU and of the CPU, and of batches of each size.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use kvs_infer::detect::{Detector, Device, Thresholds};
use kvs_infer::media::{Detection, Frame};

use super::clip::frames;
use super::{memory_used, model, nvml, on_gpu};

const USUAL: Thresholds = Thresholds { conf: 0.4, nms_iou: 0.45 };
/// Boxes this much above the threshold are on both devices.
const MARGIN: f32 = 0.02;
/// The least IoU of a box on both devices.
const MIN_IOU: f32 = 0.98;
/// The largest difference of confidence: TensorFloat-32 of newer GPUs rounds more than `f32`.
const MAX_DIFFERENCE: f32 = 0.02;

/// Asserts that each sure box of one device is one of the other, and returns the number of boxes.
fn assert_found(name: &str, index: usize, sure: &[Detection], others: &[Detection]) -> usize {
    let sure = sure.iter().filter(|one| one.conf >= USUAL.conf + MARGIN);
    let count = sure.clone().count();
    for one in sure {
        let near = |other: &&Detection| {
            other.label == one.label
                && other.bbox.iou(&one.bbox) >= MIN_IOU
                && (other.conf - one.conf).abs() <= MAX_DIFFERENCE
        };
        assert!(
            others.iter().any(|other| near(&other)),
            "{name}, frame {index}: {one:?} is not in {others:#?}"
        );
    }
    count
}

#[tokio::test]
#[ignore = "needs a GPU: make gpu-test"]
async fn boxes_of_the_gpu_are_those_of_the_cpu() {
    for (name, clip) in [("street", "street"), ("plate", "gate")] {
        let (gpu, cpu) = (on_gpu(name), Detector::start(&model(name), Device::Cpu, 1).unwrap());
        let mut boxes = 0;
        for (index, frame) in frames(clip, 5).iter().enumerate() {
            let by_gpu = gpu.detect(Arc::clone(frame), USUAL).await.unwrap();
            let by_cpu = cpu.detect(Arc::clone(frame), USUAL).await.unwrap();
            boxes += assert_found(name, index, &by_cpu, &by_gpu);
            assert_found(name, index, &by_gpu, &by_cpu);
        }
        println!("figure: {name}: {boxes} boxes on both devices");
        assert!(boxes >= 10, "{name}: {boxes} boxes show nothing");
    }
}

/// Returns the detections of each frame, all of which are asked for at once.
async fn together(detector: &Detector, frames: &[Arc<Frame>]) -> Vec<Vec<Detection>> {
    let asked = frames.iter().map(|frame| detector.detect(Arc::clone(frame), USUAL));
    join_all(asked).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
#[ignore = "needs a GPU: make gpu-test"]
async fn a_change_of_batch_size_costs_no_time() {
    let detector = on_gpu("street");
    let frames = frames("street", 1);
    let alone: Vec<_> = together(&detector, &frames[..1]).await;
    // The first of each size is slower: its memory is allocated.
    for size in [16, 8, 4, 2, 1] {
        together(&detector, &frames[..size]).await;
    }
    let mut times_ms = [Vec::new(), Vec::new()];
    for round in 0..200 {
        for (kind, sizes) in [[4, 4], [8, 2]].into_iter().enumerate() {
            for size in sizes {
                let began = Instant::now();
                let seen = together(&detector, &frames[..size]).await;
                times_ms[kind].push(began.elapsed().as_secs_f64() * 1e3 / size as f64);
                assert_found("street", round, &alone[0], &seen[0]);
            }
        }
    }
    let [same, changing] = times_ms.map(|mut times| {
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[times.len() * 95 / 100])
    });
    println!(
        "figure: one size: p50 {:.2} p95 {:.2} ms per frame; two sizes: p50 {:.2} p95 {:.2}",
        same.0, same.1, changing.0, changing.1
    );
    // A plan of cuDNN takes tens of milliseconds, an inference some.
    assert!(changing.1 < 5.0 * same.0, "a change of size makes cuDNN plan again");
}

#[tokio::test]
#[ignore = "needs a GPU: make gpu-test"]
async fn ten_thousand_batches_repeat_their_boxes_and_take_no_memory() {
    let (nvml, detector, frames) = (nvml(), on_gpu("street"), frames("street", 10));
    let sizes = [16, 8, 4, 2, 1];
    let mut first = Vec::new();
    for size in sizes {
        first.push(together(&detector, &frames[..size]).await);
    }
    let before = memory_used(&nvml);
    for round in 0..2_000 {
        for (size, first) in sizes.iter().zip(&first) {
            for (index, (seen, expected)) in
                together(&detector, &frames[..*size]).await.iter().zip(first).enumerate()
            {
                assert_eq!(seen.len(), expected.len(), "round {round}, {size} frames, frame {index}");
                assert_found("street", index, seen, expected);
            }
        }
    }
    let grown_mb = memory_used(&nvml).saturating_sub(before) as f64 / 1e6;
    println!("figure: {grown_mb:.1} MB of the GPU more after 10,000 batches");
    assert!(grown_mb < 16.0, "{grown_mb} MB");
}
