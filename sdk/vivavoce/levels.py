"""Level checks: whether a signal can carry an answer at all."""

from __future__ import annotations

import numpy as np

from .audio import Samples

__all__ = ["LevelMeter"]

SILENCE = 10 ** (-70 / 20)
# A recording whose samples lie at 70 % of its peak or above for more than this share has lost its waveform to clipping:
# ordinary speech has under 1 %. The margin below the peak is for the ripple that resampling adds to flat tops.
CLIPPED_SHARE = 0.2
NEAR_PEAK = 0.7
BINS = 1024


class LevelMeter:
    """Follows a signal's magnitudes in bounded memory: a histogram over decibels, the peak, and whether all is finite."""

    FLOOR = 100.0
    """Decibels below full scale at which the histogram ends; its top is 20 dB above full scale."""

    def __init__(self) -> None:
        self.finite = True
        self.peak = 0.0
        self.samples = 0
        self._counts = np.zeros(BINS, np.int64)

    def feed(self, samples: Samples) -> None:
        """Takes in more of the signal."""
        self.samples += len(samples)
        if not np.isfinite(samples).all():
            self.finite = False
            return
        magnitudes = np.abs(samples)
        self.peak = max(self.peak, float(magnitudes.max(initial=0)))
        self._counts += np.bincount(self._bins(magnitudes), minlength=BINS)

    def problem(self) -> str | None:
        """Why the signal cannot be judged, or None: "empty", "not finite", "silent", "clipped"."""
        if self.samples == 0:
            return "empty"
        if not self.finite:
            return "not finite"
        if self.peak < SILENCE:
            return "silent"
        near = int(self._counts[int(self._bins(np.float32(self.peak * NEAR_PEAK))) :].sum())
        return "clipped" if near > CLIPPED_SHARE * self.samples else None

    def _bins(self, magnitudes: Samples | np.float32) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        decibels = 20 * np.log10(np.maximum(magnitudes, 10 ** (-self.FLOOR / 20)))
        return np.clip((decibels + self.FLOOR) * ((BINS - 1) / (self.FLOOR + 20)), 0, BINS - 1).astype(np.int64)
