"""Channels that dwarf the others get a product of their own in float, so that 8 bits serve the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from rewriting import product_model, rewritten

from vivavoce_converters.onnx_graph.graph import Graph, session
from vivavoce_converters.quantization.plan.products import products
from vivavoce_converters.quantization.quantize import Quantizer
from vivavoce_converters.quantization.rewrites import outlier_channels
from vivavoce_converters.quantization.rewrites.outlier_channels import split_channels

INPUTS = 256
WHICH = [3, 17, 40]


def frames(largest: float, seed: int = 0) -> NDArray[np.float32]:
    """Values (1, frames, 256), those of three channels rarely as large as that."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((1, 60, INPUTS))
    values[:, ::7, WHICH] *= largest
    return values.astype(np.float32)


def outputs(model: onnx.ModelProto, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(session(model.SerializeToString()).run(None, {"samples": values})[0])


@pytest.fixture(params=[False, True], ids=["plain", "biased"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    bias = rng.standard_normal(24).astype(np.float32) if request.param else None
    return product_model(tmp_path / "float32.onnx", rng.standard_normal((INPUTS, 24)).astype(np.float32), bias)


def test_parted_channels_change_no_output(source: Path) -> None:
    original = onnx.load(source)

    def rewrite(graph: Graph) -> None:
        split_channels(graph, products(graph, convolutions=False)[0], np.array(WHICH))

    changed = rewritten(original, rewrite)
    assert [node.op_type for node in changed.graph.node].count("MatMul") == 2
    np.testing.assert_allclose(outputs(changed, frames(50.0)), outputs(original, frames(50.0)), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("target", ["x86-vnni", "arm64"])
def test_outlying_channels_are_parted_and_spare_the_others(source: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = outputs(onnx.load(source), frames(50.0, seed=1))
    errors = []
    for worth in (outlier_channels.WORTH, 0.0):
        monkeypatch.setattr(outlier_channels, "WORTH", worth)
        made = Quantizer(source, [frames(50.0)], target).build()
        assert any(node.op_type == "Gather" for node in made.graph.node) == bool(worth)
        errors.append(np.sqrt(np.square(outputs(made, frames(50.0, seed=1)) - exact).mean()))
    assert errors[0] < 0.2 * errors[1]


def test_values_beyond_all_that_were_seen_pass_where_the_channel_is_parted(source: Path) -> None:
    exact, beyond = (outputs(onnx.load(source), frames(largest, seed=1)) for largest in (50.0, 5000.0))
    made = Quantizer(source, [frames(50.0)], "x86-vnni").build()
    near, far = (np.abs(outputs(made, frames(50.0, 1)) - exact).max(), np.abs(outputs(made, frames(5000.0, 1)) - beyond).max())
    assert far < 1.5 * near


def test_even_channels_stay_together(source: Path) -> None:
    made = Quantizer(source, [frames(1.0)], "x86-vnni").build()
    assert not any(node.op_type == "Gather" for node in made.graph.node)


@pytest.mark.parametrize("fine", [False, True])
def test_weights_rounded_beforehand_keep_their_channels_apart(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fine: bool
) -> None:
    monkeypatch.setattr("vivavoce_converters.quantization.rewrites.stored_weights.WORTH_STORING", 500)
    rounded = tmp_path / "rounded.onnx"
    onnx.save(Quantizer(source, [frames(50.0)], "x86-vnni").build_rounded(), rounded)
    again = Quantizer(rounded, [frames(50.0)], "x86-vnni")
    made = again.build(None, again.groups if fine else ())
    assert [node.op_type for node in made.graph.node].count("Gather") == 1
    # Windows that ranges come from: nothing is clipped in them.
    exact, found = (outputs(model, frames(50.0)) for model in (onnx.load(rounded), made))
    assert np.abs(found - exact).max() < (0.01 if fine else 0.5)


@pytest.fixture
def behind_another(tmp_path: Path) -> Path:
    """A file with a feed-forward network, of whose inner values three dwarf the others."""
    rng = np.random.default_rng(4)
    helper = onnx.helper
    inner = rng.standard_normal((INPUTS, 320)).astype(np.float32) / 16
    inner[:, WHICH] *= 60
    constants = {
        "inner": inner,
        "bias": rng.standard_normal(320).astype(np.float32),
        "outer": rng.standard_normal((320, 24)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["samples", "inner"], ["product"], "fc1/MatMul"),
        helper.make_node("Add", ["product", "bias"], ["biased"], "fc1/Add"),
        helper.make_node("Gelu", ["biased"], ["active"], "gelu"),
        helper.make_node("MatMul", ["active", "outer"], ["out"], "fc2/MatMul"),
    ]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, None, width])
        for name, width in {"samples": INPUTS, "out": 24}.items()
    ]
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "feed-forward", values[:1], values[1:], arrays)
    path = tmp_path / "float32.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("kept", [False, True])
def test_channels_that_another_product_makes_are_put_side_by_side(behind_another: Path, kept: bool) -> None:
    original = onnx.load(behind_another)

    def rewrite(graph: Graph) -> None:
        first, second = products(graph, convolutions=False)
        order = split_channels(graph, second, np.array(WHICH), {first.name} if kept else ())
        assert (list(order) == list(range(320))) == kept
        assert kept or list(order[-3:]) == WHICH

    changed = rewritten(original, rewrite)
    operators = [node.op_type for node in changed.graph.node]
    assert operators.count("Gather") == kept
    assert operators.count("Slice") == (not kept)
    np.testing.assert_allclose(outputs(changed, frames(1.0)), outputs(original, frames(1.0)), rtol=1e-4, atol=1e-2)


def test_int8_is_as_near_with_channels_side_by_side(behind_another: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = outputs(onnx.load(behind_another), frames(1.0, seed=1))
    errors = []
    for made_by in (outlier_channels.rows_made_by, lambda graph, one, kept: None):
        monkeypatch.setattr(outlier_channels, "rows_made_by", made_by)
        made = Quantizer(behind_another, [frames(1.0)], "x86-vnni").build()
        errors.append(np.sqrt(np.square(outputs(made, frames(1.0, seed=1)) - exact).mean()))
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
    assert errors[0] < 0.05 * exact.std()
