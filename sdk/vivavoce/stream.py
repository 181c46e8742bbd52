"""A stream: chunks of any length in, events as they happen, one result at the end. All state lives here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .audio import Samples, as_float, check_format, to_mono
from .errors import AudioError, ConfigurationError
from .listening.windows import Follower
from .result import Event, Result
from .sources import Lost

__all__ = ["Stream"]


class Stream:
    """One signal on its way through the speech gate and the engine; made by `Detector.stream`.

    Neither its events nor its result depend on how the signal was cut into chunks. Several threads may share a stream, although
    the order of their chunks is then theirs to keep. As a context manager it finishes at the end of the block.
    """

    def __init__(self, follow: Callable[[], Follower], *, sample_rate: int, channels: int) -> None:
        check_format("The stream", channels, sample_rate)
        self._follow, self._channels = follow, channels
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forgets everything, as if the stream were new."""
        with self._lock:
            self._follower = self._follow()
            self._result: Result | None = None

    def feed(self, chunk: NDArray[Any] | Lost) -> list[Event]:
        """Takes samples (n,), (n, channels) or interleaved (n * channels,), of float32, float64, int16 or int32, full scale = 1
        for floats; or `Lost`, for audio that never arrived. Gives what happened meanwhile.

        Samples that are not finite, or beyond 10 times full scale, are taken for silence, reported and counted. Raises
        AudioError for another type or shape, ConfigurationError after `finish`.
        """
        piece = chunk if isinstance(chunk, Lost) else to_mono(self._shaped(as_float(np.asarray(chunk))))
        with self._lock:
            if self._result is not None:
                raise ConfigurationError("The stream is finished. Call reset(), or open a new one.")
            return list(self._follower.skip(piece) if isinstance(piece, Lost) else self._follower.feed(piece))

    def finish(self) -> Result:
        """The result over everything that was fed. Further calls give the same."""
        with self._lock:
            if self._result is None:
                self._result = self._follower.finish()
            return self._result

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.finish()

    def _shaped(self, chunk: Samples) -> Samples:
        if chunk.ndim == 1 and len(chunk) % self._channels == 0:
            return chunk.reshape(-1, self._channels)
        if chunk.ndim == 2 and chunk.shape[1] == self._channels:
            return chunk
        raise AudioError(
            f"A chunk of shape {chunk.shape} does not fit a stream of {self._channels} channels. "
            f"Give (n, {self._channels}), or the channels interleaved."
        )
