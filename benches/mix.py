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
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from comparison import Incident, LocalKvs, incidents, missing, run_peer, service

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


# Ours


def config(model: str, cameras: Iterable[str], is_gated: bool) -> dict[str, Any]:
    """Returns a configuration with one objects detector per camera, from the beginning of the footage."""
    confirm = {"frames": 3, "window": 5}
    objects = {"yolo_weights": str(model), "conf_threshold": CONF, "temporal_confirm": confirm}
    settings = {
        "fps_target": INFERENCES_PER_SECOND,
        "playback": {"start": "EARLIEST"},
        # Every frame is decoded: idle.py measures what is saved where only keyframes are.
        "motion": {"enabled": is_gated, "max_idle_seconds": MAX_IDLE_S, "idle_decode": "all"},
        "pipeline": [{"type": "objects", "objects": objects}],
    }
    rows = [{"id": name, "kvs_stream_name": name, **settings} for name in cameras]
    return {"publishers": {"local_dir": "events"}, "state": {"dir": "state"}, "device": "cpu", "cameras": rows}


def ours(program: str, model: str, cameras: Collection[str], address: str, is_gated: bool, folder: Path) -> Figures:
    """Runs kvs-infer over all footage. Returns the CPU seconds since it was ready, inferences and incidents."""
    folder.mkdir()
    with service(program, config(model, cameras, is_gated), address, folder) as running:
        before = running.cpu_s()
        count = running.settle(len(cameras) * SECONDS * RATE)
        used = running.cpu_s() - before
    return used, count, incidents(folder / "events")


# The comparison


def run_peers(model: str, clips: Iterable[Path]) -> tuple[float, int]:
    """Runs peer.py over the clips, one after the other. Returns the CPU seconds and the inferences."""
    results = [run_peer(model, clip, INFERENCES_PER_SECOND, CONF) for clip in clips]
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
        with LocalKvs(program, folder / "sim.log", clips) as kvs:
            # The clips are played once in real time, and are stored then.
            time.sleep(max(0.0, kvs.began + SECONDS + 3 - time.monotonic()))
            ungated = ours(program, model, clips, kvs.address, False, folder / "every-frame")
            python = run_peers(model, clips.values())
            gated = ours(program, model, clips, kvs.address, True, folder / "gated")
    sys.exit(1 if report(python, gated, ungated) else 0)


if __name__ == "__main__":
    main()
