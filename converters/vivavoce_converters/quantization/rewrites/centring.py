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

from ...onnx_graph.attention import attention_value_product
from ...onnx_graph.bias import bias_add, map_bias
from ...onnx_graph.graph import Graph
from ..plan.plan import Plan
from ..plan.products import Product

__all__ = ["centre", "centre_channels"]


def centre_channels(graph: Graph, plan: Plan) -> Plan:
    """Moves the middle of each channel's range into biases where that costs nothing."""
    for int8_input in plan.int8_inputs():
        readers = plan.readers(int8_input)
        activation = plan.activations[readers[0].input]
        if centre(graph, int8_input, readers, activation.middle):
            plan = replace(plan, activations={**plan.activations, int8_input: activation.shifted(-activation.middle)})
    return plan


def centre(graph: Graph, int8_input: str, readers: Sequence[Product], middle: NDArray[np.float32]) -> bool:
    """Takes `middle` (channels,) out of a value, and puts what its products lose by that into their biases; False, and nothing
    is changed, where others read the value or what makes it has no bias."""
    plain = all(one.input == int8_input and one.node.op_type == "MatMul" for one in readers)
    if not plain or len(graph.readers[int8_input]) != len(readers) or int8_input in graph.outputs:
        return False
    norm, values = graph.maker(int8_input), attention_value_product(graph, int8_input)
    if norm is not None and norm.op_type == "LayerNormalization" and len(norm.input) == 3:
        # A new constant, for equal ones of several layers may be one and the same in the file.
        graph.replace_input(norm, 2, graph.constant(f"{int8_input}/centred", graph.array(norm.input[2]) - middle))
    elif values is not None:
        map_bias(graph, values, lambda bias: bias - middle)
    else:
        return False
    for one in readers:
        lost = middle @ graph.array(one.weight)
        if bias_add(graph, one.node) is not None:
            map_bias(graph, one.node, partial(np.add, lost))
        else:
            graph.add_behind(one.node, graph.constant(f"{one.name}/lost", lost), f"{one.name}/centred")
    return True
