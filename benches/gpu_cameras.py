#!/usr/bin/env python3
"""Cameras on a GPU: the whole program, live, from the local KVS; part of `make gpu-bench`.

usage: gpu_cameras.py PROGRAM DETECTOR.onnx PLATES.onnx PLATE-TEXT.onnx CLIP.mp4 [--cameras N,...] [--seconds S]
                      [--device cuda]

Each camera plays the clip in real time and is analyzed at 5 frames per second by both detectors, without the motion
gate. The local KVS is a process of its own, whose CPU time is not counted, but which runs on the same cores. The
latency is that of events: from the arrival of the frame's last byte until the outbox has the event. A quantile is the
upper bound of its bucket of kvs_infer_event_latency_seconds.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comparison
from comparison import LocalKvs, Service

FPS = 5
Metrics = Mapping[str, float]
LATENCY = re.compile(r'kvs_infer_event_latency_seconds_bucket\{.*le="([^"]+)".*\}')


def config(wanted: argparse.Namespace, cameras: int) -> dict[str, Any]:
    """Returns the configuration of so many cameras."""
    # Each sighting of an object begins an incident, so that many frames have an event.
    objects = {"yolo_weights": wanted.detector, "max_disappeared_seconds": 1, "cooldown_seconds": 0}
    objects |= {"temporal_confirm": {"frames": 1, "window": 1}}
    plates = {"plate_detector_weights": wanted.plates, "ocr_weights": wanted.plate_text}
    settings: dict[str, Any] = {
        "fps_target": FPS,
        "motion": {"enabled": False},
        "pipeline": [{"type": "objects", "objects": objects}, {"type": "alpr", "alpr": plates}],
    }
    rows = [{"id": name, "kvs_stream_name": name, **settings} for name in names(cameras)]
    local = {"publishers": {"local_dir": "events"}, "state": {"dir": "state"}}
    return {**local, "device": wanted.device, "decode": "auto", "cameras": rows}


def names(cameras: int) -> list[str]:
    return [f"camera-{number:03}" for number in range(cameras)]


def total(metrics: Metrics, name: str, label: str = "") -> float:
    """Returns the sum of the samples of a metric that have the label."""
    found = (value for key, value in metrics.items() if key.split("{")[0] == name and label in key)
    return sum(found)


def quantile(before: Metrics, after: Metrics, share: float) -> tuple[str, int]:
    """Returns the upper bound of a quantile of the latency, ms, and the number of events."""
    buckets: dict[float, float] = {}
    for key, value in after.items():
        if found := LATENCY.fullmatch(key):
            bound = float(found.group(1).replace("+Inf", "inf"))
            buckets[bound] = buckets.get(bound, 0) + value - before.get(key, 0)
    count = buckets.get(float("inf"), 0)
    reached = (bound for bound, below in sorted(buckets.items()) if below >= share * count)
    return (f"{next(reached) * 1000:.0f}" if count else "-"), int(count)


def utilisation(metrics: Metrics, name: str) -> str:
    """Returns the utilisation of the busiest GPU, per cent."""
    shares = [value for key, value in metrics.items() if key.startswith(f"kvs_infer_gpu_{name}_ratio{{")]
    return f"{max(shares) * 100:.0f}" if shares else "-"


def wait_for_all(service: Service, cameras: int) -> None:
    """Waits until each camera has had frames analyzed."""
    while sum(row["frames"]["inferred"] > FPS for row in service.cameras()) < cameras:
        time.sleep(0.5)


def measure(wanted: argparse.Namespace, cameras: int, folder: Path) -> None:
    """Prints the row of so many cameras."""
    plays = dict.fromkeys(names(cameras), f"{wanted.clip},loop")
    with (
        LocalKvs(wanted.program, folder / "kvs.log", plays) as kvs,
        comparison.service(wanted.program, config(wanted, cameras), kvs.address, folder / "run") as service,
    ):
        wait_for_all(service, cameras)
        began, cpu_s, before = time.monotonic(), service.cpu_s(), service.metrics()
        time.sleep(wanted.seconds)
        seconds, cpu_s, after = time.monotonic() - began, service.cpu_s() - cpu_s, service.metrics()
        rows, rss_mb = service.cameras(), service.rss_mb()

    def rate(name: str, label: str = "") -> float:
        return (total(after, name, label) - total(before, name, label)) / seconds

    p95, events = quantile(before, after, 0.95)
    p50, _ = quantile(before, after, 0.5)
    nvdec = sum(row["decoder"] == "nvdec" for row in rows)
    inferred = rate("kvs_infer_detect_batch_frames_sum")
    replaced = rate("kvs_infer_frames_dropped_total", 'reason="superseded"')
    cores = cpu_s / seconds
    gpu, decoder = utilisation(after, "utilization"), utilisation(after, "decoder_utilization")
    row = f"{cameras:7} {nvdec:10} {inferred:14.0f} {replaced:12.1f} {p50:>10} {p95:>10} {events:8}"
    print(f"{row} {cores:11.2f} {rss_mb:8.0f} {gpu:>7} {decoder:>11}", flush=True)


def main() -> None:
    """Measures each number of cameras."""
    parser = argparse.ArgumentParser()
    for name in ("program", "detector", "plates", "plate_text", "clip"):
        parser.add_argument(name, type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--cameras", default="1,16,64,148")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--device", default="cuda")
    wanted = parser.parse_args()
    print(f"{Path(wanted.clip).name} at {FPS} frames per second, two detectors, device: {wanted.device}")
    print("cameras   on NVDEC   inferences/s   replaced/s  p50 <= ms  p95 <= ms   events", end="   ")
    print("CPU cores   RSS MB   GPU %   decoder %", flush=True)
    for cameras in wanted.cameras.split(","):
        with tempfile.TemporaryDirectory() as folder:
            measure(wanted, int(cameras), Path(folder))


if __name__ == "__main__":
    main()
