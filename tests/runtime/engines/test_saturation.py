"""INT8 products are exact on every processor, also where its own instructions saturate."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewriting import inexact_products

from vivavoce.bundle import Bundle, EngineFile, default_bundle
from vivavoce.engines.engine import OnnxEngine
from vivavoce.engines.saturation import LARGEST, PAIRS, saturates

INPUTS, OUTPUTS = 64, 32


def network(*, signed: bool = False) -> bytes:
    """score = the sum of 64 times the samples, each of them and each weight the largest byte there is; in Q/DQ form."""
    constants = [
        numpy_helper.from_array(np.float32(1 / LARGEST[signed]), "step"),
        numpy_helper.from_array(np.int8(0) if signed else np.uint8(0), "zero"),
        numpy_helper.from_array(np.full((INPUTS, OUTPUTS), LARGEST[1], np.int8), "bytes"),
        numpy_helper.from_array(np.full(OUTPUTS, 1 / LARGEST[1], np.float32), "steps"),
        numpy_helper.from_array(np.zeros(OUTPUTS, np.int8), "zeros"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["samples", "step", "zero"], ["int8"]),
        helper.make_node("DequantizeLinear", ["int8", "step", "zero"], ["float"]),
        helper.make_node("DequantizeLinear", ["bytes", "steps", "zeros"], ["weights"], axis=1),
        helper.make_node("MatMul", ["float", "weights"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["score"], axes=[1], keepdims=0),
    ]
    samples = helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", INPUTS])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(nodes, "largest", [samples], [score], constants)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


@pytest.mark.parametrize("target", ["x86-vnni", "arm64", "tensorrt"])
@pytest.mark.parametrize("own_options", [False, True])
def test_an_engine_is_exact_on_any_processor(target: str, own_options: bool) -> None:
    """Also one that is made for another kind: quantizing calibrates and compares it on the machine at hand."""
    file = EngineFile(kind="onnx", precision="int8", target=target, weight_bits=8, file="int8.onnx", sha256="0" * 64)
    options = onnxruntime.SessionOptions() if own_options else None
    engine = OnnxEngine(network(signed=target != "x86-vnni"), file, session_options=options)
    np.testing.assert_allclose(engine.score(np.ones((3, INPUTS), np.float32)), INPUTS, rtol=1e-5)


def test_saturation_is_told_by_what_the_processor_gives() -> None:
    session = onnxruntime.InferenceSession(network(), providers=["CPUExecutionProvider"])
    (score,) = session.run(None, {"samples": np.ones((3, INPUTS), np.float32)})
    assert saturates() == bool(np.any(score < 0.9 * INPUTS))


def test_the_probe_adds_the_largest_pairs() -> None:
    model = onnx.load_from_string((files("vivavoce") / "engines" / "pairs.onnx").read_bytes())
    weights, product = model.graph.node
    assert (weights.op_type, product.op_type) == ("ConstantOfShape", "MatMulInteger")
    assert numpy_helper.to_array(weights.attribute[0].t).tolist() == [LARGEST[1]]
    assert numpy_helper.to_array(model.graph.initializer[0])[0] == PAIRS
    assert 2 * LARGEST[0] * LARGEST[1] > np.iinfo(np.int16).max


def test_all_products_of_the_embedded_bundle_can_be_made_exact() -> None:
    """Where two read the same weights, ONNX Runtime 1.32 cannot load them without VNNI; without a zero point 1.24 saturates."""
    bundle = Bundle(default_bundle())
    (engine,) = bundle.manifest.engines
    assert inexact_products(onnx.load_from_string(bundle.read(engine.file, engine.sha256))) == []
