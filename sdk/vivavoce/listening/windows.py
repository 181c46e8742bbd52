"""The follower: walks along one signal, finds speech and windows in it, and has the windows judged."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..audio import BLOCK_SECONDS, Blocks, Resampler, Samples
from ..decoding.mixing import STEP_SECONDS, Mixer
from ..engines.incremental import Continuation
from ..result import Event, Result, Segment
from ..sources import Lost
from .hysteresis import Watch
from .levels import LevelMeter, is_clipped
from .segments import Localiser
from .speech_gate import CHUNK, SpeechGate, Turns
from .verdict import Findings, Judge

__all__ = ["KEPT_SEGMENTS", "WINDOW_SPEECH", "Follower", "grid"]

WINDOW_SPEECH = 0.5
"""Seconds of speech in a window from which it is scored, so that a cough does not decide about a minute of silence."""

FORGOTTEN = 3_200
"""Samples that are dropped at once."""

KEPT_SEGMENTS = 4096
"""Segments that a stream's result keeps, the last ones, so that memory stays bounded however long the stream."""

INVALID_AGAIN = 1.0
"""Seconds of usable samples after which unusable ones are an event again."""


def grid(length: int, window: int, hop: int) -> list[tuple[int, int]]:
    """Where the windows of a whole signal of `length` samples begin and end: one every hop, and a last one aligned to the end.

    A signal shorter than a window is one, as it is. `Follower` takes the same while the signal is still on its way.
    """
    last = max(0, length - window)
    return [(start, min(start + window, length)) for start in sorted({*range(0, last, hop), last})]


class Follower:
    """The state of one signal of `channels` at `sample_rate`. All it does depends on the signal alone, not on how it arrives in
    pieces, because it takes steps of 32 ms.

    The result is defined on the bundle's grid: windows begin at multiples of its hop, counted from the first sample, and a last
    one is aligned to the end. A watch has windows of its own, for events; where both ask for the same one it is scored once.
    Without a watch the signal is a recording: there are no verdicts on the way, every segment is kept, and unusable samples
    leave the recording undecided. A localiser has windows of its own too, and no events.
    """

    def __init__(
        self,
        judge: Judge,
        sample_rate: int,
        channels: int,
        gate: SpeechGate,
        watch: Watch | None,
        localiser: Localiser | None = None,
    ) -> None:
        self._judge, self._sample_rate, self._gate, self._watch = judge, sample_rate, gate, watch
        self._channels, self._localiser = channels, localiser
        self._contract = judge.contract
        self._continuation = Continuation(judge.engine, self._contract.window)
        self._recording = watch is None
        self._grid_end: int = self._contract.window
        self._steps = Blocks(round(STEP_SECONDS * sample_rate), channels)
        self._levels, self._mixer = LevelMeter(), Mixer(channels)
        self._resampler = Resampler(sample_rate, self._contract.sample_rate)
        self._turns = Turns()
        self._history = _History()
        self._segments: deque[Segment] = deque(maxlen=None if self._recording else KEPT_SEGMENTS)
        self._weighted_sum = self._weight = 0.0
        self._clipped = False
        self._fed = self._lost = 0
        self._invalid_at = -math.inf

    def feed(self, signal: Samples) -> Iterator[Event]:
        """Takes in more of the signal, (n, channels), and tells what happens on the way."""
        self._fed += len(signal)
        for step in self._steps.feed(signal):
            yield from self._take(step)

    def skip(self, lost: Lost) -> Iterator[Event]:
        """Goes past audio that never arrived, as if it were silence."""
        start = self._fed / self._sample_rate
        seconds = lost.frames / self._sample_rate
        yield Event(lost.kind, start, start + seconds, lost=seconds)
        self._lost += lost.frames
        most = BLOCK_SECONDS * self._sample_rate
        for done in range(0, lost.frames, most):
            yield from self.feed(np.zeros((min(most, lost.frames - done), self._channels), np.float32))

    def finish(self) -> Result:
        """The result over everything, once the signal is over."""
        self._watch = None
        for _ in self._end():
            pass
        return self._judge.result(self._findings())

    def _end(self) -> Iterator[Event]:
        """What is still on its way, the part after the last window of the grid, and a signal shorter than one window."""
        yield from self._take(self._steps.finish())
        yield from self._advance(self._resampler.finish())
        self._history.extend(np.zeros(0, np.float32), self._gate.finish())
        yield from self._windows()
        if self._localiser:
            self._locate(self._localiser, self._history.end)
        last = self._grid_end - self._contract.hop if self._grid_end > self._contract.window else 0
        if last < self._history.end:
            yield from self._consider(self._history.end, on_grid=True)

    def _take(self, step: Samples) -> Iterator[Event]:
        """One step of the signal, at its own rate."""
        at, unusable = self._levels.samples, self._levels.unusable
        step = self._levels.usable(step)
        if self._levels.unusable > unusable:
            seconds = at / self._sample_rate
            if seconds - self._invalid_at > INVALID_AGAIN:
                yield Event("invalid", seconds, seconds)
            self._invalid_at = seconds
        yield from self._advance(self._resampler.feed(self._levels.heard(self._mixer.step(step))))

    def _advance(self, samples: Samples) -> Iterator[Event]:
        """The next samples at the contract's rate."""
        chunks = self._gate.feed(samples)
        self._history.extend(samples, chunks)
        rate = self._contract.sample_rate
        for kind, start, end in self._turns.feed(chunks):
            yield Event(kind, start / rate, end / rate)
        if self._watch:
            self._watch.hear(self._history.gated - self._history.last_speech, self._history.speech)
        yield from self._windows()
        self._history.forget(self._history.gated - self._continuation.reach)

    def _windows(self) -> Iterator[Event]:
        """Considers the windows that became complete, of the grid and of the watch, in order of their ends."""
        while self._localiser and self._localiser.end <= self._history.gated:
            self._locate(self._localiser, self._localiser.end)
            self._localiser.step()
        watch = self._watch
        while (end := min(self._grid_end, watch.end if watch else self._grid_end)) <= self._history.gated:
            on_grid, due = end == self._grid_end, watch if watch and end == watch.end else None
            if on_grid:
                self._grid_end += self._contract.hop
            if due:
                due.step()
            yield from self._consider(end, on_grid=on_grid, watch=due)

    def _consider(self, end: int, *, on_grid: bool, watch: Watch | None = None) -> Iterator[Event]:
        """Scores the window that ends at `end`, if grid or watch want it and it can be judged."""
        rate, window = self._contract.sample_rate, self._contract.window
        start = max(0, end - window)
        samples, speech = self._history.cut(start, end)
        on_grid = on_grid and speech >= WINDOW_SPEECH * rate
        if watch and not watch.wants(speech, self._history.speech):
            watch = None
        if not on_grid and not watch:
            return
        if is_clipped(samples):
            self._clipped |= on_grid
            return
        raw = self._continuation.score(start, end, self._history.samples)
        segment = Segment(start / rate, end / rate, self._judge.calibrated(raw))
        if on_grid:
            self._segments.append(segment)
            self._weighted_sum += speech * segment.score
            self._weight += speech
        if watch:
            yield from watch.take(segment, speech)

    def _locate(self, localiser: Localiser, end: int) -> None:
        """Scores the localiser's window that ends at `end`, if it can be judged."""
        start = max(0, end - localiser.window)
        samples, speech = self._history.cut(start, end)
        if localiser.wants(speech) and not is_clipped(samples):
            raw = self._continuation.score(start, end, self._history.samples)
            rate = self._contract.sample_rate
            localiser.take(Segment(start / rate, end / rate, self._judge.calibrated(raw)))

    def _findings(self) -> Findings:
        rate, levels = self._sample_rate, self._levels
        # The last chunk was filled with silence.
        overhang = max(0, self._history.last_speech - self._history.end)
        return Findings(
            duration=self._fed / rate,
            speech=(self._history.speech - overhang) / self._contract.sample_rate,
            missing=(self._lost + levels.unusable) / rate,
            problem=levels.problem(strict=self._recording or not self._weight),
            clipped=self._clipped,
            score=self._weighted_sum / self._weight if self._weight else None,
            segments=tuple(self._segments),
        )


class _History:
    """The last stretch of a signal and of the gate's decisions about it. Positions are samples from the signal's beginning."""

    def __init__(self) -> None:
        self._pieces = [np.zeros(0, np.float32)]
        self._first = 0
        self._chunks = np.zeros(0, np.bool_)
        self._first_chunk = 0
        self.speech = 0
        """Samples of speech in all."""
        self.last_speech = 0
        """Where the last speech ended."""
        self.end = 0
        """Where the signal ends so far."""

    @property
    def gated(self) -> int:
        """Up to where the gate has decided, at most the end."""
        return min(self.end, (self._first_chunk + len(self._chunks)) * CHUNK)

    def extend(self, samples: Samples, chunks: NDArray[np.bool_]) -> None:
        self._pieces.append(samples.copy())  # Or the whole of what was fed would stay in memory.
        self.end += len(samples)
        self._chunks = np.concatenate([self._chunks, chunks])
        if spoken := [at for at, speech in enumerate(chunks.tolist()) if speech]:
            self.speech += len(spoken) * CHUNK
            after = len(chunks) - 1 - spoken[-1]
            self.last_speech = (self._first_chunk + len(self._chunks) - after) * CHUNK

    def cut(self, start: int, end: int) -> tuple[Samples, int]:
        """The samples from `start` to `end`, and how many of them are speech."""
        speech = np.repeat(self._chunks, CHUNK)[start - self._first_chunk * CHUNK : end - self._first_chunk * CHUNK]
        return self.samples(start, end), int(np.count_nonzero(speech))

    def samples(self, start: int, end: int) -> Samples:
        """The samples from `start` to `end`."""
        return self._joined()[start - self._first : end - self._first]

    def _joined(self) -> Samples:
        # At once, when they are asked for: steps are many, and windows few.
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]

    def forget(self, start: int) -> None:
        """Drops what lies before `start`, once it is worth it."""
        if start - self._first < FORGOTTEN:
            return
        self._pieces, self._first = [self._joined()[start - self._first :]], start
        chunk = max(self._first_chunk, self._first // CHUNK)
        self._chunks, self._first_chunk = self._chunks[chunk - self._first_chunk :], chunk
