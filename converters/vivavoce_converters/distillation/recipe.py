"""Recipes: everything that decides how a student is shaped and taught, in one checked TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vivavoce.errors import ConfigurationError

from .augmentation import AugmentRecipe

__all__ = ["Recipe", "Stage", "StreamingShape", "StudentShape", "TeacherShape", "load_recipe"]

BUILT_IN = Path(__file__).parent.parent / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudentShape(_Strict):
    """A wav2vec 2.0-shaped encoder with a Nes2Net or AASIST back-end.

    `conv_channels` are those of the seven convolutions of the waveform stem; `mel_branch` is how many mel bands stand beside
    it, 0 for none.
    """

    kind: Literal["wav2vec2"] = "wav2vec2"
    conv_channels: tuple[int, int, int, int, int, int, int]
    width: int
    layers: int
    heads: int
    ffn: int
    mel_branch: int = Field(default=0, ge=0, le=200)
    position_kernel: int = 64
    position_groups: int = 16
    back_end: Literal["nes2net", "nes2net-x", "aasist"] = "nes2net-x"
    pooling: Literal["mean", "astp"] = "mean"
    nest: tuple[int, int] = (8, 8)


class TeacherShape(_Strict):
    """The teacher's own stem and first layers, and a perceptron of all states' means or a back-end of the teacher's width.

    `merge` is what other back-ends read: the last state, or the scaled sum of all. The rest is Whisper's alone:
    `conv_channels` are those of a waveform stem beside the teacher's, none by default; `positions` is how many frames of 20 ms
    the student can take at most; `loudest_bin`, a power of ten, brings every window to one level.
    """

    kind: Literal["teacher"]
    conv_channels: tuple[int, int, int, int, int, int, int] | None = None
    layers: int = Field(gt=0)
    positions: int = Field(default=300, gt=0)
    loudest_bin: float | None = None
    merge: Literal["last", "scaled-sum"] = "scaled-sum"
    back_end: Literal["perceptron", "nes2net", "nes2net-x", "aasist"] = "nes2net-x"
    pooling: Literal["mean", "astp"] = "mean"
    nest: tuple[int, int] = (8, 8)


class StreamingShape(_Strict):
    """The teacher's stem and first layers made for streams, and a perceptron of all states' means or a Nes2Net of their sum.

    `ffn` is how many feed-forward neurons of a layer are kept, `chunk` how many frames of 20 ms are computed at a time and
    `chunks_back` how many chunks attention reaches into the past.
    """

    kind: Literal["streaming"]
    layers: int = Field(gt=0)
    ffn: int = Field(gt=0)
    chunk: int = Field(default=25, gt=0)
    chunks_back: int = Field(default=3, gt=0)
    back_end: Literal["perceptron", "nes2net", "nes2net-x"] = "perceptron"
    pooling: Literal["mean", "astp"] = "mean"
    nest: tuple[int, int] = (8, 8)


class Stage(_Strict):
    """Steps with one weighting of the losses; the learning rate warms up and falls to zero along a cosine in each stage.

    `train` "back-end" leaves the front-end as it is: a fresh back-end's gradients would spoil what its layers have learnt.
    `score_weight` weighs the distance from the score of a perceptron of the teacher's states, which is fitted first.
    `fit` fits the student's own before the first step. Both are fitted on so many copies of each clip: the
    first 4 s as they are, then other parts at other levels, half of them in another band, a quarter out of files of few bits;
    the last `transmitted` of them as the other end of a call hears them (telephones' codecs, noise suppression), of which each
    counts `transmitted_weight`.
    """

    name: str
    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    feature_weight: float = Field(ge=0)
    label_weight: float = Field(ge=0)
    score_weight: float = Field(default=0.0, ge=0)
    train: Literal["all", "back-end"] = "all"
    fit: int = Field(default=0, ge=0)
    transmitted: int = Field(default=0, ge=0)
    transmitted_weight: float = Field(default=0.3, gt=0)

    @model_validator(mode="after")
    def _copies_are_transmitted(self) -> Stage:
        if self.transmitted > self.fit:
            raise ValueError(f"{self.transmitted} of {self.fit} copies cannot be transmitted; raise fit")
        return self

    @property
    def scores(self) -> bool:
        """Whether the student's scores matter."""
        return self.label_weight > 0 or self.score_weight > 0


class Recipe(_Strict):
    """How a student is made. `teacher_layers[i]` is the teacher's hidden state that the student's state i + 1 learns.

    `teacher` is an encoder's id on the Hugging Face hub or its folder; None, one is given beside the recipe.
    """

    name: str
    seed: int = 0
    teacher: str | None = None
    student: StudentShape | TeacherShape | StreamingShape
    teacher_layers: tuple[int, ...]
    stages: tuple[Stage, ...] = Field(min_length=1)
    batch: int = Field(default=16, gt=1)
    crop_seconds: float = Field(default=3.0, ge=1, le=10)
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    average_decay: float = Field(default=0.999, ge=0, lt=1)
    evaluate_every: int = Field(default=500, gt=0)
    augment: AugmentRecipe = AugmentRecipe()

    @model_validator(mode="after")
    def _layers_match(self) -> Recipe:
        if len(self.teacher_layers) != self.student.layers:
            raise ValueError(f"teacher_layers has {len(self.teacher_layers)} entries for {self.student.layers} student layers")
        return self

    @model_validator(mode="after")
    def _perceptrons_are_fitted(self) -> Recipe:
        fitted = False
        for stage in self.stages:
            fitted |= bool(stage.fit and stage.score_weight)
            if stage.fit and self.student.back_end != "perceptron":
                raise ValueError(f'this student has no perceptron to fit; leave fit out of stage "{stage.name}"')
            if stage.score_weight and not fitted:
                raise ValueError(f'stage "{stage.name}" weighs scores of a perceptron that is not fitted; set fit')
        return self

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that `step` belongs to, and the step's number within it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(step)


def load_recipe(name: str | Path) -> Recipe:
    """Reads a recipe from a TOML file, or a built-in one by its name.

    Raises ConfigurationError, listing the fields at fault or the built-in names.
    """
    path = Path(name)
    if not path.is_file():
        path = BUILT_IN / f"{name}.toml"
    if not path.is_file():
        choices = ", ".join(sorted(p.stem for p in BUILT_IN.glob("*.toml")))
        raise ConfigurationError(f"There is no recipe {name}. Give a TOML file or one of: {choices}.")
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"The recipe {path} cannot be used. Correct it: {error}") from error
