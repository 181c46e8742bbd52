"""Layer norms folded into the products before them: the same outputs, at any level of the inputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from rewriting import rewritten

from vivavoce_converters.onnx_graph.graph import session
from vivavoce_converters.quantization.plan.products import FEWEST
from vivavoce_converters.quantization.rewrites.layer_norms import fold_norms


def model(inputs: int, outputs: int, *, bias: bool = True, **attributes: float) -> onnx.ModelProto:
    rng = np.random.default_rng(inputs)
    shapes = {"w": (inputs, outputs), "gain": (outputs,), "shift": (outputs,)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], "product"),
        helper.make_node("LayerNormalization", ["p", "gain", "shift"][: 3 if bias else 2], ["y"], "norm", **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", "t", inputs])],
        [helper.make_tensor_value_info("y", 1, ["n", "t", outputs])],
        [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.integers(1, FEWEST - 1),
    outputs=st.integers(2, 40),
    level=st.sampled_from([0, 1e-4, 1e-2, 1, 1e3]),
    bias=st.booleans(),
    epsilon=st.sampled_from([1e-5, 1e-3]),
)
def test_the_outputs_are_the_same(inputs: int, outputs: int, level: float, bias: bool, epsilon: float) -> None:
    original = model(inputs, outputs, bias=bias, epsilon=epsilon)
    made = rewritten(original, fold_norms)
    onnx.checker.check_model(made, full_check=True)
    assert not any(node.op_type == "LayerNormalization" for node in made.graph.node)
    x = (level * np.random.default_rng(outputs).standard_normal((2, 9, inputs))).astype(np.float32)
    expected, found = (session(one.SerializeToString()).run(None, {"x": x})[0] for one in (original, made))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("original", [model(FEWEST, 20), model(4, 20, axis=1)], ids=["many inputs", "another axis"])
def test_others_are_left_alone(original: onnx.ModelProto) -> None:
    assert rewritten(original, fold_norms).SerializeToString() == original.SerializeToString()
