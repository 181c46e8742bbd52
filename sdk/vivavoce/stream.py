"""A stream: chunks of any length in, events as they happen, one result at the end. All state lives here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from .decoding.arrays import Channel, Samples, as_array, as_float
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

    def __init__(self, follow: Callable[[], Follower], *, channels: int, channel: Channel = "mix") -> None:
        self._follow, self._channels, self._channel = follow, channels, channel
        self._lock = threading.Lock()
        self.reset()

    def __repr__(self) -> str:
        return f"<Stream, channels: {self._channels}, {'open' if self._result is None else self._result.verdict}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            "A Stream cannot be pickled, for its engine cannot. Open one in each process: Detector(bundle).stream(rate)."
        )

    def reset(self) -> None:
        """Forgets everything, as if the stream were new."""
        with self._lock:
            self._follower = self._follow()
            self._result: Result | None = None

    def feed(self, chunk: NDArray[Any] | Lost) -> list[Event]:
        """Takes samples (n, channels), (channels, n) or interleaved (n * channels,), floats with full scale = 1 or integers, as
        `detect` does; or `Lost`, for audio that never arrived. Gives what happened meanwhile.

        Samples that are not finite, or beyond 10 times full scale, are taken for silence, reported and counted. Raises
        AudioError for another type or shape, ConfigurationError after `finish`.
        """
        piece = chunk if isinstance(chunk, Lost) else self._shaped(as_float(as_array(chunk)))
        with self._lock:
            if self._result is not None:
                raise ConfigurationError("The stream is finished. Call reset(), or open a new one.")
            events = list(self._follower.skip(piece) if isinstance(piece, Lost) else self._follower.feed(piece))
            return events if self._channel == "mix" else [replace(event, channel=self._channel) for event in events]

    def finish(self) -> Result:
        """The result over everything that was fed. Further calls give the same."""
        with self._lock:
            if self._result is None:
                result = self._follower.finish()
                self._result = result if self._channel == "mix" else replace(result, channel=self._channel)
            return self._result

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.finish()

    def _shaped(self, chunk: Samples) -> Samples:
        if chunk.ndim == 1 and len(chunk) % self._channels == 0:
            chunk = chunk.reshape(-1, self._channels)
        elif chunk.ndim == 2 and chunk.shape[1] != self._channels == chunk.shape[0]:
            chunk = chunk.T
        if chunk.ndim == 2 and chunk.shape[1] == self._channels:
            return chunk if self._channel == "mix" else chunk[:, [self._channel]]
        raise AudioError(
            f"A chunk of shape {chunk.shape} does not fit a stream of {self._channels} channels. "
            f"Give (n, {self._channels}) or ({self._channels}, n), or the channels interleaved."
        )
