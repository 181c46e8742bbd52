"""Signals cut into pieces of speech at pauses, edges and level alike, the same way for every source and both classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.random import Generator

from vivavoce.audio import Samples

__all__ = ["FRAME", "LONGEST", "RATE", "SHORTEST", "activity", "cut", "match_level", "pieces", "set_level", "to_pcm", "trim"]

RATE = 16_000
SHORTEST, WANTED, LONGEST = 1.0, 2.0, 6.0
"""Seconds. A piece is never shorter than the first nor longer than the last; below the second it is joined to the next."""
EDGE = 0.25
FRAME = RATE // 50
ACTIVE_DB = 35.0
LEVELS_DB = (-32.0, -18.0)
PEAK = 0.97


def pieces(clips: Iterable[Samples]) -> Iterator[Samples]:
    """One speaker's clips (n,) at 16 kHz, in order, as pieces of 1 to 6 s: long ones cut at pauses, short ones joined."""
    waiting = np.zeros(0, np.float32)
    for part in (part for clip in clips for part in cut(trim(clip))):
        if len(waiting) + len(part) > LONGEST * RATE:
            yield from _long_enough(waiting)
            waiting = part
        else:
            waiting = np.concatenate([waiting, part])
        if len(waiting) >= WANTED * RATE:
            yield waiting
            waiting = np.zeros(0, np.float32)
    yield from _long_enough(waiting)


def _long_enough(piece: Samples) -> Iterator[Samples]:
    if len(piece) >= SHORTEST * RATE:
        yield piece


def activity(x: Samples) -> Samples:
    """Level (frames,) of each 20 ms in dB under the loudest; silence is far below -ACTIVE_DB."""
    frames = x[: len(x) // FRAME * FRAME].reshape(-1, FRAME)
    level = 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)
    return np.asarray(level - level.max(initial=-120.0), np.float32)


def trim(x: Samples) -> Samples:
    """The signal with at most 0.25 s before its first active frame and after its last; empty where it is silent."""
    active = np.flatnonzero(activity(x) > -ACTIVE_DB)
    if len(active) == 0 or np.abs(x).max() < 1e-4:
        return x[:0]
    edge = int(EDGE * RATE)
    return x[max(0, active[0] * FRAME - edge) : (active[-1] + 1) * FRAME + edge]


def cut(x: Samples) -> Iterator[Samples]:
    """Parts of at most 6 s, cut where 0.1 s is quietest between 2 s and 6 s, and trimmed."""
    while len(x) > LONGEST * RATE:
        first, last = int(WANTED * RATE / FRAME), int(min(LONGEST * RATE, len(x) - SHORTEST * RATE) / FRAME)
        smooth = np.convolve(activity(x), np.ones(5) / 5, "same")
        at = (first + int(smooth[first:last].argmin())) * FRAME
        yield trim(x[:at])
        x = trim(x[at:])
    if len(x):
        yield x


def set_level(x: Samples, rng: Generator) -> Samples:
    """The piece at an active level drawn from -32 to -18 dB under full scale, lower where its peaks would clip."""
    active = np.repeat(activity(x) > -ACTIVE_DB, FRAME)
    gain = 10 ** (rng.uniform(*LEVELS_DB) / 20) / _rms(x[: len(active)][active])
    return np.asarray(x * min(gain, PEAK / float(np.abs(x).max())), np.float32)


def match_level(x: Samples, model: Samples) -> Samples:
    """`x` at the level of `model`, lower where its peaks would clip."""
    return np.asarray(x * min(_rms(model) / _rms(x), PEAK / max(float(np.abs(x).max()), 1e-9)), np.float32)


def _rms(x: Samples) -> float:
    return max(float(np.sqrt(np.square(x, dtype=np.float64).mean())), 1e-9)


def to_pcm(x: Samples, rng: Generator) -> np.typing.NDArray[np.int16]:
    """16-bit samples with triangular dither, so that no class has digital silence that the other lacks."""
    dither = rng.random(len(x)) - rng.random(len(x))
    return np.clip(np.round(x * 32767.0 + dither), -32768, 32767).astype(np.int16)
