"""What hours of listening bring: false alarms an hour of living speech, and the share of spoofs that raise one in a minute.

The living voices of each source make one stream, as if people took turns: recording after recording, those of a speaker
together, with the recordings' own edges as pauses. The spoofs of each system make streams of a minute; what is left over is
left out. All pass through `Detector.stream`, and an alarm is what `vivavoce listen` calls one: a verdict of spoof that is news.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel
from scipy.stats import chi2

from vivavoce import Detector
from vivavoce.audio import load
from vivavoce.bundle import Monitoring, PerHour
from vivavoce.progress import Advance, quiet
from vivavoce.rates import clopper_pearson

from .corpora import Key, Trial

__all__ = ["ALL_PASS", "Heard", "Window", "grouped", "joined", "listen", "monitored", "per_hour"]

MINUTE = 60.0
ALL_PASS = -1e9
"""A threshold that every window reaches."""
AFTER = (1, 2, 3, 4, 6, 8, 10, 12, 15)
"""Windows in a row that are tried for an alarm."""
THRESHOLDS = 64
"""Thresholds that are tried, at quantiles of the windows' scores."""
ROWS = 8
"""Settings that are told at most."""


class Window(NamedTuple):
    """One window that a stream judged: where it ends, in seconds, its score, and whether it is the first about somebody."""

    time: float
    score: float
    first: bool


class Heard(BaseModel):
    """One stream: of which class, of which source or system, how long, and what was judged in it."""

    key: Key
    name: str
    seconds: float
    windows: list[Window]

    def alarms(self, below: float, *, after: int = 1, accept: float | None = None) -> list[float]:
        """When a stream raises an alarm, in seconds: `after` windows in a row below the threshold, and as many at `accept` or
        above to take it back. Never for a score above 0."""
        below = min(below, 0.0)
        accept = below if accept is None else accept
        times, standing, side, run = [], "", "", 0
        for window in self.windows:
            if window.first:
                standing, side, run = "", "", 0
            now = "spoof" if window.score < below else "bonafide" if window.score >= accept else ""
            side, run = now, run + 1 if now == side else 1
            if side and run >= after:
                if side == "spoof" != standing:
                    times.append(window.time)
                standing = side
        return times


def per_hour(count: int, hours: float, *, level: float = 0.95) -> PerHour:
    """The rate of independent events with its exact interval (Garwood, "Fiducial limits for the Poisson distribution", 1936).

    Alarms about one voice are not independent, so the true interval is wider.
    """
    tail = (1 - level) / 2
    low = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    high = float(chi2.ppf(1 - tail, 2 * count + 2)) / 2
    return PerHour(value=count / hours, low=low / hours, high=high / hours, count=count, hours=hours)


def monitored(
    bundle: Path,
    chosen_on: Sequence[Trial],
    measured_on: Sequence[Trial],
    *,
    corpus: str,
    advance: Advance = quiet,
) -> tuple[Monitoring, ...]:
    """The settings of a monitor that are worth choosing from, the fewest false alarms first, as `measured_on` has them.

    They are chosen on `chosen_on`, as those of which none other catches more spoofs with as few false alarms. `advance` is told
    of the streams that were heard. Empty where the trials make no streams of living speech, or no minute of
    spoofed speech.
    """
    detector = Detector(bundle)
    accept, hop = detector.threshold, detector.bundle.manifest.audio.hop / detector.bundle.manifest.audio.sample_rate
    plans = [_planned(detector, trials) for trials in ([chosen_on] if measured_on is chosen_on else [chosen_on, measured_on])]
    first, *others = _heard(bundle, plans, advance)
    second = others[0] if others else first
    if not all(streams for pair in (first, second) for streams in pair):
        return ()
    rows = [_row(*second, after, below, accept, hop, corpus) for after, below in _settings(*first, accept)]
    return tuple(sorted(rows, key=lambda row: (row.false_alarms.value, row.caught.value)))


def listen(detector: Detector, trials: Sequence[Trial]) -> Heard:
    """What a stream judges while it hears recordings one after another.

    With the default policy every window is a verdict, and at a threshold that all pass it is news only where it is the first
    about somebody; so the alarms at any other threshold follow from the scores.
    """
    rate = detector.bundle.manifest.audio.sample_rate
    stream = detector.stream(sample_rate=rate)
    samples, windows = 0, []
    for trial in trials:
        signal = load(trial.audio, rate)
        samples += len(signal)
        events = [event for event in stream.feed(signal) if event.kind == "verdict"]
        windows += [Window(event.time, event.score or 0.0, event.changed) for event in events]
    return Heard(key=trials[0].key, name=_name(trials[0]), seconds=samples / rate, windows=windows)


def grouped(trials: Iterable[Trial]) -> list[list[Trial]]:
    """The trials of each source of living speech and of each system, those of a speaker together."""
    groups: defaultdict[tuple[Key, str], list[Trial]] = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: trial.speaker or ""):
        groups[trial.key, _name(trial)].append(trial)
    return [group for _, group in sorted(groups.items())]


def joined(trials: Iterable[Trial], seconds: float) -> Iterator[list[Trial]]:
    """As `grouped`, each group cut where so many seconds are full; what is left over is left out."""
    for group in grouped(trials):
        batch: list[Trial] = []
        for trial in group:
            batch.append(trial)
            if sum(one.duration or 0 for one in batch) >= seconds:
                yield batch
                batch = []


def _name(trial: Trial) -> str:
    return (trial.source or trial.speaker if trial.key == "bonafide" else trial.system) or "unknown"


Groups = tuple[list[list[Trial]], list[list[Trial]]]


def _planned(detector: Detector, trials: Sequence[Trial]) -> Groups:
    """What each stream is to hear: living voices, and a minute each of spoofed ones."""
    rate = detector.bundle.manifest.audio.sample_rate
    timed = [replace(trial, duration=trial.duration or len(load(trial.audio, rate)) / rate) for trial in trials]
    living = grouped(trial for trial in timed if trial.key == "bonafide")
    return living, list(joined((trial for trial in timed if trial.key == "spoof"), MINUTE))


def _heard(bundle: Path, plans: Sequence[Groups], advance: Advance) -> list[tuple[list[Heard], list[Heard]]]:
    """What the streams of each plan heard."""
    detector = Detector(bundle, operating_point=ALL_PASS)
    total = sum(len(groups) for plan in plans for groups in plan)
    counter = count(1)

    def heard(group: list[Trial]) -> Heard:
        found = listen(detector, group)
        advance(next(counter), total)
        return found

    return [([heard(group) for group in living], [heard(group) for group in spoofed]) for living, spoofed in plans]


def _settings(living: Sequence[Heard], spoofed: Sequence[Heard], accept: float) -> list[tuple[int, float]]:
    """Windows in a row and thresholds of which none others catch more with as few false alarms."""
    scores = [window.score for one in (*living, *spoofed) for window in one.windows if window.score < 0]
    found: dict[int, tuple[int, tuple[int, float]]] = {}
    for below in sorted({float(value) for value in np.quantile(scores or [0.0], np.linspace(0, 1, THRESHOLDS))}):
        for after in AFTER:
            false = sum(len(one.alarms(below, after=after, accept=accept)) for one in living)
            caught = sum(_within(one, after, below, accept) is not None for one in spoofed)
            if caught > found.get(false, (0, None))[0]:
                found[false] = caught, (after, below)
    frontier: list[tuple[int, float]] = []
    most = 0
    for _, (caught, setting) in sorted(found.items()):
        if caught > most:
            most, frontier = caught, [*frontier, setting]
    if not frontier:
        return []
    kept = np.linspace(0, len(frontier) - 1, ROWS).round()
    return [frontier[number] for number in sorted({int(number) for number in kept})]


def _within(one: Heard, after: int, below: float, accept: float) -> float | None:
    """When the first alarm of a stream's first minute comes, if any does."""
    return next((time for time in one.alarms(below, after=after, accept=accept) if time <= MINUTE), None)


def _row(
    living: Sequence[Heard], spoofed: Sequence[Heard], after: int, below: float, accept: float, hop: float, corpus: str
) -> Monitoring:
    false = sum(len(one.alarms(below, after=after, accept=accept)) for one in living)
    times = [time for one in spoofed if (time := _within(one, after, below, accept)) is not None]
    return Monitoring(
        alarm_after=after,
        hop=hop,
        threshold=below,
        clears_at=accept,
        false_alarms=per_hour(false, sum(one.seconds for one in living) / 3600),
        caught=clopper_pearson(len(times), len(spoofed)),
        delay=median(times) if times else None,
        corpus=corpus,
    )
