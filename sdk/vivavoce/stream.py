"""A stream: chunks of any length in, window scores as they come, one result at the end. All state lives here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .audio import Resampler, Samples, as_float, check_format, to_mono
from .bundle import AudioContract
from .errors import AudioError, ConfigurationError
from .levels import LevelMeter
from .result import Result, Segment
from .speech import CHUNK, OpenGate, SpeechGate

__all__ = ["Findings", "Stream"]

# Seconds of speech in a window from which it is scored, so that a cough does not decide about a minute of silence.
WINDOW_SPEECH = 0.5


@dataclass(frozen=True)
class Findings:
    """What a stream gathered, before it is turned into a result. Durations are in seconds."""

    duration: float
    speech: float
    problem: str | None
    segments: tuple[Segment, ...]
    score: float | None
    """The mean of the windows' scores, weighted by the speech in each; None where no window was scored."""


class Stream:
    """Follows one signal through the speech gate and the engine; made by `Detector.stream`.

    Windows lie on a grid of the bundle's hop, counted from the first sample, and a last one is aligned to the end; those with
    speech are scored. The result does not depend on how the signal was cut into chunks. Several threads may share a stream,
    although the order of their chunks is then theirs to keep.
    """

    def __init__(
        self,
        score: Callable[[Samples], float],
        conclude: Callable[[Findings], Result],
        contract: AudioContract,
        *,
        sample_rate: int,
        channels: int,
        gated: bool,
    ) -> None:
        check_format("The stream", channels, sample_rate)
        self._score, self._conclude, self._contract = score, conclude, contract
        self._sample_rate, self._channels, self._gated = sample_rate, channels, gated
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forgets everything, as if the stream were new."""
        self._levels = LevelMeter()
        self._resampler = Resampler(self._sample_rate, self._contract.sample_rate)
        self._gate = SpeechGate() if self._gated else OpenGate()
        self._history = _History()
        self._next = 0
        self._segments: list[Segment] = []
        self._weighted_sum = self._weight = 0.0
        self._result: Result | None = None

    def feed(self, chunk: NDArray[Any]) -> list[Segment]:
        """Takes samples (n,), (n, channels) or interleaved (n * channels,), of float32, float64, int16 or int32, full scale = 1
        for floats, and gives the windows that it scored meanwhile.

        Raises AudioError for another type or shape, ConfigurationError after `finish`.
        """
        mono = to_mono(self._shaped(as_float(np.asarray(chunk))))
        with self._lock:
            if self._result is not None:
                raise ConfigurationError("The stream is finished. Call reset(), or open a new one.")
            before = len(self._segments)
            self._levels.feed(mono)
            self._take(self._resampler.feed(mono))
            return self._segments[before:]

    def finish(self) -> Result:
        """The result over everything that was fed. Further calls give the same."""
        with self._lock:
            if self._result is None:
                self._take(self._resampler.finish())
                self._score_end()
                self._result = self._conclude(self._findings())
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

    def _take(self, samples: Samples) -> None:
        """Mono samples at the contract's rate: gate them and score the windows of the grid that became complete."""
        self._history.extend(samples, self._gate.feed(samples))
        window, hop = self._contract.window, self._contract.hop
        while self._next + window <= self._history.gated:
            self._consider(self._next)
            self._next += hop
        self._history.forget(min(self._next, self._history.end - window))

    def _score_end(self) -> None:
        """The part after the last window of the grid, and a signal that is shorter than one window."""
        self._history.extend(np.zeros(0, np.float32), self._gate.finish())
        last = self._next - self._contract.hop + self._contract.window if self._next else 0
        if last < self._history.end:
            self._consider(max(0, self._history.end - self._contract.window))

    def _consider(self, start: int) -> None:
        samples, speech = self._history.cut(start, start + self._contract.window)
        rate = self._contract.sample_rate
        if speech < WINDOW_SPEECH * rate or not self._levels.finite:
            return
        score = self._score(np.resize(samples, self._contract.window))
        self._segments.append(Segment(start / rate, (start + len(samples)) / rate, score))
        self._weighted_sum += speech * score
        self._weight += speech

    def _findings(self) -> Findings:
        return Findings(
            duration=self._levels.samples / self._sample_rate,
            speech=min(self._history.speech, self._history.end) / self._contract.sample_rate,
            problem=self._levels.problem(),
            segments=tuple(self._segments),
            score=self._weighted_sum / self._weight if self._weight else None,
        )


class _History:
    """The last stretch of a signal and of the gate's decisions about it. Positions are samples from the signal's beginning."""

    def __init__(self) -> None:
        self._samples = np.zeros(0, np.float32)
        self._first = 0
        self._chunks = np.zeros(0, np.bool_)
        self._first_chunk = 0
        self.speech = 0

    @property
    def end(self) -> int:
        """Where the signal ends so far."""
        return self._first + len(self._samples)

    @property
    def gated(self) -> int:
        """Up to where the gate has decided, at most the end."""
        return min(self.end, (self._first_chunk + len(self._chunks)) * CHUNK)

    def extend(self, samples: Samples, chunks: NDArray[np.bool_]) -> None:
        self._samples = np.concatenate([self._samples, samples])
        self._chunks = np.concatenate([self._chunks, chunks])
        self.speech += int(chunks.sum()) * CHUNK

    def cut(self, start: int, end: int) -> tuple[Samples, int]:
        """The samples from `start` to `end`, fewer where the signal is shorter, and how many of them are speech."""
        chunks = self._chunks[start // CHUNK - self._first_chunk : -(-end // CHUNK) - self._first_chunk]
        return self._samples[start - self._first : end - self._first], int(chunks.sum()) * CHUNK

    def forget(self, start: int) -> None:
        """Drops what lies before `start`."""
        drop = max(0, start - self._first)
        self._samples, self._first = self._samples[drop:], self._first + drop
        chunk = max(self._first_chunk, self._first // CHUNK)
        self._chunks, self._first_chunk = self._chunks[chunk - self._first_chunk :], chunk
