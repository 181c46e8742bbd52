"""An attention's values: a channel's scale goes through the mixing, so it can be set where the values are made.

softmax(S) (V D) = (softmax(S) V) D for any diagonal D, within each head. Dividing the channels that attention gives by scales
thus costs nothing: the product that makes the values is divided instead, and its bias.
"""

from __future__ import annotations

import onnx

from .bias import bias_add
from .graph import MOVING, Graph

__all__ = ["attention_value_product"]

BETWEEN = (*MOVING, "Gather", "Expand")
"""What lies between a product and attention, where heads are parted and a stream's past is put in front."""


def attention_value_product(graph: Graph, name: str) -> onnx.NodeProto | None:
    """The product, with a bias, of which attention mixes the outputs to make a value, channel by channel; None where the value
    is no attention's, and where others read the product."""
    mixed = graph.maker(name)
    while mixed is not None and mixed.op_type in BETWEEN:
        mixed = graph.maker(mixed.input[0])
    if mixed is None or mixed.op_type != "MatMul":
        return None
    weights = graph.maker(mixed.input[0])
    if weights is None or weights.op_type != "Softmax":
        return None
    found = _sources(graph, mixed.input[1])
    if len(found) != 1 or bias_add(graph, found[0]) is None:
        return None
    return found[0] if _read_by(graph, found[0]) == {id(mixed)} else None


def _sources(graph: Graph, name: str) -> list[onnx.NodeProto]:
    """The products with constant weights that a value is moved from, through biases; inputs of the graph do not count."""
    maker = graph.maker(name)
    if maker is None:
        return []
    if maker.op_type == "MatMul" and graph.is_constant(maker.input[1]):
        return [maker]
    if maker.op_type not in (*BETWEEN, "Add"):
        return []
    given = maker.input if maker.op_type in ("Concat", "Add") else maker.input[:1]
    return [found for one in given for found in _sources(graph, one)]


def _read_by(graph: Graph, node: onnx.NodeProto) -> set[int]:
    """The nodes that compute with a product's outputs, behind its bias and what only moves them."""
    found: set[int] = set()
    pending = [bias_add(graph, node) or node]
    while pending:
        for reader in graph.readers[pending.pop().output[0]]:
            if reader.op_type in BETWEEN:
                pending.append(reader)
            else:
                found.add(id(reader))
    return found
