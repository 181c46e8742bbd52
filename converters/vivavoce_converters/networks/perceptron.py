"""A perceptron on the means of an encoder's states over time: the back-end of a front-end that stays as it is.

What a vocoder or a synthesizer leaves in speech shifts the means of the first layers' states. One hidden layer on them, trained
on many systems and sources, tells unseen ones apart better than a linear discriminant (decision 10). Pooled states are all
that it is trained on, in minutes, so `vivavoce refit` can train it anew on what a finished engine gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vivavoce.errors import ConfigurationError
from vivavoce.progress import Advance, quiet

__all__ = ["Perceptron", "PerceptronConfig", "fit_perceptron"]

HIDDEN, MEMBERS = 256, 2
"""Neurons of each perceptron that is trained, and how many from different seeds stand side by side in the one that scores."""
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 1200, 256, 1e-3, 1e-2
DROPOUT, NOISE = 0.3, 0.2
"""Of hidden neurons; deviation of what is added to each standardised input."""


@dataclass(frozen=True)
class PerceptronConfig:
    """`width` inputs a frame, `hidden` neurons in all, and one logit: higher is more bona fide."""

    width: int
    hidden: int = HIDDEN * MEMBERS
    logits: ClassVar[int] = 1


class Perceptron(nn.Module):
    """Features (batch, width, frames), at least one frame, to logits (batch, 1), from the mean of the frames."""

    def __init__(self, config: PerceptronConfig) -> None:
        super().__init__()
        self.config = config
        self.inner = nn.Linear(config.width, config.hidden)
        self.outer = nn.Linear(config.hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        return cast(Tensor, self.outer(F.gelu(self.inner(features.mean(dim=2)))))


def fit_perceptron(
    pooled: NDArray[np.float64],
    bonafide: NDArray[np.bool_],
    groups: NDArray[np.str_],
    *,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
    advance: Advance = quiet,
) -> Perceptron:
    """The perceptron of utterances `pooled` (utterances, width): the mean of several that were trained from different seeds.

    `groups` names the system or source of each utterance. Each class weighs half, and within it a group by the square root of
    its size; `weights` are further factors (utterances,). `advance` is told of steps done and in all. Raises
    ConfigurationError where a class is told to be of one group alone; groups that are not told are "".
    """
    weights = _balanced(bonafide, groups) * (1.0 if weights is None else weights)
    mean, deviation = pooled.mean(axis=0), pooled.std(axis=0)
    # A channel that hardly varies between utterances still does with their length; unfloored it would decide.
    deviation = np.maximum(deviation, 0.05 * np.median(deviation)) + 1e-6
    scaled = torch.from_numpy(((pooled - mean) / deviation).astype(np.float32))
    labels, weighing = torch.from_numpy(bonafide.astype(np.float32)), torch.from_numpy(weights.astype(np.float32))
    members = []
    for member in range(MEMBERS):

        def told(steps: int, before: int = member * STEPS) -> None:
            advance(before + steps, MEMBERS * STEPS)

        members.append(_trained(scaled, labels, weighing, seed * MEMBERS + member, told))
    return _side_by_side(members, torch.from_numpy(mean), torch.from_numpy(deviation))


def _balanced(bonafide: NDArray[np.bool_], groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """What each utterance weighs, 1 on average."""
    weights = np.empty(len(groups))
    for key in (True, False):
        chosen = bonafide == key
        names, numbers, counts = np.unique(groups[chosen], return_inverse=True, return_counts=True)
        if len(names) == 1 and names[0]:  # "": the corpus does not tell, as ASVspoof does not of its bona fide speech.
            raise ConfigurationError("A perceptron needs two systems and two sources of bona fide speech at least. Give more.")
        own = counts[numbers] ** -0.5
        weights[chosen] = own / own.sum() * len(groups) / 2
    return weights


def _trained(x: Tensor, labels: Tensor, weights: Tensor, seed: int, told: Callable[[int], None]) -> Perceptron:
    """One member, on standardised utterances (n, width)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        member = Perceptron(PerceptronConfig(x.shape[1], HIDDEN))
        optimizer = torch.optim.AdamW(member.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for step, chosen in enumerate(itertools.islice(_batches(len(x)), STEPS)):
            noisy = x[chosen] + NOISE * torch.randn(len(chosen), x.shape[1])
            logits = member.outer(F.dropout(F.gelu(member.inner(noisy)), DROPOUT))[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, labels[chosen], weights[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            told(step + 1)
    return member


def _batches(count: int) -> Iterator[Tensor]:
    """Numbers of utterances, each once before any comes again."""
    while True:
        yield from torch.split(torch.randperm(count), BATCH)


def _side_by_side(members: list[Perceptron], mean: Tensor, deviation: Tensor) -> Perceptron:
    """One perceptron that gives the mean of the members' logits, from inputs that are not standardised."""
    made = Perceptron(PerceptronConfig(len(mean), HIDDEN * len(members)))
    with torch.no_grad():
        inner = torch.cat([member.inner.weight for member in members]).double() / deviation
        made.inner.weight.copy_(inner)
        made.inner.bias.copy_(torch.cat([member.inner.bias for member in members]) - inner @ mean)
        made.outer.weight.copy_(torch.cat([member.outer.weight for member in members], dim=1) / len(members))
        made.outer.bias.copy_(torch.stack([member.outer.bias for member in members]).mean(dim=0))
    return made.eval()
