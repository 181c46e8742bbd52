"""A bundle made on the spot: complete, valid and small, its network so simple that a score can be computed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
from numpy.typing import NDArray
from onnx import TensorProto, helper

from vivavoce.files import sha256

__all__ = ["GAIN", "OFFSET", "WINDOW", "make_bundle", "raw_score"]

RATE = 16_000
WINDOW = 16_000
GAIN, OFFSET = 200.0, 4.0


def make_bundle(path: Path, *, precisions: Sequence[str] = ("float32",), **changes: Any) -> Path:
    """Writes a bundle to `path`: loud recordings are bona fide, quiet ones spoof, the border a mean magnitude of 0.02.

    There is one engine for each of `precisions`, all the same network. `changes` replace whole fields of the manifest, and may
    make it invalid.
    """
    path.mkdir(parents=True)
    network = _network().SerializeToString()
    for precision in precisions:
        (path / f"{precision}.onnx").write_bytes(network)
    soundfile.write(path / "self-test.flac", _signal(2 * WINDOW), RATE, subtype="PCM_16")
    (path / "model-card.md").write_text("# Loudness\n\nFor tests.\n", encoding="utf-8")
    manifest = _manifest(path, precisions) | changes
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return path


def raw_score(window: NDArray[np.float32]) -> float:
    """What the network answers for one window (n,)."""
    return float(GAIN * np.abs(window).mean() - OFFSET)


def _signal(samples: int) -> NDArray[np.float32]:
    time = np.arange(samples) / RATE
    return np.asarray(0.2 * np.sin(2 * np.pi * 150 * time) * (1 + np.sin(2 * np.pi * 3 * time)), np.float32)


def _network() -> onnx.ModelProto:
    """score = GAIN * mean(|samples|) - OFFSET, over each row."""
    samples = helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", WINDOW])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("gain", GAIN), ("offset", OFFSET))
    ]
    nodes = [
        helper.make_node("Abs", ["samples"], ["magnitudes"]),
        helper.make_node("ReduceMean", ["magnitudes"], ["loudness"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["loudness", "gain"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "offset"], ["score"]),
    ]
    graph = helper.make_graph(nodes, "loudness", [samples], [score], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _manifest(path: Path, precisions: Sequence[str]) -> dict[str, Any]:
    def digest(name: str) -> str:
        return sha256((path / name).read_bytes())

    samples, _ = soundfile.read(path / "self-test.flac", dtype="float32")
    return {
        "format": "vivavoce-bundle/1",
        "name": "loudness",
        "version": "1",
        "description": "Takes loud recordings for bona fide; for tests.",
        "model": {
            "front_end": "magnitude",
            "back_end": "mean",
            "parameters": 2,
            "checkpoint_sha256": "0" * 64,
            "licence": "Apache-2.0",
            "corpora": ["none"],
        },
        "audio": {"window": WINDOW, "hop": WINDOW // 2},
        "engines": [
            {"kind": "onnx", "precision": p, "target": "any", "file": f"{p}.onnx", "sha256": digest(f"{p}.onnx")}
            | ({"weight_bits": 8} if p == "int8" else {})
            for p in precisions
        ],
        "calibration": {"scale": 2.0, "offset": 0.0, "corpus": "made up", "bonafide": 100, "spoof": 200},
        "operating_points": [
            {"name": "eer", "threshold": 0.0, "fpr": _rate(0.05, 200), "fnr": _rate(0.05, 100), "corpus": "made up"},
            {"name": "fpr=1%", "threshold": 1.5, "fpr": _rate(0.01, 200), "fnr": _rate(0.11, 100), "corpus": "made up"},
        ],
        "default_operating_point": "eer",
        "evaluations": [
            {
                **{"metric": "EER", "value": 0.05, "low": 0.02, "high": 0.09, "corpus": "made up", "subset": "eval"},
                **{"bonafide": 100, "spoof": 200, "engine": f"{precisions[0]}.onnx"},
            }
        ],
        "regression": _regression(f"{precisions[0]}.onnx"),
        "self_test": {
            "file": "self-test.flac",
            "sha256": digest("self-test.flac"),
            "scores": [raw_score(window) for window in samples.reshape(2, WINDOW)],
            "tolerance": 1e-3,
        },
        "documents": {"model-card.md": digest("model-card.md")},
    }


def _regression(engine: str) -> dict[str, Any]:
    flips = dict.fromkeys(("bonafide_rejected", "bonafide_accepted", "spoof_accepted", "spoof_rejected"), 0)
    return {
        **{"candidate": engine, "candidate_sha256": "1" * 64, "reference": "float32.onnx", "reference_sha256": "2" * 64},
        **{"corpus": "made up", "subset": "dev", "bonafide": 100, "spoof": 200, "level": 0.95, "scores": "calibrated"},
        "differences": [{"metric": "EER", "reference": 0.05, "value": 0.001, "low": -0.002, "high": 0.004}],
        **{"pearson": 0.999, "spearman": 0.998, "largest_difference": 0.2, "furthest_trial": "t1"},
        "flips": [{"by": "all", "name": "all", "share": _rate(0.01, 300), **flips, "bonafide_rejected": 3}],
    }


def _rate(value: float, trials: int) -> dict[str, float]:
    return {"value": value, "low": value / 2, "high": 2 * value, "trials": trials}
