"""Quantization: by each target's rules, close to float where it should be, and never from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from vivavoce.errors import ConfigurationError
from vivavoce_converters.distill import build_student
from vivavoce_converters.export import export_onnx
from vivavoce_converters.quantize import TARGETS, float_nodes, quantize_onnx
from vivavoce_converters.recipe import StudentShape

WINDOW = 16_000
SHAPE = StudentShape(
    conv_channels=(16,) * 7,
    mel_branch=20,
    width=64,
    layers=2,
    heads=2,
    ffn=64,
    position_kernel=16,
    position_groups=4,
    nest=(4, 4),
)


def windows(count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield (rng.standard_normal((1, WINDOW)) * rng.uniform(0.01, 0.3)).astype(np.float32)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "float32.onnx"
    export_onnx(build_student(SHAPE).eval(), path, window=WINDOW)
    return path


def scores(path: Path, batches: Iterator[NDArray[np.float32]]) -> NDArray[np.float64]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.array([session.run(["score"], {"samples": batch})[0][0] for batch in batches], np.float64)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_follows_its_rules(float_model: Path, tmp_path: Path, target: str) -> None:
    path = tmp_path / "int8.onnx"
    quantize_onnx(float_model, path, windows(8, 1), target)
    graph = onnx.load(path).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        zero = values[node.input[2]]
        assert zero.dtype == (np.uint8 if TARGETS[target].activations.name == "QUInt8" else np.int8)
        assert not TARGETS[target].symmetric or not zero.any()
    weights = [
        n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in values and values[n.input[0]].ndim > 1
    ]
    assert weights
    for node in weights:
        assert values[node.input[0]].dtype == np.int8
        assert not values[node.input[2]].any()
        assert values[node.input[1]].size > 1
    if TARGETS[target].reduce_range:
        assert max(np.abs(values[node.input[0]]).max() for node in weights) <= 64


def test_scores_stay_close_to_float(float_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize_onnx(float_model, path, windows(16, 1), "x86-vnni")
    expected, found = scores(float_model, windows(12, 2)), scores(path, windows(12, 2))
    assert np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    assert not np.array_equal(found, expected)


def test_what_8_bits_would_spoil_stays_float(float_model: Path, tmp_path: Path) -> None:
    prepared = onnx.load(float_model).graph
    kept = float_nodes(prepared)
    # Three outer blocks with two convolutions of squeeze-excitation each, the grouped positional convolution, the first of the
    # waveform stem, and the two of the spectrogram.
    assert len(kept) == 3 * 2 + 1 + 1 + 2
    path = tmp_path / "int8.onnx"
    quantize_onnx(float_model, path, windows(4, 1), "x86-vnni")
    graph = onnx.load(path).graph
    dequantized = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    float_convolutions = [n for n in graph.node if n.op_type == "Conv" and n.input[1] not in dequantized]
    assert len(float_convolutions) == 10
    (head,) = [n for n in graph.node if n.op_type == "Gemm"]
    assert not dequantized & set(head.input)


def test_ranges_need_audio_and_a_known_target(float_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="corpus"):
        quantize_onnx(float_model, tmp_path / "int8.onnx", iter(()), "x86-vnni")
    with pytest.raises(ConfigurationError, match="x86-vnni"):
        quantize_onnx(float_model, tmp_path / "int8.onnx", windows(1, 1), "z80")
    assert not list(tmp_path.iterdir())
