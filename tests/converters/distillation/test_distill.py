"""Distillation at toy size: it learns, it goes on where it was stopped, and it refuses what it cannot use."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError
from transformers import WhisperConfig

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import Trial
from vivavoce_converters.distillation import distill as distillation
from vivavoce_converters.distillation.augmentation import AugmentRecipe
from vivavoce_converters.distillation.batches import Batches
from vivavoce_converters.distillation.distill import build_student, distill
from vivavoce_converters.distillation.recipe import Recipe, Stage, StudentShape, TeacherShape, load_recipe
from vivavoce_converters.networks import perceptron
from vivavoce_converters.networks.aasist import Aasist
from vivavoce_converters.networks.countermeasure import load_countermeasure, save_countermeasure
from vivavoce_converters.networks.front_ends import WhisperFrontEnd
from vivavoce_converters.networks.nes2net import Nes2Net
from vivavoce_converters.networks.perceptron import Perceptron
from vivavoce_converters.steps.export import export_onnx

SHAPE = StudentShape(
    conv_channels=(8, 8, 8, 8, 8, 8, 8), width=16, layers=2, heads=2, ffn=32, position_kernel=8, position_groups=4, nest=(2, 2)
)
STAGES = (
    Stage(name="features", steps=2, learning_rate=1e-3, feature_weight=1, label_weight=0),
    Stage(name="joint", steps=10, learning_rate=1e-2, feature_weight=0.1, label_weight=1),
)
RECIPE = Recipe(
    name="toy",
    student=SHAPE,
    teacher_layers=(1, 2),
    stages=STAGES,
    batch=4,
    crop_seconds=1.0,
    average_decay=0.5,
    evaluate_every=6,
    augment=AugmentRecipe(**dict.fromkeys(AugmentRecipe.model_fields, 0.0)),
)
# Runs are the same to the last bit for a number of threads, but rounding differs from one number to another, and Adam's first
# steps turn that into another network. After the ten steps above, first weights moved by one part in 1e7 gave any EER from 0
# to 1; after these, moved by one in 1e3, all twenty runs gave 0, with 0.7 or more between the scores of the two classes.
LEARNING = RECIPE.model_copy(
    update={
        "batch": 8,
        "evaluate_every": 20,
        "stages": (STAGES[0], STAGES[1].model_copy(update={"steps": 38, "learning_rate": 3e-3})),
    }
)


@pytest.fixture(scope="module")
def teacher() -> WhisperFrontEnd:
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, max_source_positions=200
    )
    return WhisperFrontEnd(config)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """Tones against noise: a difference that two seconds of training can find."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    found = []
    for number in range(8):
        key, system = (("bonafide", None), ("spoof", f"S{number % 3}"))[number % 2]
        noise, tone = 0.1 * rng.standard_normal(20_000), 0.2 * np.sin(np.arange(20_000) * rng.uniform(0.05, 0.2))
        path = folder / f"{number}.wav"
        soundfile.write(path, noise if key == "spoof" else tone, 16_000)
        found.append(Trial(id=str(number), audio=path, key=key, speaker=str(number), system=system))  # type: ignore[arg-type]
    return found


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "WINDOW", 16_000)


def test_learns_and_leaves_a_complete_run(teacher: WhisperFrontEnd, trials: list[Trial], tmp_path: Path) -> None:
    path = distill(LEARNING, teacher, trials, trials, tmp_path, device="cpu", workers=0)
    student, provenance = load_countermeasure(path)
    assert provenance["recipe"]["name"] == "toy"
    assert provenance["dev_eer"] == 0.0
    with torch.no_grad():
        assert student(torch.zeros(2, 16_000)).shape == (2,)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "dev_eer" in record] == [20, 40]
    assert records[-2]["step"] == 40
    assert records[-2]["label_loss"] < 0.6 < math.log(2)
    assert (tmp_path / "training.png").stat().st_size > 1000


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    teacher: WhisperFrontEnd, trials: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill(RECIPE, teacher, trials, trials, tmp_path / "whole", device="cpu", workers=0)
    save = distillation.Run.save

    def save_and_die(run: distillation.Run) -> None:
        save(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(distillation.Run, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        distill(RECIPE, teacher, trials, trials, tmp_path / "parts", device="cpu", workers=0)
    monkeypatch.setattr(distillation.Run, "save", save)
    distill(RECIPE, teacher, trials, trials, tmp_path / "parts", device="cpu", workers=0)
    whole, parts = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == RECIPE.steps
    for name, tensor in whole["lesson"].items():
        assert torch.equal(tensor, parts["lesson"][name]), name


def test_the_teachers_layers_and_a_perceptron_need_no_training(
    teacher: WhisperFrontEnd, trials: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perceptron, "STEPS", 150)
    monkeypatch.setattr(perceptron, "LEARNING_RATE", 1e-2)
    stage = Stage(name="fit", steps=1, learning_rate=1e-6, feature_weight=0, label_weight=1, train="back-end", fit=2)
    shape = TeacherShape(kind="teacher", layers=1, positions=200, back_end="perceptron")
    recipe = RECIPE.model_copy(update={"student": shape, "teacher_layers": (1,), "stages": (stage,), "evaluate_every": 1})
    named = [trial if trial.system else replace(trial, source=f"page {trial.id}") for trial in trials]
    student, provenance = load_countermeasure(distill(recipe, teacher, named, named, tmp_path, device="cpu", workers=0))
    assert provenance["dev_eer"] == 0.0
    assert isinstance(student.back_end, Perceptron)
    assert student.front_end.depth == 1
    layer = student.front_end.encoder.layers[0].fc1.weight  # type: ignore[union-attr]
    assert torch.equal(layer, teacher.encoder.layers[0].fc1.weight)


@pytest.mark.parametrize("back_end", ["nes2net", "nes2net-x", "aasist"])
def test_a_back_end_of_the_recipe_learns_and_is_kept(
    teacher: WhisperFrontEnd, trials: list[Trial], tmp_path: Path, back_end: str
) -> None:
    shape = TeacherShape(kind="teacher", layers=1, positions=200, back_end=back_end, nest=(2, 2))  # type: ignore[arg-type]
    stage = Stage(name="head", steps=2, learning_rate=1e-3, feature_weight=0, label_weight=1, train="back-end")
    recipe = RECIPE.model_copy(update={"student": shape, "teacher_layers": (1,), "stages": (stage,)})
    student, _ = load_countermeasure(distill(recipe, teacher, trials, trials, tmp_path, device="cpu", workers=0))
    assert isinstance(student.back_end, Aasist if back_end == "aasist" else Nes2Net)
    assert student.logits(torch.zeros(1, 16_000)).shape == (1, 1)


def test_transmitted_copies_come_last(trials: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vivavoce_converters.distillation.batches.transmit", lambda x, rng: np.zeros_like(x))
    recipe = RECIPE.model_copy(update={"batch": 8})
    direct, again = Batches(trials, recipe).copies(2)
    first, transmitted = Batches(trials, recipe).copies(2, 1)
    assert torch.equal(first, direct)
    assert again.abs().amax(-1).min() > 0
    assert not transmitted.any()


def test_of_four_copies_elsewhere_two_are_in_another_band_and_one_is_compressed(
    trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    for name in ("limit_band", "compress"):
        monkeypatch.setattr(
            f"vivavoce_converters.distillation.batches.{name}", lambda x, rng, name=name: heard.append(name) or x
        )
    list(Batches(trials, RECIPE.model_copy(update={"batch": 4})).copies(2))
    assert heard == ["compress", "limit_band", "limit_band"] * (len(trials) // 4)


def test_more_copies_than_there_are_cannot_be_transmitted() -> None:
    with pytest.raises(ValidationError, match="raise fit"):
        Stage(name="x", steps=1, learning_rate=1, feature_weight=0, label_weight=1, fit=1, transmitted=2)


def test_a_stage_of_the_back_end_leaves_the_front_end(teacher: WhisperFrontEnd, trials: list[Trial], tmp_path: Path) -> None:
    alone = Stage(name="back-end", steps=4, learning_rate=1e-2, feature_weight=0, label_weight=1, train="back-end")
    states = []
    for stages in (STAGES[:1], (STAGES[0], alone)):
        recipe = RECIPE.model_copy(update={"stages": stages})
        folder = tmp_path / str(len(stages))
        distill(recipe, teacher, trials, trials, folder, device="cpu", workers=0)
        states.append(torch.load(folder / "state.pt", weights_only=True)["lesson"])
    before, after = states
    assert all(torch.equal(before[key], after[key]) for key in before if ".front_end." in key)
    assert not torch.equal(before["student.back_end.head.weight"], after["student.back_end.head.weight"])


def test_a_student_of_the_teachers_layers_starts_as_the_teacher_and_exports(teacher: WhisperFrontEnd, tmp_path: Path) -> None:
    shape = TeacherShape(kind="teacher", conv_channels=(8,) * 7, layers=1, positions=60, nest=(4, 2))
    student = build_student(shape, teacher).eval()
    samples = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own, its = student.front_end.states(samples), teacher.states(samples)
        assert torch.equal(own[0], its[0])
        torch.nn.init.normal_(student.front_end.waveform.projection.weight)  # type: ignore[union-attr]
        assert not torch.equal(student.front_end.states(samples)[0], its[0])
    path = tmp_path / "student.safetensors"
    save_countermeasure(student, path)
    again, _ = load_countermeasure(path)
    with torch.no_grad():
        assert torch.equal(again(samples), student(samples))
    assert export_onnx(student, tmp_path / "student.onnx", window=14_000, dynamic=False).difference < 1e-4
    with pytest.raises(ConfigurationError, match="Whisper"):
        build_student(shape)


def test_a_student_of_the_teachers_layers_learns(teacher: WhisperFrontEnd, trials: list[Trial], tmp_path: Path) -> None:
    shape = TeacherShape(kind="teacher", conv_channels=(8,) * 7, layers=2, positions=60, nest=(4, 2))
    recipe = LEARNING.model_copy(update={"student": shape})
    _, provenance = load_countermeasure(distill(recipe, teacher, trials, trials, tmp_path, device="cpu", workers=0))
    assert provenance["dev_eer"] == 0.0


def test_a_folder_of_another_recipe_is_refused(teacher: WhisperFrontEnd, trials: list[Trial], tmp_path: Path) -> None:
    distill(RECIPE, teacher, trials, trials, tmp_path, device="cpu", workers=0)
    other = RECIPE.model_copy(update={"seed": 5})
    with pytest.raises(ConfigurationError, match="another recipe"):
        distill(other, teacher, trials, trials, tmp_path, device="cpu", workers=0)


def test_batches_are_balanced_and_a_function_of_the_step(trials: list[Trial]) -> None:
    batches = Batches(trials, RECIPE)
    again = Batches(trials, RECIPE, start=3)
    samples, labels = batches[5]
    assert samples.shape == (4, 16_000)
    assert labels.sum() == 2
    assert torch.equal(samples, again[2][0])
    assert not torch.equal(samples, batches[6][0])


def test_built_in_recipe_is_valid_and_a_bad_one_is_named(tmp_path: Path) -> None:
    assert load_recipe("streaming").student.kind == "streaming"
    assert load_recipe("default").student.kind == load_recipe("large").student.kind == "teacher"
    assert load_recipe("waveform").student.layers == 4
    with pytest.raises(ConfigurationError, match="default"):
        load_recipe("no-such-recipe")
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "x"\nsteps = 3\n')
    with pytest.raises(ConfigurationError, match=r"bad\.toml"):
        load_recipe(bad)


def test_teacher_layers_must_match_the_students() -> None:
    with pytest.raises(ValueError, match="teacher_layers"):
        Recipe(name="x", student=SHAPE, teacher_layers=(1,), stages=STAGES)
