"""A long convolution from spectra: the same outputs, at any number of frames."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from rewriting import rewritten

from vivavoce_converters.onnx_graph.graph import attribute, session
from vivavoce_converters.quantization.rewrites import long_convolutions
from vivavoce_converters.quantization.rewrites.long_convolutions import transform_long_kernels

CHANNELS, GROUPS = 6, 3


def convolution(
    taps: int, padding: tuple[int, int], *, bias: bool, channels: int = CHANNELS, groups: int = GROUPS, **attributes: list[int]
) -> onnx.ModelProto:
    rng = np.random.default_rng(taps)
    constants = {"w": rng.standard_normal((channels, channels // groups, taps)), "b": rng.standard_normal(channels)}
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    node = helper.make_node(
        "Conv", inputs, ["y"], name="conv", group=groups, pads=list(padding), kernel_shape=[taps], **attributes
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", channels, "t"])],
        [helper.make_tensor_value_info("y", 1, ["n", channels, "u"])],
        [numpy_helper.from_array(constants[name].astype(np.float32), name) for name in inputs[1:]],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@settings(max_examples=40, deadline=None)
@given(
    blocks=st.integers(1, 4),
    length=st.integers(1, 4),
    padding=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    frames=st.integers(16, 27),
    bias=st.booleans(),
)
def test_the_outputs_are_the_same(blocks: int, length: int, padding: tuple[int, int], frames: int, bias: bool) -> None:
    model = convolution(blocks * length, padding, bias=bias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_convolutions, "SHORTEST", 0)
        patch.setattr(long_convolutions, "BLOCK", length)
        made = rewritten(model, transform_long_kernels)
    onnx.checker.check_model(made, full_check=True)
    assert [attribute(node, "group", 1) for node in made.graph.node if node.op_type == "Conv"] == [GROUPS * (length + 1)]
    x = np.random.default_rng(frames).standard_normal((2, CHANNELS, frames)).astype(np.float32)
    expected, found = (session(one.SerializeToString()).run(None, {"x": x})[0] for one in (model, made))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_rounding_is_that_of_the_convolution() -> None:
    """Against float64, at the size of XLS-R's groups: 64 inputs and 128 taps."""
    model = convolution(128, (64, 64), bias=True, channels=128, groups=2)
    x = np.random.default_rng(0).standard_normal((1, 128, 201)).astype(np.float32)
    weight, bias = (torch.from_numpy(numpy_helper.to_array(tensor).copy()).double() for tensor in model.graph.initializer)
    exact = torch.nn.functional.conv1d(torch.from_numpy(x).double(), weight, bias, padding=64, groups=2).numpy()
    models = model, rewritten(model, transform_long_kernels)
    errors = [np.abs(session(one.SerializeToString()).run(None, {"x": x})[0] - exact).max() for one in models]
    assert errors[1] < 2 * errors[0] < 1e-5 * exact.std()


@pytest.mark.parametrize(
    "model",
    [
        convolution(long_convolutions.SHORTEST, (3, 3), bias=True),
        convolution(long_convolutions.SHORTEST + 1, (3, 3), bias=True),
        convolution(long_convolutions.SHORTEST + long_convolutions.BLOCK, (3, 3), bias=True, strides=[2]),
        convolution(long_convolutions.SHORTEST + long_convolutions.BLOCK, (3, 3), bias=True, dilations=[2]),
    ],
    ids=["short", "not of whole blocks", "strided", "dilated"],
)
def test_others_are_left_alone(model: onnx.ModelProto) -> None:
    assert rewritten(model, transform_long_kernels).SerializeToString() == model.SerializeToString()
