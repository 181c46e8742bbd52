"""Two bytes for each value that a product reads: the second holds what rounding to the first left over.

x W = a W + b (-W), where a is x in 8 bits and b what rounding added to it, at most half a step of a, in 8 bits of its own
scale. Both are INT8 products with the same weights, so x counts with 16 bits at twice the cost of one product, where float32
takes four times as long on processors with INT8 dot products. The weights stand in the file once, their opposites are computed
as a model is loaded: where products must be exact (`vivavoce.engines.saturation`), ONNX Runtime opens no model of which two
products read one constant (1.32: "Attempt to replace the existing tensor").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...onnx_graph.graph import Graph
from ..plan.activation_ranges import Scale

__all__ = ["add_remainder_product", "rounding_remainder"]


def rounding_remainder(
    graph: Graph, before: onnx.NodeProto, value: str, rounded: list[str], scale: Scale
) -> tuple[str, list[str]]:
    """What rounding added to a value, half a step at most where nothing was clipped, in 8 bits; their step and zero point.

    `rounded` are the value's bytes, their step and their zero point, which `scale` has too.
    """
    signed = scale.zero.dtype == np.int8
    names = [f"{rounded[0]}/{key}" for key in ("given", "added", "rest")]
    given = graph.add(before, "DequantizeLinear", rounded, names[0])
    added = graph.add(before, "Sub", [given, value], names[1])
    finer = Scale(np.float32(scale.scale / 254), np.array(0, np.int8) if signed else np.array(128, np.uint8))
    quantum = [
        graph.constant(f"{names[2]}/step", np.asarray(finer.scale)),
        graph.constant(f"{names[2]}/middle", finer.zero),
    ]
    return graph.add(before, "QuantizeLinear", [added, *quantum], names[2]), quantum


def add_remainder_product(
    graph: Graph, last: onnx.NodeProto, rest: str, name: str, weights: str, steps: NDArray[np.float32]
) -> None:
    """Adds the product of a remainder to what a node gives: a MatMul, or an Add that gives a product its bias.

    `weights` are the INT8 constant of the first product, which stands in the file once.
    """
    named: dict[str, NDArray[Any]] = {"steps": steps, "zeros": np.zeros(len(steps), np.int8)}
    opposite = graph.add(last, "Neg", [weights], f"{name}/opposite")
    inputs = [opposite, *(graph.constant(f"{name}/{key}", array) for key, array in named.items())]
    matrix = graph.add(last, "DequantizeLinear", inputs, f"{name}/weights", axis=1)
    product = graph.add(last, "MatMul", [rest, matrix], f"{name}/product")
    graph.add_behind(last, product, f"{name}/coarse")
