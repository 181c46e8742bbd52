"""TensorRT's rules for explicit INT8, checked on an ONNX graph alone: no GPU and no TensorRT is needed.

The rules are those of NVIDIA's documentation ("Working with Quantized Types", TensorRT 11.4) and of its ONNX parser. A graph
that breaks one is refused by the parser, or runs in float where it looks like INT8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from vivavoce.errors import ConfigurationError

from ..onnx_graph.graph import Graph, attribute

__all__ = ["broken_rules", "require_rules"]

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# Operators that take INT8 inputs, and the axis of their constant second input along which output channels lie.
OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": 0}
NORMALIZING = ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "BatchNormalization", "Softmax")
# Inputs that say how large an output is or what it is taken from: TensorRT must know them before any sample is there.
SHAPE_INPUTS = {
    **{"Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "TopK": (1,), "Pad": (1,), "Range": (0, 1, 2)},
    **{"Slice": (1, 2, 3, 4), "Squeeze": (1,), "Unsqueeze": (1,), "Split": (1,), "ReduceSum": (1,), "ReduceMean": (1,)},
}
# What TensorRT's ONNX parser imports, without what has a size that depends on values (NonZero, If, Loop, ...). The parser of
# TensorRT for RTX 1.7 was asked for each.
OPERATORS = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos CumSum DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND
    Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid Identity
    InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mul Neg Not
    Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Split Sqrt
    Squeeze Sub Sum Tan Tanh Tile TopK Transpose Unsqueeze Where Xor
"""
SUPPORTED = frozenset(OPERATORS.split())


def require_rules(model: onnx.ModelProto, name: str) -> None:
    """Raises ConfigurationError where the graph of `name` breaks a rule, with the first of them."""
    broken = broken_rules(model)
    if broken:
        others = f" ({len(broken) - 1} more)" if broken[1:] else ""
        raise ConfigurationError(
            f"{name} is not for TensorRT: {broken[0]}{others}. Quantize the float32 engine for the target: tensorrt."
        )


def broken_rules(model: onnx.ModelProto) -> list[str]:
    """Every rule that the graph breaks, as "node: what is wrong", in the graph's order; empty where TensorRT may take it.

    A model without Q/DQ nodes is checked for its operators and shapes only.
    """
    graph = Graph(model)
    return [
        f"{node.name or node.output[0]}: {problem}"
        for node in model.graph.node
        for rule in (_operator, _shape, _scale, _pairing, _weighted, _addition)
        for problem in rule(node, graph)
    ]


def _value(graph: Graph, name: str) -> NDArray[Any] | None:
    """What a value is where it is constant."""
    return graph.array(name) if graph.is_constant(name) else None


def _dequantizer(graph: Graph, name: str) -> onnx.NodeProto | None:
    """The DequantizeLinear that makes a value, if one does."""
    maker = graph.maker(name)
    return maker if maker is not None and maker.op_type == DEQUANTIZE else None


def _known_before_samples(graph: Graph, name: str) -> bool:
    """Whether a value follows from constants and shapes alone."""
    if not name or graph.is_constant(name):
        return True
    maker = graph.maker(name)
    if maker is None:
        return False
    return maker.op_type in ("Shape", "Size", "Constant") or all(_known_before_samples(graph, one) for one in maker.input)


def _operator(node: onnx.NodeProto, graph: Graph) -> Iterator[str]:
    if node.domain not in ("", "ai.onnx") or node.op_type not in SUPPORTED:
        yield f"TensorRT's parser does not take the operator {node.domain or 'ai.onnx'}.{node.op_type}"
    if any(one.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for one in node.attribute):
        yield "it holds a graph of its own, whose shapes depend on values"


def _shape(node: onnx.NodeProto, graph: Graph) -> Iterator[str]:
    for index in SHAPE_INPUTS.get(node.op_type, ()):
        if index < len(node.input) and not _known_before_samples(graph, node.input[index]):
            yield f"the shape of its output depends on samples, through {node.input[index]}"


def _scale(node: onnx.NodeProto, graph: Graph) -> Iterator[str]:
    """Symmetric INT8 with a constant, positive scale; per channel for weights only."""
    if node.op_type not in (QUANTIZE, DEQUANTIZE):
        return
    scale = _value(graph, node.input[1])
    if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
        yield "its scale is not a positive constant"
    zero = _value(graph, node.input[2]) if len(node.input) > 2 else None
    if zero is None or zero.dtype != np.int8:
        yield "it is not of signed INT8" + (f" but of {zero.dtype}" if zero is not None else "")
    elif zero.any():
        yield "its zero point is not 0"
    if scale is not None and scale.ndim and not graph.is_constant(node.input[0]) and scale.size > 1:
        yield "an activation has a scale for each channel"


def _pairing(node: onnx.NodeProto, graph: Graph) -> Iterator[str]:
    """A Q feeds DQs, a DQ what computes in INT8, and neither stands alone."""
    if node.op_type not in (QUANTIZE, DEQUANTIZE):
        return
    users = graph.readers[node.output[0]]
    if not users or node.output[0] in graph.outputs:
        yield "nothing computes with its output"
    if node.op_type == QUANTIZE:
        if any(user.op_type != DEQUANTIZE for user in users):
            yield "its output goes elsewhere than to a DequantizeLinear"
        return
    source = graph.maker(node.input[0])
    if not graph.is_constant(node.input[0]) and (source is None or source.op_type != QUANTIZE):
        yield "its input comes neither from a QuantizeLinear nor from weights"
    for user in users:
        if user.op_type in NORMALIZING:
            yield f"{user.op_type} ({user.name}) reads quantized values"
        elif user.op_type not in OUTPUT_AXIS and user.op_type != "Add":
            yield f"{user.op_type} ({user.name}) does not compute in INT8"


def _weighted(node: onnx.NodeProto, graph: Graph) -> Iterator[str]:
    """Both operands in INT8 or neither, constant weights by output channel, the bias in float."""
    if node.op_type not in OUTPUT_AXIS:
        return
    first, second = (_dequantizer(graph, name) for name in node.input[:2])
    if (first is None) != (second is None):
        yield "one of its operands is quantized, the other is not"
    if len(node.input) > 2 and _dequantizer(graph, node.input[2]) is not None:
        yield "its bias is quantized"
    if second is not None and graph.is_constant(second.input[0]):
        yield from _per_channel(node, second, graph)


def _per_channel(node: onnx.NodeProto, weights: onnx.NodeProto, graph: Graph) -> Iterator[str]:
    values, scale = _value(graph, weights.input[0]), _value(graph, weights.input[1])
    assert values is not None
    wanted = OUTPUT_AXIS[node.op_type] % values.ndim
    if node.op_type == "Gemm" and not attribute(node, "transB", 0):
        wanted = 1
    axis = attribute(weights, "axis", 1) % values.ndim
    if scale is not None and (scale.ndim != 1 or axis != wanted or scale.size != values.shape[wanted]):
        yield f"its weights do not have one scale for each output channel (axis {wanted})"


def _addition(node: onnx.NodeProto, graph: Graph) -> Iterator[str]:
    if node.op_type == "Add" and len({_dequantizer(graph, name) is None for name in node.input}) > 1:
        yield "one of the values added is quantized, the other is not"
