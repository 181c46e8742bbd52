"""INT8 products with a bias, in the form that ONNX Runtime makes one kernel of, from bytes to biased floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .graph import Graph

__all__ = ["bias_add", "map_bias", "map_outputs", "multiply_bytes"]

Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]

UNIT = "unit"
"""The value of a node that gives 1."""


def bias_add(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The node that adds a bias to the outputs of a product, where no other reads them."""
    readers = graph.readers[node.output[0]]
    if node.op_type != "MatMul" or len(readers) != 1 or readers[0].op_type != "Add" or node.output[0] in graph.outputs:
        return None
    bias = _bias(readers[0], node)
    width = graph.array(node.input[1]).shape[-1:]
    return readers[0] if graph.is_constant(bias) and graph.array(bias).shape == width else None


def map_outputs(graph: Graph, node: onnx.NodeProto, change: Change) -> None:
    """Changes the outputs of a product that has a `bias_add`: its weights and its bias along their last axis."""
    weights = graph.array(node.input[1])
    graph.replace_input(node, 1, graph.constant(f"{node.output[0]}/changed", change(weights)))
    map_bias(graph, node, change)


def map_bias(graph: Graph, node: onnx.NodeProto, change: Change) -> None:
    """Changes the bias of a product that has a `bias_add`."""
    last = bias_add(graph, node)
    assert last is not None
    bias = _bias(last, node)
    changed = graph.constant(f"{last.output[0]}/changed", change(graph.array(bias)))
    graph.replace_input(last, list(last.input).index(bias), changed)


def multiply_bytes(
    graph: Graph,
    node: onnx.NodeProto,
    value: str,
    zero: str,
    weights: NDArray[np.int8],
    scales: NDArray[np.float32],
    shift: NDArray[np.float32],
) -> None:
    """Puts bytes and their zero point, by weights, times the scale of each output, in place of a product with a `bias_add`.

    ONNX Runtime (1.18 and 1.32) makes MatMulIntegerToFloat of it, bias included; of DequantizeLinear, MatMul and Add it leaves
    the bias as another pass over the outputs. It looks for a product of two scales that nothing has computed beforehand: a
    DequantizeLinear is not folded, so one of those gives the scale 1.
    """
    name, last = node.output[0], bias_add(graph, node)
    assert last is not None
    if graph.maker(UNIT) is None:
        numbers: dict[str, Any] = {"int8": np.int8(1), "step": np.float32(1), "zero": np.int8(0)}
        inputs = [graph.constant(f"{UNIT}/{key}", np.asarray(number)) for key, number in numbers.items()]
        # Of a DequantizeLinear that several nodes read, ONNX Runtime makes one for each.
        graph.add(graph.nodes[0], "Abs", [graph.add(graph.nodes[0], "DequantizeLinear", inputs, f"{UNIT}/float")], UNIT)
    whole = graph.constant(f"{name}/int8", weights)
    # Without a zero point of the weights, which no other product reads, ONNX Runtime (1.18 to 1.24) leaves a product as it is
    # where a session asks for exact ones, and it saturates without VNNI.
    middle = graph.constant(f"{name}/zero", np.array(0, np.int8))
    sums = graph.add(last, "MatMulInteger", [value, whole, zero, middle], f"{name}/integers", node.name)
    wide = graph.add(last, "Cast", [sums], f"{name}/wide", to=onnx.TensorProto.FLOAT)
    steps = graph.add(last, "Mul", [UNIT, graph.constant(f"{name}/steps", scales)], f"{name}/scales")
    bias = graph.constant(f"{name}/bias", graph.array(_bias(last, node)) + shift)
    graph.replace_input(last, 0, graph.add(last, "Mul", [wide, steps], f"{name}/scaled"))
    graph.replace_input(last, 1, bias)


def _bias(last: onnx.NodeProto, node: onnx.NodeProto) -> str:
    return next((str(name) for name in last.input if name != node.output[0]), "")
