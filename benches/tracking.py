#!/usr/bin/env python3
"""Compares the incidents of kvs-infer with the tracks of ByteTrack: same footage, detections, truth and measure.

The footage is `clips/yard-whole.mp4`, the truth about it testdata/footage/yard.truth.yaml, and the measure `kvs-infer
eval`, whose figures docs/evaluation.md defines.

kvs-infer reads the clip as the whole program: PutMedia to a local KVS, GetMedia from EARLIEST, model, tracking, local
sink. Its settings are the defaults, with `update_seconds: 1`. ByteTrack (the package `trackers`) gets the boxes of
testdata/footage/yard.boxes.jsonl, which the same model finds in the same frames. So kvs-infer also has the pictures, of
which it uses the colors; ByteTrack goes by boxes alone. Its tracks are written as events: a start when a track is
confirmed, an update per second while it is matched, an end when it is dropped. Incidents that continue when the clip
ends have no end.

The clip has 10 frames per second. At 5, the timestamp of the first frame decides which half of them is picked, so both
halves are run.
"""

import argparse
import datetime
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

import numpy
import supervision
import trackers

import comparison

FOOTAGE = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "footage"
TRUTH, BOXES = FOOTAGE / "yard.truth.yaml", FOOTAGE / "yard.boxes.jsonl"
LABEL = "person"
FRAMES, CLIP_FPS = 795, 10
UPDATE_MS = 1000


class Case(NamedTuple):
    """A frame rate and the timestamp of the first frame, ms since the epoch."""

    name: str
    camera: str
    fps: int
    start_ms: int


CASES = [
    Case("5, even frames", "yard-5-even", 5, 1_700_000_000_000),
    Case("5, odd frames", "yard-5-odd", 5, 1_700_000_000_100),
    Case("10", "yard-10", 10, 1_700_000_000_000),
]
# `trackers` counts the buffer of lost tracks in frames at thirty per second, whatever the frame rate.
BUFFER_FPS = 30
# ByteTrack's settings: name, least confidence of a box that it gets, seconds until a lost track is dropped, further
# arguments. The first has the package's own defaults; the others have kvs-infer's thresholds (0.4; 0.5 to be reported),
# with ByteTrack's second association of faint boxes or without it.
BYTETRACK: list[tuple[str, float, int, dict[str, float]]] = [
    ("its defaults", 0.2, 1, {}),
    ("0.4, faint boxes, 5 s", 0.2, 5, {"track_activation_threshold": 0.5, "high_conf_det_threshold": 0.4}),
    ("0.4, 2 s", 0.4, 2, {"track_activation_threshold": 0.4, "high_conf_det_threshold": 0.4}),
    ("0.4, 30 s", 0.4, 30, {"track_activation_threshold": 0.4, "high_conf_det_threshold": 0.4}),
]
COLUMNS = [
    "tool",
    "frames/s",
    "starts",
    "per visit",
    "missed",
    "late",
    "more than one start",
    "false",
    "of two people",
    "purity",
    "IDF1",
]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="kvs-infer")
    parser.add_argument("model", help="the model of which testdata/footage/yard.boxes.jsonl is: models/street.onnx")
    parser.add_argument("clip", help="clips/yard-whole.mp4")
    parser.add_argument("--keep", metavar="FOLDER", help="folder for the events and logs, which is kept")
    return parser.parse_args()


# kvs-infer


def config(model: str) -> dict[str, Any]:
    """Returns one camera per case; all but the frame rate is the default."""
    objects = {"yolo_weights": model, "classes": [LABEL], "update_seconds": UPDATE_MS / 1000}
    cameras = [
        {
            "id": case.camera,
            "kvs_stream_name": case.camera,
            "playback": {"start": "EARLIEST"},
            "pipeline": [{"type": "objects", "objects": objects}],
            **({} if case.fps == CLIP_FPS else {"fps_target": case.fps}),
        }
        for case in CASES
    ]
    return {"publishers": {"local_dir": "events"}, "state": {"dir": "state"}, "device": "cpu", "cameras": cameras}


def run_program(program: str, model: str, clip: str, folder: pathlib.Path) -> pathlib.Path:
    """Stores the clip in a local KVS, runs kvs-infer over it, and returns the file of its events."""
    with comparison.LocalKvs(program, folder / "sim.log", {}) as kvs:
        matroska = folder / "yard.mkv"
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", clip, "-c", "copy", matroska], check=True)
        for case in CASES:
            kvs.create(case.camera)
            kvs.put(case.camera, matroska.read_bytes(), case.start_ms / 1000)
        read_all(program, model, kvs.address, folder)
    return folder / "events" / "events.jsonl"


def read_all(program: str, model: str, address: str, folder: pathlib.Path) -> None:
    """Runs kvs-infer until every frame has been read and processed."""
    with comparison.service(program, config(model), address, folder) as running:
        running.settle(FRAMES * len(CASES))
        inferred = {row["id"]: row["frames"]["inferred"] for row in running.cameras()}
    expected = {case.camera: len(frames(case)) for case in CASES}
    if inferred != expected:
        sys.exit(
            f"frames that kvs-infer inferred: {inferred}; that ByteTrack gets: {expected}. The log: {folder / 'log'}"
        )


def check_same_frames(events: pathlib.Path) -> None:
    """Exits unless each start and update of kvs-infer is of a frame that ByteTrack gets too."""
    times = {case.camera: {case.start_ms + ms for ms, _ in frames(case)} for case in CASES}
    for line in events.read_text().splitlines():
        payload = json.loads(line)["payload"]
        if payload["extras"]["phase"] != "end" and payload["ts_ms"] not in times[payload["camera_id"]]:
            sys.exit(f"an event is of a frame that ByteTrack does not get: {line}")


# ByteTrack


def frames(case: Case) -> list[tuple[int, Any]]:
    """Returns the stored detections of the picked frames: (ms, rows of x1, y1, x2, y2, confidence)."""
    picked, newest = [], None
    for line in BOXES.read_text().splitlines():
        row = json.loads(line)
        # As the sampler of kvs-infer: the first frame of each tick, and ticks count from the epoch.
        tick = (case.start_ms + row["ts_ms"]) * case.fps // 1000
        if tick != newest:
            newest = tick
            picked.append((row["ts_ms"], numpy.array(row["boxes"], dtype=float).reshape(-1, 5)))
    return picked


class Tracks:
    """Turns tracks into events of the shape that kvs-infer publishes."""

    def __init__(self, camera: str) -> None:
        self.camera = camera
        self.lines: list[str] = []
        # By track: the times of its confirmation, last match and last report, and its last detection.
        self.open: dict[int, dict[str, Any]] = {}

    def matched(self, track: int, ms: int, detection: list[Any]) -> None:
        """Reports a match: a start, or an update when a second has passed."""
        known = self.open.get(track)
        if known is None:
            self.open[track] = {"from": ms, "seen": ms, "reported": ms, "detection": detection}
            self.report("start", track, ms, None)
            return
        known |= {"seen": ms, "detection": detection}
        if ms - known["reported"] >= UPDATE_MS:
            known["reported"] = ms
            self.report("update", track, ms, ms - known["from"])

    def drop(self, alive: set[int], ms: int) -> None:
        """Ends the tracks that are no longer alive."""
        for track in self.open.keys() - alive:
            self.report("end", track, ms, self.open[track]["seen"] - self.open[track]["from"])
            del self.open[track]

    def report(self, phase: str, track: int, ms: int, duration_ms: int | None) -> None:
        *bbox, conf = (float(value) for value in self.open[track]["detection"])
        extras = {
            "incident_id": f"{self.camera}-{track}",
            "phase": phase,
            "track_id": track,
            "duration_ms": duration_ms,
            "fragment_number": "0",
            "frame_index": 0,
            "time_source": "producer",
            "frame_width": 768,
            "frame_height": 576,
            "zones": [],
            "model": {"name": "street", "sha256": ""},
        }
        payload = {
            "camera_id": self.camera,
            "type": "objects",
            "label": LABEL,
            "conf": conf,
            "bbox": bbox,
            "ts_ms": ms,
            "extras": extras,
        }
        seq = len(self.lines) + 1
        event = {
            "event_id": f"{self.camera}-{seq}",
            "camera_id": self.camera,
            "producer": "trackers",
            "schema": "kvs-infer.event/1",
            "seq": seq,
            "payload": payload,
        }
        self.lines.append(json.dumps(event) + "\n")


def bytetrack(case: Case, min_conf: float, lost_s: int, settings: dict[str, float], target: pathlib.Path) -> None:
    """Writes the events of ByteTrack on the stored detections."""
    tracker = trackers.ByteTrackTracker(lost_track_buffer=lost_s * BUFFER_FPS, frame_rate=case.fps, **settings)
    tracks = Tracks("bytetrack")
    for ms, boxes in frames(case):
        boxes = boxes[boxes[:, 4] >= min_conf]
        found = tracker.update(supervision.Detections(xyxy=boxes[:, :4], confidence=boxes[:, 4]))
        confidences = found.confidence if len(found) else []
        for track, box, conf in zip(found.tracker_id, found.xyxy, confidences, strict=True):
            # -1: not confirmed.
            if track >= 0:
                tracks.matched(int(track), ms, [*box, conf])
        tracks.drop({int(track.tracker_id) for track in tracker.tracks}, ms)
    target.write_text("".join(tracks.lines))


# The figures


def evaluate(program: str, events: pathlib.Path, camera: str, start_ms: int) -> dict[str, Any]:
    """Returns what `kvs-infer eval` prints about the events."""
    command = [
        program,
        "eval",
        "--json",
        "--events",
        events,
        "--truth",
        TRUTH,
        "--camera",
        camera,
        "--start-ms",
        str(start_ms),
    ]
    return json.loads(subprocess.check_output([str(part) for part in command], text=True))


def names(visits: list[str]) -> str:
    """Returns the number of visits, and their names if there are any."""
    return f"{len(visits)} ({', '.join(visits)})" if visits else "0"


def seconds(ms: float) -> str:
    return f"{ms / 1000:.1f}"


def row(tool: str, case: Case, figures: dict[str, Any]) -> str:
    cells = [
        tool,
        case.name,
        figures["starts"],
        f"{figures['starts_per_visit']:.2f}",
        names(figures["missed"]),
        names(figures["late"]),
        len(figures["repeated"]),
        len(figures["false_starts"]),
        len(figures["mixed"]),
        f"{figures['purity']:.3f}",
        f"{figures['idf1']:.3f}",
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def details(case: Case, figures: dict[str, Any]) -> None:
    """Prints the weak points of kvs-infer one by one."""
    print(f"\nkvs-infer, frames/s: {case.name}")
    for mixed in figures["mixed"]:
        people = []
        for share in mixed["people"]:
            span = f"{seconds(share['from_ms'])} to {seconds(share['to_ms'])} s"
            people.append(f"{share['person']} (records: {share['records']}, {span})")
        print(f"- two people in one incident, track {mixed['track_id']}: {'; '.join(people)}")
    for visit in figures["visits"]:
        if len(visit["starts"]) != 1:
            starts = ", ".join(seconds(start["at_ms"]) for start in visit["starts"])
            print(
                f"- {visit['id']} ({visit['person']}, {seconds(visit['from_ms'])} to {seconds(visit['to_ms'])} s): "
                f"{len(visit['starts'])} starts{': ' + starts if starts else ''}"
            )
    for start in figures["false_starts"]:
        print(f"- false start, track {start['track_id']}: {seconds(start['at_ms'])} s, box {start['bbox']}")


def main() -> None:
    wanted = arguments()
    program, model, clip = (str(pathlib.Path(path).resolve()) for path in (wanted.program, wanted.model, wanted.clip))
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(wanted.keep or temporary).resolve()
        folder.mkdir(exist_ok=True, parents=True)
        events = run_program(program, model, clip, folder)
        check_same_frames(events)
        ours = [(case, evaluate(program, events, case.camera, case.start_ms)) for case in CASES]
        rows = [row("kvs-infer, its defaults", case, figures) for case, figures in ours]
        for name, min_conf, lost_s, settings in BYTETRACK:
            for case in CASES:
                target = folder / "bytetrack.jsonl"
                bytetrack(case, min_conf, lost_s, settings, target)
                rows.append(row(f"ByteTrack, {name}", case, evaluate(program, target, "bytetrack", 0)))
    version = subprocess.check_output([program, "--version"], text=True).strip()
    print(f"{datetime.date.today()}, {version}, trackers {importlib.metadata.version('trackers')}\n")
    print("| " + " | ".join(COLUMNS) + " |\n| --- |" + " ---: |" * (len(COLUMNS) - 1), *rows, sep="\n")
    for case, figures in ours:
        details(case, figures)


if __name__ == "__main__":
    main()
