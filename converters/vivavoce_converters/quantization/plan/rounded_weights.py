"""A product's weights in 8 bits, as its plan has them rounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...onnx_graph.graph import Float32, Graph
from .gptq import gptq, round_to_nearest, weight_scales
from .plan import Bytes, Plan
from .products import Product

__all__ = ["Rounded", "kept_or_rounded", "round_for", "weighed"]

Rounded = tuple[NDArray[np.int8], Float32, Float32]
"""A product's INT8 weights, the step of each output channel, and what the rounding takes from its mean output."""
POOLED = 8.0


def round_for(graph: Graph, plan: Plan, one: Product, room: int | None, *, two_bytes: bool) -> Rounded:
    """A product's weights for what it reads: in one byte, of the scale that leaves `room`, or in two, nearly as in float."""
    weights, limit = graph.array(one.weight), plan.target.limit
    if one.node.op_type == "Conv":
        matrix = weights.reshape(len(weights), -1).T
        shift = np.zeros(len(weights), np.float32)
        return round_to_nearest(matrix, limit).T.reshape(weights.shape), weight_scales(matrix, limit), shift
    matrix = weights * plan.input_scales.get(one.int8_input, np.ones(1, np.float32))[:, None]
    activation = plan.activations[one.input]
    rows = activation.rows
    given = rows if two_bytes else plan.scale(one, room).round_trip(rows)
    whole, steps = kept_or_rounded(plan, one, matrix, weighed(given, activation.means))
    shift = (rows.mean(axis=0) @ matrix - given.mean(axis=0) @ (whole * steps)).astype(np.float32)
    return whole, steps, shift


def kept_or_rounded(plan: Plan, one: Product, matrix: Float32, rows: Float32) -> Bytes:
    """A product's weights in 8 bits and their steps: those that the model came with, or rounded for these rows."""
    if one.name in plan.stored:
        return plan.stored[one.name]
    return gptq(matrix, rows, plan.target.limit), weight_scales(matrix, plan.target.limit)


def weighed(rows: Float32, means: Float32) -> Float32:
    """A product's frames, and the means of windows weighed so that they count `POOLED` times as much as all frames together.

    The score is a mean over frames: what rounding does to the mean of a window reaches it, the rest mostly cancels out.
    """
    return np.concatenate([rows, means * np.float32((POOLED * len(rows) / len(means)) ** 0.5)])
