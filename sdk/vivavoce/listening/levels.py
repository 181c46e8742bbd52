"""Level checks: whether a signal can carry an answer at all."""

from __future__ import annotations

import numpy as np

from ..audio import Samples
from ..result import Reason

__all__ = ["LOUDEST", "LevelMeter", "is_clipped"]

SILENCE = 10 ** (-70 / 20)

LOUDEST = 10.0
"""Samples beyond this, in units of full scale, are a scale forgotten; decoders overshoot full scale by far less."""

# The share of a window's audible samples, those above 10 % of its peak, that lie above 70 % of it. Measured over the example
# recordings: at most 0.05 as they are, 0.65 limited to a fifth of their peak (as far as training goes), 0.71 to 0.89 limited
# to a fiftieth. The margin below the peak is for the ripple that resampling adds to flat tops.
AUDIBLE, NEAR_PEAK, CLIPPED_SHARE = 0.1, 0.7, 0.7


def is_clipped(window: Samples) -> bool:
    """Whether overload has left little but two levels of the waveform, from samples (n,)."""
    magnitudes = np.abs(window)
    peak = magnitudes.max(initial=0)
    audible = np.count_nonzero(magnitudes >= AUDIBLE * peak)
    return bool(peak > 0 and np.count_nonzero(magnitudes >= NEAR_PEAK * peak) > CLIPPED_SHARE * audible)


class LevelMeter:
    """Follows a signal: how many samples of each channel, how many of them cannot be used, and how loud it is in the end."""

    def __init__(self) -> None:
        self.samples = 0
        self.peak = 0.0
        self.not_finite = 0
        self.out_of_range = 0

    @property
    def unusable(self) -> int:
        """Samples that are not finite or out of range."""
        return self.not_finite + self.out_of_range

    def usable(self, samples: Samples) -> Samples:
        """Takes in more of the signal, (n, channels), and gives it with silence on all channels where one cannot be used."""
        self.samples += len(samples)
        magnitudes = np.abs(samples)
        # The largest of numbers one of which is none is none.
        if magnitudes.max(initial=0) <= LOUDEST:
            return samples
        finite = np.isfinite(samples).all(axis=1)
        bad = np.logical_or.reduce(~(magnitudes <= LOUDEST), axis=1)
        self.not_finite += int(np.count_nonzero(~finite))
        self.out_of_range += int(np.count_nonzero(finite & bad))
        return np.where(bad[:, None], np.float32(0), samples)

    def heard(self, mono: Samples) -> Samples:
        """Takes note of what is judged, (n,), without offset and mixed."""
        self.peak = max(self.peak, float(np.abs(mono).max(initial=0)))
        return mono

    def problem(self, *, strict: bool) -> Reason | None:
        """Why the signal cannot be judged, or None. Where it is not `strict`, unusable samples are no reason."""
        if self.samples == 0:
            return "empty"
        if strict and self.unusable:
            return "not finite" if self.not_finite else "out of range"
        return "silent" if self.peak < SILENCE else None
