"""The parts of `idle.py` below its tables: figures, runs over stored footage, and footage in the local KVS."""

import argparse
import dataclasses
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import comparison
import idle_footage
from comparison import Incident, LocalKvs
from idle_footage import RATE

FPS, CONF, MAX_IDLE_S = 5, 0.5, 9
# The objects of roads and yards. Of others the model is not sure: it takes the heap on the lawn for a ball.
CLASSES = ["person", "bicycle", "car", "motorcycle", "bus", "truck"]
# Sightings that confirm an object: as a camera has it, and where each visitor is to be reported at the first sighting.
CONFIRMED, AT_ONCE = {"frames": 3, "window": 5}, {"frames": 1, "window": 1}


class Figures:
    """Prints the figures as rows of a table, and counts those that are reached."""

    def __init__(self) -> None:
        self.reached, self.total = 0, 0

    def begin(self, title: str) -> None:
        print(f"\n{title}\n\n| what | measured | to reach | reached |\n| --- | ---: | ---: | --- |")

    def add(self, what: str, measured: str, to_reach: str = "", is_reached: bool | None = None) -> None:
        """Prints a figure; one without `is_reached` is not counted."""
        verdict = {None: "", True: "yes", False: "**no**"}[is_reached]
        print(f"| {what} | {measured} | {to_reach} | {verdict} |", flush=True)
        self.total += is_reached is not None
        self.reached += is_reached is True


@dataclasses.dataclass
class Run:
    """The cost and the results of a run of kvs-infer over stored footage."""

    cpu_s: float
    decode_s: float
    inferences: int
    metrics: dict[str, float]
    incidents: list[Incident]


def wakes_of(metrics: Mapping[str, float], camera: str) -> dict[str, int]:
    """Returns the number of wakes of a camera by trigger, without those at the end of the footage."""
    found = {}
    for name, value in metrics.items():
        if name.startswith("kvs_infer_wakes_total{") and f'camera="{camera}"' in name:
            found[name.split('trigger="')[1].split('"')[0]] = int(value)
    return {trigger: count for trigger, count in sorted(found.items()) if trigger != "pause" and count}


def stream_name(text: str) -> str:
    """Returns a name without characters that a stream must not have."""
    return re.sub("[^A-Za-z0-9]+", "-", text)


def words(counts: Mapping[str, int]) -> str:
    """Returns counts by name as text."""
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


class Bench:
    """The programs, the clips, and the folder of this measurement."""

    def __init__(self, wanted: argparse.Namespace, folder: Path) -> None:
        self.only: str = wanted.only
        self.program: str
        self.program, self.model, self.before = wanted.program, wanted.model, wanted.before
        self.yard, self.street = Path(wanted.yard), Path(wanted.street)
        self.clips, self.runs, self.number = folder / "clips", folder / "runs", 0
        for path in (self.clips, self.runs):
            path.mkdir(exist_ok=True, parents=True)
        self.figures = Figures()
        self.visitors, self.length_s = idle_footage.make(self.model, wanted.yard, wanted.street, self.clips)
        # CPU time of Python by clip, share of a core.
        self.python: dict[str, float] = {}
        # Wakes of the still scene by encoder and trigger.
        self.quiet_wakes: dict[str, dict[str, int]] = {}

    def int8_twin(self) -> Path | None:
        """Returns the int8 twin of the model, which is made with the two clips; `None`: the gate refuses it."""
        twin = self.clips / "int8.onnx"
        if not twin.exists():
            command = [self.program, "models", "quantize", self.model, "--out", str(twin), "--footage"]
            subprocess.run([*command, str(self.yard), str(self.street)], stdout=subprocess.DEVNULL, check=False)
        return twin if twin.exists() else None

    def clip(self, name: str) -> Path:
        return self.clips / f"{name}.mp4"

    def new_folder(self) -> Path:
        """Returns a folder for a run."""
        self.number += 1
        return self.runs / f"{self.number:02}"

    def kvs(self, plays: Mapping[str, str | Path] | None = None) -> LocalKvs:
        """Starts a local KVS."""
        return LocalKvs(self.program, self.new_folder().with_suffix(".log"), plays or {})

    def config(
        self,
        streams: Iterable[str],
        decode: str | None,
        confirm: Mapping[str, int] = CONFIRMED,
        start: str = "EARLIEST",
        int8: Path | None = None,
    ) -> dict[str, Any]:
        """Returns a configuration of one camera per stream; an older build has no `decode`, `motion.idle_decode`."""
        objects: dict[str, Any] = {
            "yolo_weights": "model" if int8 else str(self.model),
            "conf_threshold": CONF,
            "temporal_confirm": confirm,
            "classes": CLASSES,
        }
        if confirm is AT_ONCE:
            # Each visitor is another object, also right after the last one.
            objects |= {"max_disappeared_seconds": 1, "cooldown_seconds": 0}
        settings: dict[str, Any] = {
            "fps_target": FPS,
            "playback": {"start": start},
            "motion": {"enabled": True, "max_idle_seconds": MAX_IDLE_S},
            "pipeline": [{"type": "objects", "objects": objects}],
        }
        if decode:
            settings["motion"] |= {"idle_decode": decode}
        rows = [{"id": stream, "kvs_stream_name": stream, **settings} for stream in streams]
        models = {"models": {"model": {"path": str(self.model), "int8": str(int8)}}} if int8 else {}
        local = {"publishers": {"local_dir": "events"}, "state": {"dir": "state"}, "device": "cpu"}
        return {**local, **models, "cameras": rows}

    def run(
        self,
        kvs: LocalKvs,
        config: dict[str, Any],
        frames: int,
        program: str | None = None,
        folder: Path | None = None,
    ) -> Run:
        """Runs kvs-infer until `frames` frames were read and all is processed."""
        folder = folder or self.new_folder()
        with comparison.service(program or self.program, config, kvs.address, folder) as service:
            cpu_s, decode_s = service.cpu_s(), service.decode_cpu_s()
            inferences = service.settle(frames)
            cpu_s, decode_s = service.cpu_s() - cpu_s, service.decode_cpu_s() - decode_s
            metrics = service.metrics()
        return Run(cpu_s, decode_s, inferences, metrics, comparison.incidents(folder / "events"))

    def python_share(self, name: str) -> float:
        """Returns the CPU time of Python over a clip, as the share of a core."""
        if name not in self.python:
            result = comparison.run_peer(self.model, self.clip(name), FPS, CONF)
            self.python[name] = result["cpu_s"] * RATE / result["frames"]
        return self.python[name]


# Footage in the local KVS


def put(kvs: LocalKvs, stream: str, clips: Iterable[Path], start_s: float) -> None:
    """Stores clips one after the other in a stream, a fragment per GOP, as footage that began at `start_s`."""
    playlist = "".join(f"file 'file:{clip.resolve()}'\n" for clip in clips)
    source = ["-v", "error", "-f", "concat", "-safe", "0", "-protocol_whitelist", "file,pipe", "-i", "pipe:0"]
    # A cluster, which becomes a fragment, begins at a keyframe only.
    clusters = ["-map", "0:v", "-c", "copy", "-f", "matroska"]
    clusters += ["-cluster_time_limit", "60000", "-cluster_size_limit", "100M"]
    command = ["ffmpeg", *source, *clusters, "-"]
    media = subprocess.run(command, input=playlist.encode(), stdout=subprocess.PIPE, check=True)
    kvs.put(stream, media.stdout, start_s)


def first_ms(kvs: LocalKvs, stream: str) -> int:
    """Returns the producer's time of the first fragment of a stream, ms."""
    window = {"StartTimestamp": 0, "EndTimestamp": 4e9}
    selector = {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": window}
    found = kvs.post("listFragments", StreamName=stream, FragmentSelector=selector)
    return round(1000 * min(fragment["ProducerTimestamp"] for fragment in found["Fragments"]))
