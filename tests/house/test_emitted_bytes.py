"""What quantization emits for three small networks and each target is what it emitted when it was last recorded.

`OMP_NUM_THREADS=1 python tests/house/test_emitted_bytes.py` records anew. Scores hold on every machine. Files are compared byte
by byte where the processor and the libraries are those of the recording, for sums are rounded in their order.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from transformers import WhisperConfig

from vivavoce.bundle import Bundle
from vivavoce.machine import machine
from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.regression import Limits
from vivavoce_calibration.scoring import Scorer, score_corpus
from vivavoce_converters.distillation.distill import build_student
from vivavoce_converters.distillation.recipe import StudentShape, TeacherShape
from vivavoce_converters.networks.countermeasure import Countermeasure, save_countermeasure
from vivavoce_converters.networks.front_ends import WhisperFrontEnd
from vivavoce_converters.networks.layer_merging import Merge, MergeConfig
from vivavoce_converters.networks.perceptron import Perceptron, PerceptronConfig
from vivavoce_converters.networks.streaming import StreamingConfig, StreamingFrontEnd
from vivavoce_converters.quantization.plan import products as products_module
from vivavoce_converters.quantization.quantize import TARGETS
from vivavoce_converters.quantization.rewrites import float16_storage, stored_weights
from vivavoce_converters.steps.convert import convert
from vivavoce_converters.steps.quantize import Gate, quantize_bundle, quantize_weights

RECORDED = Path(__file__).with_name("emitted.json")
NETWORKS = {
    "wav2vec2": [*TARGETS, "x86-vnni, weights first"],
    "whisper": ["x86-vnni", "arm64"],
    "streaming": ["x86-vnni", "tensorrt", "x86-vnni, budget"],
}


def network(name: str) -> Countermeasure:
    torch.manual_seed(0)
    if name == "wav2vec2":
        shape = {"width": 64, "layers": 2, "heads": 2, "ffn": 64, "position_kernel": 16, "position_groups": 4}
        return build_student(StudentShape(conv_channels=(16,) * 7, mel_branch=20, nest=(4, 4), **shape)).eval()  # type: ignore[arg-type]
    if name == "whisper":
        config = WhisperConfig(
            d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48, max_source_positions=300
        )
        made = build_student(TeacherShape(kind="teacher", layers=2, back_end="perceptron"), WhisperFrontEnd(config))
    else:
        streaming = StreamingConfig(width=32, layers=2, heads=2, ffn=48, mels=20, chunk=5, chunks_back=2)
        back_end = Perceptron(PerceptronConfig(3 * 32, 16))
        made = Countermeasure(StreamingFrontEnd(streaming), back_end, Merge(MergeConfig("side-by-side", 3)))
    return made.eval()


def recordings(folder: Path) -> list[Trial]:
    rng, found = np.random.default_rng(0), []
    for number in range(8):
        path = folder / f"{number}.wav"
        soundfile.write(path, rng.standard_normal(64_000) * rng.uniform(0.02, 0.3), 16_000)
        found.append(Trial(id=str(number), audio=path, key="spoof", speaker=str(number)))
    return found


def labelled(trials: list[Trial], bundle: Bundle) -> list[Trial]:
    """The trials with the classes that the float32 engine tells apart, but for two."""
    ranks = np.argsort(np.argsort([one.score for one in score_corpus(trials, Scorer(bundle.path))]))
    return [
        replace(trial, key="bonafide" if rank in (3, 5, 6, 7) else "spoof") for trial, rank in zip(trials, ranks, strict=True)
    ]


def emitted(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Bundle]]:
    """Every form of these networks, by its name."""
    trials = recordings(folder)
    for name in names:
        save_countermeasure(network(name), folder / f"{name}.safetensors")
        source = convert(folder / f"{name}.safetensors", folder / name)
        rounded = quantize_weights(source, folder / f"{name} rounded", trials, "x86-vnni", count=8)
        yield f"{name}, x86-vnni, weights", rounded
        for form in NETWORKS[name]:
            target, _, rest = form.partition(", ")
            out = folder / f"{name} {form}"
            if rest == "budget":
                gate = Gate(labelled(trials, source), "noise", "dev", Limits(), force=True)
                yield f"{name}, {form}", quantize_bundle(source, out, trials, target, count=8, gate=gate, budget=0.01)
            else:
                start = rounded if rest else source
                yield f"{name}, {form}", quantize_bundle(start, out, trials, target, count=8)


def record(folder: Path, names: Iterable[str] = NETWORKS) -> dict[str, Any]:
    """The sha256 of each emitted file and the scores of each bundle's self test, with what decides their last bits."""
    patches = [
        mock.patch.object(products_module, "SMALLEST", 16),
        mock.patch.object(float16_storage, "WORTH_STORING", 500),
        mock.patch.object(stored_weights, "WORTH_STORING", 500),
    ]
    for patch in patches:
        patch.start()
    try:
        made = {
            name: {
                "sha256": {
                    file: hashlib.sha256((bundle.path / file).read_bytes()).hexdigest()
                    for file in bundle.manifest.engines[0].files()
                },
                "scores": list(bundle.manifest.self_test.scores),
            }
            for name, bundle in emitted(folder, names)
        }
    finally:
        for patch in patches:
            patch.stop()
    libraries = {name: version(name) for name in ("numpy", "onnx", "onnxruntime", "onnxscript", "onnx-ir", "torch", "scipy")}
    return {"machine": f"{platform.machine()} {machine().processor}", "libraries": libraries, "emitted": made}


@pytest.fixture(
    scope="module", params=["whisper", *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS if name != "whisper")]
)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return record(tmp_path_factory.mktemp("emitted"), [request.param])


@pytest.fixture
def known(found: dict[str, Any]) -> dict[str, Any]:
    """What was recorded of the same network."""
    recorded: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    network, *_ = next(iter(found["emitted"])).split(",")
    return recorded | {"emitted": {name: one for name, one in recorded["emitted"].items() if name.startswith(f"{network},")}}


def test_scores_are_as_recorded(found: dict[str, Any], known: dict[str, Any]) -> None:
    assert list(found["emitted"]) == list(known["emitted"])
    for name, one in known["emitted"].items():
        np.testing.assert_allclose(found["emitted"][name]["scores"], one["scores"], rtol=1e-3, atol=1e-3, err_msg=name)


def test_files_are_as_recorded(found: dict[str, Any], known: dict[str, Any]) -> None:
    if (found["machine"], found["libraries"]) != (known["machine"], known["libraries"]):
        pytest.skip("recorded on another processor or with other libraries")
    assert [name for name, one in known["emitted"].items() if found["emitted"][name] != one] == []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        RECORDED.write_text(json.dumps(record(Path(place)), indent=1) + "\n", encoding="utf-8")
    sys.exit(0)
