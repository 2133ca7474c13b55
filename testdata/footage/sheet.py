#!/usr/bin/env python3
"""Draws a picture of each incident of a golden file, for a person to look at.

usage: sheet.py CLIP.mp4 CONFIG.yaml INCIDENTS.jsonl OUT.jpg

INCIDENTS.jsonl comes from `FOOTAGE_INCIDENTS=folder cargo test --test integration -- truth::footage`. A tile has the
zones (thin), the incident's box of its largest and surest record (thick), its label and track, and the second of the
clip.
Needs OpenCV and PyYAML: `scripts/setup test bench`, then $KVS_INFER_PYTHON of `scripts/env`.
"""

import json
import sys
from typing import Any

import cv2
import numpy as np
import yaml

TILE_WIDTH_PX, COLUMNS, JPEG_QUALITY = 400, 4, 72
ZONE, BOX, TEXT, SHADE = (255, 200, 0), (0, 80, 255), (255, 255, 255), (0, 0, 0)


def frame_at(clip: Any, ms: float) -> Any:
    clip.set(cv2.CAP_PROP_POS_FRAMES, round(ms * clip.get(cv2.CAP_PROP_FPS) / 1000))
    found, frame = clip.read()
    if not found:
        sys.exit(f"the clip has no frame at {ms} ms")
    return frame


def tile(clip: Any, zones: list[dict[str, Any]], incident: dict[str, Any]) -> Any:
    frame = frame_at(clip, incident["shown_ms"])
    for zone in zones:
        cv2.polylines(frame, [np.array(zone["points"], np.int32)], True, ZONE, 1, cv2.LINE_AA)
    x1, y1, x2, y2 = (round(edge) for edge in incident["bbox"])
    cv2.rectangle(frame, (x1, y1), (x2, y2), BOX, 3)
    scale = TILE_WIDTH_PX / frame.shape[1]
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    text = f"{incident['label']} {incident['track']}  {incident['shown_ms'] / 1000:.1f} s"
    cv2.rectangle(small, (0, 0), (10 * len(text), 24), SHADE, cv2.FILLED)
    cv2.putText(small, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, TEXT, 1, cv2.LINE_AA)
    return small


def main() -> None:
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    clip, config, golden, out = sys.argv[1:]
    with open(config) as file:
        zones = yaml.safe_load(file)["cameras"][0]["roi"]["polygons"]
    with open(golden) as file:
        incidents = [json.loads(line) for line in file]
    opened = cv2.VideoCapture(clip)
    tiles = [tile(opened, zones, incident) for incident in incidents]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(out, np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


if __name__ == "__main__":
    main()
