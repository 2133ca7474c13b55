#!/usr/bin/env python3
"""Makes a model endless: its first inference, by which it is loaded, never ends.

usage: endless_model.py MODEL ENDLESS_MODEL
"""

import sys
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def endless(model: Any) -> Any:
    graph = model.graph
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["quick" if name == output else name for name in node.output]

    def value(name: str, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, [])

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["endless_on"], ["endless_still"]),
            helper.make_node("Identity", ["endless_in"], ["endless_out"]),
        ],
        "endless_body",
        [value("endless_turn", TensorProto.INT64), value("endless_on", TensorProto.BOOL), value("endless_in")],
        [value("endless_still", TensorProto.BOOL), value("endless_out")],
    )
    graph.initializer.append(numpy_helper.from_array(np.array(True), "endless_true"))
    graph.node.append(helper.make_node("ReduceMax", [graph.input[0].name], ["endless_seed"], keepdims=0))
    graph.node.append(helper.make_node("Loop", ["", "endless_true", "endless_seed"], ["endless_all"], body=body))
    graph.node.append(helper.make_node("Add", ["quick", "endless_all"], [output]))
    return model


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    onnx.save(endless(onnx.load(sys.argv[1])), sys.argv[2])
