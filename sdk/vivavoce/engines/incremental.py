"""Continuations: overlapping windows of one signal scored so that every chunk of it is computed once.

An engine that is incremental takes the next chunks together with what it kept of those before, and gives the score of the
window that ends with them. A frame's features depend on a bounded past, so an engine that starts in the middle of a signal
hears that much before the window first; what a window scores then does not depend on which windows were asked for. Before its
beginning a signal is taken to have repeated its first window: windows with silence for a past would score differently from all
others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from ..audio import Samples
from .engine import Engine, Past

__all__ = ["Continuation", "preceded"]

PHASES = 8
"""States kept at most. Ends that are whole chunks apart share one."""

Cut = Callable[[int, int], Samples]


class Continuation:
    """What an engine carries along one signal. Positions are samples from the signal's beginning."""

    def __init__(self, engine: Engine, window: int) -> None:
        self._engine, self._window = engine, window
        self._states: OrderedDict[int, tuple[int, Past]] = OrderedDict()

    @property
    def reach(self) -> int:
        """How many samples before its end a window's score may ask for."""
        found = self._engine.incremental
        return self._window + (found.carry.context if found else 0)

    def score(self, start: int, end: int, cut: Cut) -> float:
        """The raw score of the window from `start` to `end`; `cut` gives the signal's samples between two positions.

        What is shorter than a window is tiled.
        """
        engine = self._engine.incremental
        if engine is None:
            return float(self._engine.score(np.resize(cut(start, end), self._window)[None])[0])
        if end - start < self._window:
            return engine.advance(preceded(np.resize(cut(start, end), self._window), self.reach), None)[0]
        phase = end % engine.carry.chunk
        done, past = self._states.pop(phase, (0, None))
        if past is None or not end - self.reach <= done < end:
            done, past = end - self.reach, None
        samples = cut(max(done, 0), end)
        if done < 0:
            samples = np.concatenate([preceded(cut(0, self._window), self._window - done)[: -self._window], samples])
        score, past = engine.advance(samples, past)
        self._states[phase] = end, past
        while len(self._states) > PHASES:
            self._states.popitem(last=False)
        return score


def preceded(window: Samples, length: int) -> Samples:
    """`length` samples that end with the window, which is repeated before itself."""
    times = -(-length // len(window))
    return np.tile(window, times)[-length:]
