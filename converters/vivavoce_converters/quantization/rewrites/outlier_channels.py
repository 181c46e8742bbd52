"""Outlying channels apart: the few inputs of a product that dwarf the others stay float, so that 8 bits serve the others.

x W = x' W' + x_O W_O, where O are the channels of the largest values and W' has zeros in their rows (Dettmers, Lewis, Belkada,
Zettlemoyer, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", NeurIPS 2022, section 3.2; arXiv 2208.07339).
Here the channels are chosen once, for all inputs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from ...onnx_graph.bias import bias_add, map_outputs
from ...onnx_graph.graph import Graph
from ..plan.plan import Plan
from ..plan.products import FEWEST, Product
from ..plan.smoothquant import Operand, rounding_error

__all__ = ["outlier_channels", "rows_made_by", "split_channels", "split_outliers"]

Channels = NDArray[np.intp]
WORTH = 0.75
"""What parting must leave of the rounding error at most: it takes about a twentieth of a product's time, a second byte for
each value takes as long as the first."""
SHARE = 16
"""How many times as many inputs there must be as may be parted: of fewer than 256, sixteen would be no outliers."""


def split_outliers(graph: Graph, plan: Plan) -> Plan:
    """Parts the outlying channels of products with more inputs than outputs, whose outputs are quickly passed over."""
    if plan.target.tensorrt:
        return plan
    for one in plan.products:
        inputs, outputs = graph.array(one.weight).shape
        if one.input == one.int8_input and inputs > outputs and one.name not in plan.stored:
            channels = outlier_channels(plan.operand(graph, one.int8_input), **plan.target.rules)
            if len(channels):
                order = split_channels(graph, one, channels, plan.stored)
                reordered = plan.activations[one.input].reordered(order)
                plan = replace(plan, activations={**plan.activations, one.input: reordered})
    return plan


def outlier_channels(operand: Operand, *, signed: bool, symmetric: bool) -> Channels:
    """The channels to part, of the largest peaks; none of fewer than 256 inputs, and none where that would leave most of what
    rounding does to the products.

    A product of so few inputs takes the time of writing its outputs, so it is always as many as that allows.
    """
    if len(operand.weights) < SHARE * FEWEST:
        return np.array([], np.intp)
    chosen = np.sort(np.argsort(operand.activation.peaks)[-FEWEST:])
    weights = operand.weights.copy()
    weights[chosen] = 0
    parted = Operand(operand.activation.without(chosen), weights, operand.layer_class, operand.movable)
    after, before = (rounding_error(one, operand, signed=signed, symmetric=symmetric) for one in (parted, operand))
    return chosen if after <= WORTH * before else chosen[:0]


def split_channels(graph: Graph, one: Product, channels: Channels, kept: Collection[str] = ()) -> Channels:
    """Gives the channels to a product of their own, whose outputs are added behind the bias.

    Where another product makes the channels, and an activation alone is between, they become the last ones: a Slice takes a
    quarter of the time of a Gather. `kept` are the products whose weights stay as they are. Gives the order in which the
    channels are read from then on.
    """
    node, weights = one.node, graph.array(one.weight)
    order, before = np.arange(len(weights)), rows_made_by(graph, one, kept)
    if before is not None:
        order = np.append(np.delete(order, channels), channels)
        map_outputs(graph, before, lambda array: array[..., order])
        weights, channels = weights[order], np.arange(len(order))[-len(channels) :]
    rest = weights.copy()
    rest[channels] = 0
    graph.replace_input(node, 1, graph.constant(f"{one.name}/others", rest))
    last = bias_add(graph, node) or node
    if before is not None:
        bounds = {"starts": channels[0], "ends": len(order), "axes": -1}
        which = [graph.constant(f"{one.name}/{key}", np.array([number])) for key, number in bounds.items()]
        few = graph.add(last, "Slice", [one.input, *which], f"{one.name}/few")
    else:
        few = graph.add(last, "Gather", [one.input, graph.constant(f"{one.name}/which", channels)], f"{one.name}/few", axis=-1)
    theirs = graph.constant(f"{one.name}/theirs", weights[channels])
    product = graph.add(last, "MatMul", [few, theirs], f"{one.name}/outliers")
    graph.add_behind(last, product, f"{one.name}/inliers")
    return order


def rows_made_by(graph: Graph, one: Product, kept: Collection[str]) -> onnx.NodeProto | None:
    """The product that makes each channel that another reads, through its bias and an activation, and for no other reader; None
    where there is none and where it is `kept`."""
    activation = graph.maker(one.input)
    if activation is None or activation.op_type not in ("Gelu", "Relu") or graph.readers[one.input] != [one.node]:
        return None
    biased = graph.maker(activation.input[0])
    if biased is None or graph.readers[biased.output[0]] != [activation]:
        return None
    found = [maker for name in biased.input if (maker := graph.maker(name)) is not None]
    if len(found) != 1 or not graph.is_constant(found[0].input[-1]) or found[0].output[0] in kept:
        return None
    return found[0] if bias_add(graph, found[0]) is biased else None
