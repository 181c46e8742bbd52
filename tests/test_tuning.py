"""Fine-tuning in INT8: the network that is trained is the one that runs, and nothing but weights and biases is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_networks import countermeasure

from vivavoce.errors import ConfigurationError
from vivavoce_converters import products as products_module
from vivavoce_converters import tuning as tuning_module
from vivavoce_converters.executor import Executor, straight_through
from vivavoce_converters.export import export_onnx
from vivavoce_converters.quantize import TARGETS, Quantizer
from vivavoce_converters.sensitivity import scores
from vivavoce_converters.tuning import tune

WINDOW = 16_000


def windows(count: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, WINDOW)) * rng.uniform(0.01, 0.3, (count, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "float32.onnx"
    export_onnx(countermeasure(), path, window=WINDOW)
    return path


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the convolutions of a tiny network count as large."""
    monkeypatch.setattr(products_module, "SMALLEST", 8)


def quantizer(model: Path, target: str) -> Quantizer:
    return Quantizer(model, [window[None] for window in windows(8, 1)], target)


def shaken(model: onnx.ModelProto, limit: int) -> onnx.ModelProto:
    """The model with its INT8 weights a few steps off, so that there is something to learn."""
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.int8 and values.ndim == 2:
            moved = np.clip(values + rng.integers(-4, 5, values.shape), -limit, limit).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    return model


def in_torch(model: onnx.ModelProto, audio: NDArray[np.float32]) -> NDArray[np.float64]:
    with torch.no_grad():
        return Executor(model).run({"samples": torch.from_numpy(audio)}, ["score"])[0].double().numpy()


@pytest.mark.parametrize("network", [{"wavlm": True}, {"merge": "sea", "activation": "selu"}], ids=str)
def test_torch_computes_what_onnx_runtime_does(tmp_path: Path, network: dict[str, object]) -> None:
    export_onnx(countermeasure(**network), tmp_path / "float32.onnx", window=WINDOW)  # type: ignore[arg-type]
    model, audio = onnx.load(tmp_path / "float32.onnx"), windows(3, 2)
    np.testing.assert_allclose(in_torch(model, audio), scores(model, audio), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_torch_computes_bytes_as_onnx_runtime_does(float_model: Path, target: str) -> None:
    made = quantizer(float_model, target)
    twice = list(made.groups)[:2] if made.target.fine else []
    model, audio = made.build(None, twice), windows(8, 2)
    known = scores(model, audio)
    # A value that lies between two steps may fall on either side of it.
    assert (
        np.abs(in_torch(model, audio) - known).max()
        < 0.05 * np.abs(known - scores(made.build(()), audio)).max() + 0.02 * known.std()
    )


def test_only_weights_and_biases_are_learned_and_scales_stay(float_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_module, "RATE", 0.05)
    made, told = quantizer(float_model, "x86-avx2"), []
    before, held = shaken(made.build(), TARGETS["x86-avx2"].limit), windows(16, 4)
    after, done = tune(before, made.build(()), windows(64, 3), 40, advance=lambda *step: told.append(step))
    assert done.kept
    assert done.after < done.before
    assert (done.steps, done.windows, done.held_out, told[-1]) == (40, 56, 8, (40, 40))
    onnx.checker.check_model(after, full_check=True)
    known = scores(made.build(()), held)
    assert np.std(scores(after, held) - known) < np.std(scores(before, held) - known)
    changed = 0
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        here, there = numpy_helper.to_array(old), numpy_helper.to_array(new)
        assert here.dtype == there.dtype
        if old.data_type == onnx.TensorProto.INT8 and here.ndim == 2:
            changed += int((here != there).sum())
            assert np.abs(there.astype(int)).max() <= TARGETS["x86-avx2"].limit
        elif not old.name.endswith("/bias"):
            np.testing.assert_array_equal(here, there)
    assert changed


def test_a_network_that_does_not_come_nearer_stays_as_it_was(float_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_module, "RATE", 30.0)
    made = quantizer(float_model, "x86-avx2")
    before = made.build()
    after, done = tune(before, made.build(()), windows(16, 3), 3)
    assert not done.kept
    assert done.after >= done.before
    assert after == before


def test_gradients_pass_where_nothing_is_clipped() -> None:
    value = torch.tensor([-200.0, -0.6, 0.5, 1.5, 200.0], requires_grad=True)
    rounded = straight_through(value, -128, 127)
    assert rounded.tolist() == [-128, -1, 0, 2, 127]
    rounded.sum().backward()  # type: ignore[no-untyped-call]
    assert value.grad is not None
    assert value.grad.tolist() == [0, 1, 1, 1, 0]


def test_an_operator_that_is_not_known_is_named() -> None:
    node = onnx.helper.make_node("Det", ["samples"], ["score"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("samples", "score")]
    with pytest.raises(ConfigurationError, match="does not know Det"):
        Executor(onnx.helper.make_model(onnx.helper.make_graph([node], "one", values[:1], values[1:])))
