"""INT8 in its place: bytes behind the value that products read, INT8 weights at each product, floats behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import onnx

from ...onnx_graph.bias import bias_add, multiply_bytes
from ...onnx_graph.graph import Graph
from ..plan.plan import Plan
from ..plan.products import Product, replayed
from ..plan.rounded_weights import Rounded
from .scale_migration import divided
from .two_bytes import add_remainder_product, rounding_remainder

__all__ = ["place_int8"]

HEADROOM = 4
"""The range of two bytes, in multiples of what was seen. Where another product reads the first of them alone, it is 1."""
Round = Callable[[Product, int | None, bool], Rounded]
"""Rounds a product's weights: for a scale with so much room, for two bytes or one."""


def place_int8(
    graph: Graph,
    plan: Plan,
    int8_input: str,
    readers: list[tuple[Product, onnx.NodeProto]],
    two_bytes: Collection[str],
    rounded_for: Round,
) -> None:
    """Q behind the value, in front of what moves it about; DQ and INT8 weights at each product, whose nodes are with them.

    Groups of `two_bytes` read a second byte for each value.
    """
    first, value = graph.readers[int8_input][0], int8_input
    twice = [one.group in two_bytes for one, _ in readers]
    room = (HEADROOM if all(twice) else 1) if any(twice) else None
    scale = plan.scale(readers[0][0], room)
    quantum = [graph.constant(f"{int8_input}/scale", np.asarray(scale.scale)), graph.constant(f"{int8_input}/zero", scale.zero)]
    if int8_input in plan.input_scales:
        value = divided(graph, plan, int8_input)
    whole = graph.add(first, "QuantizeLinear", [value, *quantum], f"{int8_input}/int8")
    rest, finer = rounding_remainder(graph, first, value, [whole, *quantum], scale) if room else ("", [])
    for one, node in readers:
        inner = replayed(graph, one, whole)
        rounded = rounded_for(one, room, one.group in two_bytes)
        last = None if plan.target.signed else bias_add(graph, node)
        if last is not None:
            weights, steps, shift = rounded
            multiply_bytes(graph, node, inner, quantum[1], weights, np.asarray(scale.scale * steps, np.float32), shift)
        else:
            graph.replace_input(node, 0, _dequantized(graph, node, inner, quantum))
            _place_weights(graph, one, node, rounded)
        if one.group in two_bytes:
            added = _dequantized(graph, node, replayed(graph, one, rest), finer)
            add_remainder_product(graph, last or node, added, f"{one.name}/rest", f"{one.name}/int8", rounded[1])


def _dequantized(graph: Graph, node: onnx.NodeProto, inner: str, steps: list[str]) -> str:
    made = f"{inner}/float"
    return made if graph.maker(made) else graph.add(node, "DequantizeLinear", [inner, *steps], made)


def _place_weights(graph: Graph, one: Product, node: onnx.NodeProto, rounded: Rounded) -> None:
    whole, steps, shift = rounded
    named: dict[str, Any] = {"int8": whole, "steps": steps, "zeros": np.zeros(len(steps), np.int8)}
    inputs = [graph.constant(f"{one.name}/{key}", value) for key, value in named.items()]
    axis = 0 if node.op_type == "Conv" else 1
    graph.replace_input(node, 1, graph.add(node, "DequantizeLinear", inputs, f"{one.name}/weights", axis=axis))
    for reader in graph.readers[node.output[0]]:
        bias = next((name for name in reader.input if graph.is_constant(name)), None)
        if reader.op_type == "Add" and bias is not None and graph.array(bias).shape == shift.shape:
            index = list(reader.input).index(bias)
            graph.replace_input(reader, index, graph.constant(f"{one.name}/bias", graph.array(bias) + shift))
