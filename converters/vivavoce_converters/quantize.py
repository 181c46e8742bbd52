"""Quantization: a float32 ONNX file to an INT8 one with explicit Q/DQ nodes, by target."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from vivavoce.errors import ConfigurationError

__all__ = ["TARGETS", "Target", "quantize_onnx"]


@dataclass(frozen=True)
class Target:
    """What a processor's INT8 units want. Weights are always signed, symmetric, one scale per output channel."""

    activations: QuantType
    symmetric: bool
    reduce_range: bool = False


TARGETS = {
    "x86-vnni": Target(QuantType.QUInt8, symmetric=False),
    # Without VNNI two products are added in 16 bits and saturate; 7-bit weights leave the room.
    "x86-avx2": Target(QuantType.QUInt8, symmetric=False, reduce_range=True),
    "arm64": Target(QuantType.QInt8, symmetric=False),
    # TensorRT asserts that every zero point is 0.
    "tensorrt": Target(QuantType.QInt8, symmetric=True),
}


def quantize_onnx(source: Path, destination: Path, windows: Iterable[NDArray[np.float32]], target: str) -> None:
    """Writes the INT8 form of the float32 model `source` for `target`, with ranges from `windows` (each (batch, window)).

    Convolutions and matrix products are quantized; normalisation, softmax, activations, squeeze-excitation and the last
    layer stay float. Raises ConfigurationError for an unknown target and where there is nothing to take ranges from.
    """
    if target not in TARGETS:
        raise ConfigurationError(f'There is no target "{target}". Choose one of: {", ".join(TARGETS)}.')
    preset = TARGETS[target]
    with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
        prepared, partial = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(partial),
            _Reader(windows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul"],
            nodes_to_exclude=float_nodes(onnx.load(prepared).graph),
            per_channel=True,
            reduce_range=preset.reduce_range,
            activation_type=preset.activations,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": preset.symmetric, "WeightSymmetric": True},
        )
        onnx.checker.check_model(str(partial))
        partial.replace(destination)


def float_nodes(graph: onnx.GraphProto) -> list[str]:
    """Convolutions that stay float, by what 8 bits would do to them.

    - Those that read the samples: with one scale for a level of -1 dB and of -40 dB, the quiet one keeps two bits.
    - Those of a spectrogram: powers range over 80 dB and more before the logarithm.
    - Those of squeeze-excitation, which see one pooled frame: they cost nothing and suffer most (TASLP 2024, "On the
      Quantization of Neural Models for Speaker Verification").
    - Grouped ones: ONNX Runtime has no fast INT8 kernel for several channels a group.
    """
    makers = {output: node for node in graph.node for output in node.output}
    spectral = {id(node) for log in graph.node if log.op_type == "Log" for node in _ancestors(log, makers)}
    samples = {value.name for value in graph.input}
    return [
        node.name
        for node in graph.node
        if node.op_type == "Conv"
        and (id(node) in spectral or _groups(node) > 1 or _reads(node, samples, makers) or _pooled(node.input[0], makers))
    ]


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _ancestors(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    found: dict[int, onnx.NodeProto] = {}
    pending = [node]
    while pending:
        for name in pending.pop().input:
            maker = makers.get(name)
            if maker is not None and id(maker) not in found:
                found[id(maker)] = maker
                pending.append(maker)
    return list(found.values())


RESHAPING = ("Pad", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def _reads(node: onnx.NodeProto, names: set[str], makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether a node's first input is one of the values, or one of them in another shape."""
    name = node.input[0]
    while name not in names and name in makers and makers[name].op_type in RESHAPING:
        name = makers[name].input[0]
    return name in names


def _pooled(name: str, makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether a value comes from a mean over time, through pointwise nodes and convolutions of one frame."""
    node = makers.get(name)
    if node is None:
        return False
    if node.op_type == "ReduceMean":
        return True
    return node.op_type in ("Relu", "Conv") and _pooled(node.input[0], makers)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, windows: Iterable[NDArray[np.float32]]) -> None:
        self._windows: Iterator[NDArray[np.float32]] = iter(windows)
        self._seen = 0

    def get_next(self) -> dict[str, Any] | None:
        window = next(self._windows, None)
        if window is None:
            if not self._seen:
                raise ConfigurationError("There is no audio to take INT8 ranges from. Give a corpus.")
            return None
        self._seen += 1
        return {"samples": window}
