"""A long convolution in three of half the length: the same outputs, at any number of frames."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from vivavoce_converters import fast_fir
from vivavoce_converters.fast_fir import split_long_kernels
from vivavoce_converters.graphs import Graph

CHANNELS, GROUPS = 6, 3


def convolution(taps: int, padding: tuple[int, int], *, bias: bool, **attributes: list[int]) -> onnx.ModelProto:
    rng = np.random.default_rng(taps)
    constants = {"w": rng.standard_normal((CHANNELS, CHANNELS // GROUPS, taps)), "b": rng.standard_normal(CHANNELS)}
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    node = helper.make_node(
        "Conv", inputs, ["y"], name="conv", group=GROUPS, pads=list(padding), kernel_shape=[taps], **attributes
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", CHANNELS, "t"])],
        [helper.make_tensor_value_info("y", 1, ["n", CHANNELS, "u"])],
        [numpy_helper.from_array(constants[name].astype(np.float32), name) for name in inputs[1:]],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def split(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = Graph(changed)
    split_long_kernels(graph)
    return graph.finish()


@settings(max_examples=40, deadline=None)
@given(
    half=st.integers(1, 6),
    padding=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    frames=st.integers(12, 23),
    bias=st.booleans(),
)
def test_the_outputs_are_the_same(half: int, padding: tuple[int, int], frames: int, bias: bool) -> None:
    model = convolution(2 * half, padding, bias=bias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_fir, "LONGEST", 1)
        made = split(model)
    onnx.checker.check_model(made, full_check=True)
    kernels = [node.attribute for node in made.graph.node if node.op_type == "Conv"]
    assert len(kernels) == 3
    x = np.random.default_rng(frames).standard_normal((2, CHANNELS, frames)).astype(np.float32)
    sessions = [
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]) for one in (model, made)
    ]
    expected, found = (session.run(None, {"x": x})[0] for session in sessions)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    "model",
    [
        convolution(fast_fir.LONGEST, (3, 3), bias=True),
        convolution(fast_fir.LONGEST + 1, (3, 3), bias=True),
        convolution(fast_fir.LONGEST + 2, (3, 3), bias=True, strides=[2]),
        convolution(fast_fir.LONGEST + 2, (3, 3), bias=True, dilations=[2]),
    ],
    ids=["short", "odd", "strided", "dilated"],
)
def test_others_are_left_alone(model: onnx.ModelProto) -> None:
    assert split(model).SerializeToString() == model.SerializeToString()
