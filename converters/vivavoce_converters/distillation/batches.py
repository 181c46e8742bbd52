"""Training batches: balanced by class and by system or source, augmented, and a pure function of seed and step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from vivavoce.audio import load
from vivavoce.progress import Advance, quiet
from vivavoce_calibration.corpora import Trial

from ..checkpoints.load import STUDENT_WINDOW
from ..networks.perceptron import Perceptron, fit_perceptron
from .augmentation import RATE, augment, compress, limit_band, set_level, transmit
from .recipe import Recipe, Stage

__all__ = ["Batches", "windows"]

KEYS = ("spoof", "bonafide")


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """Batch number i: samples (batch, n) and labels (batch,), 1 = bona fide. The same i always gives the same batch.

    Half of each batch is bona fide. Within a class a system (or a source of human speech) is drawn with the square root of
    its size, so that a large one does not decide and a tiny one is not worn out; then a clip, then a crop.
    """

    def __init__(self, trials: Sequence[Trial], recipe: Recipe, *, start: int = 0) -> None:
        self.trials, self.recipe, self.start = trials, recipe, start
        self.length = round(recipe.crop_seconds * RATE)
        self.groups = {key: _groups(trials, key) for key in KEYS}
        self.clips: dict[int, NDArray[np.int16]] = {}

    def __len__(self) -> int:
        return self.recipe.steps - self.start

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.recipe.seed, self.start + index])
        labels = rng.permutation(np.arange(self.recipe.batch) % 2)
        rows = np.stack([self._example(int(label), rng) for label in labels])
        return torch.from_numpy(rows), torch.from_numpy(labels).float()

    def copies(self, count: int, transmitted: int = 0) -> Iterator[Tensor]:
        """The first 4 s of every trial as they are, then other parts elsewhere: at other levels, in other bands, in batches.

        Of these `count` copies of each trial the last `transmitted` are as the other end of a call hears them.
        """
        total, direct = count * len(self.trials), (count - transmitted) * len(self.trials)
        for start in range(0, total, self.recipe.batch):
            turns = range(start, min(start + self.recipe.batch, total))
            rows = np.stack([self._copy(turn, transmitted=turn >= direct) for turn in turns])
            yield torch.from_numpy(rows)

    def fitted(self, stage: Stage, pooled: NDArray[np.float64], *, advance: Advance = quiet) -> Perceptron:
        """The perceptron of what was pooled of the copies that the stage asks for, in their order."""
        bonafide = np.tile([trial.key == "bonafide" for trial in self.trials], stage.fit)
        groups = np.tile([trial.group for trial in self.trials], stage.fit)
        factors = np.repeat([1.0, stage.transmitted_weight], [stage.fit - stage.transmitted, stage.transmitted])
        weights = np.repeat(factors, len(self.trials))
        return fit_perceptron(pooled, bonafide, groups, weights=weights, seed=self.recipe.seed, advance=advance)

    def _copy(self, turn: int, *, transmitted: bool = False) -> NDArray[np.float32]:
        again, number = divmod(turn, len(self.trials))
        clip, rng = self._clip(number), np.random.default_rng([self.recipe.seed, turn, 1])
        if again:
            clip = _part(clip, int(rng.integers(STUDENT_WINDOW * 5 // 8, STUDENT_WINDOW + 1)), rng)
            clip = transmit(set_level(clip, rng), rng) if transmitted else _elsewhere(clip, turn, rng)
        return np.resize(clip[:STUDENT_WINDOW], STUDENT_WINDOW)

    def _example(self, label: int, rng: Generator) -> NDArray[np.float32]:
        """A clip of a class, cropped, through a random channel."""
        crop = self._crop(self._draw(label, rng), rng)
        return augment(crop, rng, self.recipe.augment, lambda: self._crop(self._draw(int(rng.integers(2)), rng), rng))

    def _draw(self, label: int, rng: Generator) -> NDArray[np.float32]:
        members, weights = self.groups[KEYS[label]]
        chosen = members[rng.choice(len(members), p=weights)]
        return self._clip(int(chosen[rng.integers(len(chosen))]))

    def _clip(self, number: int) -> NDArray[np.float32]:
        # Kept as 16-bit integers: five hours take 0.6 GB instead of 1.2.
        if number not in self.clips:
            self.clips[number] = (np.clip(load(self.trials[number].audio, RATE), -1, 1) * 32767).astype(np.int16)
        return self.clips[number].astype(np.float32) / np.float32(32767)

    def _crop(self, clip: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
        """`length` samples: a random part of at least one second, tiled where it is shorter, as clips are at run time."""
        wanted = self.length if rng.random() < 0.7 else int(rng.integers(RATE, self.length + 1))
        return np.resize(_part(clip, wanted, rng), self.length)


def _part(clip: NDArray[np.float32], wanted: int, rng: Generator) -> NDArray[np.float32]:
    """`wanted` samples of a clip from a random place, or all of a shorter one."""
    start = int(rng.integers(max(1, len(clip) - wanted + 1)))
    return clip[start : start + wanted]


def _elsewhere(clip: NDArray[np.float32], turn: int, rng: Generator) -> NDArray[np.float32]:
    """At another level; of four turns two through another band before it, and one out of a file of few bits after it."""
    if turn % 2:
        return set_level(limit_band(clip, rng), rng)
    levelled = set_level(clip, rng)
    return levelled if turn % 4 else compress(levelled, rng)


def _groups(trials: Sequence[Trial], key: str) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]:
    members: defaultdict[str, list[int]] = defaultdict(list)
    for number, trial in enumerate(trials):
        if trial.key == key:
            members[trial.group].append(number)
    groups = [np.array(numbers) for numbers in members.values()]
    weights = np.sqrt([len(group) for group in groups])
    return groups, weights / weights.sum()


def windows(trials: Sequence[Trial], length: int, batch: int) -> Iterator[Tensor]:
    """The first `length` samples of each trial, tiled where it is shorter, in batches, in order."""
    for start in range(0, len(trials), batch):
        rows = [np.resize(load(trial.audio, RATE), length) for trial in trials[start : start + batch]]
        yield torch.from_numpy(np.stack(rows))
