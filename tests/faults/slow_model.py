#!/usr/bin/env python3
"""Makes a model slow: its first output gets work that depends on its input and changes nothing.

usage: slow_model.py MODEL SLOW_MODEL PRODUCTS

PRODUCTS matrices of 512 x 512 are multiplied, one after the other: 0.27 thousand million operations each.
"""

import sys
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIDE = 512


def slowed(model: Any, products: int) -> Any:
    graph = model.graph
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["quick" if name == output else name for name in node.output]
    matrix = np.random.default_rng(7).standard_normal((SIDE, SIDE)) / np.sqrt(SIDE)
    graph.initializer.append(numpy_helper.from_array(matrix.astype(np.float32), "slow_matrix"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "slow_zero"))
    graph.node.append(helper.make_node("ReduceMax", [graph.input[0].name], ["slow_seed"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["slow_matrix", "slow_seed"], ["slow_0"]))
    for step in range(products):
        graph.node.append(helper.make_node("MatMul", [f"slow_{step}", "slow_matrix"], [f"slow_{step + 1}"]))
    graph.node.append(helper.make_node("ReduceMax", [f"slow_{products}"], ["slow_all"], keepdims=0))
    graph.node.append(helper.make_node("Mul", ["slow_all", "slow_zero"], ["slow_nothing"]))
    graph.node.append(helper.make_node("Add", ["quick", "slow_nothing"], [output]))
    return model


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    onnx.save(slowed(onnx.load(sys.argv[1]), int(sys.argv[3])), sys.argv[2])
