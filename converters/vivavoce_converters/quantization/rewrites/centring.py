"""Centred channels: the middle of each channel's range moves into biases, so that all channels share a narrower range.

x W + b = (x - z) W + (b + z W), where z are the middles of what was seen (Wei, Zhang, Li, Zhang, Gong, Guo, Liu, "Outlier
Suppression+", EMNLP 2023, section 4.1; arXiv 2304.09145). It is exact in float and costs nothing where what makes x has a bias
of its own: a layer norm, or the values that attention mixes, whose weights add up to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...onnx_graph.attention import mixed_values
from ...onnx_graph.bias import adder, change_bias
from ...onnx_graph.graph import Graph
from ..plan.plan import Plan
from ..plan.products import Product

__all__ = ["centre", "centre_channels"]


def centre_channels(graph: Graph, plan: Plan) -> Plan:
    """Moves the middle of each channel's range into biases where that costs nothing."""
    for entry in plan.entries():
        readers = plan.readers(entry)
        activation = plan.activations[readers[0].reads]
        if centre(graph, entry, readers, activation.middle):
            plan = replace(plan, activations={**plan.activations, entry: activation.shifted(-activation.middle)})
    return plan


def centre(graph: Graph, entry: str, readers: Sequence[Product], middle: NDArray[np.float32]) -> bool:
    """Takes `middle` (channels,) out of a value, and puts what its products lose by that into their biases; False, and nothing
    is changed, where others read the value or what makes it has no bias."""
    plain = all(one.reads == entry and one.node.op_type == "MatMul" for one in readers)
    if not plain or len(graph.readers[entry]) != len(readers) or entry in graph.outputs:
        return False
    norm, values = graph.maker(entry), mixed_values(graph, entry)
    if norm is not None and norm.op_type == "LayerNormalization" and len(norm.input) == 3:
        # A new constant, for equal ones of several layers may be one and the same in the file.
        graph.replace_input(norm, 2, graph.constant(f"{entry}/centred", graph.array(norm.input[2]) - middle))
    elif values is not None:
        change_bias(graph, values, lambda bias: bias - middle)
    else:
        return False
    for one in readers:
        lost = middle @ graph.array(one.weight)
        if adder(graph, one.node) is not None:
            change_bias(graph, one.node, partial(np.add, lost))
        else:
            graph.add_behind(one.node, graph.constant(f"{one.name}/lost", lost), f"{one.name}/centred")
    return True
