"""A small writer of ONNX graphs: names tensors, holds the weights, checks and saves the model.

Shared by the converters and by the maker of the tiny test models in this folder.
"""

import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Opset 17 and IR 8 are read by every ONNX Runtime since 1.12, so that the files also serve older installations.
OPSET = 17
IR_VERSION = 8


class Graph:
    """An ONNX graph under construction; tensors are named by strings."""

    def __init__(self, name):
        self.name = name
        self.nodes = []
        self.weights = []
        self.inputs = []
        self.outputs = []

    def input(self, name, shape, dtype=TensorProto.FLOAT):
        """Declares a graph input; a string in `shape` is a dynamic dimension. Returns its name."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name, shape, dtype=TensorProto.FLOAT):
        """Declares the tensor `name` to be a graph output."""
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def constant(self, value, dtype=np.float32):
        """Adds a weight. Returns its name."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def integers(self, *values):
        """Adds an int64 vector (a shape, axes, sizes). Returns its name."""
        return self.constant(values, np.int64)

    def add(self, operator, *inputs, outputs=1, name=None, **attributes):
        """Adds a node. Returns the name of its output, or the list of names when there are several."""
        made = [f"{operator.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        if name is not None:
            made = [name]
        self.nodes.append(helper.make_node(operator, list(inputs), made, **attributes))
        return made if outputs > 1 else made[0]

    def save(self, path, metadata):
        """Checks the model and writes it with its metadata, complete or not at all."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            producer_name="kvs-infer",
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        save_model(model, path, metadata)


def save_model(model, path, metadata):
    """Sets the metadata, checks `model` with its shapes, and writes it by rename, so that no half file is ever seen."""
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    onnx.save(model, path + ".part")
    os.replace(path + ".part", path)


def names_metadata(names):
    """Class names as exporters of YOLO models write them: a dictionary, `{0: 'person', 1: 'bicycle'}`."""
    return repr(dict(enumerate(names)))


def grid_centres(width_cells, height_cells):
    """Centres of the cells of a grid, row by row, in cells: `[2, cells]`, x first."""
    y, x = np.mgrid[0:height_cells, 0:width_cells]
    return np.stack([x.ravel() + 0.5, y.ravel() + 0.5]).astype(np.float32)
