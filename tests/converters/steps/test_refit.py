"""Refitting: the discriminant learns what the corpus says, the rest stays, and what cannot be refitted is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from onnx import numpy_helper

from vivavoce import Detector
from vivavoce.bundle import Bundle
from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import Trial
from vivavoce_converters.distillation.recipe import Recipe, StreamingShape, load_recipe
from vivavoce_converters.networks.countermeasure import Countermeasure, save_countermeasure
from vivavoce_converters.networks.discriminant import Discriminant
from vivavoce_converters.networks.streaming import StreamingConfig, StreamingFrontEnd
from vivavoce_converters.steps.convert import convert
from vivavoce_converters.steps.refit import BIAS, refit

CONFIG = StreamingConfig(width=16, layers=1, heads=2, ffn=24, mels=20, chunk=5, chunks_back=2)


def recipe(kinds: int) -> Recipe:
    names = tuple((f"kind {number}",) for number in range(kinds)) if kinds > 1 else ()
    shape = StreamingShape(kind="streaming", layers=1, ffn=24, spoof_kinds=names)
    return load_recipe("default").model_copy(update={"student": shape, "teacher_layers": (1,), "batch": 4})


def bundle(folder: Path, kinds: int) -> Bundle:
    torch.manual_seed(0)
    discriminant = Discriminant(2, CONFIG.width, kinds)
    save_countermeasure(Countermeasure(StreamingFrontEnd(CONFIG), None, None, discriminant), folder / "student.safetensors")
    return convert(folder / "student.safetensors", folder / f"of {kinds}")


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


def others(path: Path) -> dict[str, bytes]:
    (engine,) = Bundle(path).manifest.engines
    graph = onnx.load(path / engine.file).graph
    return {one.name: numpy_helper.to_array(one).tobytes() for one in graph.initializer if one.dims != [2 * CONFIG.width, 2]}


def test_two_kinds_on_either_side_of_living_speech_are_told_from_it(trials: list[Trial], tmp_path: Path) -> None:
    before, told = bundle(tmp_path, 2), []
    made = refit(
        before,
        trials,
        tmp_path / "made",
        recipe(2),
        corpora=["readers train"],
        advance=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (54, 54)
    detector = Detector(made.path, speech_gate=False)
    scores = np.array([detector.detect(trial.audio).score for trial in trials], np.float64)
    living = np.array([trial.key == "bonafide" for trial in trials])
    assert scores[living].min() > scores[~living].max()
    old, new = others(before.path), others(made.path)
    assert {name for name in old if old[name] != new[name]} == {BIAS}
    assert made.manifest.calibration is None
    assert made.manifest.model.corpora == (*before.manifest.model.corpora, "readers train")
    assert made.manifest.model.provenance["refitted"] == {
        "recipe": "default",
        "clips": 18,
        "copies": 3,
        "telephoned": 1,
    }
    with pytest.raises(ConfigurationError, match=r"made"):
        refit(before, trials, tmp_path / "made", recipe(2))


def test_what_cannot_be_refitted_is_refused(trials: list[Trial], tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no linear discriminant"):
        refit(Bundle(tiny_bundle), trials, tmp_path / "made", recipe(1))
    single = bundle(tmp_path, 1)
    with pytest.raises(ConfigurationError, match="against 1 kinds of spoof, the recipe 2"):
        refit(single, trials, tmp_path / "made", recipe(2))
    with pytest.raises(ConfigurationError, match="fits no discriminant"):
        refit(single, trials, tmp_path / "made", load_recipe("nes2net"))
    assert not (tmp_path / "made").exists()
