"""Graphs to rewrite, and a graph rewritten, beside the one that it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from vivavoce_converters.onnx_graph.graph import Graph


def rewritten(original: onnx.ModelProto, rewrite: Callable[[Graph], object]) -> onnx.ModelProto:
    """A model after a rewriting; the original stays as it is."""
    changed = onnx.ModelProto()
    changed.CopyFrom(original)
    graph = Graph(changed)
    rewrite(graph)
    return graph.finish()


def product_model(path: Path, weights: NDArray[np.float32], bias: NDArray[np.float32] | None) -> Path:
    """A file with one product of "samples" (1, frames, inputs), and a bias where there is one."""
    helper = onnx.helper
    nodes = [helper.make_node("MatMul", ["samples", "weights"], ["product" if bias is not None else "out"], "product")]
    constants = [onnx.numpy_helper.from_array(weights, "weights")]
    if bias is not None:
        nodes.append(helper.make_node("Add", ["product", "bias"], ["out"], "add"))
        constants.append(onnx.numpy_helper.from_array(bias, "bias"))
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, None, width])
        for name, width in zip(("samples", "out"), weights.shape, strict=True)
    ]
    graph = helper.make_graph(nodes, "product", values[:1], values[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def inexact_products(model: onnx.ModelProto) -> list[str]:
    """Products of bytes that ONNX Runtime cannot make exact without VNNI, or cannot load there: their weights or the zero point
    of those are read by another too, or there is no such zero point."""
    matrices = {one.name for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1}
    read = {
        node.output[0]: names
        for node in model.graph.node
        for names in [
            (*node.input[1:2], *node.input[3:]) if node.op_type == "MatMulInteger" else (*node.input[:1], *node.input[2:])
        ]
        if node.op_type in ("MatMulInteger", "DequantizeLinear") and names[0] in matrices
    }
    everything = [name for names in read.values() for name in names]
    return [output for output, names in read.items() if len(names) < 2 or any(everything.count(name) > 1 for name in names)]
