"""Where in a recording: short segments, each with the score of the short windows around it."""

from __future__ import annotations

import numpy as np

from ..bundle import AudioContract
from ..errors import ConfigurationError, number
from ..result import Segment

__all__ = ["Localiser"]

WINDOW = 1.0
"""Seconds of the windows that localise: in those of 4 s a replaced part drowns (`benchmarks/localisation.py`)."""

ENOUGH_SPEECH = 0.5
"""Seconds of speech in a window from which it is scored."""

SHORTEST = 0.05
"""Seconds that a segment has at least."""


class Localiser:
    """Asks for a window of 1 s every `hop` seconds while a recording is walked along, and makes segments as long as the hop.

    A segment has the mean score of the windows that its middle lies in. A window is scored as a recording of that length is.
    Raises ConfigurationError for a hop shorter than 0.05 s or longer than such a window.
    """

    def __init__(self, contract: AudioContract, hop: float) -> None:
        self._rate = contract.sample_rate
        self.window = min(round(WINDOW * self._rate), contract.window)
        """Samples in a window."""
        longest = self.window / self._rate
        if not SHORTEST <= number("segment_hop", hop) <= longest:
            raise ConfigurationError(f"segment_hop={hop} is not possible. Give {SHORTEST} to {longest:g} seconds.")
        self._hop = round(hop * self._rate)
        self._windows: list[Segment] = []
        self.end = self.window
        """Where the next window ends, in samples."""

    def step(self) -> None:
        """Goes on to the next window."""
        self.end += self._hop

    def wants(self, speech: int) -> bool:
        """Whether a window with `speech` samples of speech is scored."""
        return speech >= ENOUGH_SPEECH * self._rate

    def take(self, window: Segment) -> None:
        """Keeps a window's score."""
        self._windows.append(window)

    def segments(self, duration: float) -> tuple[Segment, ...]:
        """The segments of a recording of `duration` seconds, in order; those around which nobody speaks are left out."""
        starts, ends, scores = (np.array([getattr(one, name) for one in self._windows]) for name in ("start", "end", "score"))
        hop = self._hop / self._rate
        found = []
        for start in np.arange(0.0, duration, hop).tolist():
            end = min(start + hop, duration)
            middle = (start + end) / 2
            around = (starts <= middle) & (middle <= ends)
            if around.any():
                found.append(Segment(start, end, float(scores[around].mean())))
        return tuple(found)
