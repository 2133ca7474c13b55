"""Table 8 of `idle.py`: twenty cameras that wake in the same second, as when the lights of a site go off."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import comparison
import idle_footage
from comparison import Service
from idle_bench import Bench, first_ms

CAMERAS = 20
# The lights go on or off at each multiple of this.
SWITCH_S = idle_footage.DAY_NIGHT_S // 2
# The time from a switch on that is measured, and the time that the cameras have to become idle at the beginning, s.
MEASURED_S, SETTLED_WITHIN_S = SWITCH_S - 1, 120
MAX_BEHIND_S, MAX_SPREAD_S = 10, 5

# The rows of all cameras at a time after the switch, s.
Sample = tuple[float, dict[str, dict[str, Any]]]


def simultaneous_wakes(bench: Bench) -> None:
    """Plays switches of day and night on twenty cameras in real time, and measures one for which all were idle."""
    bench.figures.begin("8. twenty cameras that wake in the same second (real time, all in the scene day-night)")
    streams = [f"night-{index + 1}" for index in range(CAMERAS)]
    with bench.kvs({stream: f"{bench.clip('day-night')},loop" for stream in streams}) as kvs:
        config = bench.config(streams, "key_frames", start="NOW")
        with comparison.service(bench.program, config, kvs.address, bench.new_folder()) as service:
            wait_until_idle(service)
            samples = watch(service, next_switch(first_ms(kvs, streams[0]) / 1000))
    before = samples[0][1]
    woken = {stream: first_change(samples, stream, lambda row: not row["idle"]) for stream in streams}
    seen = {stream: first_change(samples, stream, inferred_more_than(before[stream])) for stream in streams}
    idle = sum(row["idle"] for row in before.values())
    bench.figures.add("cameras that were idle before it", f"{idle} of {CAMERAS}", "all", idle == CAMERAS)
    report_times(bench, "a camera is awake, after the switch", woken)
    report_times(bench, "its first inference, after the switch", seen)
    report_load(bench, samples)


def wait_until_idle(service: Service) -> None:
    until = time.time() + SETTLED_WITHIN_S
    while not all(row["idle"] for row in service.cameras()) and time.time() < until:
        time.sleep(0.2)


def next_switch(began: float) -> float:
    """Returns the time of the next switch that is at least a second away, of footage that began at `began`."""
    return began + math.ceil((time.time() + 1 - began) / SWITCH_S) * SWITCH_S


def watch(service: Service, switch: float) -> list[Sample]:
    """Returns the rows of all cameras from just before a switch until just before the next."""
    samples = []
    time.sleep(max(0.0, switch - 0.5 - time.time()))
    while (at_s := time.time() - switch) < MEASURED_S:
        samples.append((at_s, {row["id"]: row for row in service.cameras()}))
        time.sleep(0.1)
    return samples


def inferred_more_than(before: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    """Returns whether a row has more inferences than it had before."""
    count = before["frames"]["inferred"]
    return lambda row: row["frames"]["inferred"] > count


def first_change(samples: list[Sample], stream: str, holds: Callable[[dict[str, Any]], bool]) -> float | None:
    """Returns the time after the switch at which `holds` is first true of a camera's row, s."""
    return next((at_s for at_s, rows in samples if at_s > 0 and holds(rows[stream])), None)


def report_times(bench: Bench, what: str, found: dict[str, float | None]) -> None:
    times = sorted(at_s for at_s in found.values() if at_s is not None)
    spread = times[-1] - times[0] if times else float("inf")
    is_fair = len(times) == CAMERAS and spread <= MAX_SPREAD_S
    middle = statistics.median(times) if times else float("nan")
    measured = f"{times[0]:.1f} / {middle:.1f} / {times[-1]:.1f} s of {len(times)}" if times else "none"
    bench.figures.add(f"{what}: first / median / last", measured, f"all, within {MAX_SPREAD_S} s", is_fair)


def report_load(bench: Bench, samples: list[Sample]) -> None:
    behind = max((row["behind_ms"] or 0) / 1000 for at_s, rows in samples if at_s > 0 for row in rows.values())
    bench.figures.add("largest time behind", f"{behind:.1f} s", f"<= {MAX_BEHIND_S} s", behind <= MAX_BEHIND_S)
    (_, first), (_, last) = samples[0], samples[-1]
    counts = [row["frames"]["inferred"] - first[stream]["frames"]["inferred"] for stream, row in last.items()]
    bench.figures.add("inferences of a camera: fewest / most", f"{min(counts)} / {max(counts)}")
    dropped = sum(sum(row["frames"]["dropped"].values()) for row in last.values())
    dropped -= sum(sum(row["frames"]["dropped"].values()) for row in first.values())
    read = sum(row["frames"]["read"] - first[stream]["frames"]["read"] for stream, row in last.items())
    bench.figures.add("live frames that newer ones replaced, or that were not decoded", f"{dropped} of {read} read")
    settled = [at_s for at_s, rows in samples if at_s > 2 and all(row["idle"] for row in rows.values())]
    after = f"{settled[0]:.1f} s after the switch" if settled else "not before the next switch"
    bench.figures.add("all cameras are idle again", after, "before the next switch", bool(settled))
