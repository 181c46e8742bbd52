"""Ranges and migrated scales, chosen for each class of layer by what they cost the products.

Xiao, Lin, Seznec, Wu, Demouth, Han, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
ICML 2023 (arXiv 2211.10438), section 4: a channel's scale can move from the activation into the weights, exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product as pairs

import numpy as np
from numpy.typing import NDArray

from .ranges import METHODS, Activation, Scale
from .rounding import nearest, scales

__all__ = ["Choice", "Operand", "choose", "migrated"]

FloatArray = NDArray[np.float32]

STRENGTHS = (0.0, 0.5, 0.7, 0.85)
"""How much of an activation's unevenness moves into the weights; 0 leaves everything where it is."""
ROWS = 768
WORTH = 0.5
"""What migration must leave of a convolution's error at most: it costs a pass over many more frames than a layer has."""


@dataclass(frozen=True)
class Operand:
    """An activation with the weights of all products that read it, side by side: (inputs, outputs).

    `source` is its class, and `movable` whether scales can be moved out of it. The inputs are `taps` frames side by side, which
    share their channels' scales.
    """

    activation: Activation
    weights: FloatArray
    source: str
    movable: bool
    taps: int = 1


@dataclass(frozen=True)
class Choice:
    """The range method and the strength of the migration for a class, with the relative errors that each pair had."""

    method: str
    strength: float
    errors: dict[str, float]


def choose(operands: Sequence[Operand], *, signed: bool, symmetric: bool, limit: int) -> dict[str, Choice]:
    """For each class the pair whose products differ least from float: the mean of |X W - X' W'|² / |X W|² over its operands."""
    errors: defaultdict[str, dict[tuple[str, float], list[float]]] = defaultdict(lambda: defaultdict(list))
    for operand in operands:
        for method, strength in pairs(METHODS, STRENGTHS if operand.movable else (0.0,)):
            error = _error(operand, method, strength, signed=signed, symmetric=symmetric, limit=limit)
            errors[operand.source][method, strength].append(error)
    means = {source: {pair: float(np.mean(found)) for pair, found in each.items()} for source, each in errors.items()}
    return {source: _best(each, worth=WORTH if source == "Conv" else 1.0) for source, each in means.items()}


def _best(errors: Mapping[tuple[str, float], float], worth: float) -> Choice:
    """The pair with the least error; one that moves scales only where that leaves less than `worth` of the error."""
    still = min((pair for pair in errors if not pair[1]), key=errors.__getitem__)
    method, strength = min(errors, key=errors.__getitem__)
    if errors[method, strength] > worth * errors[still]:
        method, strength = still
    return Choice(method, strength, {f"{method} {strength:g}": error for (method, strength), error in errors.items()})


def migrated(operand: Operand, strength: float) -> FloatArray:
    """The scale of each input: max |x|^strength / max |w|^(1 - strength), about 1 in the geometric mean; ones for 0."""
    if not strength:
        return np.ones(len(operand.weights), np.float32)
    peaks, weights = (
        np.maximum(values.reshape(operand.taps, -1).max(axis=0), 1e-5)
        for values in (operand.activation.peaks, np.abs(operand.weights).max(axis=1))
    )
    scale = peaks**strength / weights ** (1 - strength)
    return np.tile(np.asarray(scale / np.exp(np.log(scale).mean()), np.float32), operand.taps)


def _error(operand: Operand, method: str, strength: float, *, signed: bool, symmetric: bool, limit: int) -> float:
    scale = migrated(operand, strength)
    smooth, weights = operand.activation.divided(scale), operand.weights * scale[:, None]
    interval = METHODS[method](smooth.values())
    rows = smooth.rows[:: max(1, len(smooth.rows) // ROWS)]
    given = Scale.over(*interval, signed=signed, symmetric=symmetric).round_trip(rows)
    whole = nearest(weights, limit) * scales(weights, limit)
    wanted = rows @ weights
    return float(np.square(given @ whole - wanted).sum() / max(np.square(wanted).sum(), 1e-20))
