"""Activation ranges for INT8: what the network's products read on real audio, and the interval that 8 bits are spread over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from vivavoce.errors import ConfigurationError

from ...onnx_graph import names
from ...onnx_graph.graph import Float32, session

__all__ = ["METHODS", "Activation", "Scale", "observe", "with_outputs"]


LEVELS = 255
ROWS = 4096
"""Frames that are kept of each activation, drawn evenly from all windows: twice the widest product that is common."""
VALUES = 1 << 16
"""Values that an interval is chosen from; the outermost ones are always known besides."""
SHRINKAGES = np.linspace(1.0, 0.2, 33)


@dataclass(frozen=True)
class Activation:
    """What one product reads: a sample of its rows (n, channels), as many of each window, the mean of all of a window's rows
    (windows, channels), each channel's extremes over everything seen, and the number of rows in a window."""

    rows: Float32
    means: Float32
    low: Float32
    high: Float32
    frames: int

    @property
    def peaks(self) -> Float32:
        """The largest magnitude of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def middle(self) -> Float32:
        """The middle of each channel's range."""
        return (self.low + self.high) * np.float32(0.5)

    def shifted(self, shift: Float32) -> Activation:
        """The activation with something added to each channel."""
        return Activation(self.rows + shift, self.means + shift, self.low + shift, self.high + shift, self.frames)

    def divided(self, scale: Float32) -> Activation:
        """The activation with each channel divided by its own scale."""
        return Activation(self.rows / scale, self.means / scale, self.low / scale, self.high / scale, self.frames)

    def without(self, channels: NDArray[np.intp]) -> Activation:
        """The activation with zeros in some channels."""
        kept = np.ones(self.rows.shape[1], np.float32)
        kept[channels] = 0
        return Activation(self.rows * kept, self.means * kept, self.low * kept, self.high * kept, self.frames)

    def reordered(self, order: NDArray[np.intp]) -> Activation:
        """The activation with its channels in another order."""
        return Activation(self.rows[:, order], self.means[:, order], self.low[order], self.high[order], self.frames)

    def values(self) -> Float32:
        """A sample of its values, with the lowest and the highest of all."""
        flat = self.rows.ravel()
        step = max(1, flat.size // VALUES) | 1  # odd, so that it meets every channel of an even number of them
        return np.append(flat[::step], [self.low.min(), self.high.max()]).astype(np.float32)


@dataclass(frozen=True)
class Scale:
    """How a value becomes 8 bits: round(value / scale) + zero, of the type of `zero` (uint8 or int8)."""

    scale: np.float32
    zero: NDArray[Any]

    @classmethod
    def over(cls, low: float, high: float, *, signed: bool, symmetric: bool) -> Scale:
        """The scale that spreads [low, high], widened to hold 0; about 0 where it is symmetric."""
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        if symmetric:
            return cls(np.float32(max(-low, high, 1e-12) / 127), np.array(0, np.int8))
        scale = max(high - low, 1e-12) / LEVELS
        zero = round(-low / scale)
        return cls(np.float32(scale), np.array(zero - 128, np.int8) if signed else np.array(zero, np.uint8))

    def round_trip(self, values: Float32) -> Float32:
        """The values as their 8 bits have them."""
        limits = np.iinfo(self.zero.dtype)
        whole = np.clip(np.rint(values / self.scale) + self.zero, limits.min, limits.max)
        return np.asarray((whole - self.zero) * self.scale, np.float32)


def observe(model: Path, axes: Mapping[str, int], windows: Iterable[Float32]) -> dict[str, Activation]:
    """What values of a model are on the windows (each (batch, samples)); `axes` has each one's name and its channels' axis.

    Raises ConfigurationError where there are no windows.
    """
    made = session(str(model))
    rng = np.random.default_rng(0)
    batches = list(windows)
    if not batches:
        raise ConfigurationError("There is no audio to take INT8 ranges from. Give a corpus.")
    share = -(-ROWS // sum(len(batch) for batch in batches))
    kept: dict[str, list[Float32]] = {name: [] for name in axes}
    means: dict[str, list[Float32]] = {name: [] for name in axes}
    extremes: dict[str, tuple[Float32, Float32]] = {}
    frames: dict[str, int] = {}
    for batch in batches:
        for name, found in zip(axes, made.run(list(axes), {names.SAMPLES: batch}), strict=True):
            rows = np.moveaxis(found, axes[name], -1).reshape(len(batch), -1, found.shape[axes[name]])
            low, high = extremes.get(name, (rows[0, 0], rows[0, 0]))
            extremes[name] = np.minimum(low, rows.min(axis=(0, 1))), np.maximum(high, rows.max(axis=(0, 1)))
            frames[name] = rows.shape[1]
            means[name].append(rows.mean(axis=1))
            for window in rows:
                # The most extreme row is always kept: a rare outlier that is clipped costs more than all rounding.
                extreme = np.abs(window).max(axis=1).argmax()
                kept[name].append(window[np.append(rng.permutation(len(window))[:share], extreme)])
    return {
        name: Activation(np.concatenate(kept[name]), np.concatenate(means[name]), *extremes[name], frames[name])
        for name in axes
    }


def with_outputs(model: onnx.ModelProto, values: Iterable[str]) -> onnx.ModelProto:
    """The model with some of its inner values as further outputs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in values)
    return made


Interval = tuple[float, float]


def min_max(values: Float32) -> Interval:
    """Everything that was seen: nothing is clipped."""
    return float(values.min()), float(values.max())


def percentile(values: Float32, share: float = 0.9999) -> Interval:
    """All but the outermost 0.01 % of the values."""
    low, high = np.quantile(values, [1 - share, share])
    return float(low), float(high)


def mse(values: Float32) -> Interval:
    """The magnitude beyond which clipping leaves the least mean square error, that of rounding included."""

    def error(interval: Interval) -> float:
        scale = Scale.over(*interval, signed=False, symmetric=False)
        return float(np.mean(np.square(scale.round_trip(values) - values)))

    return min(_clipped(values), key=error)


def _clipped(values: Float32) -> list[Interval]:
    """What was seen, and that clipped at smaller and smaller magnitudes."""
    low, high = min_max(values)
    largest = max(-low, high)
    return [(max(low, -share * largest), min(high, share * largest)) for share in SHRINKAGES]


METHODS: dict[str, Callable[[Float32], Interval]] = {
    "min-max": min_max,
    "percentile": percentile,
    "mse": mse,
}
