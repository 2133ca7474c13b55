#!/usr/bin/env python3
"""Makes the tiny text recognition models that the tests read with: coloured stripes instead of characters.

usage: tiny_text.py FOLDER

A line is 16 pixels high, BGR, -1..1, and 0 right of its text. Each step looks at 8 columns: their mean colour is compared with
the eight corners of the colour cube, and the likeliest is the class. Black, and what is neither (padding), is the blank.

    class  0 blank  1     2     3     4       5        6     7
    colour black    red   green blue  yellow  magenta  cyan  white
    text            A     b     7     -       U+0E01   U+0E48  space

U+0E01 (KO KAI) and U+0E48 (MAI EK, a tone above a letter) are Thai. The score of a class is the scalar product of the two
colours, +1 or -1 per channel: 3 for the class's own colour, so that its probability is 0.683.

    file                 input             output
    text.onnx            [N, 3, 16, W]     [N, W/8, 8]  probabilities
    text_logits.onnx     [N, 3, 16, W]     scores before the softmax
    text_fp16.onnx       [N, 3, 16, W]     float16 input and output
    text_fixed.onnx      [2, 3, 16, 64]    [2, 8, 8]
    text_no_space.onnx   [N, 3, 16, W]     [N, W/8, 7]  without the class of the space
    text_unnamed.onnx    [N, 3, 16, W]     no characters in its metadata

The characters stand in the metadata as PP-OCR's do: `character`, one per line, without the blank and the space.
"""

import os
import sys

import numpy as np
from onnx import TensorProto

from graph import Graph

HEIGHT_PX, STEP_PX = 16, 8
CHARACTERS = ["A", "b", "7", "-", "\u0e01", "\u0e48"]
# Blue, green, red of the classes' colours.
COLOURS = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]])
# What the blank has ahead, for padding is as near to each colour.
BLANK_AHEAD = 0.05


def text(batch="lines", width="width", half=False, logits=False, classes=len(COLOURS)):
    model = Graph("tiny text")
    dtype, kind = (np.float16, TensorProto.FLOAT16) if half else (np.float32, TensorProto.FLOAT)
    lines = model.input("x", [batch, 3, HEIGHT_PX, width], kind)
    signs = (2 * COLOURS[:classes] - 1).reshape(classes, 3, 1, 1)
    weight = np.broadcast_to(signs / (HEIGHT_PX * STEP_PX), (classes, 3, HEIGHT_PX, STEP_PX))
    ahead = BLANK_AHEAD * (np.arange(classes) == 0)
    scores = model.add(
        "Conv",
        lines,
        model.constant(weight, dtype),
        model.constant(ahead, dtype),
        strides=[HEIGHT_PX, STEP_PX],
    )
    steps = model.add("Squeeze", scores, model.integers(2))
    steps = model.add("Transpose", steps, perm=[0, 2, 1], name="scores" if logits else None)
    if not logits:
        steps = model.add("Softmax", steps, axis=2, name="scores")
    model.output(steps, [batch, width // STEP_PX if isinstance(width, int) else "steps", classes], kind)
    return model


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    characters = {"character": "\n".join(CHARACTERS)}
    models = {
        "text": (text(), characters),
        "text_logits": (text(logits=True), characters),
        "text_fp16": (text(half=True), characters),
        "text_fixed": (text(batch=2, width=64), characters),
        "text_no_space": (text(classes=7), characters),
        "text_unnamed": (text(), {}),
    }
    for name, (model, metadata) in models.items():
        model.save(os.path.join(sys.argv[1], f"{name}.onnx"), metadata)


if __name__ == "__main__":
    main()
