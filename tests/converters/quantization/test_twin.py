"""The twin: INT8 of a small network beside what ONNX Runtime's own quantizer makes of it, with the same ranges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from vivavoce_converters.onnx_graph.graph import session
from vivavoce_converters.quantization.plan import smoothquant
from vivavoce_converters.quantization.plan.activation_ranges import METHODS
from vivavoce_converters.quantization.quantize import quantize_model

RNG = np.random.default_rng(0)
SHAPES = {"inner": (24, 40), "outer": (40, 20)}
"""Of the weights; both products have a bias."""
INPUTS = {"inner": "samples", "outer": "inner.even"}
WEIGHTS = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
WINDOWS = [RNG.uniform(-1, 2, (1, 400, 24)).astype(np.float32) for _ in range(4)]


def network(path: Path) -> Path:
    constants = {f"{name}.weight": array for name, array in WEIGHTS.items()}
    constants |= {f"{name}.bias": RNG.standard_normal(shape[1]).astype(np.float32) for name, shape in SHAPES.items()}
    nodes = []
    value = "samples"
    for name in SHAPES:
        nodes.append(helper.make_node("MatMul", [value, f"{name}.weight"], [f"{name}.product"], f"{name}/MatMul"))
        nodes.append(helper.make_node("Add", [f"{name}.product", f"{name}.bias"], [f"{name}.sum"], f"{name}/Add"))
        value = f"{name}.even"
        nodes.append(helper.make_node("Tanh", [f"{name}.sum"], [value], f"{name}/Tanh"))
    nodes.append(helper.make_node("Identity", [value], ["score"], "score"))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, [1, None, 24])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, None, 20])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.left = iter(WINDOWS)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(({"samples": window} for window in self.left), None)


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """The float model, ours and theirs. Ours takes min-max ranges and leaves scales where they are, as theirs does."""
    for method in [name for name in METHODS if name != "min-max"]:
        monkeypatch.delitem(METHODS, method)
    monkeypatch.setattr(smoothquant, "STRENGTHS", (0.0,))
    source, ours, theirs = network(tmp_path / "float.onnx"), tmp_path / "ours.onnx", tmp_path / "theirs.onnx"
    quantize_model(source, ours, WINDOWS, "x86-vnni")
    quantize_static(
        source,
        theirs,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul"],
        calibrate_method=CalibrationMethod.MinMax,
    )
    return source, ours, theirs


def constants(path: Path) -> dict[str, NDArray[np.float32]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def test_weights_are_within_a_step_and_ranges_are_the_same(twins: tuple[Path, Path, Path]) -> None:
    _, ours, theirs = map(constants, twins)
    for name, read in INPUTS.items():
        steps = theirs[f"{name}.weight_scale"]
        np.testing.assert_allclose(ours[f"{name}.product/steps"] / ours[f"{read}/scale"], steps, rtol=1e-5)
        mine, yours = ours[f"{name}.product/int8"] * steps, theirs[f"{name}.weight_quantized"] * steps
        assert np.abs(mine - yours).max() <= 1.001 * steps.max()
        assert np.abs(yours - WEIGHTS[name]).max() <= 0.501 * steps.max()
        np.testing.assert_allclose(ours[f"{read}/scale"], theirs[f"{read}_scale"], rtol=1e-5)
        np.testing.assert_allclose(ours[f"{read}/zero"], theirs[f"{read}_zero_point"], atol=1)


def test_ours_is_as_near_to_float_as_theirs(twins: tuple[Path, Path, Path]) -> None:
    samples = RNG.uniform(-1, 2, (1, 2000, 24)).astype(np.float32)
    exact, ours, theirs = (session(str(path)).run(None, {"samples": samples})[0] for path in twins)
    errors = [float(np.square(one - other).mean() ** 0.5) for one, other in ((ours, exact), (theirs, exact), (ours, theirs))]
    assert 0 < errors[0] <= 1.05 * errors[1]
    assert errors[1] < 0.05 * exact.std()
    assert errors[2] < errors[1], errors  # The rounding of what they read is the same.
