"""TensorRT's rules for Q/DQ graphs: a good graph passes, each rule is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vivavoce.errors import ConfigurationError
from vivavoce_converters.quantization.tensorrt_rules import broken_rules, require_rules

CHANNELS, LENGTH = 4, 64
Change = Callable[[onnx.ModelProto], Any]


def model() -> onnx.ModelProto:
    """x → LayerNormalization → Q/DQ → Conv → Relu → (+ the same convolution's input) → MatMul with weights → y."""
    random = np.random.default_rng(0)
    constants = {
        "gain": np.ones(LENGTH, np.float32),
        "kernel": random.integers(-127, 128, (CHANNELS, CHANNELS, 1)).astype(np.int8),
        "kernel_scale": np.full(CHANNELS, 0.01, np.float32),
        "kernel_zero": np.zeros(CHANNELS, np.int8),
        "bias": np.zeros(CHANNELS, np.float32),
        "matrix": random.integers(-127, 128, (LENGTH, 8)).astype(np.int8),
        "matrix_scale": np.full(8, 0.01, np.float32),
        "matrix_zero": np.zeros(8, np.int8),
        "scale": np.array(0.02, np.float32),
        "zero": np.array(0, np.int8),
        "shape": np.array([1, -1], np.int64),
    }
    make = helper.make_node
    nodes = [
        make("LayerNormalization", ["x", "gain"], ["normal"], name="norm"),
        make("QuantizeLinear", ["normal", "scale", "zero"], ["q1"], name="q1"),
        make("DequantizeLinear", ["q1", "scale", "zero"], ["dq1"], name="dq1"),
        make("DequantizeLinear", ["kernel", "kernel_scale", "kernel_zero"], ["weights"], name="kernel_dq", axis=0),
        make("Conv", ["dq1", "weights", "bias"], ["convolved"], name="conv"),
        make("Relu", ["convolved"], ["positive"], name="relu"),
        make("Add", ["positive", "normal"], ["sum"], name="add"),
        make("QuantizeLinear", ["sum", "scale", "zero"], ["q2"], name="q2"),
        make("DequantizeLinear", ["q2", "scale", "zero"], ["dq2"], name="dq2"),
        make("DequantizeLinear", ["matrix", "matrix_scale", "matrix_zero"], ["dense"], name="matrix_dq", axis=1),
        make("MatMul", ["dq2", "dense"], ["product"], name="matmul"),
        make("Reshape", ["product", "shape"], ["y"], name="reshape"),
    ]
    graph = helper.make_graph(
        nodes,
        "good",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, LENGTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, None])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def node(changed: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(one for one in changed.graph.node if one.name == name)


def constant(name: str, value: Any) -> Change:
    def change(changed: onnx.ModelProto) -> None:
        (old,) = [tensor for tensor in changed.graph.initializer if tensor.name == name]
        old.CopyFrom(numpy_helper.from_array(np.asarray(value), name))

    return change


def reads(name: str, index: int, value: str) -> Change:
    def change(changed: onnx.ModelProto) -> None:
        node(changed, name).input[index] = value

    return change


def becomes(name: str, op_type: str, domain: str = "") -> Change:
    def change(changed: onnx.ModelProto) -> None:
        node(changed, name).op_type, node(changed, name).domain = op_type, domain

    return change


def all_of(*changes: Change) -> Change:
    return lambda changed: [change(changed) for change in changes]


def int32_bias(changed: onnx.ModelProto) -> None:
    constants = {"bias": np.zeros(4, np.int32), "bias_scale": np.full(4, 1e-4, np.float32), "bias_zero": np.zeros(4, np.int32)}
    constant("bias", constants["bias"])(changed)
    changed.graph.initializer.extend(numpy_helper.from_array(constants[name], name) for name in ("bias_scale", "bias_zero"))
    dequantizer = helper.make_node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["float_bias"], "bias_dq", axis=0)
    changed.graph.node.insert(0, dequantizer)
    reads("conv", 2, "float_bias")(changed)


def shape_from_samples(changed: onnx.ModelProto) -> None:
    changed.graph.node.insert(
        len(changed.graph.node) - 1, helper.make_node("Cast", ["product"], ["guess"], "cast", to=TensorProto.INT64)
    )
    reads("reshape", 1, "guess")(changed)


def quantized_normalization(changed: onnx.ModelProto) -> None:
    pair = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q0"], "q0"),
        helper.make_node("DequantizeLinear", ["q0", "scale", "zero"], ["dq0"], "dq0"),
    ]
    for index, one in enumerate(pair):
        changed.graph.node.insert(index, one)
    reads("norm", 0, "dq0")(changed)


def dangling(changed: onnx.ModelProto) -> None:
    changed.graph.node.append(helper.make_node("QuantizeLinear", ["product", "scale", "zero"], ["unread"], "q3"))


BREAKS: dict[str, tuple[Change, str]] = {
    "asymmetric activation": (constant("zero", np.array(3, np.int8)), "q1: its zero point is not 0"),
    "asymmetric weights": (constant("kernel_zero", np.array([0, 1, 0, 0], np.int8)), "kernel_dq: its zero point is not 0"),
    "unsigned": (constant("zero", np.array(0, np.uint8)), "not of signed INT8 but of uint8"),
    "no zero point": (lambda changed: node(changed, "q1").input.pop(), "q1: it is not of signed INT8"),
    "scale 0": (constant("scale", np.array(0, np.float32)), "q1: its scale is not a positive constant"),
    "scale from samples": (reads("q2", 1, "positive"), "q2: its scale is not a positive constant"),
    "activation by channel": (
        all_of(constant("scale", np.full(4, 0.02, np.float32)), constant("zero", np.zeros(4, np.int8))),
        "q1: an activation has a scale for each channel",
    ),
    "dangling quantizer": (dangling, "q3: nothing computes with its output"),
    "quantizer without dequantizer": (reads("relu", 0, "q1"), "q1: its output goes elsewhere"),
    "dequantizer of nothing": (reads("dq2", 0, "sum"), "dq2: its input comes neither"),
    "output quantized": (reads("relu", 0, "dq1"), "dq1: Relu (relu) does not compute in INT8"),
    "normalization quantized": (quantized_normalization, "dq0: LayerNormalization (norm) reads quantized values"),
    "one operand in float": (reads("matmul", 0, "sum"), "matmul: one of its operands is quantized, the other is not"),
    "bias in INT32": (int32_bias, "conv: its bias is quantized"),
    "weights by tensor": (
        all_of(constant("kernel_scale", np.float32(0.01)), constant("kernel_zero", np.int8(0))),
        "conv: its weights do not have one scale for each output channel (axis 0)",
    ),
    "weights by the wrong axis": (
        lambda changed: node(changed, "matrix_dq").attribute[0].CopyFrom(helper.make_attribute("axis", 0)),
        "matmul: its weights do not have one scale for each output channel (axis 1)",
    ),
    "residual half quantized": (reads("add", 1, "dq1"), "add: one of the values added is quantized, the other is not"),
    "operator that nobody imports": (becomes("relu", "Unique"), "relu: TensorRT's parser does not take the operator"),
    "operator of ONNX Runtime": (becomes("relu", "FastGelu", "com.microsoft"), "com.microsoft.FastGelu"),
    "shape from samples": (shape_from_samples, "reshape: the shape of its output depends on samples, through guess"),
}


def test_a_graph_that_keeps_the_rules_passes() -> None:
    assert broken_rules(model()) == []
    require_rules(model(), "good.onnx")


@pytest.mark.parametrize("name", BREAKS)
def test_each_broken_rule_is_found(name: str) -> None:
    change, expected = BREAKS[name]
    changed = model()
    change(changed)
    assert any(expected in problem for problem in broken_rules(changed))
    with pytest.raises(ConfigurationError, match=r"bad\.onnx is not for TensorRT"):
        require_rules(changed, "bad.onnx")


def test_a_graph_in_a_graph_is_refused() -> None:
    changed = model()
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])])
    node(changed, "relu").attribute.append(helper.make_attribute("body", inner))
    assert broken_rules(changed) == ["relu: it holds a graph of its own, whose shapes depend on values"]
