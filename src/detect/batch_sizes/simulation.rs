//! Batches of many cameras on one GPU, in simulated time: the policy of this program beside those that it replaced.
//!
//! The times of an inference are assumptions for YOLOv8n at 640 px on a T4, not measurements; `make gpu-bench` measures them where there
//! is a GPU. What is tested is the policy: how long frames wait, and how many are replaced, on the same times.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::BatchSizes;

/// Simulated time, µs.
type Us = u64;

/// The time of a simulation.
const END_US: Us = 60_000_000;
/// The period of a camera at 5 frames per second.
const PERIOD_US: Us = 200_000;
/// The deviation of a frame from its period, to each side.
const JITTER_US: Us = 2_000;

/// The time that a batch takes: a part of its own, and one per slot.
#[derive(Clone, Copy)]
struct BatchCost {
    batch_us: Us,
    slot_us: Us,
    /// Of a batch of another size than the one before, for which cuDNN plans each convolution again.
    replan_us: Us,
}

/// CUDA in `f16` with captured graphs, and pictures that are painted on the GPU.
const HALF_WITH_GRAPHS: BatchCost = BatchCost { batch_us: 600, slot_us: 1_150, replan_us: 0 };
/// The same inference where every change of size is planned again.
const HALF_REPLANNED: BatchCost = BatchCost { replan_us: 60_000, ..HALF_WITH_GRAPHS };
/// CUDA in `f32`, with pictures painted on the CPU and copied, which takes 1.75 ms per frame.
const SINGLE: BatchCost = BatchCost { batch_us: 2_500, slot_us: 3_950, replan_us: 0 };
const SINGLE_REPLANNED: BatchCost = BatchCost { replan_us: 60_000, ..SINGLE };

/// The choice of the frames of a batch.
#[derive(Clone, Copy)]
enum Policy {
    /// The one of this program.
    Sizes(BatchSizes),
    /// Any number up to `max`; a batch that is not full waits for more, if the one before or this one has several frames.
    Waits { max: usize, wait_us: Us },
}

/// The policy that the sizes replaced.
const WAITS: Policy = Policy::Waits { max: 16, wait_us: 2_000 };
const SIZES: Policy = Policy::Sizes(BatchSizes::PowersOfTwo(16));

/// A frame that waits for its inference.
#[derive(Clone, Copy)]
struct WaitingFrame {
    camera: usize,
    sampled_us: Us,
}

/// The cameras, each of which has at most one request in flight; behind it, the newest frame waits.
struct SimulatedCameras {
    random: StdRng,
    /// The next frame of each camera: time, camera.
    next: BTreeSet<(Us, usize)>,
    in_flight: Vec<bool>,
    newest: Vec<Option<Us>>,
    sampled: u64,
    replaced: u64,
}

impl SimulatedCameras {
    fn new(count: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let next = (0..count).map(|camera| (random.random_range(0..PERIOD_US), camera)).collect();
        let (in_flight, newest) = (vec![false; count], vec![None; count]);
        Self { random, next, in_flight, newest, sampled: 0, replaced: 0 }
    }

    /// Returns the time of the next frame.
    fn next_us(&self) -> Us {
        self.next.first().map_or(Us::MAX, |(at, _)| *at)
    }

    /// Samples the frames up to a time, and adds those of cameras without a request in flight to the queue.
    fn sample_until(&mut self, now: Us, queue: &mut VecDeque<WaitingFrame>) {
        while self.next_us() <= now {
            let (sampled_us, camera) = self.next.pop_first().unwrap();
            self.sampled += 1;
            let jitter = self.random.random_range(0..=2 * JITTER_US);
            self.next.insert((sampled_us + PERIOD_US - JITTER_US + jitter, camera));
            if self.in_flight[camera] {
                self.replaced += u64::from(self.newest[camera].replace(sampled_us).is_some());
            } else {
                self.in_flight[camera] = true;
                queue.push_back(WaitingFrame { camera, sampled_us });
            }
        }
    }

    /// Ends the request of a camera, whose newest frame becomes the next one.
    fn answer(&mut self, camera: usize, queue: &mut VecDeque<WaitingFrame>) {
        match self.newest[camera].take() {
            Some(sampled_us) => queue.push_back(WaitingFrame { camera, sampled_us }),
            None => self.in_flight[camera] = false,
        }
    }
}

/// The figures of a simulation.
#[derive(Debug)]
struct Simulated {
    /// The time from a frame's arrival to its detections.
    p50_ms: f64,
    p95_ms: f64,
    max_ms: f64,
    /// The share of frames that a newer one of the same camera replaced.
    replaced: f64,
    /// The share of time in which the GPU worked.
    busy: f64,
    /// The number of inferences of each camera.
    answered: Vec<u64>,
}

/// The GPU and its queue.
struct SimulatedGpu {
    policy: Policy,
    cost: BatchCost,
    queue: VecDeque<WaitingFrame>,
    now: Us,
    busy_us: Us,
    /// The batch before had several frames.
    crowded: bool,
    last_slots: usize,
}

impl SimulatedGpu {
    /// Returns the number of frames of the next batch, after a wait where the policy has one.
    fn next_frames(&mut self, cameras: &mut SimulatedCameras) -> usize {
        match self.policy {
            Policy::Sizes(sizes) => sizes.taken(self.queue.len()),
            Policy::Waits { max, wait_us } => {
                if (self.crowded || self.queue.len() > 1) && self.queue.len() < max {
                    let until = self.now + wait_us;
                    while self.queue.len() < max && cameras.next_us() <= until {
                        self.now = cameras.next_us();
                        cameras.sample_until(self.now, &mut self.queue);
                    }
                    if self.queue.len() < max {
                        self.now = until;
                    }
                }
                self.queue.len().min(max)
            }
        }
    }

    /// Runs a batch of the oldest frames; returns them.
    fn run(&mut self, frames: usize) -> Vec<WaitingFrame> {
        let slots = match self.policy {
            Policy::Sizes(sizes) => sizes.slots(frames),
            Policy::Waits { .. } => frames,
        };
        let replan_us = if slots == self.last_slots { 0 } else { self.cost.replan_us };
        let took = self.cost.batch_us + slots as Us * self.cost.slot_us + replan_us;
        (self.crowded, self.last_slots) = (frames > 1, slots);
        self.now += took;
        self.busy_us += took;
        self.queue.drain(..frames).collect()
    }
}

fn simulate(cameras: usize, policy: Policy, cost: BatchCost, seed: u64) -> Simulated {
    let mut sampled = SimulatedCameras::new(cameras, seed);
    let queue = VecDeque::new();
    let mut gpu = SimulatedGpu { policy, cost, queue, now: 0, busy_us: 0, crowded: false, last_slots: 0 };
    let (mut waits_us, mut answered) = (Vec::new(), vec![0; cameras]);
    while gpu.now < END_US {
        sampled.sample_until(gpu.now, &mut gpu.queue);
        if gpu.queue.is_empty() {
            gpu.now = sampled.next_us();
            continue;
        }
        let frames = gpu.next_frames(&mut sampled);
        let batch = gpu.run(frames);
        sampled.sample_until(gpu.now, &mut gpu.queue);
        for frame in batch {
            waits_us.push(gpu.now - frame.sampled_us);
            answered[frame.camera] += 1;
            sampled.answer(frame.camera, &mut gpu.queue);
        }
    }
    waits_us.sort_unstable();
    let ms = |share: f64| waits_us[((waits_us.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    Simulated {
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
        max_ms: ms(1.0),
        replaced: sampled.replaced as f64 / sampled.sampled as f64,
        busy: gpu.busy_us as f64 / gpu.now as f64,
        answered,
    }
}

#[test]
fn a_hundred_and_twenty_cameras_share_a_gpu_of_the_size_of_a_t4() {
    println!("cameras policy              p50 ms  p95 ms  max ms  busy  replaced");
    for cameras in [20, 40, 60, 120, 160] {
        for (name, policy, cost) in [
            ("waits, f32, replanned", WAITS, SINGLE_REPLANNED),
            ("sizes, f32", SIZES, SINGLE),
            ("waits, f16, replanned", WAITS, HALF_REPLANNED),
            ("waits, f16", WAITS, HALF_WITH_GRAPHS),
            ("sizes, f16", SIZES, HALF_WITH_GRAPHS),
        ] {
            let Simulated { p50_ms, p95_ms, max_ms, replaced, busy, .. } = simulate(cameras, policy, cost, 1);
            println!(
                "{cameras:7} {name:21} {p50_ms:7.1} {p95_ms:7.1} {max_ms:7.1} {:4.0}% {:8.1}%",
                busy * 100.0,
                replaced * 100.0
            );
        }
    }
    let now = simulate(120, SIZES, HALF_WITH_GRAPHS, 1);
    assert!(now.p95_ms <= 15.0, "{now:?}");
    assert_eq!(now.replaced, 0.0, "{now:?}");
    // The policy before, on the same times of an inference: it waits, and where cuDNN plans again, that takes most of the GPU.
    let (waits, replanned) =
        (simulate(120, WAITS, HALF_WITH_GRAPHS, 1), simulate(120, WAITS, HALF_REPLANNED, 1));
    assert!(waits.p95_ms > 15.0 && replanned.p95_ms > 10.0 * now.p95_ms, "{waits:?} {replanned:?}");
    let single = simulate(120, WAITS, SINGLE_REPLANNED, 1);
    assert!(single.replaced > 0.5, "{single:?}");
}

#[test]
fn no_camera_starves_on_a_gpu_that_is_too_slow() {
    let overloaded = simulate(200, SIZES, SINGLE, 1);
    assert!(overloaded.replaced > 0.3 && overloaded.busy > 0.99, "{overloaded:?}");
    let (least, most) = (overloaded.answered.iter().min(), overloaded.answered.iter().max());
    let (least, most) = (*least.unwrap() as f64, *most.unwrap() as f64);
    assert!(least > 0.9 * most, "cameras take turns: {least} to {most}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A frame waits for the batch that runs, then for those before it in the queue: with a share of the GPU below 0.8, no longer than two
    /// of the largest batches take.
    #[test]
    fn frames_wait_no_longer_than_two_of_the_largest_batches(cameras in 1_usize..115, seed in 0_u64..1_000) {
        let largest_ms = (HALF_WITH_GRAPHS.batch_us + 16 * HALF_WITH_GRAPHS.slot_us) as f64 / 1e3;
        let simulated = simulate(cameras, SIZES, HALF_WITH_GRAPHS, seed);
        prop_assert!(simulated.p95_ms <= 2.0 * largest_ms, "{simulated:?}");
        prop_assert_eq!(simulated.replaced, 0.0);
    }
}
