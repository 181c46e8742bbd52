"""Layer norms of products with few inputs, which those inputs decide alone."""

from __future__ import annotations

import numpy as np
import onnx

from ...onnx_graph.graph import Graph, attribute
from ..plan.products import FEWEST

__all__ = ["fold_norms"]


def fold_norms(graph: Graph) -> None:
    """Lets each product of few inputs give normalised outputs, exactly, so that no pass over the outputs is left.

    With the outputs' mean taken out of the weights W, (inputs, outputs), they have none, and the variance of the outputs of x
    is |x S|² with S Sᵀ = W Wᵀ / outputs, which is as small as x: normalising divides x by its square root.
    """
    for node in graph.nodes:
        product = graph.maker(node.input[0]) if node.op_type == "LayerNormalization" else None
        if product is not None and product.op_type == "MatMul" and attribute(node, "axis", -1) == -1:
            weight = product.input[1]
            if graph.is_constant(weight) and graph.array(weight).ndim == 2 and len(graph.array(weight)) < FEWEST:
                _fold(graph, product, node)


def _fold(graph: Graph, product: onnx.NodeProto, norm: onnx.NodeProto) -> None:
    name, value = norm.name, product.input[0]
    weight = graph.array(product.input[1]).astype(np.float64)
    weight -= weight.mean(axis=1, keepdims=True)
    left, singular, _ = np.linalg.svd(weight, full_matrices=False)

    def add(operator: str, inputs: list[str], key: str) -> str:
        return graph.add(norm, operator, inputs, f"{name}/{key}")

    def constant(key: str, number: object, kind: type = np.float32) -> str:
        return graph.constant(f"{name}/{key}", np.asarray(number, kind))

    spread = constant("spread", left * singular / np.sqrt(weight.shape[1]))
    variance = add("ReduceSumSquare", [add("MatMul", [value, spread], "spreads"), constant("axis", [-1], np.int64)], "variance")
    epsilon = constant("epsilon", attribute(norm, "epsilon", 1e-5))
    value = add("Div", [value, add("Sqrt", [add("Add", [variance, epsilon], "above-0")], "deviation")], "even")
    weight *= graph.array(norm.input[1])
    if len(norm.input) > 2:
        value = add("Pad", [value, constant("more", [0, 0, 0, 0, 0, 1], np.int64), constant("one", 1)], "with-one")
        weight = np.concatenate([weight, graph.array(norm.input[2])[None]])
    graph.remove(norm)
    graph.add(norm, "MatMul", [value, constant("matrix", weight)], norm.output[0], product.name)
