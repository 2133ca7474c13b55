//! The capacity of this worker, and the measured cost of its cameras.
//!
//! A camera's cost is what it takes at the pace of its footage: one that catches up takes more for a while, and that is no reason to
//! move it. The CPU time of a decode thread belongs to its camera. The rest of the process's is shared out by inferences, those
//! included that a newer frame replaced: an overloaded worker would seem idle otherwise.

use std::collections::HashMap;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use ::sharing::{CameraKey, CameraLoads, PoolConfig, ResourceAmounts};

use crate::status::CameraWork;

/// The part of a core, and of a GPU, that cameras are planned to take, in thousandths: the rest is for peaks.
const USABLE_MILLI: u64 = 850;
/// Estimate of what a camera takes beside its inferences, thousandths of a core.
const READ_AND_DECODE_CPU_MILLI: f64 = 60.0;
/// The least share of its estimate that a camera is counted with: a scene without motion may become busy at any time.
const MIN_SHARE: f64 = 0.3;
/// Frames per second of a camera without a target of its own.
const USUAL_FPS: f64 = 25.0;
/// The time in which a measurement outweighs what was known before, for a rising and for a falling cost.
const RISE: Duration = Duration::from_secs(10);
const FALL: Duration = Duration::from_secs(60);
/// The least footage between two measurements of a camera.
const MIN_FOOTAGE: Duration = Duration::from_secs(1);

/// Measures what the cameras of this worker cost.
#[derive(Default)]
pub(super) struct LoadMeter {
    last: Option<(Instant, Duration)>,
    /// By camera.
    cameras: HashMap<CameraKey, MeteredCamera>,
}

#[derive(Clone, Copy)]
struct MeteredCamera {
    work: CameraWork,
    /// Thousandths of a core, smoothed.
    cpu_milli: f64,
    /// Inferences per second of footage, smoothed.
    inferences: f64,
}

/// The work of all cameras since the last measurement.
struct WorkTotals {
    wall: Duration,
    /// CPU time of the process without the decode threads.
    rest: Duration,
    inferred: u64,
}

impl LoadMeter {
    /// Returns the cost of each camera; `cpu` is the CPU time of the process so far, `works` the work of each camera so far, and
    /// `gpu_ms` the time that a frame of a camera takes on the GPU.
    pub(super) fn measure(
        &mut self,
        at: Instant,
        cpu: Duration,
        works: &[(CameraKey, CameraWork)],
        config: &PoolConfig,
        gpu_ms: impl Fn(&CameraKey) -> f64,
    ) -> CameraLoads {
        let totals = self.totals(at, cpu, works);
        self.cameras.retain(|camera, _| works.iter().any(|(key, _)| key == camera));
        let mut loads = CameraLoads::new();
        for (key, work) in works {
            let Some(planned) = config.cameras.get(key) else { continue };
            let metered = self.cameras.get(key).copied();
            let metered = match (metered, &totals) {
                (Some(metered), Some(totals)) => metered.after(*work, totals),
                (metered, _) => metered.unwrap_or_else(|| MeteredCamera::estimated(*work, planned.cost)),
            };
            self.cameras.insert(key.clone(), metered);
            loads.insert(key.clone(), metered.cost(planned.cost, gpu_ms(key)));
        }
        loads
    }

    /// Returns the totals since the last measurement; `None` at the first one.
    fn totals(
        &mut self,
        at: Instant,
        cpu: Duration,
        works: &[(CameraKey, CameraWork)],
    ) -> Option<WorkTotals> {
        let (before, cpu_before) = self.last.replace((at, cpu))?;
        let deltas = works.iter().filter_map(|(key, work)| Some(work.since(&self.cameras.get(key)?.work)));
        let (mut decode, mut inferred) = (Duration::ZERO, 0);
        for delta in deltas {
            decode += delta.decode_cpu;
            inferred += delta.inferred;
        }
        let rest = cpu.saturating_sub(cpu_before).saturating_sub(decode);
        Some(WorkTotals { wall: at.saturating_duration_since(before), rest, inferred })
    }
}

impl MeteredCamera {
    fn estimated(work: CameraWork, estimate: ResourceAmounts) -> Self {
        Self { work, cpu_milli: to_f64(estimate.cpu_milli), inferences: 0.0 }
    }

    /// Returns the camera after a measurement; unchanged where it had too little footage since the last one.
    fn after(self, work: CameraWork, totals: &WorkTotals) -> Self {
        let delta = work.since(&self.work);
        if delta.footage < MIN_FOOTAGE {
            return self;
        }
        let footage_s = delta.footage.as_secs_f64();
        let wanted = to_f64(delta.inferred + delta.superseded);
        // Of its own inferences and of those that it would have had.
        let infer_s = totals.rest.as_secs_f64() * wanted / to_f64(totals.inferred.max(1));
        let cpu_milli = (delta.decode_cpu.as_secs_f64() + infer_s) * 1e3 / footage_s;
        Self {
            work,
            cpu_milli: smoothed(self.cpu_milli, cpu_milli, totals.wall),
            inferences: smoothed(self.inferences, wanted / footage_s, totals.wall),
        }
    }

    fn cost(&self, estimate: ResourceAmounts, gpu_ms: f64) -> ResourceAmounts {
        let at_least = |measured: f64, estimate: u64| to_u64(measured.max(to_f64(estimate) * MIN_SHARE));
        ResourceAmounts {
            cpu_milli: at_least(self.cpu_milli, estimate.cpu_milli),
            gpu_milli: at_least(self.inferences * gpu_ms, estimate.gpu_milli),
            memory_mib: estimate.memory_mib,
        }
    }
}

/// Returns the usable capacity of this worker, whose models run on so many GPUs.
pub(super) fn capacity(gpus: usize) -> ResourceAmounts {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    let gpu_milli = gpus as u64 * USABLE_MILLI;
    ResourceAmounts { cpu_milli: cores * USABLE_MILLI, gpu_milli, ..ResourceAmounts::default() }
}

/// Returns the cost of a camera before it was measured: by its frames per second, and the time that a frame takes on the CPU and on a
/// GPU, ms.
pub(super) fn estimated_cost(fps: Option<f64>, cpu_ms: f64, gpu_ms: f64) -> ResourceAmounts {
    let fps = fps.unwrap_or(USUAL_FPS);
    let (cpu_milli, gpu_milli) = (READ_AND_DECODE_CPU_MILLI + fps * cpu_ms, fps * gpu_ms);
    ResourceAmounts {
        cpu_milli: to_u64(cpu_milli),
        gpu_milli: to_u64(gpu_milli),
        ..ResourceAmounts::default()
    }
}

/// Returns `now` smoothed: the longer since the last value, the more the new one counts.
fn smoothed(before: f64, now: f64, wall: Duration) -> f64 {
    let span = if now > before { RISE } else { FALL };
    let kept = (-wall.as_secs_f64() / span.as_secs_f64()).exp();
    now + (before - now) * kept
}

#[expect(clippy::cast_precision_loss, reason = "counts and thousandths, far below 2^52")]
fn to_f64(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, far below 2^52")]
fn to_u64(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use ::sharing::PoolCamera;

    use super::*;

    fn key(name: &str) -> CameraKey {
        CameraKey::new(name)
    }

    fn config(cpu_milli: u64) -> PoolConfig {
        let cost = ResourceAmounts { cpu_milli, gpu_milli: 10, memory_mib: 0 };
        let camera = PoolCamera { cost, ..PoolCamera::default() };
        PoolConfig {
            cameras: ["a", "b"].map(|name| (key(name), camera.clone())).into(),
            ..PoolConfig::default()
        }
    }

    fn work(seconds: u64, decode_ms: u64, inferred: u64, superseded: u64) -> CameraWork {
        let (footage, decode_cpu) = (Duration::from_secs(seconds), Duration::from_millis(decode_ms));
        CameraWork { footage, decode_cpu, inferred, superseded }
    }

    /// Measures twice, `wall` apart, and returns the cost of each camera.
    fn measured(config: &PoolConfig, wall: u64, cpu_ms: u64, works: [CameraWork; 2]) -> [u64; 2] {
        let (mut meter, start) = (LoadMeter::default(), Instant::now());
        let named = |works: [CameraWork; 2]| [key("a"), key("b")].into_iter().zip(works).collect::<Vec<_>>();
        meter.measure(start, Duration::ZERO, &named([CameraWork::default(); 2]), config, |_| 0.0);
        let (at, cpu) = (start + Duration::from_secs(wall), Duration::from_millis(cpu_ms));
        let loads = meter.measure(at, cpu, &named(works), config, |_| 0.0);
        ["a", "b"].map(|name| loads[&key(name)].cpu_milli)
    }

    #[test]
    fn the_cpu_time_of_the_process_is_shared_out_by_decoding_and_inferences() {
        // 600 s of 40 % of a core: 60 s of decoding, and 180 s for 3000 inferences.
        let works = [work(600, 40_000, 2_000, 0), work(600, 20_000, 1_000, 0)];
        assert_eq!(measured(&config(0), 600, 240_000, works), [267, 133]);
    }

    #[test]
    fn a_camera_that_catches_up_costs_what_its_footage_costs() {
        let works = [work(6_000, 40_000, 2_000, 0), work(600, 20_000, 1_000, 0)];
        assert_eq!(measured(&config(0), 600, 240_000, works), [27, 133]);
    }

    #[test]
    fn inferences_that_a_newer_frame_replaced_count_as_wanted() {
        let works = [work(600, 0, 1_000, 1_000), work(600, 0, 1_000, 0)];
        assert_eq!(measured(&config(0), 600, 240_000, works), [400, 200]);
    }

    #[test]
    fn a_still_scene_keeps_a_part_of_its_estimate_reserved_and_too_little_footage_says_nothing() {
        let works = [work(600, 600, 0, 0), work(0, 0, 0, 0)];
        assert_eq!(measured(&config(100), 600, 600, works), [30, 100]);
    }

    #[test]
    fn a_cost_rises_faster_than_it_falls() {
        let works = [work(10, 4_000, 0, 0), work(10, 0, 0, 0)];
        // After 10 s: 200 + 63 % of the way to 400, and 200 - 15 % of the way to 0.
        assert_eq!(measured(&config(200), 10, 4_000, works), [326, 169]);
    }

    #[test]
    fn each_gpu_adds_to_the_capacity() {
        assert_eq!([0, 1, 4].map(|gpus| capacity(gpus).gpu_milli), [0, 850, 3_400]);
        assert_eq!(capacity(4).cpu_milli, capacity(0).cpu_milli);
    }

    #[test]
    fn a_camera_on_a_gpu_costs_its_inferences() {
        let (mut meter, start, config) = (LoadMeter::default(), Instant::now(), config(0));
        let of = |work| vec![(key("a"), work)];
        meter.measure(start, Duration::ZERO, &of(CameraWork::default()), &config, |_| 4.0);
        let later = start + Duration::from_secs(600);
        let loads = meter.measure(later, Duration::ZERO, &of(work(600, 0, 3_000, 0)), &config, |_| 4.0);
        assert_eq!(loads[&key("a")].gpu_milli, 20);
    }
}
