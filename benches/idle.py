#!/usr/bin/env python3
"""Idle decode: CPU time, delay, recall, wakes and memory of 1080p25 cameras on which nearly nothing happens.

idle_footage.py describes the footage. All programs infer five times per second with one thread per inference. kvs-infer
reads from the local KVS, whose CPU time is not counted, and does all that `run` does: decide, snapshots, outbox. Python
(peer.py) decodes the files and detects; it decides and stores nothing. CPU time is per second of media, so 100 % is one
core that keeps up with one camera in real time. `key_frames` and `all` are the values of `motion.idle_decode`.

Footage is stored and read in catch-up, except for the delay, the memory and the cameras that wake together: there the
local KVS plays in real time.
"""

import argparse
import contextlib
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import comparison
import idle_footage
from comparison import Incident, LocalKvs
from idle_bench import AT_ONCE, Bench, Run, first_ms, put, stream_name, wakes_of, words
from idle_footage import QUIET_S, RATE, Visitor
from simultaneous_wakes import simultaneous_wakes

# The footage of a still scene, s: with idle decode, and where every frame is decoded.
LONG_S, SHORT_S = 240, 60
# The footage of each scene whose wakes are counted, s: a camera that wakes for nothing learns to wake less.
# The rain has 400 MB, and the local KVS keeps 512 MiB per stream.
SCENE_S = 360
# Of the twenty cameras: the footage before the CPU time counts, in which each camera becomes idle, and the rest, s.
HEAD_S, BODY_S = QUIET_S, 2 * QUIET_S
# The encoders of the 19 idle cameras. The first of two of them have one visitor.
IDLE_CAMERAS = {"CRF 28": 5, "CBR": 5, "B-frames": 4, "H.265": 5}
WITH_VISITOR = {"CRF 28": 2, "CBR": 2}
# A wake is due to the scene once per switch of day and night; all others are to be fewer than one per minute.
WAKES_PER_HOUR, SWITCHES_PER_HOUR = 60, 2 * 3600 / idle_footage.DAY_NIGHT_S
# No such scene is to keep a camera awake for ever.
MAX_DECODED = 0.5
FEW, MANY = 4, 12
TABLES = "123456789"
VISITOR_IOU = 0.3
# The figures to reach of each encoder whose delay is measured, s.
MAX_DELAYS_S = {"CRF 28": 0.5, "CRF 23": 0.5, "CBR": 2.5}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="kvs-infer, a release build")
    parser.add_argument("model", help="a detector in the output layout of YOLOv8, square input, class 0: person")
    parser.add_argument("yard", help="the clip of which the scene and its visitors are made")
    parser.add_argument("street", help="the clip of the busy camera")
    parser.add_argument(
        "--before", metavar="BINARY", help="a build that decodes every access unit, for the third table"
    )
    parser.add_argument("--keep", metavar="FOLDER", help="folder for clips, which are used again, and runs")
    parser.add_argument("--only", metavar="TABLES", default=TABLES, help=f"the tables to measure (default {TABLES})")
    return parser.parse_args()


# 1: the idle camera


def idle_camera(bench: Bench) -> None:
    lengths = f"{LONG_S} s; `all` {SHORT_S} s, Python {QUIET_S} s"
    bench.figures.begin(f"1. idle camera, CPU time as a share of one core ({lengths})")
    for encoder in idle_footage.QUIET_ENCODERS:
        name = f"quiet-{encoder}"
        with bench.kvs() as kvs:
            kvs.create("long", "short")
            put(kvs, "long", [bench.clip(name)] * (LONG_S // QUIET_S), time.time() - LONG_S - 60)
            put(kvs, "short", [bench.clip(name)] * (SHORT_S // QUIET_S), time.time() - LONG_S - 60)
            saving = bench.run(kvs, bench.config(["long"], "key_frames"), LONG_S * RATE)
            whole = bench.run(kvs, bench.config(["short"], "all"), SHORT_S * RATE)
            twin = bench.int8_twin()
            small = twin and bench.run(kvs, bench.config(["long"], "key_frames", int8=twin), LONG_S * RATE)
        share, python = saving.cpu_s / LONG_S, bench.python_share(name)
        wakes = wakes_of(saving.metrics, "long")
        detail = f"decode {saving.decode_s / LONG_S:.2%}, {saving.inferences} inferences, wakes: {words(wakes)}"
        bench.figures.add(f"{encoder}: `key_frames` ({detail})", f"{share:.2%}", "<= 1.5 %", share <= 0.015)
        bench.figures.add(f"{encoder}: `all` / Python", f"{whole.cpu_s / SHORT_S:.1%} / {python:.1%}")
        bench.figures.add(f"{encoder}: Python / ours", f"{python / share:.1f}", ">= 20", python / share >= 20)
        if small:
            share = small.cpu_s / LONG_S
            bench.figures.add(f"{encoder}: with the int8 twin; Python / ours", f"{share:.2%}; {python / share:.1f}")
        bench.quiet_wakes[encoder] = wakes


# 2: twenty cameras


def store_twenty(bench: Bench, kvs: LocalKvs, cameras: Mapping[str, str], start_s: float, part: str) -> None:
    """Stores the head or the body of the footage of each camera. `cameras` has the encoder of each stream."""
    for stream, encoder in cameras.items():
        quiet = bench.clip("busy" if encoder == "busy" else f"quiet-{encoder}")
        is_visited = encoder in WITH_VISITOR and int(stream.rsplit("-", 1)[1]) <= WITH_VISITOR[encoder]
        middle = bench.clip(f"one-visitor-{encoder}") if is_visited else quiet
        if part == "head":
            put(kvs, stream, [quiet], start_s)
        else:
            put(kvs, stream, [middle, quiet], start_s + HEAD_S)


def twenty_cameras(bench: Bench) -> None:
    visited = sum(WITH_VISITOR.values())
    bench.figures.begin(
        f"2. twenty cameras, one busy, 19 idle, of which {visited} have a visitor for "
        f"{idle_footage.SINGLE_FOR_S:.0f} s ({BODY_S} s, after {HEAD_S} s)"
    )
    cameras = {"busy": "busy"}
    for encoder, count in IDLE_CAMERAS.items():
        cameras |= {f"{stream_name(encoder)}-{index + 1}": encoder for index in range(count)}
    start_s = time.time() - 3600
    runs = {}
    with bench.kvs() as kvs:
        kvs.create(*cameras)
        ways: dict[str, tuple[str, Path | None]] = {"key_frames": ("key_frames", None), "all": ("all", None)}
        if twin := bench.int8_twin():
            ways["key_frames, int8 twin"] = ("key_frames", twin)
        folders = {name: bench.new_folder() for name in ways}
        store_twenty(bench, kvs, cameras, start_s, "head")
        for name, (decode, int8) in ways.items():
            config = bench.config(cameras, decode, int8=int8)
            bench.run(kvs, config, len(cameras) * HEAD_S * RATE, folder=folders[name])
        store_twenty(bench, kvs, cameras, start_s, "body")
        for name, (decode, int8) in ways.items():
            # From the checkpoint of the first run on.
            config = bench.config(cameras, decode, start="CHECKPOINT", int8=int8)
            runs[name] = bench.run(kvs, config, len(cameras) * BODY_S * RATE, folder=folders[name])
    report_twenty(bench, runs, start_s)


def report_twenty(bench: Bench, runs: Mapping[str, Run], start_s: float) -> None:
    saving, whole = runs["key_frames"], runs["all"]
    busy = bench.python_share("busy")
    python = busy + sum(bench.python_share(f"quiet-{encoder}") * count for encoder, count in IDLE_CAMERAS.items())
    for name, run in runs.items():
        detail = f"decode {run.decode_s / BODY_S:.1%}, {run.inferences} inferences"
        bench.figures.add(f"ours, `{name}` ({detail})", f"{run.cpu_s / BODY_S:.1%}")
    what = f"Python, measured on one camera of each kind and multiplied (busy {busy:.1%})"
    bench.figures.add(what, f"{python:.1%}")
    ratio = python * BODY_S / saving.cpu_s
    bench.figures.add("Python / ours", f"{ratio:.1f}", ">= 10", ratio >= 10)
    if small := runs.get("key_frames, int8 twin"):
        found = len(whole.incidents) - len(comparison.missing(whole.incidents, small.incidents))
        bench.figures.add("with the int8 twin: Python / ours", f"{python * BODY_S / small.cpu_s:.1f}")
        bench.figures.add("incidents of `all` that it reports", f"{found} of {len(whole.incidents)}")
    alone = comparison.missing(whole.incidents, saving.incidents)
    share = f"{len(whole.incidents) - len(alone)} of {len(whole.incidents)}"
    bench.figures.add("incidents of `all` that `key_frames` reports", share, "all", not alone)
    extra = comparison.missing(saving.incidents, whole.incidents)
    bench.figures.add("incidents of `key_frames` that `all` does not report", str(len(extra)))
    report_incidents(bench, "missing", alone, start_s)
    report_incidents(bench, "only with `key_frames`", extra, start_s)


def report_incidents(bench: Bench, kind: str, incidents: Iterable[Incident], start_s: float) -> None:
    """Names incidents of footage that began at `start_s`."""
    for one in incidents:
        at_s, view_s = one["ts_ms"] / 1000 - start_s, (one["until"] - one["ts_ms"]) / 1000
        what = f"{kind}: {one['camera_id']} {one['label']} ({one['conf']:.2f}) at {at_s:.1f} s"
        bench.figures.add(what, f"{view_s:.1f} s until its end")


# 3: the busy camera


def busy_camera(bench: Bench) -> None:
    bench.figures.begin(f"3. busy camera with B-frames ({SHORT_S} s)")
    with bench.kvs() as kvs:
        kvs.create("busy")
        put(kvs, "busy", [bench.clip("busy")] * (SHORT_S // QUIET_S), time.time() - 600)
        now = bench.run(kvs, bench.config(["busy"], "all"), SHORT_S * RATE)
        before = None
        if bench.before:
            config = bench.config(["busy"], None)
            before = bench.run(kvs, config, SHORT_S * RATE, program=bench.before)
    skipped = now.metrics.get('kvs_infer_units_skipped_total{camera="busy",reason="non_reference"}', 0)
    bench.figures.add("access units left out", f"{skipped / (SHORT_S * RATE):.0%}")
    bench.figures.add("CPU time: decode thread / all", f"{now.decode_s / SHORT_S:.1%} / {now.cpu_s / SHORT_S:.1%}")
    if not before:
        bench.figures.add("decode, beside a build without this", "left out: no `--before BINARY`", "<= 70 %")
        return
    shares = f"{before.decode_s / SHORT_S:.1%} / {before.cpu_s / SHORT_S:.1%}"
    bench.figures.add("before: decode thread / all", shares)
    ratio = now.decode_s / before.decode_s
    bench.figures.add("decode thread, now / before", f"{ratio:.0%}", "<= 70 %", ratio <= 0.7)
    same = facts(now) == facts(before)
    what = f"the same incidents ({len(now.incidents)})"
    bench.figures.add(what, "yes" if same else "no", "yes", same)


def facts(run: Run) -> list[tuple[Any, ...]]:
    """Returns the facts about all incidents that are to be equal."""
    return [(one["ts_ms"], one["label"], one["bbox"], one["until"]) for one in run.incidents]


# 4: visitors in real time


def match(visitor: Visitor, began_ms: int, starts: Iterable[Incident]) -> Incident | None:
    """Returns the first start record of a visitor of a clip that began at `began_ms`."""
    for record in starts:
        at_s = (record["ts_ms"] - began_ms) / 1000
        in_view = visitor.first / RATE - 0.05 <= at_s <= visitor.end / RATE + 0.05
        if in_view and comparison.overlap(record["bbox"], visitor.box_at(at_s)) >= VISITOR_IOU:
            return record
    return None


class EventWatch(threading.Thread):
    """Notes the wall-clock time at which each record comes into the file of events."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.is_over = path, False
        # The time, ms, and the record.
        self.seen: list[tuple[float, Incident]] = []

    def run(self) -> None:
        while not self.path.exists():
            if self.is_over:
                return
            time.sleep(0.01)
        with self.path.open() as lines:
            rest = ""
            while not self.is_over:
                rest += lines.readline()
                if rest.endswith("\n"):
                    self.seen.append((time.time() * 1000, json.loads(rest)["payload"]))
                    rest = ""
                else:
                    time.sleep(0.005)


def delays(bench: Bench) -> None:
    bench.figures.begin(
        "4. delay from a visitor's first frame, by the time at which it was played, until its event is in the file "
        f"(real time, {len(bench.visitors)} visitors per encoder; `temporal_confirm` 1 of 1)"
    )
    clips = {stream_name(encoder): bench.clip(idle_footage.visited_clip(encoder)) for encoder in MAX_DELAYS_S}
    with bench.kvs(clips) as kvs:
        began = time.monotonic()
        folder = bench.new_folder()
        config = bench.config(clips, "key_frames", AT_ONCE, "NOW")
        with comparison.service(bench.program, config, kvs.address, folder) as service:
            # The footage plays already; the service starts within the time before the first visitor.
            watch = EventWatch(folder / "events" / "events.jsonl")
            watch.start()
            time.sleep(max(0.0, began + bench.length_s + 2 - time.monotonic()))
            watch.is_over = True
            live = service.metrics()
        for encoder, limit_s in MAX_DELAYS_S.items():
            stream = stream_name(encoder)
            bench.figures.add(f"{encoder}: wakes by trigger", words(wakes_of(live, stream)))
            starts = [(at, one) for at, one in watch.seen if one["camera_id"] == stream]
            report_delays(bench, encoder, delays_of(bench, first_ms(kvs, stream), starts), limit_s)


def delays_of(bench: Bench, began_ms: int, seen: Sequence[tuple[float, Incident]]) -> list[float]:
    """Returns the delay of each visitor that was reported, s, sorted."""
    starts = [(at, one) for at, one in seen if one["extras"]["phase"] == "start"]
    found = []
    for visitor in bench.visitors:
        record = match(visitor, began_ms, [one for _, one in starts])
        if record:
            at_ms = next(at for at, one in starts if one is record)
            found.append((at_ms - began_ms) / 1000 - visitor.first / RATE)
    return sorted(found)


def report_delays(bench: Bench, encoder: str, found: Sequence[float], limit_s: float) -> None:
    if not found:
        bench.figures.add(f"{encoder}: no visitor was reported", "", f"<= {limit_s} s", False)
        return
    p99 = found[math.ceil(0.99 * len(found)) - 1]
    bench.figures.add(f"{encoder}: p50 of {len(found)} reported visitors", f"{statistics.median(found):.2f} s")
    bench.figures.add(f"{encoder}: p99", f"{p99:.2f} s", f"<= {limit_s} s", p99 <= limit_s)
    bench.figures.add(f"{encoder}: all", ", ".join(f"{delay:.2f}" for delay in found))


# 5: visitors in stored footage


def recall(bench: Bench) -> None:
    durations = ", ".join(f"{duration:g}" for duration in idle_footage.DURATIONS_S)
    bench.figures.begin(
        f"5. visitors that are reported, of {idle_footage.VISITORS_EACH} each who are in view for {durations} s "
        "(stored footage, `temporal_confirm` 1 of 1)"
    )
    start_s = time.time() - 3600
    for name, scene in idle_footage.VISITED.items():
        with bench.kvs() as kvs:
            kvs.create("visited")
            put(kvs, "visited", [bench.clip(idle_footage.visited_clip(name))], start_s)
            frames = bench.length_s * RATE
            runs = {
                mode: bench.run(kvs, bench.config(["visited"], mode, AT_ONCE), frames) for mode in ("key_frames", "all")
            }
        found = {mode: reported(bench, run.incidents, start_s) for mode, run in runs.items()}
        report_recall(bench, name, scene, found)
        wakes = words(wakes_of(runs["key_frames"].metrics, "visited"))
        decoded = runs["key_frames"].metrics['kvs_infer_frames_decoded_total{camera="visited"}'] / frames
        bench.figures.add(f"{name}: wakes by trigger; frames decoded", f"{wakes}; {decoded:.0%}")


def reported(bench: Bench, starts: Sequence[Incident], start_s: float) -> set[Visitor]:
    """Returns the visitors with a start record."""
    began_ms = round(start_s * 1000)
    return {visitor for visitor in bench.visitors if match(visitor, began_ms, starts)}


def report_recall(bench: Bench, name: str, scene: idle_footage.Scene, found: Mapping[str, set[Visitor]]) -> None:
    """Prints the visitors of a scene by time in view. Whoever stays for a GOP is to be reported if `all` does so."""

    def by_duration(visitors: Iterable[Visitor]) -> str:
        stays = [visitor.view_s for visitor in visitors]
        counts = (sum(abs(stay - duration) < 0.05 for stay in stays) for duration in idle_footage.DURATIONS_S)
        return ", ".join(map(str, counts))

    missing = {visitor for visitor in found["all"] - found["key_frames"] if visitor.view_s >= scene.gop / RATE}
    what = f"{name} (with `all`: {by_duration(found['all'])})"
    limit = f"of `all`, each from {scene.gop // RATE} s on"
    bench.figures.add(what, by_duration(found["key_frames"]), limit, not missing)


# 6: wakes


def wakes(bench: Bench) -> None:
    bench.figures.begin(f"6. wakes per hour in scenes without visitors ({SCENE_S} s each, noise {LONG_S} s)")
    scenes = {"light": idle_footage.LIGHT_S, "rain": QUIET_S, "quiet-10 s GOP": QUIET_S}
    scenes["day-night"] = idle_footage.DAY_NIGHT_S
    names = {"light": "slow light change", "rain": "rain", "quiet-10 s GOP": "noise, CRF 23, GOP of 10 s"}
    names["day-night"] = f"day/night switch each {idle_footage.DAY_NIGHT_S // 2} s"
    streams = {name: stream_name(name) for name in scenes}
    with bench.kvs() as kvs:
        kvs.create(*streams.values())
        for name, length_s in scenes.items():
            put(kvs, streams[name], [bench.clip(name)] * (SCENE_S // length_s), time.time() - 3600)
        run = bench.run(kvs, bench.config(streams.values(), "key_frames"), len(scenes) * SCENE_S * RATE)
    found = {f"noise, {encoder}": (counts, LONG_S) for encoder, counts in bench.quiet_wakes.items()}
    found |= {names[name]: (wakes_of(run.metrics, stream), SCENE_S) for name, stream in streams.items()}
    for name, (counts, seconds) in found.items():
        per_hour = sum(counts.values()) * 3600 / seconds
        limit = WAKES_PER_HOUR + (SWITCHES_PER_HOUR if "switch" in name else 0)
        bench.figures.add(f"{name} ({words(counts)})", f"{per_hour:.0f}", f"<= {limit:.0f}", per_hour <= limit)
    # A scene that never becomes idle has no wakes.
    for name, stream in streams.items():
        decoded = run.metrics[f'kvs_infer_frames_decoded_total{{camera="{stream}"}}']
        share = decoded / (SCENE_S * RATE)
        is_idle = share <= MAX_DECODED
        bench.figures.add(f"{names[name]}: frames decoded", f"{share:.0%}", f"<= {MAX_DECODED:.0%}", is_idle)


# 7: memory


def memory(bench: Bench) -> None:
    bench.figures.begin("7. memory per further idle camera (real time)")
    streams = [f"idle-{index + 1}" for index in range(MANY)]
    plays = {stream: f"{bench.clip('quiet-CRF 28')},loop" for stream in streams}
    with bench.kvs(plays) as kvs, contextlib.ExitStack() as stack:
        services = {}
        for count in (FEW, MANY):
            config = bench.config(streams[:count], "key_frames", start="NOW")
            running = comparison.service(bench.program, config, kvs.address, bench.new_folder())
            services[count] = stack.enter_context(running)
        until = time.monotonic() + 60
        while not all(row["idle"] for service in services.values() for row in service.cameras()):
            if time.monotonic() > until:
                break
            time.sleep(0.5)
        time.sleep(5)
        before, began = services[MANY].cpu_s(), time.monotonic()
        samples: dict[int, list[float]] = {count: [] for count in services}
        for _ in range(15):
            time.sleep(1)
            for count, service in services.items():
                samples[count].append(service.rss_mb())
        share = (services[MANY].cpu_s() - before) / (time.monotonic() - began) / MANY
        awake = sum(not row["idle"] for row in services[MANY].cameras())
        rss_mb = {count: statistics.median(values) for count, values in samples.items()}
    each = (rss_mb[MANY] - rss_mb[FEW]) / (MANY - FEW)
    bench.figures.add(f"resident memory with {FEW} / {MANY} cameras", f"{rss_mb[FEW]:.0f} / {rss_mb[MANY]:.0f} MB")
    bench.figures.add("per further camera", f"{each:.1f} MB", "<= 25 MB", each <= 25)
    bench.figures.add(f"CPU time per camera in real time, CRF 28 ({awake} of {MANY} awake at the end)", f"{share:.2%}")


# 9: real footage


def real_footage(bench: Bench) -> None:
    """Compares the incidents of real clips with those of a run without idle decode."""
    bench.figures.begin("9. real footage with the gate: incidents of `all` that `key_frames` reports")
    start_s = time.time() - 3600
    for clip in (bench.yard, bench.street):
        with bench.kvs() as kvs:
            kvs.create("real")
            put(kvs, "real", [clip], start_s)
            frames = idle_footage.frame_count(clip)
            runs = {mode: bench.run(kvs, bench.config(["real"], mode), frames) for mode in ("key_frames", "all")}
        whole, saving = runs["all"].incidents, runs["key_frames"].incidents
        alone = comparison.missing(whole, saving)
        decoded = runs["key_frames"].metrics['kvs_infer_frames_decoded_total{camera="real"}'] / frames
        what = f"{clip.stem} ({frames} frames, of which {decoded:.0%} are decoded)"
        bench.figures.add(what, f"{len(whole) - len(alone)} of {len(whole)}", "all", not alone)
        report_incidents(bench, "missing", alone, start_s)


def measure(bench: Bench) -> None:
    """Measures the tables that are wanted."""
    began = time.monotonic()
    tables = [
        ("1", idle_camera),
        ("2", twenty_cameras),
        ("3", busy_camera),
        ("4", delays),
        ("5", recall),
        ("6", wakes),
        ("7", memory),
        ("8", simultaneous_wakes),
        ("9", real_footage),
    ]
    for number, table in tables:
        if number in bench.only:
            table(bench)
            print(f"\n({time.monotonic() - began:.0f} s so far)", file=sys.stderr, flush=True)


def main() -> None:
    wanted = arguments()
    for name in ("program", "model", "yard", "street", "before"):
        value = getattr(wanted, name)
        setattr(wanted, name, value and str(Path(value).resolve()))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(wanted.keep or temporary)
        shutil.rmtree(folder / "runs", ignore_errors=True)
        bench = Bench(wanted, folder)
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d %H:%M')}, load average {load}")
        measure(bench)
    print(f"\nbench-idle: {bench.figures.reached} of {bench.figures.total} figures reached")


if __name__ == "__main__":
    main()
