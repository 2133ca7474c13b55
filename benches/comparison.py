"""Shared by `mix.py` and `idle.py`: the local KVS, runs of kvs-infer and of peer.py, the comparison of incidents."""

import contextlib
import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

TWIN_IOU = 0.5
Incident = dict[str, Any]


# The local KVS


class LocalKvs:
    """A local KVS, whose CPU time is not counted. It plays clips in real time, each into the stream of its name."""

    def __init__(self, program: str, log: Path, plays: Mapping[str, str | Path]) -> None:
        arguments = [f"--play={stream}={clip}" for stream, clip in plays.items()]
        command = [program, "sim", "--listen", "127.0.0.1:0", *arguments]
        self.sim = subprocess.Popen(command, stdout=log.open("w"))
        self.address = wait_for_line(log, r"http://127\.0\.0\.1:\d+", self.sim)
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sim.send_signal(signal.SIGTERM)
        self.sim.wait()

    def post(self, operation: str, **request: Any) -> dict[str, Any]:
        """Calls an operation."""
        json_type = {"Content-Type": "application/json"}
        call = urllib.request.Request(f"{self.address}/{operation}", json.dumps(request).encode(), json_type)
        with urllib.request.urlopen(call, timeout=60) as answer:
            response: dict[str, Any] = json.load(answer)
        return response

    def create(self, *streams: str) -> None:
        """Creates streams that keep their footage."""
        for stream in streams:
            self.post("createStream", StreamName=stream, DataRetentionInHours=24)

    def put(self, stream: str, matroska: bytes, start_s: float) -> None:
        """Stores a Matroska file, a fragment per cluster, as footage that began at `start_s`."""
        headers = {"x-amzn-stream-name": stream, "x-amzn-fragment-timecode-type": "RELATIVE"}
        headers["x-amzn-producer-start-timestamp"] = f"{start_s:.3f}"
        call = urllib.request.Request(f"{self.address}/putMedia", matroska, headers)
        with urllib.request.urlopen(call, timeout=60) as answer:
            acks = answer.read().decode()
        if '"ERROR"' in acks or '"PERSISTED"' not in acks:
            sys.exit(f"the local KVS did not store the footage of {stream}: {acks[-400:]}")


# Ours


@dataclasses.dataclass
class Service:
    """A running kvs-infer."""

    process: subprocess.Popen[bytes]
    port: str

    def get(self, path: str) -> str:
        """Returns the answer to a GET of its HTTP server."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def cameras(self) -> list[dict[str, Any]]:
        """Returns the rows of all cameras."""
        rows: list[dict[str, Any]] = json.loads(self.get("/api/cameras"))["cameras"]
        return rows

    def metrics(self) -> dict[str, float]:
        """Returns the value of each sample by its name and its labels."""
        lines = (line for line in self.get("/metrics").splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def cpu_s(self) -> float:
        """Returns the CPU time so far, without that of loading the models, which peer.py does not count either."""
        return cpu_of(Path(f"/proc/{self.process.pid}/stat")) - self.thread_cpu_s("load-")

    def decode_cpu_s(self) -> float:
        """Returns the CPU time of the decode threads so far."""
        return self.thread_cpu_s("decode-")

    def thread_cpu_s(self, prefix: str) -> float:
        """Returns the CPU time so far of the threads whose names begin with `prefix`."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(cpu_of(task / "stat") for task in tasks if (task / "comm").read_text().startswith(prefix))

    def rss_mb(self) -> float:
        """Returns the resident memory, MB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        kibibytes = next(line.split()[1] for line in lines if line.startswith("VmRSS:"))
        return int(kibibytes) * 1024 / 1e6

    def settle(self, frames: int, seconds: float = 2) -> int:
        """Waits until `frames` frames were read and nothing has changed for `seconds`. Returns the inferences."""
        progress: list[list[int]] = []
        since = time.monotonic()
        while sum(counts[0] for counts in progress) < frames or time.monotonic() - since < seconds:
            time.sleep(0.2)
            rows = [row["frames"] for row in self.cameras()]
            now = [[row["read"], row["decoded"], row["inferred"]] for row in rows]
            if now != progress:
                progress, since = now, time.monotonic()
        return sum(counts[2] for counts in progress)


def cpu_of(stat: Path) -> float:
    """Returns the CPU seconds in a `stat` file of a process or thread."""
    fields = stat.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def service(program: str, config: dict[str, Any], address: str, folder: Path) -> Iterator[Service]:
    """Runs kvs-infer in `folder`, which may have the state of an earlier run."""
    folder.mkdir(exist_ok=True)
    (folder / "cameras.yaml").write_text(json.dumps(config))
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL_KINESIS_VIDEO": address,
        "AWS_REGION": "us-east-1",
        "LOG_FORMAT": "json",
    }
    environment |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true"}
    command = [program, "run", "--config", "cameras.yaml", "--http-host", "127.0.0.1", "--http-port", "0"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=(folder / "log").open("w"))
    try:
        port = wait_for_line(folder / "log", r'(?<="http":"127\.0\.0\.1:)\d+', process)
        yield Service(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait()
    if code != 0:
        sys.exit(f"kvs-infer ended with {code}: {folder / 'log'}")


def wait_for_line(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> str:
    """Waits until the log of a process matches the pattern, and returns the match."""
    while process.poll() is None:
        if found := re.search(pattern, log.read_text()):
            return found.group(0)
        time.sleep(0.02)
    sys.exit(f"the process ended before it was ready:\n{log.read_text()}")


def records(folder: Path) -> list[Incident]:
    """Returns the payloads of all events, in their order."""
    files = sorted(folder.glob("events*.jsonl"))
    return [json.loads(line)["payload"] for path in files for line in path.read_text().splitlines()]


def incidents(folder: Path) -> list[Incident]:
    """Returns each incident: its first record and its end time, which is infinite if the footage ends before it."""
    found: dict[str, Incident] = {}
    for payload in records(folder):
        began = found.setdefault(payload["extras"]["incident_id"], dict(payload, until=math.inf))
        if payload["extras"]["phase"] == "end":
            began["until"] = payload["ts_ms"]
    return list(found.values())


# The comparison


def area(box: Sequence[float]) -> float:
    """Returns the area of a box x1, y1, x2, y2."""
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Returns the intersection over union of two boxes x1, y1, x2, y2."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (area(a) + area(b) - common)


def is_twin(one: Incident, other: Incident) -> bool:
    """Returns whether both incidents are of the same object: equal labels, overlapping boxes and overlapping times."""
    same = all(one[key] == other[key] for key in ("camera_id", "type", "label"))
    together = one["ts_ms"] <= other["until"] and other["ts_ms"] <= one["until"]
    return same and together and overlap(one["bbox"], other["bbox"]) >= TWIN_IOU


def missing(expected: list[Incident], reported: list[Incident]) -> list[Incident]:
    """Returns the expected incidents without a twin. Each reported incident is the twin of at most one."""
    free, alone = list(reported), []
    for one in expected:
        twin = next((other for other in free if is_twin(one, other)), None)
        if twin is None:
            alone.append(one)
        else:
            free.remove(twin)
    return alone


def run_peer(model: str, clip: Path, fps: float, conf: float) -> dict[str, Any]:
    """Runs peer.py over a clip. Returns its figures."""
    script = Path(__file__).with_name("peer.py")
    command: list[str | Path] = [sys.executable, script, model, "--fps", str(fps), "--conf", str(conf), clip]
    figures: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return figures
