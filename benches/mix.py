#!/usr/bin/env python3
"""A mostly idle mix of cameras: CPU time with and without the motion gate, beside the usual Python program.

Eight cameras of two minutes, 640x272 at 25 frames per second, H.264: six still scenes with the noise of a sensor, one
of which shows a busy street for five seconds, and two busy streets. All three programs detect the same objects five
times per second with one thread per inference. kvs-infer reads the stored footage from the local KVS (whose CPU time is
not counted) and does all that `run` does: decide, snapshots, outbox. Python (peer.py) decodes the files and detects; it
decides and stores nothing.

Then every incident of the run without the gate must have a twin in the run with it: the same camera and label,
overlapping times, and overlapping boxes.
"""

import argparse
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

SECONDS, RATE = 120, 25
WIDTH, HEIGHT = 640, 272
INFERENCES_PER_SECOND, CONF, MAX_IDLE_S = 5, 0.5, 9
# Time of each still scene in the street clip, seconds. With all the noise, the model finds no object there with a
# confidence of 0.48 to 0.74. An object near the threshold is reported by chance, and two runs that infer other frames
# differ on it.
STILL_AT = [0.4, 3.8, 4.8, 5.2, 3.0, 8.0]
# The fifth scene becomes busy at 20 s, and ends with the picture with which the sixth begins.
BUSY_SCENE, BUSY_FROM_S, BUSY_FRAMES = 4, 20, 126
# Temporal noise of a sensor by day, in steps of 256 (`noise=alls`): uniform, up to half of the value either way.
NOISE = "noise=alls=6:allf=t"
TWIN_IOU = 0.5
Incident = dict[str, Any]
# CPU seconds, inferences, incidents.
Figures = tuple[float, int, list[Incident]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="kvs-infer, a release build")
    parser.add_argument("model", help="a detector in the output layout of YOLOv8, with a fixed square input")
    parser.add_argument("street", help="the clip of which the cameras are made")
    parser.add_argument("--keep", metavar="FOLDER", help="folder for the clips and runs, which is kept")
    return parser.parse_args()


# The clips


def encode(inputs: list[str], graph: str, target: Path) -> None:
    """Encodes as a camera does: without B-frames, one keyframe per second."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *inputs, "-filter_complex", graph, "-map", "[out]"]
    encoder = ["-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p"]
    keyframes = ["-bf", "0", "-g", str(RATE)]
    subprocess.run([*command, *encoder, *keyframes, "-t", str(SECONDS), str(target)], check=True)


def still(street: str, index: int, target: Path) -> None:
    """Encodes one picture of the street with noise; one of the scenes becomes busy."""
    at, frames = STILL_AT[index], SECONDS * RATE
    held = f"[0:v]trim=start={at},setpts=PTS-STARTPTS,fps={RATE}"
    if index == BUSY_SCENE:
        # The picture for 20 s, then the street from there on, then its last picture.
        graph = (
            f"{held},trim=end_frame={BUSY_FRAMES},setpts=PTS-STARTPTS,loop={BUSY_FROM_S * RATE}:1:0,setpts=N/{RATE}/TB,"
            f"tpad=stop=-1:stop_mode=clone,{NOISE}[out]"
        )
    else:
        graph = f"{held},trim=end_frame=1,loop={frames}:1:0,setpts=N/{RATE}/TB,{NOISE}[out]"
    encode(["-i", street], graph, target)


def busy(street: str, is_mirrored: bool, target: Path) -> None:
    """Encodes the street in a loop."""
    mirror = "hflip," if is_mirrored else ""
    encode(["-stream_loop", "-1", "-i", street], f"[0:v]{mirror}fps={RATE}[out]", target)


def make_clips(street: str, folder: Path) -> dict[str, Path]:
    """Returns the eight clips, by camera."""
    clips = {f"still-{index + 1}": folder / f"still-{index + 1}.mp4" for index in range(len(STILL_AT))}
    for index, target in enumerate(clips.values()):
        still(street, index, target)
    for name, is_mirrored in [("busy-1", False), ("busy-2", True)]:
        clips[name] = folder / f"{name}.mp4"
        busy(street, is_mirrored, clips[name])
    return clips


# The local KVS


class Footage:
    """The clips as stored footage of a local KVS: played once in real time, then stored."""

    def __init__(self, program: str, clips: dict[str, Path], log: Path) -> None:
        plays = [f"--play={name}={clip}" for name, clip in clips.items()]
        command = [program, "sim", "--listen", "127.0.0.1:0", *plays]
        self.sim = subprocess.Popen(command, stdout=log.open("w"))
        self.address = wait_for_line(log, r"http://127\.0\.0\.1:\d+", self.sim)
        self.began = time.monotonic()

    def complete(self) -> Self:
        """Waits until the clips have been played, and returns the footage."""
        time.sleep(max(0.0, self.began + SECONDS + 3 - time.monotonic()))
        return self

    def stop(self) -> None:
        self.sim.send_signal(signal.SIGTERM)
        self.sim.wait()


# Ours


def config(model: str, cameras: Iterable[str], is_gated: bool) -> dict[str, Any]:
    """Returns a configuration with one objects detector per camera, from the beginning of the footage."""
    confirm = {"frames": 3, "window": 5}
    objects = {"yolo_weights": str(model), "conf_threshold": CONF, "temporal_confirm": confirm}
    settings = {
        "fps_target": INFERENCES_PER_SECOND,
        "playback": {"start": "EARLIEST"},
        "motion": {"enabled": is_gated, "max_idle_seconds": MAX_IDLE_S},
        "pipeline": [{"type": "objects", "objects": objects}],
    }
    rows = [{"id": name, "kvs_stream_name": name, **settings} for name in cameras]
    return {"publishers": {"local_dir": "events"}, "state": {"dir": "state"}, "device": "cpu", "cameras": rows}


def read_frames(port: str) -> float:
    """Returns the number of frames read by all cameras so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("kvs_infer_demux_frames_total"))


def inferences(port: str) -> int:
    """Returns the number of inferences of all cameras so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/cameras", timeout=60) as answer:
        rows = json.load(answer)["cameras"]
    return sum(row["frames"]["inferred"] for row in rows)


def cpu_of(pid: int) -> float:
    """Returns the CPU seconds of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ours(program: str, model: str, cameras: Collection[str], address: str, is_gated: bool, folder: Path) -> Figures:
    """Runs kvs-infer over all footage. Returns the CPU seconds since it was ready, inferences and incidents."""
    folder.mkdir()
    (folder / "cameras.yaml").write_text(json.dumps(config(model, cameras, is_gated)))
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL_KINESIS_VIDEO": address,
        "AWS_REGION": "us-east-1",
        "LOG_FORMAT": "json",
    }
    environment |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true"}
    command = [program, "run", "--config", "cameras.yaml", "--http-host", "127.0.0.1", "--http-port", "0"]
    run = subprocess.Popen(command, cwd=folder, env=environment, stdout=(folder / "log").open("w"))
    port = wait_for_line(folder / "log", r'(?<="http":"127\.0\.0\.1:)\d+', run)
    before = cpu_of(run.pid)
    until_read(port, len(cameras) * SECONDS * RATE)
    count = settled(port)
    used = cpu_of(run.pid) - before
    run.send_signal(signal.SIGTERM)
    if run.wait() != 0:
        sys.exit(f"kvs-infer ended with {run.returncode}: {folder / 'log'}")
    return used, count, incidents(folder / "events")


def wait_for_line(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> str:
    """Waits until the log of a process matches the pattern, and returns the match."""
    while process.poll() is None:
        if found := re.search(pattern, log.read_text()):
            return found.group(0)
        time.sleep(0.02)
    sys.exit(f"the process ended before it was ready:\n{log.read_text()}")


def until_read(port: str, frames: int) -> None:
    """Waits until every frame has been read."""
    while read_frames(port) < frames:
        time.sleep(0.2)


def settled(port: str) -> int:
    """Returns the number of inferences once it has not changed for two seconds."""
    count, since = inferences(port), time.monotonic()
    while time.monotonic() - since < 2:
        time.sleep(0.2)
        if (now := inferences(port)) != count:
            count, since = now, time.monotonic()
    return count


def incidents(folder: Path) -> list[Incident]:
    """Returns each incident: its first record and its end time, which is infinite if the footage ends before it."""
    found: dict[str, Incident] = {}
    for path in sorted(folder.glob("events*.jsonl")):
        for line in path.read_text().splitlines():
            payload = json.loads(line)["payload"]
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


def run_peer(model: str, clips: Iterable[Path]) -> tuple[float, int]:
    """Runs peer.py over the clips, one after the other. Returns the CPU seconds and the inferences."""
    script = Path(__file__).with_name("peer.py")
    command: list[str | Path] = [
        sys.executable,
        script,
        model,
        "--fps",
        str(INFERENCES_PER_SECOND),
        "--conf",
        str(CONF),
    ]
    results = [json.loads(subprocess.check_output([*command, clip], text=True)) for clip in clips]
    return sum(result["cpu_s"] for result in results), sum(result["inferences"] for result in results)


def report(python: tuple[float, int], gated: Figures, ungated: Figures) -> int:
    """Prints the table, the ratio and the recall. Returns the number of missing incidents."""
    alone = missing(ungated[2], gated[2])
    print("| implementation | CPU s | inferences | incidents |\n| --- | ---: | ---: | ---: |")
    print(f"| Python (OpenCV, NumPy) | {python[0]:.1f} | {python[1]} | |")
    print(f"| ours, every frame | {ungated[0]:.1f} | {ungated[1]} | {len(ungated[2])} |")
    print(f"| ours, motion gate | {gated[0]:.1f} | {gated[1]} | {len(gated[2])} |")
    print(f"\nPython / ours with the gate: {python[0] / gated[0]:.2f}")
    both = f"{len(ungated[2]) - len(alone)} of {len(ungated[2])}"
    print(f"incidents without the gate that are also reported with it: {both}")
    for one in alone:
        print(f"  missing: {one['camera_id']} {one['label']} from {one['ts_ms']} to {one['until']} at {one['bbox']}")
    return len(alone)


def main() -> None:
    wanted = arguments()
    program, model = (str(Path(path).resolve()) for path in (wanted.program, wanted.model))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(wanted.keep or temporary)
        folder.mkdir(exist_ok=True, parents=True)
        clips = make_clips(wanted.street, folder)
        footage = Footage(program, clips, folder / "sim.log").complete()
        try:
            ungated = ours(program, model, clips, footage.address, False, folder / "every-frame")
            python = run_peer(model, clips.values())
            gated = ours(program, model, clips, footage.address, True, folder / "gated")
        finally:
            footage.stop()
    sys.exit(1 if report(python, gated, ungated) else 0)


if __name__ == "__main__":
    main()
