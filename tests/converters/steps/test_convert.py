"""From checkpoint to float32 bundle to INT8 bundle, at toy size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch

from vivavoce import Detector
from vivavoce.bundle import Bundle
from vivavoce.commands.verify import checks
from vivavoce.errors import BundleError, ConfigurationError
from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.regression import Limits
from vivavoce_calibration.scoring import Scorer, score_corpus
from vivavoce_converters.checkpoints.load import STUDENT_WINDOW, CheckpointError
from vivavoce_converters.distillation.distill import build_student
from vivavoce_converters.distillation.recipe import StudentShape
from vivavoce_converters.networks.countermeasure import Countermeasure, save_countermeasure
from vivavoce_converters.quantization.rewrites import stored_weights
from vivavoce_converters.steps import export
from vivavoce_converters.steps.convert import convert
from vivavoce_converters.steps.quantize import Gate, GateError, quantize_bundle, quantize_weights

SHAPE = StudentShape(
    conv_channels=(8,) * 7,
    mel_branch=20,
    width=32,
    layers=1,
    heads=2,
    ffn=32,
    position_kernel=8,
    position_groups=4,
    nest=(2, 2),
)


@pytest.fixture(scope="module")
def student() -> Countermeasure:
    torch.manual_seed(0)
    return build_student(SHAPE).eval()


@pytest.fixture(scope="module")
def checkpoint(student: Countermeasure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "student.safetensors"
    save_countermeasure(student, path, provenance={"recipe": {"name": "toy"}})
    return path


@pytest.fixture(scope="module")
def float_bundle(checkpoint: Path) -> Bundle:
    return convert(checkpoint, checkpoint.parent / "float", licence="Apache-2.0", corpora=["toy train"])


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for n in range(10):
        soundfile.write(folder / f"{n}.wav", rng.standard_normal(40_000) * rng.uniform(0.02, 0.3), 16_000)
    return [Trial(id=str(n), audio=folder / f"{n}.wav", key="bonafide", speaker=str(n)) for n in range(10)]


def window(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return (0.1 * np.random.default_rng(seed).standard_normal((1, STUDENT_WINDOW))).astype(np.float32)


def test_a_converted_bundle_scores_as_its_checkpoint(student: Countermeasure, float_bundle: Bundle) -> None:
    engine = Detector(float_bundle.path).engine
    for seed in range(3):
        with torch.no_grad():
            expected = student(torch.from_numpy(window(seed)))
        np.testing.assert_allclose(engine.score(window(seed)), expected, atol=1e-4)
    model = float_bundle.manifest.model
    assert (model.licence, model.corpora) == ("Apache-2.0", ("toy train",))
    assert model.provenance["training"]["recipe"]["name"] == "toy"
    assert float_bundle.manifest.calibration is None


def test_quantizing_makes_a_new_bundle_near_the_old_one(float_bundle: Bundle, trials: list[Trial], tmp_path: Path) -> None:
    quantized = quantize_bundle(float_bundle, tmp_path / "int8", trials, "x86-vnni", count=8, keep_float=True)
    assert [e.precision for e in quantized.manifest.engines] == ["int8", "float32"]
    of_bytes, of_floats = (Detector(quantized.path, precision=p).engine for p in ("int8", "float32"))
    pairs = np.array([[e.score(window(seed))[0] for e in (of_bytes, of_floats)] for seed in range(6)])
    assert 0 < np.abs(pairs[:, 0] - pairs[:, 1]).max() < 0.25 * np.abs(pairs).max()
    small = quantize_bundle(float_bundle, tmp_path / "small", trials, "x86-vnni", count=8)
    assert [e.precision for e in small.manifest.engines] == ["int8"]
    with pytest.raises(ConfigurationError, match="no float32"):
        quantize_bundle(small, tmp_path / "again", trials, "x86-vnni")


def test_rounded_weights_stay_in_a_float_bundle_until_activations_follow(
    float_bundle: Bundle, trials: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_weights, "WORTH_STORING", 200)
    rounded = quantize_weights(float_bundle, tmp_path / "rounded", trials, "x86-vnni", count=8)
    (engine,) = rounded.manifest.engines
    notes = rounded.manifest.model.provenance["rounding"]
    assert (engine.precision, notes["target"]) == ("float32", "x86-vnni")
    assert notes["size_ratio"] < 1

    def heaviest(bundle: Bundle) -> int:
        model = onnx.load(bundle.path / bundle.manifest.engines[0].file)
        arrays = [onnx.numpy_helper.to_array(one) for one in model.graph.initializer]
        return max(int(np.abs(array.astype(int)).max()) for array in arrays if array.dtype == np.int8 and array.ndim == 2)

    assert heaviest(rounded) == 127
    same = quantize_bundle(rounded, tmp_path / "same", trials, "x86-vnni", count=8)
    assert heaviest(same) == 127
    found = same.manifest.model.provenance["quantization"]["size_ratio"]
    sizes = [(one.path / one.manifest.engines[0].file).stat().st_size for one in (same, float_bundle)]
    assert found == pytest.approx(sizes[0] / sizes[1])
    # Of seven bits for the one that would saturate, whatever bits they had.
    assert heaviest(quantize_bundle(rounded, tmp_path / "other", trials, "x86-avx2", count=8)) <= 63
    for target, message in (("tensorrt", "not for TensorRT"), ("x87", "no target")):
        with pytest.raises(ConfigurationError, match=message):
            quantize_weights(float_bundle, tmp_path / "none", trials, target, count=8)
    assert not (tmp_path / "none").exists()


def labelled(trials: list[Trial], bundle: Bundle) -> list[Trial]:
    """The trials with the classes that the float32 engine tells apart, but for two."""
    order = np.argsort([one.score for one in score_corpus(trials, Scorer(bundle.path))])
    keys = np.array(["spoof"] * 5 + ["bonafide"] * 5)
    keys[[4, 5]] = keys[[5, 4]]
    by_rank = dict(zip(order.tolist(), keys.tolist(), strict=True))
    return [replace(trial, key=by_rank[number]) for number, trial in enumerate(trials)]


def test_the_gate_calibrates_and_compares_or_writes_nothing(float_bundle: Bundle, trials: list[Trial], tmp_path: Path) -> None:
    known = labelled(trials, float_bundle)
    lenient = Gate(known, "toy", "dev", Limits(pearson=0.5))
    made = quantize_bundle(float_bundle, tmp_path / "int8", trials, "x86-vnni", count=8, gate=lenient)
    manifest = made.manifest
    assert manifest.calibration is not None
    assert manifest.calibration.corpus == "toy dev"
    assert manifest.regression is not None
    assert (manifest.regression.scores, manifest.regression.broken) == ("calibrated", ())
    assert manifest.regression.candidate_sha256 == manifest.engines[0].sha256
    notes = manifest.model.provenance["quantization"]
    assert (notes["target"], notes["float_groups"], notes["int8_share_of_products"]) == ("x86-vnni", [], 1.0)
    strict = replace(lenient, limits=Limits(largest_difference=0.0))
    with pytest.raises(GateError, match="too far") as caught:
        quantize_bundle(float_bundle, tmp_path / "broken", trials, "x86-vnni", count=8, gate=strict)
    assert caught.value.regression.broken
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8"]
    forced = quantize_bundle(
        float_bundle, tmp_path / "forced", trials, "x86-vnni", count=8, gate=replace(strict, force=True), budget=1.0
    )
    assert forced.manifest.regression is not None
    assert forced.manifest.regression.broken
    assert forced.manifest.model.provenance["quantization"]["sensitivity"]
    with pytest.raises(ConfigurationError, match="gate"):
        quantize_bundle(float_bundle, tmp_path / "budget", trials, "x86-vnni", count=8, budget=0.1)


def test_nothing_is_written_for_a_bad_checkpoint(tmp_path: Path) -> None:
    bad = tmp_path / "speech.wav"
    soundfile.write(bad, np.zeros(100), 16_000)
    with pytest.raises(CheckpointError):
        convert(bad, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == [bad]


def test_an_existing_directory_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match="exists"):
        convert(checkpoint, checkpoint.parent)


@pytest.mark.slow
def test_weights_beside_the_model_are_checked_and_carried_along(
    checkpoint: Path, float_bundle: Bundle, trials: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "INLINE_BYTES", 0)
    large = convert(checkpoint, tmp_path / "large")
    (engine,) = large.manifest.engines
    assert engine.data.keys() == {"float32.onnx.data"}
    assert engine.files().items() <= large.listed().items()
    monkeypatch.chdir(tmp_path)  # Nothing is looked for in the current folder.
    np.testing.assert_allclose(
        Detector(large.path).engine.score(window(0)), Detector(float_bundle.path).engine.score(window(0))
    )
    quantized = quantize_bundle(large, tmp_path / "int8", trials, "x86-vnni", count=10, keep_float=True)
    assert [list(one.data) for one in quantized.manifest.engines] == [["int8.x86-vnni.onnx.data"], ["float32.onnx.data"]]
    assert all(check.state == "ok" for check in checks(quantized.path))
    small = quantize_bundle(float_bundle, tmp_path / "small", trials, "x86-vnni", count=10)
    scores = [Detector(one.path).engine.score(window(0)) for one in (quantized, small)]
    np.testing.assert_allclose(*scores)
    weights = bytearray((large.path / "float32.onnx.data").read_bytes())
    weights[1000] ^= 1
    (large.path / "float32.onnx.data").write_bytes(weights)
    with pytest.raises(BundleError, match=r"float32\.onnx\.data is not the file that the manifest names"):
        Detector(large.path)
