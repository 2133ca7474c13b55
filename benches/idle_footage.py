"""The footage of `benches/idle.py`: a real still scene at 1080p25 with noise, and visitors cut from real frames.

The scene is the median of the frames of the yard clip, in which no one is left. A visitor is a person of one of these
frames, cut out by the difference from the scene. A visitor appears at once, walks at a constant speed without moving
the limbs, and is gone at once, so that the time in view is known to the frame. The model finds each visitor along the
whole path with at least `MIN_CONF`.
"""

import concurrent.futures
import dataclasses
import json
import random
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import peer

# An encoder, its GOP in frames, and the file.
Output = tuple[str, int, Path]
# The name of the file, the picture with transparency, and the place in the frame.
Sprite = tuple[str, Any, tuple[int, int]]

WIDTH, HEIGHT, RATE = 1920, 1080, 25
GOP, LONG_GOP = 2 * RATE, 10 * RATE
# Temporal noise of a sensor by day and by night, in steps of 256: uniform, up to half of the value either way.
DAY_NOISE, NIGHT_NOISE = "noise=alls=6:allf=t", "noise=alls=8:allf=t"
# The length of the clips without visitors, s. They are repeated as often as a measurement needs.
QUIET_S, LIGHT_S, DAY_NIGHT_S = 20, 60, 40

# The rows of the yard clip that become 16:9. Above them are parked cars, of which the model is not sure.
ROWS = slice(100, 532)
MIN_CONF = 0.6
SPEED_PX_S = 120
# The time in view of visitors, s, and how many visitors have it. The last one is longer than each GOP.
DURATIONS_S, VISITORS_EACH = (0.3, 0.5, 1.0, 2.0, 5.0, 12.0), 4
# The time before the first visitor and between two of them, s: longer than the gate stays open and a GOP.
LEAD_S, GAPS_S = 10.0, (3.2, 4.4)
# The visitor of the clip with one visitor, s.
SINGLE_FROM_S, SINGLE_FOR_S = 7.3, 5.0

ENCODERS = {
    # At 28 the noise is quantized away: 300 bytes per quiet frame. At 23 it is not: 7 kB.
    "CRF 28": "libx264 -preset veryfast -crf 28 -bf 0 -sc_threshold 0",
    "CRF 23": "libx264 -preset veryfast -crf 23 -bf 0 -sc_threshold 0",
    "CBR": "libx264 -preset veryfast -b:v 4M -maxrate 4M -bufsize 4M -x264-params nal-hrd=cbr -bf 0 -sc_threshold 0",
    "B-frames": "libx264 -preset veryfast -crf 28 -bf 3 -sc_threshold 0",
    "H.265": "libx265 -preset superfast -x265-params log-level=error:open-gop=0:scenecut=0",
    "busy": "libx264 -preset veryfast -b:v 4M -bf 3",
}
QUIET_ENCODERS = ("CRF 28", "CRF 23", "CBR", "B-frames", "H.265")


@dataclasses.dataclass(frozen=True)
class Scene:
    """Footage with visitors: how it is encoded, and what else changes the pictures."""

    encoder: str
    gop: int = GOP
    effect: str = "still"


VISITED = {
    "CRF 28": Scene("CRF 28"),
    "CRF 23": Scene("CRF 23"),
    "CBR": Scene("CBR"),
    "H.265": Scene("H.265"),
    "CRF 28, GOP of 10 s": Scene("CRF 28", LONG_GOP),
    "CRF 23, slow light change": Scene("CRF 23", effect="light"),
    "CRF 23, rain": Scene("CRF 23", effect="rain"),
    "CRF 23, day/night switch": Scene("CRF 23", effect="day-night"),
}


@dataclasses.dataclass(frozen=True)
class Visitor:
    """A person who walks through the scene: the picture, frames from `first` up to before `end`, and the path, px."""

    picture: str
    size_px: tuple[int, int]
    first: int
    end: int
    start_px: tuple[int, int]
    step_px: float

    def box_at(self, seconds: float) -> list[float]:
        """Returns the box x1, y1, x2, y2 at a time of the clip."""
        left = self.start_px[0] + self.step_px * (seconds * RATE - self.first)
        return [left, self.start_px[1], left + self.size_px[0], self.start_px[1] + self.size_px[1]]

    @property
    def view_s(self) -> float:
        """Returns the time in view, s."""
        return (self.end - self.first) / RATE


# The scene and the people in it


def frames_of(clip: str) -> list[Any]:
    """Returns every tenth frame of the yard clip, scaled to 1080p."""
    capture, frames, index = cv2.VideoCapture(clip), [], 0
    while (decoded := capture.read())[0]:
        if index % 10 == 0:
            frames.append(cv2.resize(decoded[1][ROWS], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
        index += 1
    return frames


def frame_count(clip: Path) -> int:
    """Returns the number of frames of a clip."""
    return int(cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FRAME_COUNT))


def cut(frame: Any, scene: Any, box: Sequence[float]) -> tuple[Any, tuple[int, int]]:
    """Returns the person in `box` with transparency, and the place: the difference from the scene is opaque."""
    left, top, right, bottom = (int(value) // 2 * 2 for value in (box[0] - 16, box[1] - 16, box[2] + 18, box[3] + 18))
    part, behind = frame[top:bottom, left:right], scene[top:bottom, left:right]
    differs = (cv2.absdiff(part, behind).max(axis=2) > 24).astype(np.uint8) * 255
    closed = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    return np.dstack([part, cv2.GaussianBlur(opened, (9, 9), 0)]), (left, top)


def people(frames: Sequence[Any], scene: Any, detector: peer.Detector) -> Iterator[tuple[Any, tuple[int, int]]]:
    """Yields people who are alone, complete, and found with certainty: the picture and the place."""
    for frame in frames[::3]:
        boxes = [(conf, box) for label, conf, box in detector.detect(frame) if label == 0]
        for conf, box in boxes:
            others = [other for _, other in boxes if other is not box]
            inside = box[0] > 40 and box[1] > 40 and box[2] < WIDTH - 40 and box[3] < HEIGHT - 40
            is_alone = all(other[2] < box[0] - 20 or other[0] > box[2] + 20 for other in others)
            if conf >= 0.8 and inside and is_alone and box[3] - box[1] >= 150:
                yield cut(frame, scene, box)


def paste(scene: Any, picture: Any, left: int, top: int) -> Any:
    """Returns the scene with the picture at a place."""
    shown, (height, width) = scene.copy(), picture.shape[:2]
    opacity = picture[:, :, 3:].astype(np.float32) / 255
    part = shown[top : top + height, left : left + width]
    part[:] = (picture[:, :, :3] * opacity + part * (1 - opacity)).astype(np.uint8)
    return shown


def is_found(
    detector: peer.Detector, scene: Any, picture: Any, place: tuple[int, int], step_px: float, frames: int
) -> bool:
    """Returns whether the model finds the picture on the whole path."""
    width = picture.shape[1]
    for at in np.linspace(0, frames - 1, 6):
        left = round(place[0] + step_px * at)
        if not 0 <= left <= WIDTH - width:
            return False
        middle = left + width / 2
        found = detector.detect(paste(scene, picture, left, place[1]))
        if not any(label == 0 and conf >= MIN_CONF and box[0] < middle < box[2] for label, conf, box in found):
            return False
    return True


# The schedule


def schedule(seed: int) -> list[tuple[float, float]]:
    """Returns the time from which each visitor of a clip is in view and for how long, s."""
    chance, at, visits = random.Random(seed), LEAD_S, []
    durations = [duration for duration in DURATIONS_S for _ in range(VISITORS_EACH)]
    chance.shuffle(durations)
    for duration in durations:
        visits.append((at, duration))
        at += duration + chance.uniform(*GAPS_S)
    return visits


def visitors(
    visits: Sequence[tuple[float, float]], sprites: Sequence[Sprite], scene: Any, detector: peer.Detector, seed: int
) -> list[Visitor]:
    """Returns a visitor for each visit: one that the model finds on the path."""
    chance, chosen = random.Random(seed), []
    for at, duration in visits:
        first, frames = round(at * RATE), max(1, round(duration * RATE))
        while True:
            name, picture, place = chance.choice(sprites)
            step_px = chance.choice([-1, 1]) * SPEED_PX_S / RATE
            start = chance.randrange(60, WIDTH - 60 - picture.shape[1]) // 2 * 2, place[1]
            if is_found(detector, scene, picture, start, step_px, frames):
                break
        size = picture.shape[1], picture.shape[0]
        chosen.append(Visitor(name, size, first, first + frames, start, step_px))
    return chosen


# Encoding


def encode(inputs: Sequence[str | Path], graph: str, outputs: Sequence[Output], seconds: int) -> None:
    """Runs a filter graph once and encodes its result for each of `outputs`, unless they are there."""
    if all(target.exists() for _, _, target in outputs):
        return
    unfinished = {target: target.with_name(f"partial-{target.name}") for _, _, target in outputs}
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y"]
    for path in inputs:
        command += ["-i", str(path)]
    labels = "".join(f"[out{index}]" for index in range(len(outputs)))
    command += ["-filter_complex", f"{graph},split={len(outputs)}{labels}"]
    for index, (encoder, gop, target) in enumerate(outputs):
        keyframes = ["-g", str(gop), "-keyint_min", str(gop), "-pix_fmt", "yuv420p", "-t", str(seconds)]
        command += [
            "-map",
            f"[out{index}]",
            "-an",
            "-c:v",
            *ENCODERS[encoder].split(),
            *keyframes,
            str(unfinished[target]),
        ]
    subprocess.run(command, check=True)
    for target, encoded in unfinished.items():
        encoded.rename(target)


# The picture of the scene as frames.
HELD = f"format=yuv420p,loop=-1:1:0,setpts=N/{RATE}/TB"


def followed_by(effect: str, source: str, rain: int) -> str:
    """Returns the filters of an effect and of the sensor's noise; `rain` is the number of the input with the rain."""
    if effect == "light":
        return f"{source}eq=brightness='0.06*sin(2*PI*t/{LIGHT_S})':eval=frame,{DAY_NOISE}"
    if effect == "rain":
        falls = f"overlay=x='mod(n*37,64)-32':y='mod(n*97,{HEIGHT})-{HEIGHT}'"
        return f"[{rain}:v]format=yuva420p[rain];{source}null[dry];[dry][rain]{falls},{DAY_NOISE}"
    if effect == "day-night":
        # By night the camera is in infrared mode: grey, another exposure, more noise.
        is_night = f"gte(mod(t,{DAY_NIGHT_S}),{DAY_NIGHT_S // 2})"
        night = f"hue=s=0:enable='{is_night}',eq=brightness=-0.15:contrast=1.2:enable='{is_night}'"
        noise = f"{DAY_NOISE}:enable='not({is_night})',{NIGHT_NOISE}:enable='{is_night}'"
        return f"{source}{night},{noise}"
    return f"{source}{DAY_NOISE}"


def encode_empty(folder: Path, effect: str, outputs: Sequence[Output], seconds: int) -> None:
    """Encodes the scene without visitors."""
    graph = f"[0:v]{HELD}[held];{followed_by(effect, '[held]', 1)}"
    encode([folder / "scene.png", folder / "rain.png"], graph, outputs, seconds)


def encode_visitors(
    folder: Path, chosen: Sequence[Visitor], effect: str, outputs: Sequence[Output], seconds: int
) -> None:
    """Encodes the scene with visitors."""
    pictures = sorted({visitor.picture for visitor in chosen})
    graph = ""
    for number, name in enumerate(pictures):
        # A picture is used by several visitors, and a label once.
        labels = [f"[copy{index}]" for index, visitor in enumerate(chosen) if visitor.picture == name]
        graph += f"[{number + 1}:v]format=yuva420p,split={len(labels)}{''.join(labels)};"
    graph += f"[0:v]{HELD}[v0];"
    for index, visitor in enumerate(chosen):
        left = f"{visitor.start_px[0]}+({visitor.step_px})*(n-{visitor.first})"
        shown = f"between(n,{visitor.first},{visitor.end - 1})"
        place = f"x='{left}':y={visitor.start_px[1]}"
        graph += f"[v{index}][copy{index}]overlay={place}:enable='{shown}'[v{index + 1}];"
    graph += followed_by(effect, f"[v{len(chosen)}]", len(pictures) + 1)
    inputs = [folder / "scene.png", *(folder / name for name in pictures), folder / "rain.png"]
    encode(inputs, graph, outputs, seconds)


def rain(seed: int) -> Any:
    """Returns the picture of rain: slanted streaks on a transparent sheet of twice the height, which repeats."""
    sheet: Any = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    chance = np.random.default_rng(seed)
    for x, y in chance.integers((0, 0), (WIDTH, HEIGHT - 60), (500, 2)).tolist():
        cv2.line(sheet, (x, y), (x + 6, y + int(chance.integers(25, 60))), (225, 225, 225, 90), 2)
    return np.vstack([sheet, sheet])


def jobs(
    folder: Path, street: str, chosen: Sequence[Visitor], single: Sequence[Visitor], length_s: int
) -> list[Callable[[], None]]:
    """Returns the encodings, as functions without arguments."""

    def to(name: str) -> Path:
        return folder / f"{name}.mp4"

    still = [(encoder, GOP, to(f"quiet-{encoder}")) for encoder in QUIET_ENCODERS]
    still.append(("CRF 23", LONG_GOP, to("quiet-10 s GOP")))
    empty: list[tuple[str, Sequence[Output], int]] = [
        ("still", still, QUIET_S),
        ("light", [("CRF 23", GOP, to("light"))], LIGHT_S),
        ("rain", [("CRF 23", GOP, to("rain"))], QUIET_S),
        ("day-night", [("CRF 23", GOP, to("day-night"))], DAY_NIGHT_S),
    ]
    crossed: dict[str, list[Output]] = {}
    for name, scene in VISITED.items():
        crossed.setdefault(scene.effect, []).append((scene.encoder, scene.gop, to(visited_clip(name))))
    one = [(encoder, GOP, to(f"one-visitor-{encoder}")) for encoder in ("CRF 28", "CBR")]
    scaled = f"[0:v]fps={RATE},loop=1:{10 * RATE}:0,setpts=N/{RATE}/TB,scale={WIDTH}:{HEIGHT}:flags=bicubic"
    return [
        *(partial(encode_visitors, folder, chosen, effect, outputs, length_s) for effect, outputs in crossed.items()),
        *(partial(encode_empty, folder, *row) for row in empty),
        partial(encode_visitors, folder, single, "still", one, QUIET_S),
        partial(encode, [street], scaled, [("busy", GOP, to("busy"))], QUIET_S),
    ]


def visited_clip(scene: str) -> str:
    """Returns the name of the clip of a scene of `VISITED`."""
    return "visitors-" + re.sub("[^A-Za-z0-9.]+", "-", scene)


def choose(model: str, yard: str, folder: Path) -> tuple[list[Visitor], list[Visitor], int]:
    """Writes the pictures. Returns the visitors, the one of `one-visitor-*`, and the length of `visitors-*`, s."""
    frames = frames_of(yard)
    scene = np.median(np.stack(frames), axis=0).astype(np.uint8)
    detector = peer.Detector(model, 1, 0.3)
    sprites = []
    for index, (picture, place) in enumerate(people(frames, scene, detector)):
        sprites.append((f"person-{index}.png", picture, place))
        cv2.imwrite(str(folder / sprites[-1][0]), picture)
    cv2.imwrite(str(folder / "scene.png"), scene)
    cv2.imwrite(str(folder / "rain.png"), rain(1))
    visits = schedule(1)
    chosen = visitors(visits, sprites, scene, detector, 2)
    single = visitors([(SINGLE_FROM_S, SINGLE_FOR_S)], sprites, scene, detector, 3)
    return chosen, single, round(sum(visits[-1])) + 6


def make(model: str, yard: str, street: str, folder: Path) -> tuple[list[Visitor], int]:
    """Makes all clips in `folder`, unless they are there. Returns the visitors of `visitors-*`, and its length, s."""
    done = folder / "visitors.json"
    if not done.exists():
        chosen, single, length_s = choose(model, yard, folder)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for finished in [pool.submit(job) for job in jobs(folder, street, chosen, single, length_s)]:
                finished.result()
        drawn = [dataclasses.asdict(visitor) for visitor in chosen]
        done.write_text(json.dumps({"length_s": length_s, "visitors": drawn}))
    stored = json.loads(done.read_text())
    pairs = ("size_px", "start_px")
    rows = [row | {name: tuple(row[name]) for name in pairs} for row in stored["visitors"]]
    return [Visitor(**row) for row in rows], stored["length_s"]
