#!/usr/bin/env python3
"""The usual Python implementation, for comparison with kvs-infer: OpenCV, ONNX Runtime, NumPy.

OpenCV decodes every frame, because it cannot skip any; a frame is inferred when its media time reaches the next tick of
`--fps`; letterbox, YOLOv8 decoding and class-wise NMS are NumPy. Prints one line of JSON:

    frames, inferences, detections   counts
    cpu_s, cpu_ms_per_inference      CPU time of this process, all threads, from the first frame to the last
    wall_s, peak_rss_mb              wall-clock time, and peak resident memory
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import onnxruntime

PADDING_GREY = 114
NMS_IOU = 0.5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an ONNX file in the output layout of YOLOv8, with a fixed square input")
    parser.add_argument("clip", help="a video file")
    parser.add_argument("--fps", type=float, default=5.0, help="inferences per second of media time (default 5)")
    parser.add_argument("--conf", type=float, default=0.4, help="minimum confidence (default 0.4)")
    parser.add_argument("--loops", type=int, default=1, help="times the clip is played (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="threads of OpenCV and of the runtime (default 1)")
    parser.add_argument("--boxes", action="store_true", help="print the detections too, one line of JSON each")
    return parser.parse_args()


class Detector:
    """Images in, boxes out: the letterbox, the network, the NMS."""

    def __init__(self, path: str, threads: int, conf: float) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        source = self.session.get_inputs()[0]
        self.input, self.side_px = source.name, source.shape[2]
        if not isinstance(self.side_px, int) or source.shape[3] != self.side_px:
            sys.exit(f"{path}: the input is {source.shape}; this script needs a fixed square")
        self.conf = conf
        self.infer(np.zeros((1, 3, self.side_px, self.side_px), np.float32))

    def infer(self, tensor: Any) -> Any:
        return self.session.run(None, {self.input: tensor})[0][0]

    def letterbox(self, image: Any) -> tuple[Any, float, Any]:
        """The input tensor, and the scale and offsets that lead back to pixels of `image`."""
        height, width = image.shape[:2]
        scale = self.side_px / max(height, width)
        size = round(width * scale), round(height * scale)
        left, top = (self.side_px - size[0]) // 2, (self.side_px - size[1]) // 2
        canvas = np.full((self.side_px, self.side_px, 3), PADDING_GREY, np.uint8)
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        canvas[top : top + size[1], left : left + size[0]] = resized
        tensor = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
        return np.ascontiguousarray(tensor), scale, np.array([left, top], np.float32)

    def detect(self, image: Any) -> list[tuple[int, float, list[float]]]:
        """Detections in `image`, best first: rows of class, confidence and a box x1, y1, x2, y2 in its pixels."""
        tensor, scale, offset = self.letterbox(image)
        columns = self.infer(tensor)
        classes = columns[4:].argmax(axis=0)
        scores = columns[4:].max(axis=0)
        chosen = np.flatnonzero(scores >= self.conf)
        centres, sizes = columns[:2, chosen].T, columns[2:4, chosen].T
        corners = np.concatenate([centres - sizes / 2 - offset, centres + sizes / 2 - offset], axis=1) / scale
        kept = class_wise_nms(corners, scores[chosen], classes[chosen])
        return [(int(classes[chosen[i]]), float(scores[chosen[i]]), corners[i].tolist()) for i in kept]


def class_wise_nms(corners: Any, scores: Any, classes: Any) -> list[int]:
    """Indices of the boxes that no better box of their class overlaps, best first."""
    kept, waiting = [], np.argsort(-scores, kind="stable")
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        low = np.maximum(corners[best, :2], corners[waiting, :2])
        high = np.minimum(corners[best, 2:], corners[waiting, 2:])
        common = np.prod(np.clip(high - low, 0, None), axis=1)
        iou = common / (areas[best] + areas[waiting] - common)
        waiting = waiting[(iou <= NMS_IOU) | (classes[waiting] != classes[best])]
    return kept


def sampled(clip: str, fps: float, threads: int) -> Iterator[tuple[int, Any]]:
    """Every frame of the clip, decoded: its index, and the image when it is due, else nothing."""
    capture = cv2.VideoCapture(clip, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    if not capture.isOpened():
        sys.exit(f"{clip}: OpenCV cannot open it")
    frame_s, due_s, index = 1 / (capture.get(cv2.CAP_PROP_FPS) or 25.0), 0.0, 0
    while True:
        decoded, image = capture.read()
        if not decoded:
            break
        is_due = index * frame_s + 1e-9 >= due_s
        due_s += 1 / fps if is_due else 0
        yield index, image if is_due else None
        index += 1
    capture.release()


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    wanted = arguments()
    cv2.setNumThreads(wanted.threads)
    detector = Detector(wanted.model, wanted.threads, wanted.conf)
    frames = inferences = detections = 0
    started_s, started_cpu_s = time.monotonic(), cpu_s()
    for _ in range(wanted.loops):
        for index, image in sampled(wanted.clip, wanted.fps, wanted.threads):
            frames += 1
            if image is None:
                continue
            inferences += 1
            found = detector.detect(image)
            detections += len(found)
            for class_index, conf, box in found if wanted.boxes else ():
                print(json.dumps({"frame": index, "class": class_index, "conf": conf, "box": box}))
    used_s = cpu_s() - started_cpu_s
    result = {
        "frames": frames,
        "inferences": inferences,
        "detections": detections,
        "cpu_s": round(used_s, 3),
        "cpu_ms_per_inference": round(1000 * used_s / max(inferences, 1), 3),
        "wall_s": round(time.monotonic() - started_s, 3),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
