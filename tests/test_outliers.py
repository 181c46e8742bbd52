"""Channels that dwarf the others get a product of their own in float, so that 8 bits serve the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from rewriting import product_model, rewritten

from vivavoce_converters import outliers
from vivavoce_converters.graphs import Graph, session
from vivavoce_converters.outliers import part
from vivavoce_converters.products import products
from vivavoce_converters.quantize import Quantizer

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
        part(graph, products(graph, convolutions=False)[0], np.array(WHICH))

    changed = rewritten(original, rewrite)
    assert [node.op_type for node in changed.graph.node].count("MatMul") == 2
    np.testing.assert_allclose(outputs(changed, frames(50.0)), outputs(original, frames(50.0)), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("target", ["x86-vnni", "arm64"])
def test_outlying_channels_are_parted_and_spare_the_others(source: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = outputs(onnx.load(source), frames(50.0, seed=1))
    errors = []
    for worth in (outliers.WORTH, 0.0):
        monkeypatch.setattr(outliers, "WORTH", worth)
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
    monkeypatch.setattr("vivavoce_converters.quantize.LEAST", 500)
    rounded = tmp_path / "rounded.onnx"
    onnx.save(Quantizer(source, [frames(50.0)], "x86-vnni").build_rounded(), rounded)
    again = Quantizer(rounded, [frames(50.0)], "x86-vnni")
    made = again.build(None, again.groups if fine else ())
    assert [node.op_type for node in made.graph.node].count("Gather") == 1
    # Windows that ranges come from: nothing is clipped in them.
    exact, found = (outputs(model, frames(50.0)) for model in (onnx.load(rounded), made))
    assert np.abs(found - exact).max() < (0.01 if fine else 0.5)
