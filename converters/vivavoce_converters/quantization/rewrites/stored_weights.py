"""Weights stored in 8 bits by products that stay float: written, and read from a model that came with them."""

from __future__ import annotations

import numpy as np
import onnx

from ...onnx_graph.graph import Graph
from ..plan.plan import Bytes, Plan
from ..plan.products import Product
from ..plan.rounded_weights import kept_or_rounded, weighed
from .float16_storage import WORTH_STORING

__all__ = ["store", "unpack", "worth_storing"]


def unpack(graph: Graph, limit: int) -> dict[str, Bytes]:
    """Makes constants of weights that a model stores in 8 bits (`store`); the bytes and steps of those within the limit."""
    found = {}
    for node in [node for node in graph.nodes if node.op_type == "Mul" and graph.is_constant(node.input[1])]:
        cast = graph.maker(node.input[0])
        if cast is None or cast.op_type != "Cast" or not graph.is_constant(cast.input[0]):
            continue
        whole, steps = graph.array(cast.input[0]), graph.array(node.input[1])
        if whole.dtype == np.int8 and whole.ndim == 2:
            name = graph.constant(f"{node.output[0]}/given", np.asarray(whole * steps, np.float32))
            for reader in list(graph.readers[node.output[0]]):
                graph.replace_input(reader, list(reader.input).index(node.output[0]), name)
            # Weights that were rounded for another target may have a bit too many for this one.
            if np.abs(whole).max() <= limit:
                found[name] = whole, steps
    return found


def store(graph: Graph, plan: Plan, one: Product, node: onnx.NodeProto, *, even: bool = False) -> None:
    """INT8 weights for a product that stays float, rounded so that its outputs on what was observed change least.

    `even` tells that what it reads is divided by its scales. No DequantizeLinear makes them float: ONNX Runtime (1.32) has
    a kernel for that which rounds the other operand to 8 bits too and takes half as long again. A Cast and a Mul of
    constants are folded once, as the model is loaded.
    """
    matrix, given = graph.array(node.input[1]), plan.activations[one.input]
    scale = plan.input_scales.get(one.int8_input)
    if scale is not None and even:
        matrix = matrix * scale[:, None]
    elif scale is not None:
        given = given.divided(np.reciprocal(scale))
    whole, steps = kept_or_rounded(plan, one, matrix, weighed(given.rows, given.means))
    names = [graph.constant(f"{one.name}/int8", whole), graph.constant(f"{one.name}/steps", steps)]
    wide = graph.add(node, "Cast", names[:1], f"{one.name}/wide", to=onnx.TensorProto.FLOAT)
    graph.replace_input(node, 1, graph.add(node, "Mul", [wide, names[1]], f"{one.name}/weights"))


def worth_storing(graph: Graph, one: Product) -> bool:
    """Whether a product's weights are worth storing in 8 bits."""
    size = np.prod(graph.array(one.node.input[1]).shape, dtype=np.int64)
    return bool(size >= WORTH_STORING) and one.node.op_type != "Conv"
