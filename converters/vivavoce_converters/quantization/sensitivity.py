"""Sensitivity: what INT8 in each part of a network does to its scores, and the fastest mix with float within a budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.stats import norm

from vivavoce.errors import ConfigurationError
from vivavoce.progress import Advance, quiet
from vivavoce_calibration.metrics import eer_threshold

from ..onnx_graph import names
from ..onnx_graph.graph import Float32, session

__all__ = ["Effect", "Mix", "Sample", "affine_residual", "fastest_mix", "parse_budget", "scores"]

ALONE = 64
"""Windows that a group alone is measured on: its residual is known to a tenth, and a mix is measured on all of them."""
NORMAL = norm.ppf((np.arange(200) + 0.5) / 200)
Build = Callable[[Collection[str], Collection[str]], onnx.ModelProto]


@dataclass(frozen=True)
class Effect:
    """How far scores are from those in float32 once an affine map has brought them as near as it can, as calibration does.

    `residual` is the standard deviation of what is left, in units of the float32 scores' own; `flips` the share of decisions
    that it turns at the float32 threshold.
    """

    correlation: float
    residual: float
    flips: float


@dataclass(frozen=True)
class Mix:
    """The groups in INT8, those of them with two bytes for each value, the effect that they have together, and each group's
    alone, the most harmful first: with one byte, and with two where that was measured."""

    groups: tuple[str, ...]
    two_byte_groups: tuple[str, ...]
    effect: Effect
    alone: dict[str, Effect]
    alone_two_bytes: dict[str, Effect] = field(default_factory=dict)


class Sample:
    """Windows (n, samples), whether each is bona fide, and their float32 scores.

    Decisions are taken at the threshold of the equal error rate of these very windows. Networks are measured on the first
    `heard` of them, by default on all; the others only tell how close to the threshold scores lie. Raises ConfigurationError
    where a class has none.
    """

    def __init__(self, model: onnx.ModelProto, windows: Float32, bonafide: NDArray[np.bool_], heard: int | None = None) -> None:
        self.windows = windows[:heard]
        self.scores = scores(model, windows)
        found = eer_threshold(self.scores[bonafide], self.scores[~bonafide])
        # It is itself a score, which the least residual would flip: the middle of the gap below it decides the same.
        below = self.scores[self.scores < found]
        self.threshold = (found + below.max()) / 2 if below.size else found

    def effect(self, model: onnx.ModelProto, count: int | None = None) -> Effect:
        """What a model's scores on the windows, or on the first `count` of them, are against the float32 ones."""
        found = scores(model, self.windows[:count])
        known = self.scores[: len(found)]
        left = affine_residual(found, known)
        correlation = float(np.corrcoef(found, known)[0, 1])
        return Effect(correlation, float(left.std() / self.scores.std()), self.flips_of(left))

    def predicted(self, residual: float) -> float:
        """The share of decisions that a normal residual of that size turns."""
        return self.flips_of(residual * self.scores.std() * NORMAL)

    def flips_of(self, left: NDArray[np.float64]) -> float:
        """The share of decisions that residuals turn: every residual at every score, for 0.5 % of a few hundred windows are one
        or two, too few to be counted.

        Those that a small residual can turn are few too, so each score stands for a normal distribution about it (a kernel
        estimate of their density, with the width of Silverman, "Density Estimation", 1986, equation 3.31).
        """
        spread = min(float(self.scores.std()), float(np.subtract(*np.quantile(self.scores, [0.75, 0.25])) / 1.34))
        width = max(0.9 * spread * len(self.scores) ** -0.2, 1e-12)
        margins = (self.scores - self.threshold)[:, None]
        return float(np.abs(norm.cdf((margins + left) / width) - norm.cdf(margins / width)).mean())


def affine_residual(found: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """What parts scores from those in float32 once an affine map has brought them as near as it can."""
    slope, offset = np.polyfit(found, known, 1)
    return np.asarray(slope * found + offset - known)


def scores(model: onnx.ModelProto, windows: Float32) -> NDArray[np.float64]:
    """The scores (n,) that a model gives windows (n, samples), on one thread."""
    made = session(model.SerializeToString())
    return np.array([made.run(None, {names.SAMPLES: window[None]})[0].item() for window in windows], np.float64)


def fastest_mix(
    build: Build,
    costs: Mapping[str, int],
    sample: Sample,
    budget: float,
    advance: Advance = quiet,
    *,
    two_bytes: bool = False,
) -> Mix:
    """The mix with the least work whose flips on the sample stay within `budget`, a share.

    `costs` are the multiply-accumulates of each group; `two_bytes` allows that many for each value that a product reads, at
    twice the time, where float takes four times. Residuals of groups are independent to first order, so their variances add:
    the groups take, one after the other, the step from one byte to two or to float that takes away most variance for the time
    that it costs, until the sum predicts no more flips than the budget, and further until a measurement agrees. `advance` is
    told of the measurements of single groups. Raises ConfigurationError where not even one group is within the budget.
    """
    levels = 2 if two_bytes else 1
    alone: list[dict[str, Effect]] = []
    for level in range(levels):
        alone.append({})
        for group in costs:
            alone[level][group] = sample.effect(build({group}, {group} if level else ()), ALONE)
            advance(level * len(costs) + len(alone[level]), levels * len(costs))
    ranked = [dict(sorted(found.items(), key=lambda item: -item[1].residual)) for found in alone]
    at = dict.fromkeys(costs, 0)

    def variance(group: str, level: int) -> float:
        return alone[level][group].residual ** 2 if level < levels else 0.0

    def bargain(group: str) -> float:
        level = at[group]
        time = (1, 2, 4) if two_bytes else (1, 4)
        return (variance(group, level) - variance(group, level + 1)) / (costs[group] * (time[level + 1] - time[level]))

    while kept := [group for group in costs if at[group] < levels]:
        if sample.predicted(sum(variance(group, at[group]) for group in kept) ** 0.5) <= budget:
            twice = [group for group in kept if at[group] == 1]
            effect = sample.effect(build(kept, twice))
            if effect.flips <= budget:
                return Mix(tuple(kept), tuple(twice), effect, *ranked)
        at[max(kept, key=bargain)] += 1
    raise ConfigurationError(
        f"No part of the network can be INT8 within a budget of {budget:.2%} flips. Allow more, or keep it in float32."
    )


def parse_budget(text: str) -> float:
    """The share in a budget such as "flips=0.5%". Raises ConfigurationError for anything else."""
    found = re.fullmatch(r"flips\s*=\s*([0-9]*\.?[0-9]+)\s*%", text.strip())
    if not found or not 0 < float(found[1]) <= 100:
        raise ConfigurationError(f'"{text}" is no budget. Write the share of decisions that may flip, such as flips=0.5%.')
    return float(found[1]) / 100
