"""Mixing: several channels become one signal, without what no ear would hear and without losing what one would."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arrays import Samples

__all__ = ["STEP_SECONDS", "Mixer", "to_mono"]

STEP_SECONDS = 0.032
"""Seconds of a signal that are taken at once; what is done to it depends on these steps, never on how it arrives."""

# Memory of levels and offsets, in seconds.
LEVEL_SECONDS, OFFSET_SECONDS = 30.0, 2.0

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
        # Contiguous, for the order of a sum decides its last bit.
        mono: Samples = np.ascontiguousarray(samples).mean(axis=1, dtype=np.float32)
        return mono


class Mixer:
    """Follows a signal of some channels, (n, channels) a step, and makes one of it.

    A constant offset, which nobody hears, is taken off each channel. Then the channels are averaged; where the average loses
    them, because they cancel or because most are empty, the loudest one is taken. Without an offset, one channel stays as it is
    to the last bit.
    """

    def __init__(self, channels: int, sample_rate: int) -> None:
        step = STEP_SECONDS
        self._keep = np.exp(-step / np.array([LEVEL_SECONDS, OFFSET_SECONDS]))
        self._weight = np.zeros(2)
        self._power, self._mean = np.zeros(channels), np.zeros(channels)
        self._taken = np.zeros(channels)
        self._energy, self._mixed = np.zeros(channels), 0.0
        self._alone: int | None = None
        self._begun = False

    def step(self, step: Samples) -> Samples:
        """The next samples, (n, channels) of one step, as one signal (n,)."""
        if len(step) == 0:
            return step.reshape(-1)
        return self._mix(self._centred(step))

    def _centred(self, step: Samples) -> Samples:
        usable = _usable(step)
        mean = np.add.reduce(usable, axis=0) / len(usable)
        usable -= mean
        power = np.einsum("ij,ij->j", usable, usable) / len(usable)
        self._weight = self._keep * self._weight + 1
        self._power += (power - self._power) / self._weight[0]
        self._mean += (mean - self._mean) / self._weight[1]
        level = np.maximum(np.sqrt(self._power), SILENCE)
        excess = np.minimum(np.maximum((np.abs(self._mean) / level - LEFT) / (GONE - LEFT), 0), 1)
        before, self._taken = self._taken if self._begun else self._mean * excess, self._mean * excess
        self._begun = True
        if not (before.any() or self._taken.any()):
            return step
        # From the last offset to this one without a jump, which would be heard.
        ramp = np.linspace(0, 1, len(step), endpoint=False)[:, None]
        return (step - (before + (self._taken - before) * ramp)).astype(np.float32)

    def _mix(self, step: Samples) -> Samples:
        mono = to_mono(step)
        if step.shape[1] == 1:
            return mono
        usable, heard = _usable(step), _usable(mono)
        self._energy = self._keep[0] * self._energy + np.einsum("ij,ij->j", usable, usable)
        self._mixed = self._keep[0] * self._mixed + float(heard @ heard)
        loudest = int(self._energy.argmax())
        if self._mixed >= (LOST if self._alone is None else FOUND) * self._energy[loudest]:
            self._alone = None
        elif self._alone is None or self._energy[loudest] > LOUDER * self._energy[self._alone]:
            self._alone = loudest
        return mono if self._alone is None else step[:, self._alone]


def _usable(samples: Samples) -> NDArray[np.float64]:
    """A copy with 0 for what is not finite."""
    usable = samples.astype(np.float64)
    if not np.isfinite(usable).all():
        usable[~np.isfinite(usable)] = 0
    return usable
