"""The tests' bundle with an INT8 engine by TensorRT's rules, for bundles.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from bundles import WINDOW, make_bundle
from onnx import TensorProto, helper, numpy_helper

from vivavoce.files import sha256

__all__ = ["make_network", "with_int8"]


def make_network(zero: int = 0, opset: int = 20) -> bytes:
    """score = GAIN * mean(|samples|) - OFFSET, the gain as a matrix product in INT8 by TensorRT's rules where `zero` is 0."""
    constants = {
        "scale": np.array(0.002, np.float32),
        "zero": np.array(zero, np.int8),
        "matrix": np.array([[100]], np.int8),
        "matrix_scale": np.array([2.0], np.float32),
        "matrix_zero": np.zeros(1, np.int8),
        "offset": np.array([4.0], np.float32),
        "flat": np.array([-1], np.int64),
        "last": np.array([1], np.int64),
    }
    make = helper.make_node
    nodes = [
        make("Abs", ["samples"], ["magnitudes"], "abs"),
        make("ReduceMean", ["magnitudes", "last"], ["loudness"], "mean"),
        make("QuantizeLinear", ["loudness", "scale", "zero"], ["steps"], "quantize"),
        make("DequantizeLinear", ["steps", "scale", "zero"], ["rounded"], "dequantize"),
        make("DequantizeLinear", ["matrix", "matrix_scale", "matrix_zero"], ["gain"], "gain", axis=1),
        make("MatMul", ["rounded", "gain"], ["scaled"], "matmul"),
        make("Sub", ["scaled", "offset"], ["column"], "sub"),
        make("Reshape", ["column", "flat"], ["score"], "reshape"),
    ]
    samples = helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", WINDOW])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(
        nodes, "loudness", [samples], [score], [numpy_helper.from_array(v, n) for n, v in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def with_int8(path: Path, content: bytes | None = None, *, tolerance: float = 0.6) -> Path:
    """The tests' bundle with an INT8 engine for TensorRT beside its float32 one."""
    make_bundle(path)
    content = content or make_network()
    (path / "int8.tensorrt.onnx").write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    file = {"kind": "onnx", "precision": "int8", "target": "tensorrt", "weight_bits": 8}
    file |= {"file": "int8.tensorrt.onnx", "sha256": sha256(content)}
    manifest["engines"].append(file)
    manifest["self_test"]["tolerance"] = tolerance
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path
