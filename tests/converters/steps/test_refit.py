"""Refitting: the perceptron learns what the corpus says, the rest stays, and what cannot be refitted is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import numpy_helper
from streaming_networks import converted

from vivavoce import Detector
from vivavoce.bundle import Bundle, default_bundle
from vivavoce.bundle_writing import write_bundle
from vivavoce.errors import ConfigurationError
from vivavoce.files import sha256
from vivavoce_calibration.corpora import Trial
from vivavoce_converters.commands.verbs import refit_command
from vivavoce_converters.distillation.recipe import Recipe, StreamingShape, load_recipe
from vivavoce_converters.networks import perceptron
from vivavoce_converters.quantization.rewrites import float16_storage
from vivavoce_converters.quantization.rewrites.float16_storage import store_in_float16
from vivavoce_converters.steps import refit as steps
from vivavoce_converters.steps.refit import refit


def recipe() -> Recipe:
    shape = StreamingShape(kind="streaming", layers=2, ffn=48)
    return load_recipe("default").model_copy(update={"student": shape, "teacher_layers": (1, 2), "batch": 4})


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What is refitted."""
    return converted("perceptron", tmp_path_factory)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """Living speech is noise in the middle of the band; one kind of spoof lies below it, the other above."""
    folder, rng, found = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), []
    for number in range(18):
        kind = number % 3 - 1
        spectrum = np.fft.rfft(rng.standard_normal(80_000))
        frequency, centre = np.linspace(0, 8_000, len(spectrum)), 3_000 + kind * 2_000
        noise = np.fft.irfft(spectrum * np.exp(-(((frequency - centre) / 400) ** 2)))
        soundfile.write(folder / f"{number}.wav", 0.1 * noise / noise.std(), 16_000)
        system = f"S{number}" if kind else None
        trial = Trial(id=str(number), audio=folder / f"{number}.wav", key="spoof" if kind else "bonafide", speaker=str(number))
        found.append(replace(trial, system=system, source=f"source {number}", system_type=f"kind {max(kind, 0)}"))
    return found


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptron, "STEPS", 150)
    monkeypatch.setattr(perceptron, "LEARNING_RATE", 1e-2)


def others(path: Path) -> dict[str, bytes]:
    (engine,) = Bundle(path).manifest.engines
    graph = onnx.load(path / engine.file).graph
    return {one.name: numpy_helper.to_array(one).tobytes() for one in graph.initializer if "back_end" not in one.name}


def test_spoofs_on_either_side_of_living_speech_are_told_from_it(before: Bundle, trials: list[Trial], tmp_path: Path) -> None:
    told = []
    made = refit(
        before,
        trials,
        tmp_path / "made",
        recipe(),
        corpora=["readers train"],
        stages=lambda stage: lambda done, total: told.append((stage, done, total)),
    )
    assert ("states", 54, 54) in told
    assert told[-1] == ("perceptron", 2 * 150, 2 * 150)
    detector = Detector(made.path, speech_gate=False)
    scores = np.array([detector.detect(trial.audio).score for trial in trials], np.float64)
    living = np.array([trial.key == "bonafide" for trial in trials])
    assert scores[living].min() > scores[~living].max()
    assert others(before.path) == others(made.path)
    assert made.manifest.calibration is None
    assert made.manifest.model.parameters - before.manifest.model.parameters == weights(made) - weights(before)
    assert made.manifest.model.corpora == (*before.manifest.model.corpora, "readers train")
    assert made.manifest.model.provenance["refitted"] == {
        "recipe": "default",
        "clips": 18,
        "copies": 3,
        "transmitted": 1,
    }
    with pytest.raises(ConfigurationError, match=r"made"):
        refit(before, trials, tmp_path / "made", recipe())


def weights(of: Bundle) -> int:
    """How many numbers an engine holds."""
    model = onnx.load(of.path / of.manifest.engines[0].file)
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer)


def stored_in_16_bits(before: Bundle, out: Path) -> Bundle:
    (engine,), test = before.manifest.engines, before.manifest.self_test
    model = onnx.load(before.path / engine.file)
    store_in_float16(model)
    content = model.SerializeToString()
    engines = (engine.model_copy(update={"sha256": sha256(content)}),)
    files = {engine.file: content, test.file: before.read(test.file, test.sha256)}
    return write_bundle(out, before.manifest.model_copy(update={"engines": engines}), files)


def test_a_perceptron_that_is_stored_in_16_bits_is_refitted_again_and_again(
    before: Bundle, trials: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(float16_storage, "WORTH_STORING", 2_000)
    first = refit(stored_in_16_bits(before, tmp_path / "halved"), trials, tmp_path / "first", recipe())
    second = refit(stored_in_16_bits(first, tmp_path / "halved again"), trials, tmp_path / "second", recipe())
    scores = [[Detector(one.path, speech_gate=False).detect(trial.audio).score for trial in trials] for one in (first, second)]
    np.testing.assert_allclose(*scores, atol=0.05)


def test_what_cannot_be_refitted_is_refused(before: Bundle, trials: list[Trial], tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no perceptron"):
        refit(Bundle(tiny_bundle), trials, tmp_path / "made", recipe())
    with pytest.raises(ConfigurationError, match="fits no perceptron"):
        refit(before, trials, tmp_path / "made", load_recipe("nes2net"), pooled=np.zeros((1, len(trials), 4)))
    assert not (tmp_path / "made").exists()


def test_the_command_names_what_it_fits_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for clip in ("known/train/bonafide/a", "known/train/spoof/b", "known/dev/spoof/c", "mine/spoof/d", "mine/spoof/e"):
        (tmp_path / clip).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(f"{tmp_path / clip}.wav", np.full(16_000, 0.1), 16_000)
    asked: list[object] = []
    monkeypatch.setattr(steps, "refit", lambda *arguments, corpora, stages: asked.append((len(arguments[1]), corpora)))
    refit_command(default_bundle(), tmp_path / "known", tmp_path / "out", extra=[tmp_path / "mine"], name="all")
    assert asked == [(4, ["all train", "mine"])]
    assert "fitted to 2 of all train, 2 of mine\n" in capsys.readouterr().out
