//! Measures wall-clock and CPU time of pieces of work.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The time that a piece of work took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Wall-clock time.
    pub wall: Duration,
    /// CPU time of the measured threads.
    pub cpu: Duration,
}

/// A stopwatch for consecutive pieces of work.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    cpu_clock: CpuClock,
    wall: Instant,
    cpu: Duration,
}

#[derive(Clone, Copy, Debug)]
enum CpuClock {
    Thread,
    Process,
}

impl Stopwatch {
    /// Starts a stopwatch for the CPU time of the calling thread; it must stay on that thread.
    #[must_use]
    pub fn of_this_thread() -> Self {
        Self::start(CpuClock::Thread)
    }

    /// Starts a stopwatch for the CPU time of all threads of the process.
    #[must_use]
    pub fn of_the_process() -> Self {
        Self::start(CpuClock::Process)
    }

    /// Returns the time since the start or the last lap.
    pub fn lap(&mut self) -> Took {
        let now = Self::start(self.cpu_clock);
        let took = Took { wall: now.wall.duration_since(self.wall), cpu: now.cpu.saturating_sub(self.cpu) };
        *self = now;
        took
    }

    fn start(cpu_clock: CpuClock) -> Self {
        Self { cpu_clock, wall: Instant::now(), cpu: cpu_clock.now() }
    }
}

/// Returns the CPU time that all threads of the process have taken so far.
pub(crate) fn process_cpu_time() -> Duration {
    CpuClock::Process.now()
}

impl CpuClock {
    fn now(self) -> Duration {
        let id = match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
        };
        Duration::try_from(clock_gettime(id)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::thread;

    use super::*;

    fn work() {
        black_box((0..20_000_000_u64).map(black_box).sum::<u64>());
    }

    #[test]
    fn a_lap_has_its_own_work_only() {
        let mut watch = Stopwatch::of_this_thread();
        work();
        let worked = watch.lap();
        let idle = watch.lap();
        assert!(
            worked.cpu > Duration::ZERO && worked.cpu <= worked.wall + Duration::from_millis(1),
            "{worked:?}"
        );
        assert!(idle.cpu < worked.cpu, "{idle:?} {worked:?}");
    }

    #[test]
    fn the_work_of_another_thread_counts_for_the_process_alone() {
        let (mut mine, mut all) = (Stopwatch::of_this_thread(), Stopwatch::of_the_process());
        let others = thread::spawn(|| {
            let mut watch = Stopwatch::of_this_thread();
            work();
            watch.lap().cpu
        });
        let others = others.join().unwrap();
        assert!(mine.lap().cpu < others);
        assert!(all.lap().cpu >= others);
    }
}
