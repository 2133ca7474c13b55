#!/usr/bin/env python3
"""Makes the tiny models that the tests run: networks that answer to pure colours with exact boxes.

usage: tiny.py FOLDER

Input:   `images` [1, 3, 64, 64], RGB, 0..1.
Classes: red, green, blue; a pixel belongs to one when its channel exceeds the sum of the other two by more than 0.5,
         so that black, white, grey (the padding of a letterbox too), yellow, cyan and magenta belong to none.
Answer:  for each class with a patch of 2 x 2 pixels or more, the box around ALL pixels of the class, to the pixel: paint
         one filled rectangle per class, and its box comes back. Confidence: red 0.9, green 0.8, blue 0.7.
         Where the layout leaves NMS to the reader, each box comes twice: once exact, and once a pixel larger on every
         side with 0.1 less confidence, for NMS to remove (their IoU exceeds 0.5 from 5 x 5 pixels on). All other rows
         have confidence 0.

    file                        output                                           differs in
    yolov8.onnx                 output0 [1, 7, 64]  cx cy w h, scores
    yolov8_fp16.onnx            output0 [1, 7, 64]                               float16 input and output
    yolov8_dynamic.onnx         output0 [batch, 7, 64]                           any batch
    yolov8_batch20.onnx         output0 [20, 7, 64]                              more pictures than a launch on a GPU paints
    yolov8_dynamic_size.onnx    output0 [batch, 7, 64]                           the graph says no size; `imgsz` does, 64
    yolov8_unnamed.onnx         output0 [1, 7, 64]                               no class names
    yolov5.onnx                 output0 [1, 64, 8]  cx cy w h, objectness, class scores (0.95); the product counts
    nms.onnx                    output0 [1, 300, 6] x1 y1 x2 y2, confidence, class; best first, no duplicates
    detr.onnx                   pred_boxes [1, 30, 4] cx cy w h in 0..1; logits [1, 30, 3], before the sigmoid
    ambiguous.onnx              output0 [1, 64, 6]  the YOLOv5 layout of one class, red: the shape of end-to-end NMS too
    wrong_rank.onnx             output0 [1, 3]      confidences of the classes: no boxes at all
    weapon.onnx                 output0 [1, 7, 64]                               other names: gun, knife, phone
    fire_smoke.onnx             output0 [1, 7, 64]                               other names and colours, see below

Class names are in the metadata, as `names: {0: 'red', 1: 'green', 2: 'blue'}`. fire_smoke.onnx answers to colours that the others
pass over: smoke 0.9 to cyan, lamp 0.8 to magenta, fire 0.7 to yellow. So a user's weapon and fire models can look at one picture.
"""

import os
import sys

import numpy as np
from onnx import TensorProto

from graph import Graph, names_metadata

SIDE_PX = 64
NAMES = ["red", "green", "blue"]
CONFIDENCE = np.array([0.9, 0.8, 0.7])
DUPLICATE_LESS_CONFIDENCE = 0.1
COLOUR_EXCESS = 0.5
# By class, the weights of R, G, B and what their sum must exceed.
PURE = (2 * np.eye(3) - np.ones((3, 3)), COLOUR_EXCESS)
# Two channels, less three times the third: 2 for a full mixture, 1 at most for a pure colour, negative for greys.
MIXED = (np.ones((3, 3)) - 4 * np.eye(3), 1.5)
MIN_LINES = 4
ANCHORS, NMS_ROWS, QUERIES = 64, 300, 30
CLASS_SCORE_V5 = 0.95
ABSENT_LOGIT = -12.0


class Tiny(Graph):
    """The part that all layouts share: which classes are there, and the box around each."""

    def __init__(self, batch=1, size=SIDE_PX, half=False, colours=PURE):
        super().__init__("tiny")
        self.batch = batch
        self.dtype = np.float16 if half else np.float32
        self.kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        height, width = (size, size) if isinstance(size, int) else size
        images = self.input("images", [batch, 3, height, width], self.kind)

        weights, threshold = colours
        excess = self.add("Conv", images, self.number(weights.reshape(3, 3, 1, 1)), self.number(np.zeros(3)))
        is_colour = self.add("Greater", excess, self.number(threshold))
        mask = self.add("Cast", is_colour, to=self.kind)

        # Not pixels are counted, which would overflow float16, but rows and columns: a patch of 2 x 2 has four.
        columns = self.add("ReduceMax", mask, axes=[2], keepdims=0)
        rows = self.add("ReduceMax", mask, axes=[3], keepdims=0)
        lines = self.add("Add", self.total(columns), self.total(rows))
        enough = self.add("Greater", lines, self.number(MIN_LINES - 0.5))
        self.present = self.add("Cast", enough, to=self.kind)
        self.low = self.add("Concat", self.first(columns), self.first(rows), axis=2)
        self.high = self.add("Concat", self.last(columns), self.last(rows), axis=2)

    def number(self, value):
        """A constant of the model's precision."""
        return self.constant(value, self.dtype)

    def total(self, lines):
        return self.add("ReduceSum", lines, self.integers(2), keepdims=1)

    def first(self, lines):
        """The index of the first line that is set: `[batch, 3, 1]`."""
        weighted = self.add("Mul", lines, self.number(SIDE_PX - np.arange(SIDE_PX)))
        return self.add("Sub", self.number(SIDE_PX), self.add("ReduceMax", weighted, axes=[2], keepdims=1))

    def last(self, lines):
        """The index behind the last line that is set: `[batch, 3, 1]`."""
        weighted = self.add("Mul", lines, self.number(np.arange(SIDE_PX) + 1))
        return self.add("ReduceMax", weighted, axes=[2], keepdims=1)

    def corners(self):
        """x1 y1 x2 y2 of each class, pixels of the input: `[batch, 3, 4]`."""
        return self.add("Concat", self.low, self.high, axis=2)

    def centre_size(self):
        """cx cy w h of each class, pixels of the input: `[batch, 3, 4]`."""
        centre = self.add("Mul", self.add("Add", self.low, self.high), self.number(0.5))
        return self.add("Concat", centre, self.add("Sub", self.high, self.low), axis=2)

    def where_present(self, tensor):
        """Zero for a class that is absent."""
        return self.add("Mul", tensor, self.present)

    def one_row_a_class(self, boxes, values):
        """Rows of a box and `values` (`[3, n]`), zero where the class is absent."""
        scores = self.add("Mul", self.present, self.number(values[None]))
        return self.add("Concat", self.where_present(boxes), scores, axis=2)

    def with_duplicates(self, values, less):
        """The rows of the exact boxes, then those of the larger ones, whose values are `less` lower."""
        boxes = self.centre_size()
        larger = self.add("Add", boxes, self.number([0, 0, 2, 2]))
        exact = self.one_row_a_class(boxes, values)
        return self.add("Concat", exact, self.one_row_a_class(larger, np.maximum(values - less, 0)), axis=1)

    def padded(self, rows, count, made, name=None):
        """Zero rows behind the `made` ones, `count` in all."""
        pads = self.integers(0, 0, 0, 0, count - made, 0)
        return self.add("Pad", rows, pads, self.number(0), name=name)

    def answer(self, shape, name="output0"):
        self.output(name, [self.batch, *shape], self.kind)
        return self


def yolov8(**variant):
    model = Tiny(**variant)
    scores = np.diag(CONFIDENCE)
    rows = model.with_duplicates(scores, DUPLICATE_LESS_CONFIDENCE * np.eye(3))
    model.add("Transpose", model.padded(rows, ANCHORS, 6), name="output0", perm=[0, 2, 1])
    return model.answer([4 + len(NAMES), ANCHORS])


def yolov5():
    model = Tiny()
    values = np.column_stack([CONFIDENCE / CLASS_SCORE_V5, CLASS_SCORE_V5 * np.eye(3)])
    less = np.zeros_like(values)
    less[:, 0] = DUPLICATE_LESS_CONFIDENCE / CLASS_SCORE_V5
    model.padded(model.with_duplicates(values, less), ANCHORS, 6, name="output0")
    return model.answer([ANCHORS, 5 + len(NAMES)])


def nms():
    model = Tiny()
    values = np.column_stack([CONFIDENCE, np.arange(3)])
    model.padded(model.one_row_a_class(model.corners(), values), NMS_ROWS, 3, name="output0")
    return model.answer([NMS_ROWS, 6])


def detr():
    model = Tiny()
    boxes = model.add("Mul", model.where_present(model.centre_size()), model.number(1 / SIDE_PX))
    model.padded(boxes, QUERIES, 3, name="pred_boxes")
    logit = np.log(CONFIDENCE / (1 - CONFIDENCE)) - ABSENT_LOGIT
    above = model.add("Mul", model.present, model.number(np.diag(logit)[None]))
    model.add("Add", model.padded(above, QUERIES, 3), model.number(ABSENT_LOGIT), name="logits")
    return model.answer([QUERIES, 4], "pred_boxes").answer([QUERIES, len(NAMES)], "logits")


def ambiguous():
    model = Tiny()
    values = np.array([[CONFIDENCE[0] / CLASS_SCORE_V5, CLASS_SCORE_V5], [0, 0], [0, 0]])
    less = np.array([[DUPLICATE_LESS_CONFIDENCE / CLASS_SCORE_V5, 0], [0, 0], [0, 0]])
    model.padded(model.with_duplicates(values, less), ANCHORS, 6, name="output0")
    return model.answer([ANCHORS, 6])


def wrong_rank():
    model = Tiny()
    scores = model.add("Mul", model.present, model.number(CONFIDENCE.reshape(1, 3, 1)))
    model.add("Squeeze", scores, model.integers(2), name="output0")
    return model.answer([len(NAMES)])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    names = {"names": names_metadata(NAMES)}
    models = {
        "yolov8": (yolov8(), names),
        "yolov8_fp16": (yolov8(half=True), names),
        "yolov8_dynamic": (yolov8(batch="batch"), names),
        "yolov8_batch20": (yolov8(batch=20), names),
        "yolov8_dynamic_size": (
            yolov8(batch="batch", size=("height", "width")),
            names | {"imgsz": f"[{SIDE_PX}, {SIDE_PX}]"},
        ),
        "yolov8_unnamed": (yolov8(), {}),
        "yolov5": (yolov5(), names),
        "nms": (nms(), names),
        "detr": (detr(), names),
        "ambiguous": (ambiguous(), {"names": names_metadata(NAMES[:1])}),
        "wrong_rank": (wrong_rank(), names),
        "weapon": (yolov8(), {"names": names_metadata(["gun", "knife", "phone"])}),
        "fire_smoke": (yolov8(colours=MIXED), {"names": names_metadata(["smoke", "lamp", "fire"])}),
    }
    for name, (model, metadata) in models.items():
        model.save(os.path.join(sys.argv[1], f"{name}.onnx"), metadata)


if __name__ == "__main__":
    main()
