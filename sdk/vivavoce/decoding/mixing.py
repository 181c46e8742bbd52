"""Mixing: several channels become one signal, without what no ear would hear and without losing what one would."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .arrays import Samples

__all__ = ["STEP_SECONDS", "Mixer", "to_mono"]

STEP_SECONDS = 0.032
"""Seconds of a signal that are taken at once; what is done to it depends on these steps, never on how it arrives."""

# What a step leaves of the memory of levels, 30 s, and of offsets, 2 s.
LEVEL_KEPT, OFFSET_KEPT = math.exp(-STEP_SECONDS / 30), math.exp(-STEP_SECONDS / 2)

# An offset is left alone up to the first, and gone from the second on, in units of the signal's level.
LEFT, GONE = 1.0, 2.0

SILENCE = 1e-3
"""The lowest level that an offset is measured by, so that what is far below any voice is left as it is."""

# The mean of channels keeps at least a fourth of the power of the louder of two, and a tenth of that of one among three. Below
# LOST of the loudest one's it has cancelled or buried it, and the loudest stands for all until the mean is back above FOUND.
LOST, FOUND, LOUDER = 0.1, 0.2, 4.0


def to_mono(samples: Samples) -> Samples:
    """The mean of the channels, (n,), from (n,) or (n, channels)."""
    if samples.ndim == 1 or samples.shape[1] == 1:
        return samples.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        if samples.shape[1] == 2:  # The same to the last bit, at a fifth of the time.
            return np.asarray((samples[:, 0] + samples[:, 1]) / 2, np.float32)
        # Contiguous, for the order of a sum decides its last bit.
        mono: Samples = np.ascontiguousarray(samples).mean(axis=1, dtype=np.float32)
        return mono


class Mixer:
    """Follows a signal of some channels, (n, channels) a step, and makes one of it.

    A constant offset, which nobody hears, is taken off each channel. Then the channels are averaged; where the average loses
    them, because they cancel or because most are empty, the loudest one is taken. Without an offset, one channel stays as it is
    to the last bit.
    """

    def __init__(self, channels: int) -> None:
        self._offsets = [_Offset() for _ in range(channels)]
        self._taken: list[float] | None = None
        self._energy, self._mixed = np.zeros(channels), 0.0
        self._alone: int | None = None

    def step(self, step: Samples) -> Samples:
        """The next samples, (n, channels) of one step, as one signal (n,)."""
        if len(step) == 0:
            return step.reshape(-1)
        rows, energy = _rows(step)
        sums = np.add.reduce(rows, axis=1).tolist()
        taken = [offset.after(total, e, len(step)) for offset, total, e in zip(self._offsets, sums, energy, strict=True)]
        before, self._taken = self._taken or taken, taken
        if any(before) or any(taken):
            # From the last offset to this one without a jump, which would be heard.
            ramp = np.linspace(0, 1, len(step), endpoint=False)[:, None]
            step = (step - (np.array(before) + np.subtract(taken, before) * ramp)).astype(np.float32)
            _, energy = _rows(step)
        mono = to_mono(step)
        return mono if len(rows) == 1 else self._heard(step, mono, energy)

    def _heard(self, step: Samples, mono: Samples, energy: list[float]) -> Samples:
        """The channels' mean, or the loudest of them alone where the mean has lost it."""
        _, (mixed,) = _rows(mono[:, None])
        self._energy = LEVEL_KEPT * self._energy + energy
        self._mixed = LEVEL_KEPT * self._mixed + mixed
        loudest = int(self._energy.argmax())
        if self._mixed >= (LOST if self._alone is None else FOUND) * self._energy[loudest]:
            self._alone = None
        elif self._alone is None or self._energy[loudest] > LOUDER * self._energy[self._alone]:
            self._alone = loudest
        return mono if self._alone is None else step[:, self._alone]


class _Offset:
    """Follows the constant offset of one channel. In plain numbers, which cost a tenth of arrays of one or two."""

    def __init__(self) -> None:
        self._power = self._mean = self._level_weight = self._weight = 0.0

    def after(self, total: float, energy: float, count: int) -> float:
        """What is to be taken off after `count` more samples with that sum and that energy."""
        mean = total / count
        self._level_weight = LEVEL_KEPT * self._level_weight + 1
        self._weight = OFFSET_KEPT * self._weight + 1
        self._power += (max(energy / count - mean * mean, 0) - self._power) / self._level_weight
        self._mean += (mean - self._mean) / self._weight
        apart = abs(self._mean) / max(math.sqrt(self._power), SILENCE)
        return self._mean * min(max((apart - LEFT) / (GONE - LEFT), 0), 1)


def _rows(samples: Samples) -> tuple[NDArray[np.float64], list[float]]:
    """A copy with a row for each channel, and 0 for what is not finite; and the energy of each."""
    rows = np.array(samples.T, np.float64, order="C")
    energy = [float(row @ row) for row in rows]
    if not all(map(math.isfinite, energy)):
        rows[~np.isfinite(rows)] = 0
        energy = [float(row @ row) for row in rows]
    return rows, energy
