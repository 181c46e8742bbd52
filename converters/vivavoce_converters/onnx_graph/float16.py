"""Mixed precision: a float32 ONNX model, with or without INT8, to one that computes in float16 where float16 is enough."""

from __future__ import annotations

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from vivavoce.errors import ConfigurationError

from .graph import Graph

__all__ = ["mixed_precision"]

FLOAT32_OPERATORS = ("LayerNormalization", "Softmax")
"""Sums over many values: float16 overflows in the first (TensorRT issues 2922 and 3657), and loses small terms in both."""


def mixed_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in float16, `model` left as it is; inputs and outputs stay float32.

    Float32 as well stay normalisation, softmax, and whatever leads to a logarithm: a spectrogram's powers go down to 1e-10,
    where float16 ends at 6e-8. Raises ConfigurationError for an INT8 model of an opset before 19, whose scales are float32.
    """
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if opset < 19 and any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        raise ConfigurationError(f"Opset {opset} has no float16 beside INT8; 19 is the first. Leave the rest in float32.")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    spectral = sorted({node.name for node in Graph(copy).leading_to("Log")})
    made: onnx.ModelProto = convert_float_to_float16(
        copy, keep_io_types=True, op_block_list=list(FLOAT32_OPERATORS), node_block_list=spectral
    )
    _join_float32(made.graph)
    OnnxModel(made).topological_sort()
    onnx.checker.check_model(made)
    return made


def _join_float32(graph: onnx.GraphProto) -> None:
    """Removes the casts to float16 and back between two nodes that both compute in float32."""
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        for index, name in enumerate(node.input):
            up = makers.get(name)
            down = makers.get(up.input[0]) if up is not None and _casts(up, TensorProto.FLOAT) else None
            if down is not None and _casts(down, TensorProto.FLOAT16):
                node.input[index] = down.input[0]
    for target in (TensorProto.FLOAT, TensorProto.FLOAT16):
        read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        for node in [n for n in graph.node if _casts(n, target) and n.output[0] not in read]:
            graph.node.remove(node)


def _casts(node: onnx.NodeProto, target: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == target
