"""What overlap costs: one pass over a recording against windows every hop, scored whole and continued."""

from __future__ import annotations

import os
from time import perf_counter

import numpy as np

from ..audio import Samples
from ..bundle import default_bundle
from ..detector import Detector
from ..engines.engine import Engine
from ..engines.incremental import Continuation
from ..engines.self_test import clip
from ..errors import ConfigurationError
from ..listening.windows import grid
from ..machine import machine, versions
from ..policy import Policy
from .records import Clip, MeasuredBundle, Record, Report

__all__ = ["OverlapReport", "overlap"]


class OpenedEngine(Record):
    """What scored, and whether it carries a state from window to window."""

    file: str
    provider: str
    carries: bool


class Ways(Record):
    """A figure of each way to score."""

    once: float
    again: float
    continued: float
    stream: float


class TimesOnce(Record):
    """How many times as long as one pass a way takes: lowest, median and highest over the repeats."""

    again: tuple[float, float, float]
    continued: tuple[float, float, float]


class Apart(Record):
    """How far raw scores are apart, continued and whole."""

    largest: float
    median: float


class OverlapReport(Report):
    """Real-time factors of the engine on one recording, by the way that it is scored."""

    threads: int
    hop: float
    bundle: MeasuredBundle
    engine: OpenedEngine
    audio: Clip
    real_time_factor: Ways
    ratios: TimesOnce
    score_difference: Apart


def overlap(
    bundle: str | os.PathLike[str] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    seconds: float = 60.0,
    precision: str | None = None,
    hop: float = 0.5,
    threads: int = 1,
    repeats: int = 5,
) -> OverlapReport:
    """Real-time factors of the engine on one recording, and how far the scores are apart.

    "once" scores each window once, without overlap; "again" scores a whole window at every hop of `hop` seconds; "continued"
    does so as streams do; "stream" is a whole stream with its speech gate. The four take turns, so that they meet the same
    machine. Raises as `Detector`, and ConfigurationError where the settings leave nothing to measure.
    """
    detector = Detector(default_bundle() if bundle is None else bundle, precision=precision, threads=threads)
    contract, engine = detector.bundle.manifest.audio, detector.engine
    step = round(hop * contract.sample_rate)
    before = machine()
    audio, source = clip(detector.bundle, file, seconds)
    if step < 1 or repeats < 1 or len(audio) < contract.window + step:
        raise ConfigurationError("There is nothing to measure. Give a hop and repeats above 0, and more audio than a window.")
    once, often = (grid(len(audio), contract.window, every) for every in (contract.window, step))
    engine.score(audio[None, : contract.window])
    took: dict[str, list[float]] = {"once": [], "again": [], "continued": [], "stream": []}
    for _ in range(repeats):
        took["once"].append(_timed(engine, audio, once, whole=True)[0])
        seconds_again, again = _timed(engine, audio, often, whole=True)
        seconds_continued, continued = _timed(engine, audio, often, whole=False)
        took["again"].append(seconds_again)
        took["continued"].append(seconds_continued)
        took["stream"].append(_streamed(detector, audio, hop))
    duration = len(audio) / contract.sample_rate
    relative = {way: np.quantile(np.divide(took[way], took["once"]), (0, 0.5, 1)) for way in ("again", "continued")}
    difference = np.abs(np.subtract(again, continued))
    return OverlapReport(
        machine=before,
        versions=versions(),
        threads=threads,
        repeats=repeats,
        hop=hop,
        bundle=MeasuredBundle.of(detector.bundle),
        engine=OpenedEngine(file=engine.file.file, provider=engine.provider, carries=engine.incremental is not None),
        audio=Clip(source=source, seconds=duration),
        real_time_factor=Ways(**{way: float(np.median(times)) / duration for way, times in took.items()}),
        ratios=TimesOnce(**{way: tuple(values.tolist()) for way, values in relative.items()}),
        score_difference=Apart(largest=float(difference.max()), median=float(np.median(difference))),
    )


def _timed(engine: Engine, audio: Samples, windows: list[tuple[int, int]], *, whole: bool) -> tuple[float, list[float]]:
    """Seconds that the windows take, and their raw scores."""
    continuation = Continuation(engine, windows[0][1] - windows[0][0])
    start = perf_counter()
    if whole:
        scores = [float(engine.score(audio[None, first:last])[0]) for first, last in windows]
    else:
        scores = [continuation.score(first, last, lambda a, b: audio[a:b]) for first, last in windows]
    return perf_counter() - start, scores


def _streamed(detector: Detector, audio: Samples, hop: float) -> float:
    """Seconds of a stream that gets the recording in chunks of 0.1 s, with all its parts."""
    rate = detector.bundle.manifest.audio.sample_rate
    stream = detector.stream(sample_rate=rate, policy=Policy(hop=hop))
    start = perf_counter()
    for first in range(0, len(audio), rate // 10):
        for _ in stream.feed(audio[first : first + rate // 10]):
            pass
    stream.finish()
    return perf_counter() - start
