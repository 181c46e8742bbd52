"""Ranges and migrated scales, chosen for each class of layer by what they cost the products.

Xiao, Lin, Seznec, Wu, Demouth, Han, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
ICML 2023 (arXiv 2211.10438), section 4: a channel's scale can move from the activation into the weights, exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ...onnx_graph.graph import Float32
from .activation_ranges import METHODS, Activation, Scale
from .gptq import round_to_nearest, weight_scales

__all__ = [
    "Choice",
    "Operand",
    "between_windows",
    "choose_by_class",
    "migration_scales",
    "rounding_error",
    "without_unread_channels",
]

Errors = tuple[float, float]

STRENGTHS = (0.0, 0.5, 0.7, 0.85)
"""How much of an activation's unevenness moves into the weights; 0 leaves everything where it is."""
WINDOWS, ROWS = 128, 2048
WORTH = 0.5
"""What migration may leave of a convolution's error at most: it costs a pass over many more frames than a layer has."""


@dataclass(frozen=True)
class Operand:
    """An activation with the weights of all products that read it, side by side: (inputs, outputs).

    `movable` tells whether scales can be moved out of it. The inputs are `taps` frames side by side, which share their
    channels' scales.
    """

    activation: Activation
    weights: Float32
    layer_class: str
    movable: bool
    taps: int = 1

    @property
    def strengths(self) -> tuple[float, ...]:
        """How much of its unevenness may move."""
        return STRENGTHS if self.movable else STRENGTHS[:1]


@dataclass(frozen=True)
class Choice:
    """The range method for a class, the strength of each activation's migration, and the mean error of each pair of the two."""

    method: str
    strengths: dict[str, float]
    errors: dict[str, float]

    def named(self, names: Mapping[str, str]) -> Choice:
        """The choice with other names for its activations."""
        return replace(self, strengths={names[name]: strength for name, strength in self.strengths.items()})


def choose_by_class(operands: Mapping[str, Operand], *, signed: bool, symmetric: bool, limit: int) -> dict[str, Choice]:
    """For each class the method, and for each of its activations the strength, whose products differ least from float.

    `operands` are by their activations' names. The method is the one with the smallest error by the frame, where what clipped
    frames lose shows. The strength is the one with the smallest sum of that and the error by the window, in the means over
    frames, where what rounding does to the weights shows: errors of single frames go under when the back-end takes the mean.
    By the frame alone, scales go too far into the weights; methods by the sum clip too much.
    """
    found: defaultdict[str, dict[str, dict[str, dict[float, Errors]]]] = defaultdict(dict)
    rules = {"signed": signed, "symmetric": symmetric}
    for name, one in operands.items():
        found[one.layer_class][name] = {
            method: {strength: _errors(one, method, strength, limit=limit, **rules) for strength in one.strengths}
            for method in METHODS
        }
    return {one: _choice(each, worth=WORTH if one == "Conv" else 1.0) for one, each in found.items()}


def _choice(found: Mapping[str, Mapping[str, Mapping[float, Errors]]], worth: float) -> Choice:
    """From the errors by activation, method and strength; scales move only where that leaves less than `worth` of the error."""

    def strength(errors: Mapping[float, Errors]) -> float:
        best = min(errors, key=lambda moved: sum(errors[moved]))
        return best if sum(errors[best]) <= worth * sum(errors[0.0]) else 0.0

    def by_frame(method: str) -> float:
        return sum(each[method][strength(each[method])][0] for each in found.values())

    method = min(METHODS, key=by_frame)
    pooled: defaultdict[str, list[float]] = defaultdict(list)
    for each in found.values():
        for name, errors in each.items():
            for moved, pair in errors.items():
                pooled[f"{name} {moved:g}"].append(sum(pair))
    strengths = {name: strength(each[method]) for name, each in found.items()}
    return Choice(method, strengths, {pair: float(np.mean(values)) for pair, values in pooled.items()})


def rounding_error(operand: Operand, whole: Operand, *, signed: bool, symmetric: bool) -> float:
    """What rounding its activation alone does to an operand's products, by the frame and by the window, with the method and the
    strength that make it least, in relation to the products of `whole`."""
    wanted, frames = _sample(whole.activation) @ whole.weights, whole.activation.frames
    found: list[float] = []
    for method, strength in product(METHODS, operand.strengths):
        rows, given, weights = _rounded(operand, method, strength, signed=signed, symmetric=symmetric)
        error = np.asarray((given - rows) @ weights, np.float32)
        found.append(sum(_relative(error, wanted, frames)))
    return min(found)


def migration_scales(operand: Operand, strength: float) -> Float32:
    """The scale of each input: max |x|^strength / max |w|^(1 - strength), about 1 in the geometric mean; ones for 0."""
    if not strength:
        return np.ones(len(operand.weights), np.float32)
    peaks, weights = (
        np.maximum(values.reshape(operand.taps, -1).max(axis=0), 1e-5)
        for values in (operand.activation.peaks, np.abs(operand.weights).max(axis=1))
    )
    scale = peaks**strength / weights ** (1 - strength)
    return np.tile(np.asarray(scale / np.exp(np.log(scale).mean()), np.float32), operand.taps)


def _errors(operand: Operand, method: str, strength: float, *, signed: bool, symmetric: bool, limit: int) -> Errors:
    """The error of an operand's products by the frame and by the window, each in relation to the products themselves."""
    rows, given, weights = _rounded(operand, method, strength, signed=signed, symmetric=symmetric)
    whole = round_to_nearest(weights, limit) * weight_scales(weights, limit)
    wanted = rows @ weights
    return _relative(given @ whole - wanted, wanted, operand.activation.frames)


def _rounded(
    operand: Operand, method: str, strength: float, *, signed: bool, symmetric: bool
) -> tuple[Float32, Float32, Float32]:
    """A sample of an operand's rows once its scales have moved, these rows in 8 bits, and the weights that took them."""
    scale = migration_scales(operand, strength)
    smooth = operand.activation.divided(scale)
    rows = _sample(smooth)
    given = Scale.over(*METHODS[method](smooth.values()), signed=signed, symmetric=symmetric).round_trip(rows)
    return rows, given, operand.weights * scale[:, None]


def _relative(error: Float32, wanted: Float32, frames: int) -> Errors:
    """An error (windows, rows, outputs) by the frame and by the window of so many frames, in relation to what was wanted."""
    by_frame = float(np.square(error).sum() / max(np.square(wanted).sum(), 1e-20))
    # A window's most extreme frame shows what clipping does; in the mean of a sample it would count too much.
    by_window = between_windows(error[:, :-1], frames) / max(between_windows(wanted[:, :-1], frames), 1e-20)
    return by_frame, by_window


def _sample(activation: Activation) -> Float32:
    """Rows (windows, frames, channels) of windows drawn evenly, each with its most extreme row last."""
    each = activation.rows.reshape(len(activation.means), -1, activation.rows.shape[1])
    chosen = each[:: -(-len(each) // WINDOWS)]
    step = -(-chosen[..., 0].size // ROWS)
    return np.concatenate([chosen[:, :-1][:, ::step], chosen[:, -1:]], axis=1)


def between_windows(values: Float32, frames: int) -> float:
    """How much the means over windows of so many frames differ: what pooling keeps, and no bias takes up.

    `values` (windows, n, outputs) are a sample of each window's frames. What its own noise adds to the means is taken off.
    """
    means = values.mean(axis=1)
    n: int = values.shape[1]
    scatter = float(np.square(means - means.mean(axis=0)).sum())
    noise = float(np.square(values - means[:, None]).sum()) / max(n - 1, 1)
    return max(scatter - noise * max(1 / n - 1 / frames, 0.0), noise / frames)


def without_unread_channels(activation: Activation, weights: NDArray[np.float32]) -> Activation:
    """The activation with zeros in the channels whose weights (inputs, outputs) are all zero: they need no range."""
    return activation.without(np.flatnonzero(~weights.any(axis=1)))
