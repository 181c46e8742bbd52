"""The profile: every node counted once, parts in their order, and the yardstick what it says it is."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vivavoce.bench.operators import INPUTS, OUTPUTS, nodes_of, profile, shares
from vivavoce.bundle import Bundle, default_bundle
from vivavoce.errors import ConfigurationError


def event(name: str, operator: str, microseconds: float, shapes: list[list[int]], output: list[int]) -> dict[str, object]:
    kinds = {"input_type_shape": [{"float": shape} for shape in shapes], "output_type_shape": [{"float": output}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": {"op_name": operator, **kinds}}


def test_nodes_count_with_their_median_and_belong_to_modules() -> None:
    run = [
        event("samples/Shape", "Shape", 1, [[1, 160]], [2]),
        event("front_end.encoder.conv1/Conv", "Conv", 100, [[1, 3, 10], [8, 3, 2]], [1, 8, 9]),
        event("front_end.encoder.layers.0.fc1/MatMul", "MatMulIntegerToFloat", 40, [[1, 9, 8], [1]], [1, 9, 16]),
        event("gelu", "BiasGelu", 5, [[1, 9, 16]], [1, 9, 16]),
        event("back_end.head/Gemm", "Gemm", 4, [[1, 16], [16, 1]], [1, 1]),
    ]
    slow = [{**one, "dur": 1000.0} for one in run]
    nodes = nodes_of([*slow, *run, *run, {"cat": "Session", "name": "model_run", "dur": 9}], repeats=2)
    assert [node.part for node in nodes] == ["stem", "stem", "encoder", "encoder", "back-end"]
    assert [node.multiply_accumulates for node in nodes] == [0, 8 * 9 * 3 * 2, 9 * 8 * 16, 0, 16]
    parts = {share.name: share for share in shares(nodes, "part")}
    assert list(parts) == ["stem", "encoder", "back-end"]
    assert parts["encoder"].seconds == pytest.approx(45e-6)
    assert sum(share.share for share in parts.values()) == pytest.approx(1)


def test_the_embedded_bundle_is_profiled_whole() -> None:
    bundle = Bundle(default_bundle())
    report = profile(bundle, repeats=1)
    for found in (report.operators, report.parts):
        assert sum(share.seconds for share in found) == pytest.approx(report.seconds)
        assert sum(share.multiply_accumulates for share in found) == report.multiply_accumulates
    assert report.multiply_accumulates > 1e8
    assert report.share_of_int8_gemm == pytest.approx(report.rate / report.int8_gemm_rate)
    assert json.loads(report.to_json())["parts"][0]["nodes"] == report.parts[0].nodes
    with pytest.raises(ConfigurationError, match="ONNX engine"):
        profile(bundle, precision="float16")


def test_the_yardstick_is_a_plain_product_of_bytes() -> None:
    model = onnx.load_from_string((files("vivavoce") / "bench" / "gemm.onnx").read_bytes())
    weights = helper.make_node(
        "ConstantOfShape", ["shape"], ["weights"], value=helper.make_tensor("one", TensorProto.INT8, [1], [1])
    )
    product = helper.make_node("MatMulInteger", ["samples", "weights"], ["products"])
    assert list(model.graph.node) == [weights, product]
    assert numpy_helper.to_array(model.graph.initializer[0]).tolist() == [INPUTS, OUTPUTS]
    (samples,) = model.graph.input
    assert samples.type.tensor_type.elem_type == TensorProto.UINT8
    assert np.prod([INPUTS, OUTPUTS]) == 1 << 22
