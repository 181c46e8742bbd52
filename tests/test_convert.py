"""From checkpoint to float32 bundle to INT8 bundle, at toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vivavoce import Detector
from vivavoce.bundle import Bundle
from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import Trial
from vivavoce_converters.checkpoints import OWN_WINDOW, CheckpointError
from vivavoce_converters.convert import convert, quantize_bundle
from vivavoce_converters.countermeasure import Countermeasure, save_countermeasure
from vivavoce_converters.distill import build_student
from vivavoce_converters.recipe import StudentShape

SHAPE = StudentShape(
    conv_channels=(8,) * 7,
    mel_branch=20,
    width=32,
    layers=2,
    heads=2,
    ffn=32,
    position_kernel=8,
    position_groups=4,
    nest=(4, 2),
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
    return (0.1 * np.random.default_rng(seed).standard_normal((1, OWN_WINDOW))).astype(np.float32)


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


def test_nothing_is_written_for_a_bad_checkpoint(tmp_path: Path) -> None:
    bad = tmp_path / "speech.wav"
    soundfile.write(bad, np.zeros(100), 16_000)
    with pytest.raises(CheckpointError):
        convert(bad, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == [bad]


def test_an_existing_directory_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match="exists"):
        convert(checkpoint, checkpoint.parent)
